"""Searches for distributions under which the test of bounded means passes a broken bound more often than alpha.

For variables with three values, every outcome of n examples is enumerated, so rates are exact. The probabilities are
searched for the largest rate with the mean at the bound. Usage: python -m benchmarks.false_blessings [--supports 40]
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy import special

from components.gate.statistics.bounded import p_value

SIZES, ALPHAS = (5, 10, 20, 40), (0.01, 0.05, 0.1)


def outcomes(n: int) -> np.ndarray:
    """All counts of three values in n examples, [M, 3]."""
    first, second = np.meshgrid(np.arange(n + 1), np.arange(n + 1), indexing="ij")
    possible = first + second <= n
    return np.stack([first[possible], second[possible], n - first[possible] - second[possible]], axis=1)


def worst_rates(values: np.ndarray, least: float, n: int) -> list[float]:
    """The greatest rates of passing at each of `ALPHAS`, over all probabilities of three values with the mean zero.

    Args:
        values: Three values, [3], the first below zero, the last above.
        least: The smallest possible value.
        n: The number of examples.
    """
    counts = outcomes(n)
    p_values = np.array([p_value(np.repeat(values, each), [least]) for each in counts])
    # The distributions with mean zero are the mixtures of two distributions that each have two values.
    low, middle, high = values
    ends = [np.array([high, 0, -low]) / (high - low)]
    ends.append(
        np.array([0, high, -middle]) / (high - middle) if middle < 0 else np.array([middle, -low, 0]) / (middle - low)
    )
    share = np.linspace(0, 1, 201)[:, None]
    probabilities = share * ends[0] + (1 - share) * ends[1]
    ways = special.gammaln(n + 1) - special.gammaln(counts + 1).sum(axis=1)
    chances = np.exp(ways + special.xlogy(counts[None], probabilities[:, None]).sum(axis=2))
    return [float((chances * (p_values <= alpha)).sum(axis=1).max()) for alpha in ALPHAS]


def main() -> None:
    """Print the largest rate for each number of examples and alpha."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--supports", type=int, default=40, help="sets of three values for each number of examples")
    arguments = parser.parse_args()
    random = np.random.default_rng(1)
    print(f"{'examples':>8}  " + "  ".join(f"alpha {alpha:<5}" for alpha in ALPHAS))
    for n in SIZES:
        found = []
        for _ in range(arguments.supports):
            # The largest gain is as large as the largest loss, or far smaller.
            high = 10 ** random.uniform(-2, 0)
            middle = random.uniform(-1, high) if random.random() < 0.5 else random.uniform(-high, high)
            found.append(worst_rates(np.array([-1.0, middle, high]), -1.0, n))
        print(f"{n:>8}  " + "  ".join(f"{rate:<11.4f}" for rate in np.max(found, axis=0)), flush=True)


if __name__ == "__main__":
    main()
