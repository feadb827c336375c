"""Quantizers compared with numpy: the range after each batch, and the quantized values."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest
import tensorflow as tf

from components.cells.quantizers import (
    NEVER,
    ExtremesQuantizer,
    FixedQuantizer,
    HistogramQuantizer,
    LastValueQuantizer,
    MovingAverageQuantizer,
)
from components.cells.weight_quantizer import WeightQuantizer

HOW = ["eager", "graph", "tensor"]


class Held:
    """A quantizer with the variables that it built, called as a layer would."""

    def __init__(self, quantizer, shape=(None, 4), how="eager"):
        self.quantizer = quantizer
        self.variables = quantizer.build(tf.TensorShape(shape), "out", tf.keras.layers.Layer())
        self.call = {"eager": self.plain, "graph": self.graph, "tensor": self.tensor}[how]
        self.traced = tf.function(self.plain, autograph=False)

    def plain(self, inputs, training):
        return self.quantizer(inputs, training, weights=self.variables)

    def graph(self, inputs, training):
        return self.traced(inputs, training)

    def tensor(self, inputs, training):
        return self.traced(inputs, tf.constant(training))

    def train(self, *batches):
        return [self.call(tf.constant(batch, tf.float32), True).numpy() for batch in batches]

    def infer(self, values):
        return self.call(tf.constant(values, tf.float32), False).numpy()

    @property
    def range(self):
        return float(self.variables["min_var"].numpy()), float(self.variables["max_var"].numpy())

    @property
    def seen(self):
        return int(self.variables["batches"].numpy())


def nudged(low, high, bits=8, symmetric=False):
    """The range of the integers nearest to a wanted one."""
    low, high = min(low, 0.0), max(high, 0.0)
    if symmetric or bits == 16:
        scale = max(-low, high) / (2 ** (bits - 1) - 1)
        return -scale * 2 ** (bits - 1), scale * (2 ** (bits - 1) - 1)
    scale = (high - low) / 255
    zero = np.rint(-low / scale)
    return -zero * scale, (255 - zero) * scale


def quantized(values, low, high, bits=8):
    scale = (high - low) / (2**bits - 1)
    zero = np.rint(-low / scale)
    codes = np.clip(np.rint(np.asarray(values, np.float64) / scale) + zero, 0, 2**bits - 1)
    return (codes - zero) * scale


def assert_quantized(outputs, values, limits, bits=8):
    """Equal, but for values in the middle between two integers, which float32 may round either way."""
    scale = (limits[1] - limits[0]) / (2**bits - 1)
    exact = quantized(values, *limits, bits)
    off = np.abs(outputs - exact) / scale
    middle = np.abs(np.abs(np.clip(values, *limits) / scale % 1) - 0.5) < (1e-2 if bits == 16 else 1e-4)
    assert np.all((off < (0.02 if bits == 16 else 1e-3)) | (middle & (off < 1.01)))
    assert middle.mean() < 0.05


def batches(count=5, seed=0, shape=(32, 4)):
    random = np.random.default_rng(seed)
    return [random.normal(0.3, 1 + index / 3, shape).astype(np.float32) for index in range(count)]


def moving_average(parts, decay):
    low, high = float(parts[0].min()), float(parts[0].max())
    for part in parts[1:]:
        low = decay * low + (1 - decay) * float(part.min())
        high = decay * high + (1 - decay) * float(part.max())
    return low, high


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize(("bits", "symmetric"), [(8, False), (8, True), (16, False)])
def test_moving_average_is_numpys(how, bits, symmetric):
    held, parts = Held(MovingAverageQuantizer(bits, symmetric, decay=0.8), how=how), batches()
    for count in range(1, len(parts) + 1):
        outputs = held.train(parts[count - 1])[0]
        oracle = nudged(*moving_average(parts[:count], 0.8), bits, symmetric)
        assert held.range == pytest.approx(oracle, rel=1e-5)
        assert_quantized(outputs, parts[count - 1], oracle, bits)
    assert held.seen == 5
    assert_quantized(held.infer(parts[0]), parts[0], oracle, bits)
    assert held.seen == 5 and held.range == pytest.approx(oracle, rel=1e-5)


@pytest.mark.parametrize("symmetric", [True, False])
def test_moving_average_of_steady_data_stays_at_their_range(symmetric):
    held = Held(MovingAverageQuantizer(8, symmetric, decay=0.995), how="graph")
    held.train(*[[[-1.0, 0.2, 0.4, 0.6]]] * 600)
    assert held.range == pytest.approx(nudged(-1.0, 0.6, 8, symmetric), rel=1e-4)


def test_moving_average_follows_data_that_move_by_less_than_a_step():
    held = Held(MovingAverageQuantizer(decay=0.95), how="graph")
    # A step is 2 / 255, and each batch moves the average by a twentieth of what is left.
    held.train([[-1.0, 1.0]], *[[[-1.04, 1.0]]] * 200)
    assert held.range == pytest.approx(nudged(-1.04, 1.0), rel=1e-4)


@pytest.mark.parametrize("how", HOW)
def test_last_value_forgets_what_was_before(how):
    held, parts = Held(LastValueQuantizer(), how=how), batches()
    outputs = held.train(*parts)[-1]
    oracle = nudged(float(parts[-1].min()), float(parts[-1].max()))
    assert held.range == pytest.approx(oracle, rel=1e-6)
    assert_quantized(outputs, parts[-1], oracle)


@pytest.mark.parametrize(
    ("values", "oracle"),
    [
        ([[2.0, 3.0]], (0.0, 3.0)),
        ([[-4.0, -1.0]], (-4.0, 0.0)),
        ([[0.0, 0.0]], (0.0, 2e-6)),
    ],
    ids=["positive", "negative", "zeros"],
)
def test_range_always_holds_zero_exactly(values, oracle):
    held = Held(LastValueQuantizer())
    held.train(values)
    assert held.range == pytest.approx(oracle, abs=1e-7)
    assert held.infer([[0.0, 0.0]]).tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("percentile", [90.0, 99.0, 100.0])
def test_histogram_is_numpys_percentile_to_the_width_of_a_bin(how, percentile):
    held = Held(HistogramQuantizer(percentile=percentile, bins=512), how=how)
    values = np.random.default_rng(1).normal(0.5, 1.0, (20_000, 4)).astype(np.float32)
    outputs = held.train(values)[0]
    width = np.ptp(values) / 512
    rest = (100 - percentile) / 2
    oracle = np.percentile(values, [rest, 100 - rest])
    # The range is nudged to whole steps afterward.
    assert held.range == pytest.approx(nudged(*oracle), abs=width + np.ptp(oracle) / 255)
    assert_quantized(outputs[:100], values[:100], held.range)
    counts, _ = np.histogram(values, 512)
    # Values at the edge of a bin may fall to either side in float32.
    assert np.abs(held.variables["counts"].numpy() - counts).sum() <= 20
    assert held.variables["counts"].numpy().sum() == values.size


def test_histogram_spreads_when_data_grow():
    held = Held(HistogramQuantizer(percentile=98.0, bins=256), how="graph")
    random = np.random.default_rng(2)
    parts = [random.normal(0, scale, (4000, 4)).astype(np.float32) for scale in (0.01, 0.1, 1.0, 3.0, 1.0, 0.1)]
    for count, part in enumerate(parts, start=1):
        held.train(part)
        values = np.concatenate(parts[:count])
        assert float(held.variables["low"].numpy()) == values.min()
        assert float(held.variables["high"].numpy()) == values.max()
        assert held.variables["counts"].numpy().sum() == values.size
        oracle = np.percentile(values, [1, 99])
        # One bin of its own, and half a bin of each of the growths before.
        assert held.range == pytest.approx(nudged(*oracle), abs=2 * np.ptp(values) / 256 + np.ptp(oracle) / 255)


def test_histogram_weighs_all_batches_alike():
    held = Held(HistogramQuantizer(percentile=99.0), how="graph")
    held.train(*[np.full((10, 4), 1.0)] * 99, np.full((1, 4), 100.0))
    # 4 of 3964 values are far out: less than the half percent that is cut off at each end.
    assert held.range[1] == pytest.approx(1.0, abs=0.1)


def test_histogram_of_ever_the_same_value_is_narrow():
    held = Held(HistogramQuantizer(), how="graph")
    held.train(np.full((8, 4), 5.0), np.full((8, 4), 5.0))
    assert held.range == pytest.approx((0.0, 5.0), abs=0.01)


def test_histogram_is_fine_though_it_began_with_zeros_alone():
    held, values = Held(HistogramQuantizer(percentile=100.0)), np.linspace(0, 1e-3, 400).reshape(-1, 4)
    held.train(np.zeros((8, 4)), values)
    assert held.range == pytest.approx((0.0, 1e-3), rel=0.01)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("kind", [MovingAverageQuantizer, LastValueQuantizer, HistogramQuantizer])
def test_delay_watches_only_and_then_quantizes(how, kind):
    held, parts = Held(kind(delay=3), how=how), batches()
    outputs = held.train(*parts)
    assert [np.array_equal(y, x) for y, x in zip(outputs, parts, strict=True)] == [True] * 3 + [False] * 2
    assert_quantized(held.infer(parts[0]), parts[0], held.range)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("kind", [MovingAverageQuantizer, LastValueQuantizer, HistogramQuantizer])
def test_never_quantizes_outside_training_only(how, kind):
    held, twin, parts = Held(kind(delay=NEVER), how=how), Held(kind()), batches()
    assert all(np.array_equal(y, x) for y, x in zip(held.train(*parts), parts, strict=True))
    twin.train(*parts)
    assert held.range == pytest.approx(twin.range, rel=1e-6)
    assert held.seen == 5
    assert_quantized(held.infer(parts[0]), parts[0], held.range)


@pytest.mark.parametrize("how", HOW)
def test_fixed_range_is_the_kernels(how):
    values = np.random.default_rng(3).uniform(-1.5, 1.5, (50, 4)).astype(np.float32)
    held = Held(FixedQuantizer(), how=how)
    for outputs in (*held.train(values), held.infer(values)):
        steps = outputs * 2.0**15
        assert np.array_equal(steps, np.rint(steps))
        assert np.abs(outputs - np.clip(values, -1, 1 - 2.0**-15)).max() <= 2.0**-16 * 1.01
    assert outputs.min() == -1.0 and outputs.max() == 1 - 2.0**-15
    watched = Held(FixedQuantizer(delay=NEVER), how=how)
    assert np.array_equal(watched.train(values)[0], values)
    assert np.array_equal(watched.infer(values), outputs)


SHAPES = {"dense": ((6, 5), ()), "conv": ((3, 3, 2, 4), (-1,)), "depthwise": ((3, 3, 4, 2), (-2, -1))}


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("kind", SHAPES)
def test_weights_are_symmetric_with_a_scale_per_channel(how, bits, kind):
    shape, axes = SHAPES[kind]
    kernel = np.random.default_rng(4).normal(size=shape).astype(np.float32)
    if axes:
        kernel[..., 0] *= 30
    kernel.flat[-1] = 0.0
    most = 2 ** (bits - 1) - 1
    others = tuple(range(len(shape) - len(axes)))
    scale = np.abs(kernel).max(axis=others, keepdims=True) / most
    held = Held(WeightQuantizer(bits, axes), shape, how)
    for outputs in (*held.train(kernel), held.infer(kernel)):
        codes = outputs / scale
        np.testing.assert_allclose(codes, np.rint(codes), atol=1e-3)
        np.testing.assert_allclose(outputs, np.rint(kernel / scale) * scale, atol=1e-5)
        assert np.all(np.rint(np.abs(codes).max(axis=others)) == most)
        assert outputs.flat[-1] == 0.0
    assert np.unique(np.rint(codes)).size <= 2 * most + 1


@pytest.mark.parametrize("how", HOW)
def test_weights_that_do_not_train_are_quantized_afterward(how):
    kernel = np.random.default_rng(5).normal(size=(6, 5)).astype(np.float32)
    held = Held(WeightQuantizer(4, (), trains=False), (6, 5), how)
    assert np.array_equal(held.train(kernel)[0], kernel)
    assert np.unique(held.infer(kernel)).size <= 15


def test_channel_of_zeros_stays_zero():
    kernel = np.random.default_rng(6).normal(size=(3, 3, 2, 4)).astype(np.float32)
    kernel[..., 2] = 0.0
    outputs = Held(WeightQuantizer(8, (-1,)), kernel.shape).infer(kernel)
    assert np.all(outputs[..., 2] == 0.0) and np.isfinite(outputs).all()
    assert np.all(Held(WeightQuantizer(8), (2, 2)).infer(np.zeros((2, 2))) == 0.0)


def test_gradient_passes_inside_the_range_and_not_outside():
    held = Held(LastValueQuantizer())
    held.train([[-1.0, 1.0]])
    inputs = tf.constant([[-2.0, -0.5, 0.5, 2.0]])
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = held.plain(inputs, False)
    assert tape.gradient(outputs, inputs).numpy().tolist() == [[0.0, 1.0, 1.0, 0.0]]


@pytest.mark.parametrize("axes", [(), (-1,)])
@pytest.mark.parametrize("bits", [4, 8])
def test_gradient_of_all_weights_passes(axes, bits):
    kernel = tf.constant(np.random.default_rng(7).normal(size=(6, 5)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(kernel)
        outputs = Held(WeightQuantizer(bits, axes), (6, 5)).plain(kernel, True)
    assert tape.gradient(outputs, kernel).numpy().tolist() == np.ones((6, 5)).tolist()


@pytest.mark.parametrize(
    "quantizer",
    [
        MovingAverageQuantizer(8, True, 3, decay=0.7),
        LastValueQuantizer(16, delay=NEVER),
        HistogramQuantizer(8, False, 1, percentile=95.0, bins=64),
        FixedQuantizer(16, -2.0, 2.0, NEVER),
        WeightQuantizer(4, (-1,), False),
    ],
    ids=lambda quantizer: type(quantizer).__name__,
)
def test_config_makes_the_same_quantizer(quantizer):
    again = type(quantizer).from_config(quantizer.get_config())
    assert vars(again) == vars(quantizer)


REPLICAS = """
import components
import numpy as np, tensorflow as tf
from components.cells.quantizers import HistogramQuantizer, LastValueQuantizer, MovingAverageQuantizer

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
random = np.random.default_rng(8)
# The second replica's values are far wider than the first's.
parts = [
    [random.normal(0, scale, (500, 4)).astype(np.float32) for scale in (1.0, 5.0 + index)] for index in range(4)
]

def range_of(variables):
    return [float(tf.convert_to_tensor(variables[name])) for name in ("min_var", "max_var", "batches")]

for make in (MovingAverageQuantizer, LastValueQuantizer, lambda: HistogramQuantizer(percentile=99.0, bins=256)):
    alone = make()
    held = alone.build(None, "alone", tf.keras.layers.Layer())
    for pair in parts:
        whole = alone(tf.constant(np.concatenate(pair)), True, weights=held).numpy()
    with strategy.scope():
        spread = make()
        variables = spread.build(None, "spread", tf.keras.layers.Layer())

    @tf.function(autograph=False)
    def step(inputs):
        return strategy.run(lambda x: spread(x, True, weights=variables), args=(inputs,))

    for pair in parts:
        inputs = strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(pair[context.replica_id_in_sync_group])
        )
        outputs = strategy.experimental_local_results(step(inputs))
    np.testing.assert_allclose(range_of(variables), range_of(held), rtol=1e-5)
    for own in variables.values():
        first, second = (value.numpy() for value in strategy.experimental_local_results(own))
        assert np.array_equal(first, second), own.name
    # A value in the middle of two integers may be rounded either way.
    assert np.mean(np.abs(np.concatenate([one.numpy() for one in outputs]) - whole) > 1e-4) < 0.005
print("as one")
"""


def test_replicas_share_one_range():
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(REPLICAS)], capture_output=True, text=True, check=False, timeout=300
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert ran.stdout.split("\n")[-2] == "as one"


@pytest.mark.parametrize("how", HOW)
def test_extremes_are_those_of_the_epoch_at_its_end_and_of_two_until_then(how):
    held = Held(ExtremesQuantizer(epoch=2), how=how)
    found = []
    for batch in ([-9.0, 1, 0, 2], [0, 0, 5.0, -1], [-1.0, 1, 0, 2], [0, 0, 4.0, -3], [0.5, 0.5, 0.5, 0.5]):
        held.train([batch])
        found.append(held.range)
    for limits, wanted in zip(found, [(-9, 2), (-9, 5), (-9, 5), (-3, 4), (-3, 4)], strict=True):
        assert limits == pytest.approx(nudged(*wanted), rel=1e-5)


def test_extremes_without_epochs_are_those_of_all_batches():
    held = Held(ExtremesQuantizer())
    held.train([[-9.0, 1, 0, 2]], *[[[0.0, 0, 1, 5]]] * 9)
    assert held.range == pytest.approx(nudged(-9, 5), rel=1e-5)
    assert ExtremesQuantizer.from_config(ExtremesQuantizer(16, epoch=3).get_config()).epoch == 3
