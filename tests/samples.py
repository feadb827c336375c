"""Samples of metrics, as an evaluation stores them."""

import numpy as np

from components.facts.sample import Sample, packed


def sample_of(numerators, denominators=None, least=0.0, greatest=1.0, largest=None):
    """The sample of units with these numerators and denominators."""
    denominators = np.ones(len(numerators)) if denominators is None else np.asarray(denominators, np.float64)
    return Sample(
        numerators=packed(np.asarray(numerators, np.float64)),
        denominators=packed(denominators),
        least=least,
        greatest=greatest,
        largest=tuple(largest or (float(denominators.max()),)),
    )
