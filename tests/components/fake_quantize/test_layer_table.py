"""The table of components/fake_quantize/layers.py, measured: train, convert, and run each kind of layer in integers.

One model per scheme has a branch, and an output, for each kind; the file's outputs are compared with those of the
model under fake quantization.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tf_keras.src.applications.convnext import StochasticDepth

from components.convert.checks.scheme_check import lost_ranges
from components.convert.tensorflow.converter import convert
from components.facts.artifact_paths import SERVING_FOLDER
from components.fake_quantize import layers as table
from components.fake_quantize.qat import quantized, trained_ranges
from components.model.keras_model import export
from components.model.tflite_file import inspect_model
from components.spec.scheme import StaticWi4Ai8, StaticWi8Ai8, StaticWi8Ai16
from components.spec.steps.qat import QatStep

layers = tf.keras.layers
SHAPES = {"image": (6, 6, 4), "series": (8, 4), "vector": (6,)}
EXAMPLES = 12


def branch(source, **parts):
    """Layers that follow one another, by kind or name."""
    return source, parts


def norm():
    return layers.BatchNormalization


CONVOLUTIONS = {
    "conv": branch("image", Conv2D=partial(layers.Conv2D, 5, 3)),
    "conv_norm_relu6": branch(
        "image", conv=partial(layers.Conv2D, 5, 3, use_bias=False), norm=norm(), relu0=partial(layers.ReLU, 6.0)
    ),
    "conv_twin": branch("image", twin=partial(layers.Conv2D, 5, 3, use_bias=False)),
    "depthwise": branch("image", DepthwiseConv2D=partial(layers.DepthwiseConv2D, 3, depth_multiplier=2)),
    "separable": branch("image", SeparableConv2D=partial(layers.SeparableConv2D, 3, 3)),
    "conv1d": branch("series", Conv1D=partial(layers.Conv1D, 5, 3, padding="causal")),
    "conv1d_norm": branch("series", conv1=partial(layers.Conv1D, 5, 3), norm1=norm(), relu1=layers.ReLU),
    "depthwise1d": branch("series", DepthwiseConv1D=partial(layers.DepthwiseConv1D, 3)),
    "separable1d": branch("series", SeparableConv1D=partial(layers.SeparableConv1D, 5, 3)),
    "norm_alone": branch("series", BatchNormalization=norm()),
    "dense": branch("vector", Dense=partial(layers.Dense, 6)),
    "dense_relu": branch("vector", dense_relu=partial(layers.Dense, 6, activation="relu")),
    "dense_norm_relu": branch("vector", dense2=partial(layers.Dense, 6), norm2=norm(), relu2=layers.ReLU),
}
TRANSPOSED = {"transposed": branch("image", Conv2DTranspose=partial(layers.Conv2DTranspose, 3, 3, strides=2))}
OTHERS = {
    "relu_layer": branch("image", ReLU=layers.ReLU),
    "leaky_relu": branch("image", LeakyReLU=partial(layers.LeakyReLU, 0.2)),
    "mean2d": branch("image", GlobalAveragePooling2D=layers.GlobalAveragePooling2D),
    "mean1d": branch("series", GlobalAveragePooling1D=layers.GlobalAveragePooling1D),
    "means": branch("image", AveragePooling2D=layers.AveragePooling2D),
    "means1d": branch("series", AveragePooling1D=layers.AveragePooling1D),
    "shapes": branch(
        "image",
        ZeroPadding2D=layers.ZeroPadding2D,
        Cropping2D=partial(layers.Cropping2D, ((1, 0), (0, 2))),
        UpSampling2D=layers.UpSampling2D,
        MaxPooling2D=partial(layers.MaxPooling2D, 3),
        Permute=partial(layers.Permute, (2, 1, 3)),
        Reshape=partial(layers.Reshape, (-1, 4)),
        Flatten=layers.Flatten,
    ),
    "shapes1d": branch(
        "series",
        ZeroPadding1D=layers.ZeroPadding1D,
        Cropping1D=partial(layers.Cropping1D, (2, 0)),
        MaxPooling1D=layers.MaxPooling1D,
        GlobalMaxPooling1D=layers.GlobalMaxPooling1D,
    ),
    "resized": branch(
        "image", Resizing=partial(layers.Resizing, 9, 9, "nearest"), CenterCrop=partial(layers.CenterCrop, 4, 4)
    ),
    "augmented": branch(
        "image",
        RandomFlip=layers.RandomFlip,
        RandomRotation=partial(layers.RandomRotation, 0.1),
        RandomZoom=partial(layers.RandomZoom, 0.1),
        RandomTranslation=partial(layers.RandomTranslation, 0.1, 0.1),
        RandomContrast=partial(layers.RandomContrast, 0.1),
        RandomBrightness=partial(layers.RandomBrightness, 0.1, [-4.0, 4.0]),
        StochasticDepth=partial(StochasticDepth, 0.1),
        augmented=partial(layers.LeakyReLU, 0.05),
    ),
    "maximum2d": branch("image", GlobalMaxPooling2D=layers.GlobalMaxPooling2D),
    "noise": branch(
        "vector",
        noisy=partial(layers.Dense, 6),
        linear=partial(layers.Activation, "linear"),
        Dropout=partial(layers.Dropout, 0.1),
        GaussianNoise=partial(layers.GaussianNoise, 0.1),
        GaussianDropout=partial(layers.GaussianDropout, 0.1),
        AlphaDropout=partial(layers.AlphaDropout, 0.1),
        ActivityRegularization=layers.ActivityRegularization,
    ),
    "noise1d": branch("series", SpatialDropout1D=partial(layers.SpatialDropout1D, 0.1), relu_1=layers.ReLU),
    "noise2d": branch(
        "image", SpatialDropout2D=partial(layers.SpatialDropout2D, 0.1), leaky=partial(layers.LeakyReLU, 0.1)
    ),
    "upsampled": branch("series", UpSampling1D=partial(layers.UpSampling1D, 2)),
    "softmax_layer": branch("left", Softmax=layers.Softmax),
    **{
        name: branch("shared", **{name: partial(layers.Activation, name)})
        for name in ("relu", "relu6", "sigmoid", "tanh", "softmax", "exponential", "swish")
    },
    **{
        name.lower(): branch("pair", **{name: getattr(layers, name)})
        for name in ("Add", "Subtract", "Multiply", "Maximum", "Minimum")
    },
}
ONLY_IN_8_BITS = {
    "gelu": branch("shared", gelu=partial(layers.Activation, "gelu")),
    "concatenate": branch("pair", Concatenate=layers.Concatenate),
    "repeat": branch("shared", RepeatVector=partial(layers.RepeatVector, 3)),
}
ZOOS = {
    "int8": (StaticWi8Ai8(), CONVOLUTIONS | TRANSPOSED | OTHERS | ONLY_IN_8_BITS),
    "int16": (StaticWi8Ai16(), CONVOLUTIONS | OTHERS),
    "int4": (StaticWi4Ai8(), CONVOLUTIONS),
}
# In steps of the output. The 16-bit kernels of these take their values from tables of 513 entries.
WITHIN = {("int16", "tanh"): 4, ("int16", "exponential"): 4}


@dataclass
class Trained:
    """One model under fake quantization, its file, and both's outputs for the same examples."""

    model: tf.keras.Model
    content: bytes
    moved: dict
    steps: dict


def build(zoo):
    tf.keras.utils.set_random_seed(11)
    sources = {name: layers.Input(shape, name=name) for name, shape in SHAPES.items()}
    inputs = list(sources.values())
    # The converter merges equal operators on the same tensor: no two branches are the same, none is empty.
    sources |= {name: layers.Dense(6, name=name)(sources["vector"]) for name in ("shared", "left", "right")}
    sources["pair"] = [sources["left"], sources["right"]]
    outputs = {}
    for name, (source, parts) in zoo.items():
        x = sources[source]
        for part, make in parts.items():
            x = make(name=part)(x)
        outputs[name] = x
    return tf.keras.Model(inputs, list(outputs.values())), list(outputs)


def run(content, data):
    """Outputs of a file, [example, ...] as integers, with the scale and zero point of each."""
    runner = tf.lite.Interpreter(model_content=content).get_signature_runner()
    given, outputs = runner.get_input_details(), runner.get_output_details()
    found = {name: [] for name in outputs}
    for index in range(EXAMPLES):
        fed = {}
        for name, values in zip(SHAPES, data, strict=True):
            (scale, zero), kind = given[name]["quantization"], given[name]["dtype"]
            codes = np.rint(values[index : index + 1] / scale) + zero
            fed[name] = np.clip(codes, np.iinfo(kind).min, np.iinfo(kind).max).astype(kind)
        for name, values in runner(**fed).items():
            found[name].append(values.astype(np.float64))
    return {name: (np.concatenate(values), *outputs[name]["quantization"]) for name, values in found.items()}


@pytest.fixture(scope="module", params=ZOOS)
def trained(request, tmp_path_factory):
    scheme, zoo = ZOOS[request.param]
    float_model, names = build(zoo)
    step = QatStep.model_validate({"kind": "qat", "epochs": 1})
    model = quantized(float_model, step, scheme, 1)
    random = np.random.default_rng(12)
    data = [random.normal(0.2, 1.0, (32, *shape)).astype(np.float32) for shape in SHAPES.values()]
    before = {variable.name: variable.numpy() for variable in model.trainable_variables}
    with tf.GradientTape() as tape:
        outputs = model(data, training=True)
        loss = tf.add_n([tf.reduce_mean(tf.square(output - 0.5)) for output in outputs])
    tf.keras.optimizers.SGD(0.02).apply_gradients(
        zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables, strict=True)
    )
    moved = {v.name: not np.array_equal(before[v.name], v.numpy()) for v in model.trainable_variables}
    folder = tmp_path_factory.mktemp(request.param)
    export(model, folder, names)
    content = convert(folder / SERVING_FOLDER, scheme, None)
    wanted = dict(zip(names, model(data, training=False), strict=True))
    steps = {
        name: np.abs((codes - zero) * scale - wanted[name][:EXAMPLES].numpy()).max() / scale
        for name, (codes, scale, zero) in run(content, data).items()
    }
    return request.param, Trained(model, content, moved, steps)


def test_every_kind_of_the_table_is_measured():
    parts = {part for zoo in ZOOS.values() for _, branches in zoo[1].values() for part in branches}
    # test_whole_models.py measures an embedding, whose inputs are integers.
    kinds = (set(table.WEIGHTED) - {"Embedding"}) | table.RANGED | table.PASSING | {"BatchNormalization", "Softmax"}
    functions = table.FIXED_ACTIVATIONS | table.RANGED_ACTIVATIONS | {"swish"}
    assert kinds | functions <= parts


def test_every_weight_trains(trained):
    _, made = trained
    # A bias behind which a normalization takes the mean away has no gradient.
    assert {name for name, moved in made.moved.items() if not moved} <= {"quant_conv1/bias:0"}


def test_file_is_of_integers_only(trained):
    _, made = trained
    assert inspect_model(made.content).float_tensors == ()


def test_integer_kernels_yield_what_fake_quantization_does(trained):
    scheme, made = trained
    off = {name: steps for name, steps in made.steps.items() if steps > WITHIN.get((scheme, name), 2.001)}
    assert set(made.steps) == set(ZOOS[scheme][1])
    assert off == {}


def test_file_has_the_trained_scales(trained):
    scheme, made = trained
    ranges = trained_ranges(made.model)
    assert len(ranges) > len(ZOOS[scheme][1]) / 2
    assert lost_ranges(made.content, ranges) == ()


def test_weights_have_the_bits_of_the_scheme(trained):
    scheme, made = trained
    kernels = [one for one in inspect_model(made.content).weights if len(one.shape) in {2, 4} and one.dtype != "INT32"]
    assert {one.dtype for one in kernels} == {"INT4" if scheme == "int4" else "INT8"}
    assert len(kernels) >= len(CONVOLUTIONS)
    # Per channel where the kernel can.
    scales = {one.name.rpartition("quant_")[2].partition("/")[0]: one.scales for one in kernels}
    assert (scales["Conv2D"], scales["DepthwiseConv2D"], scales["Conv1D"], scales["Dense"]) == (5, 8, 5, 1)


# These kernels want one scale for all that goes in and out: the converter gives them that of the result.
@pytest.mark.parametrize("kind", ["Maximum", "Concatenate"])
def test_kernels_of_one_scale_give_their_inputs_that_of_the_result(kind, tmp_path):
    sources = layers.Input((6,), name="vector")
    pair = [layers.Dense(6, name=name)(sources) for name in ("left", "right")]
    model = tf.keras.Model(sources, getattr(layers, kind)(name="both")(pair))
    made = quantized(model, QatStep.model_validate({"kind": "qat", "epochs": 1}), StaticWi8Ai8(), 1)
    made(np.random.default_rng(13).normal(size=(32, 6)).astype(np.float32), training=True)
    export(made, tmp_path)
    lost = lost_ranges(convert(tmp_path / "Format-Serving", StaticWi8Ai8(), None), trained_ranges(made))
    assert lost and set(lost) <= {"left", "right"}


def test_transposed_convolution_can_be_exported(tmp_path):
    image = layers.Input((4, 4, 2), name="image")
    model = tf.keras.Model(image, layers.Conv2DTranspose(3, 3, strides=2, name="up")(image))
    made = quantized(model, QatStep.model_validate({"kind": "qat", "epochs": 1}), StaticWi8Ai8(), 1)
    made(np.random.default_rng(14).normal(size=(8, 4, 4, 2)).astype(np.float32), training=True)
    export(made, tmp_path)
    assert Path(tmp_path, "Format-Serving", "saved_model.pb").is_file()
