import numpy as np
import pytest

from components.evaluate.latency.measure import judge, kernel_note, measure_latency
from components.facts.conversion import ConversionFailure, Converted, Inspection, OperatorUse
from components.spec.scheme import Float32, StaticWi8Ai8, StaticWi8Ai16


def rounds(microseconds, number=40):
    """Times of rounds that vary by 1 %."""
    return microseconds * 1e-6 * (1 + np.linspace(0, 0.01, number)[np.random.default_rng(0).permutation(number)])


def test_judge_gives_the_ratio_with_its_interval_when_the_twins_agree():
    latencies = judge(rounds(100), rounds(102), {"int8": rounds(40), "int16": rounds(250)})
    int8, int16 = latencies["int8"], latencies["int16"]
    assert int8.ratio == pytest.approx(0.4, rel=0.02)
    assert int8.lower < 0.4 < int8.upper < 0.45
    assert int8.microseconds == pytest.approx(40)
    assert int16.ratio == pytest.approx(2.5, rel=0.02)
    assert int8.note == ""


@pytest.mark.parametrize(("reference", "twin"), [(100, 106), (106, 100)])
def test_judge_gives_no_ratio_when_the_twins_differ_by_more_than_5_percent(reference, twin):
    latency = judge(rounds(reference), rounds(twin), {"int8": rounds(40)})["int8"]
    assert (latency.ratio, latency.lower, latency.upper) == (None, None, None)
    assert latency.transient
    assert latency.microseconds == pytest.approx(40)
    assert "too noisy: two measurements of the float model differed by a factor of" in latency.note


def test_judge_gives_no_ratio_when_something_takes_less_than_20_microseconds():
    tiny_float = judge(rounds(19.9), rounds(19.9), {"int8": rounds(40)})["int8"]
    assert not tiny_float.transient
    note = "takes 19.9 us; times below 20 us are not judged"
    assert (tiny_float.ratio, tiny_float.note) == (None, f"the float model {note}")
    tiny_candidate = judge(rounds(40), rounds(40), {"int8": rounds(19.9)})["int8"]
    assert (tiny_candidate.ratio, tiny_candidate.note) == (None, f"it {note}")
    assert judge(rounds(20.1), rounds(20.1), {"int8": rounds(20.1)})["int8"].ratio == 1.0


def test_measure_latency_times_every_candidate_when_given_files(world):
    contents = {name: world.tflite[name].read_bytes() for name in ("int8", "int16")}
    example = {"image": world.images[:1]}
    latencies = measure_latency(world.tflite["float32"].read_bytes(), contents, example)
    assert list(latencies) == ["int8", "int16"]
    assert all(latency.microseconds > 0 for latency in latencies.values())
    assert all((latency.ratio is None) == bool(latency.note) for latency in latencies.values())


def converted(operator):
    inspection = Inspection(
        file_bytes=1,
        weight_bytes=1,
        operators=(OperatorUse(name=operator, version=1, count=1),),
        dtype_counts={},
        inputs=(),
        outputs=(),
        weights=(),
        float_tensors=(),
        stateful=False,
    )
    return Converted(inspection=inspection, seconds=1, peak_memory_bytes=1)


def test_kernel_note_warns_when_the_host_has_only_reference_kernels():
    lstm, conv = converted("UNIDIRECTIONAL_SEQUENCE_LSTM"), converted("CONV_2D")
    assert "reference kernels for 16-bit activations" in kernel_note(StaticWi8Ai16(), conv)
    assert "reference kernels for the integer LSTM" in kernel_note(StaticWi8Ai8(), lstm)
    assert kernel_note(StaticWi8Ai8(), conv) == kernel_note(Float32(), lstm) == ""
    failed = ConversionFailure(scheme="static_wi8_ai8", cause="refused", message="m", remedy="r")
    assert kernel_note(StaticWi8Ai8(), failed) == ""
