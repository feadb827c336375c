"""What is rewritten computes the same; and is made of what the integer kernels are."""

import numpy as np
import pytest
import tensorflow as tf

from components.fake_quantize.keras_layers import activation_name
from components.fake_quantize.operators.table import FUNCTIONS
from components.fake_quantize.rewrite import rewrite

layers = tf.keras.layers
IMAGE, SERIES, VECTOR = (6, 6, 3), (12, 3), (5,)


def chain(shape, *parts):
    return tf.keras.Sequential([layers.Input(shape, name="input"), *parts], name="chain")


def inner(*parts, shape=IMAGE, name="block"):
    x = image = layers.Input(shape)
    for part in parts:
        x = part(x)
    return tf.keras.Model(image, x, name=name)


def norm(name="norm", **more):
    return layers.BatchNormalization(name=name, **more)


def residual():
    image = layers.Input(IMAGE, name="input")
    x = layers.Conv2D(4, 3, padding="same", name="first")(image)
    y = layers.ReLU(name="relu")(norm("norm_1")(x))
    y = norm("norm_2")(layers.Conv2D(4, 3, padding="same", name="second")(y))
    # The first convolution's output has two readers.
    return tf.keras.Model(image, layers.Add(name="sum")([x, y, layers.Conv2D(4, 1, name="third")(image)]))


def shared():
    left, right = layers.Input(VECTOR, name="left"), layers.Input(VECTOR, name="right")
    dense, normal = layers.Dense(4, name="dense"), norm()
    return tf.keras.Model(
        [left, right], layers.Concatenate(name="both")([normal(dense(left)), layers.ReLU(name="r")(dense(right))])
    )


def twice_nested():
    image = layers.Input(IMAGE, name="input")
    block = inner(layers.Conv2D(3, 3, padding="same", name="conv"), norm(), layers.ReLU(name="relu"))
    outer = inner(block, layers.Conv2D(3, 1, name="point", activation="swish"), name="outer")
    return tf.keras.Model(image, layers.Subtract(name="minus")([outer(image), block(image)]))


def several():
    image, more = layers.Input(IMAGE, name="image"), layers.Input(VECTOR, name="more")
    both = tf.keras.Model(
        [image, more],
        layers.Concatenate(name="both")([layers.GlobalAveragePooling2D(name="mean")(image), more]),
        name="join",
    )
    x = both([image, more])
    return tf.keras.Model({"image": image, "more": more}, layers.Dense(3, name="head", activation="tanh")(x))


def read_before_norm():
    vector = layers.Input(VECTOR, name="input")
    x = layers.Dense(4, name="dense")(vector)
    return tf.keras.Model(vector, layers.Multiply(name="product")([x, norm()(x)]))


def lone_and_read():
    series = layers.Input(SERIES, name="input")
    x = layers.Conv1D(4, 3, padding="same", name="conv")(series)
    return tf.keras.Model(series, layers.Add(name="sum")([x, norm()(x)]))


def operations():
    vector = layers.Input(VECTOR, name="input")
    return tf.keras.Model(vector, tf.nn.relu(layers.Dense(4, name="dense")(vector) * 2.0 + 1.0))


def kernel(*shape):
    return np.random.default_rng(4).normal(size=shape).astype(np.float32)


def of_planes(function):
    return lambda: inner(lambda x: function(layers.Conv2D(4, 1, name="before")(x)))


def of_lines(function):
    return lambda: inner(function, shape=SERIES)


# Functions with a constant kernel, and pools -> the classes of layers that they become.
CALLED = {
    "conv2d": (of_planes(lambda x: tf.nn.conv2d(x, kernel(3, 2, 4, 5), [1, 2, 1, 1], "SAME")), ["Conv2D"]),
    "conv2d_dilated": (of_planes(lambda x: tf.nn.conv2d(x, kernel(2, 2, 4, 5), 1, "VALID", dilations=2)), ["Conv2D"]),
    "conv2d_groups": (of_planes(lambda x: tf.nn.conv2d(x, kernel(3, 3, 2, 6), 2, "VALID")), ["Conv2D"]),
    "conv2d_padded": (
        of_planes(lambda x: tf.nn.conv2d(x, kernel(3, 3, 4, 5), 1, [[0, 0], [1, 2], [0, 1], [0, 0]])),
        ["ZeroPadding2D", "Conv2D"],
    ),
    "conv1d": (of_lines(lambda x: tf.nn.conv1d(x, kernel(3, 3, 5), 2, "SAME")), ["Reshape", "Conv2D", "Reshape"]),
    "convolution": (of_planes(lambda x: tf.nn.convolution(x, kernel(3, 3, 4, 5), strides=[2, 1])), ["Conv2D"]),
    "of_the_backend": (of_planes(lambda x: tf.keras.backend.conv2d(x, kernel(3, 3, 4, 5))), ["Conv2D"]),
    "depthwise": (
        of_planes(lambda x: tf.nn.depthwise_conv2d(x, kernel(3, 3, 4, 2), [1] * 4, "SAME", dilations=[2, 2])),
        ["DepthwiseConv2D"],
    ),
    "separable": (
        of_planes(lambda x: tf.nn.separable_conv2d(x, kernel(3, 3, 4, 2), kernel(1, 1, 8, 3), [1] * 4, "VALID")),
        ["DepthwiseConv2D", "Conv2D"],
    ),
    "transposed": (
        of_planes(lambda x: tf.nn.conv2d_transpose(x, kernel(3, 3, 5, 4), [tf.shape(x)[0], 13, 13, 5], 2, "VALID")),
        ["Conv2DTranspose"],
    ),
    "transposed_lines": (
        of_lines(lambda x: tf.nn.conv1d_transpose(x, kernel(3, 5, 3), [tf.shape(x)[0], 24, 5], 2)),
        ["Reshape", "Conv2DTranspose", "Reshape"],
    ),
    "pool": (of_planes(lambda x: tf.nn.pool(x, [2, 3], "AVG", strides=[2, 1])), ["AveragePooling2D"]),
    "max_pool1d": (of_lines(lambda x: tf.nn.max_pool1d(x, 3, 2, "SAME")), ["MaxPooling1D"]),
    "avg_pool": (of_planes(lambda x: tf.nn.avg_pool(x, [1, 2, 2, 1], 1, "SAME")), ["AveragePooling2D"]),
}


# Functions that several kernels compute together.
def squares(x):
    """The series as images."""
    return tf.reshape(x, [-1, 6, 6, 1])


COMPOSED = {
    "moments": lambda x: tf.concat(tf.nn.moments(x, [1], keepdims=True), -1),
    "constants_of_norm": lambda x: tf.nn.batch_normalization(x, kernel(3), kernel(3) ** 2, kernel(3), None, 1e-3),
    "norm": lambda x: tf.nn.batch_normalization(x, *tf.nn.moments(x, [1], keepdims=True), 0.5, 2.0, 1e-3),
    "by_hand": lambda x: (x - 0.5) / tf.sqrt(tf.math.reduce_variance(x, -1, keepdims=True) + 1e-3),
    "by_deviation": lambda x: 2.0 / tf.math.reduce_std(x, 1),
    "length": lambda x: tf.norm(x, axis=-1),
    "length_of_all": lambda x: tf.math.reduce_euclidean_norm(x, [1, 2], keepdims=True),
    "logsumexp": lambda x: tf.reduce_logsumexp(x, -1) - tf.reduce_logsumexp(x, -1, keepdims=True)[:, :, 0] * 0.5,
    "logs": lambda x: tf.math.log1p(tf.abs(x)) + tf.math.log_sigmoid(x) * tf.math.expm1(x),
    "steeper": lambda x: tf.nn.silu(x, 1.5) + tf.nn.silu(x),
    "both_sides": tf.nn.crelu,
    "powers": lambda x: (tf.abs(x) + 1.0) ** 0.5 + (tf.abs(x) + 1.0) ** -0.5 + x**4 + x**3,
    "matvec": lambda x: tf.linalg.matvec(x, x[:, 0]) + tf.linalg.matvec(kernel(12, 3), x[:, 0]),
    "tensordot": lambda x: tf.tensordot(x, kernel(3, 4), 1) + tf.tensordot(x, kernel(4, 3), [[2], [1]]),
    "before": lambda x: tf.matmul(kernel(5, 12), x) + tf.matmul(kernel(1, 12, 5), x, transpose_a=True),
    "running_sum": lambda x: tf.cumsum(x, 1) + tf.cumsum(x, -1, exclusive=True, reverse=True),
    "flipped": lambda x: tf.image.flip_left_right(x[:, :, :, None]) + tf.image.flip_up_down(x[:, :, :, None]),
    "gray": lambda x: tf.image.rgb_to_grayscale(x[:, :, None]),
    "weights_of_a_network": lambda x: layers.Dot((1, 1))([x[:, :, 0], x]) + layers.Dot((1, 2))([x[:, 0], x])[:, :3],
    "directions": lambda x: (
        layers.Dot((1, 1), normalize=True)([x, x])[:, 0] + layers.Dot(1, normalize=True)([x[:, :, 0], x])
    ),
    "frames": lambda x: tf.signal.frame(tf.ensure_shape(x, [None, *SERIES]), 4, 3, axis=1),
    "no_nan": lambda x: tf.math.divide_no_nan(x, [2.0, 0.0, -4.0]),
    "boxes": lambda x: tf.image.pad_to_bounding_box(tf.image.crop_to_bounding_box(squares(x), 1, 0, 4, 5), 2, 1, 8, 6),
    "fitted": lambda x: tf.image.resize_with_crop_or_pad(tf.image.resize_with_crop_or_pad(squares(x), 9, 3), 4, 6),
    "middle": lambda x: tf.image.central_crop(tf.image.central_crop(squares(x), 0.6), 1.0),
}
# Those that no layer computes stay functions.
LEFT = {
    "of_two_tensors": of_planes(lambda x: tf.nn.conv2d(x, tf.reduce_mean(x[:, :3, :3, :, None], 0), 1, "SAME")),
    "of_another_size": of_planes(lambda x: tf.nn.conv2d_transpose(x, kernel(3, 3, 5, 4), [7, 11, 11, 5], 2)),
    "of_volumes": lambda: inner(lambda x: tf.nn.conv3d(x, kernel(2, 2, 2, 3, 4), [1] * 5, "SAME"), shape=(4, *IMAGE)),
}
ZOO = {
    "dense_bn_relu": lambda: chain(VECTOR, layers.Dense(4, name="dense"), norm(), layers.ReLU(name="relu")),
    "dense_bn_of_rank_3": lambda: chain(SERIES, layers.Dense(4, name="dense", use_bias=False), norm()),
    "dense_relu_bn": lambda: chain(VECTOR, layers.Dense(4, name="dense", activation="relu"), norm()),
    "dense_dropout_bn": lambda: chain(VECTOR, layers.Dense(4, name="dense"), layers.Dropout(0.5), norm()),
    "dense_swish": lambda: chain(VECTOR, layers.Dense(4, name="dense", activation="swish")),
    "dense_silu_op": lambda: chain(VECTOR, layers.Dense(4, name="dense", activation=tf.nn.silu)),
    "dense_softmax_op": lambda: chain(VECTOR, layers.Dense(4, name="dense", activation=tf.nn.softmax)),
    "dense_relu6": lambda: chain(VECTOR, layers.Dense(4, name="dense", activation=tf.nn.relu6)),
    "dense_leaky_layer": lambda: chain(VECTOR, layers.Dense(4, name="dense", activation=layers.LeakyReLU(0.1))),
    "activations": lambda: chain(
        VECTOR, *(layers.Activation(name, name=name) for name in ("gelu", "elu", "relu6", "sigmoid", "linear"))
    ),
    "relu_variants": lambda: chain(VECTOR, layers.ReLU(2.0, 0.1, 0.5), layers.ReLU(6.0), layers.Softmax()),
    "bn_first": lambda: chain(IMAGE, norm(), layers.Conv2D(2, 3, name="conv")),
    "bn_of_vectors": lambda: chain(VECTOR, norm(scale=False)),
    "bn_of_series": lambda: chain(SERIES, norm(center=False, epsilon=0.1)),
    "bn_of_another_axis": lambda: chain(SERIES, layers.Conv1D(4, 3, name="conv"), norm(axis=1)),
    "bn_of_volumes": lambda: chain((3, 4, 4, 2), layers.Conv3D(3, 2, name="conv"), norm()),
    "bn_twice": lambda: chain(IMAGE, layers.Conv2D(4, 3, name="conv"), norm("norm_1"), norm("norm_2")),
    "conv_bn": lambda: chain(IMAGE, layers.Conv2D(4, 3, strides=2, dilation_rate=1, name="conv"), norm()),
    "conv_groups": lambda: chain((6, 6, 4), layers.Conv2D(4, 3, groups=2, name="conv"), norm()),
    "depthwise_bn": lambda: chain(IMAGE, layers.DepthwiseConv2D(3, depth_multiplier=2, name="conv"), norm()),
    "transposed_bn": lambda: chain(IMAGE, layers.Conv2DTranspose(4, 3, strides=2, name="conv"), norm()),
    "separable_bn": lambda: chain(
        IMAGE,
        layers.SeparableConv2D(4, 3, strides=2, padding="same", depth_multiplier=2, name="conv", activation="relu"),
        layers.SeparableConv2D(2, 2, dilation_rate=2, use_bias=False, name="last"),
        norm(),
    ),
    "conv1d_causal": lambda: chain(
        SERIES, layers.Conv1D(4, 3, padding="causal", dilation_rate=2, name="conv", activation="tanh"), norm()
    ),
    "conv1d_bn_relu": lambda: chain(
        SERIES, layers.Conv1D(4, 3, strides=2, padding="same", name="conv"), norm(), layers.ReLU(name="relu")
    ),
    "conv1d_axis_2": lambda: chain(SERIES, layers.Conv1D(4, 3, name="conv"), norm(axis=2)),
    "depthwise1d_bn": lambda: chain(SERIES, layers.DepthwiseConv1D(3, strides=2, depth_multiplier=2, name="c"), norm()),
    "depthwise1d_same": lambda: chain(SERIES, layers.DepthwiseConv1D(3, strides=2, padding="same", name="c")),
    "separable1d_bn": lambda: chain(SERIES, layers.SeparableConv1D(4, 3, strides=2, padding="same", name="c"), norm()),
    "separable1d_causal": lambda: chain(
        SERIES, layers.SeparableConv1D(4, 3, padding="causal", name="c", activation="swish")
    ),
    "nested_sequential": lambda: chain(
        IMAGE,
        tf.keras.Sequential([layers.Input(IMAGE), layers.Conv2D(2, 3, name="conv"), norm()], name="block"),
        layers.ReLU(),
    ),
    "each_step": lambda: chain(
        (3, *IMAGE),
        layers.TimeDistributed(layers.Conv2D(4, 3, activation="relu"), name="conv"),
        layers.TimeDistributed(tf.keras.Sequential([layers.GlobalAveragePooling2D(), layers.Dense(3)]), name="frame"),
    ),
    "dot_attention": lambda: inner(lambda x: layers.Attention(use_scale=True, name="mix")([x, x]), shape=SERIES),
    "additive_attention": lambda: inner(lambda x: layers.AdditiveAttention(name="mix")([x, x]), shape=SERIES),
    "einsum_dense": lambda: chain(
        SERIES,
        layers.EinsumDense("abc,cde->abde", [None, 3, 2], bias_axes="de", activation="relu", name="split"),
        layers.EinsumDense("abcd,cde->abe", [None, 5], name="joined", activation="softmax"),
    ),
    **{one.__name__: one for one in (residual, shared, twice_nested, several, read_before_norm, lone_and_read)},
    "operations": operations,
}


def made(name):
    """The model with random weights, statistics included, and inputs for it."""
    tf.keras.utils.set_random_seed(1)
    model = ZOO[name]()
    random = np.random.default_rng(2)
    for weights in model.weights:
        drawn = random.normal(0.2, 0.7, weights.shape)
        weights.assign(np.abs(drawn) + 0.1 if "variance" in weights.name else drawn)
    inputs = [random.normal(size=(7, *tensor.shape[1:])).astype(np.float32) for tensor in model.inputs]
    return model, inputs if len(inputs) > 1 else inputs[0]


def outputs(model, inputs):
    return model(inputs, training=False).numpy()


def kinds(model):
    return [type(layer).__name__ for layer in model.layers if not isinstance(layer, layers.InputLayer)]


@pytest.mark.parametrize("folds", [False, True], ids=["", "folds"])
@pytest.mark.parametrize("name", ZOO)
def test_rewritten_model_computes_the_same(name, folds):
    model, inputs = made(name)
    before = [weights.numpy() for weights in model.weights]
    given = dict(zip(model.input_names, inputs, strict=True)) if name == "several" else inputs
    wanted = outputs(model, given)
    rewritten = rewrite(model, folds=lambda _: folds)
    np.testing.assert_allclose(outputs(rewritten.model, inputs), wanted, rtol=1e-4, atol=2e-5)
    # Nothing of the original is shared or changed.
    assert all(np.array_equal(old, new.numpy()) for old, new in zip(before, model.weights, strict=True))
    assert not {id(one) for one in model.weights} & {id(one) for one in rewritten.model.weights}
    assert set(rewritten.origins) >= {one.name for one in rewritten.model.layers} - set(rewritten.model.input_names)
    assert rewritten.model.input_names == model.input_names


def test_functions_of_several_kernels_compute_the_same_by_functions_of_the_table():
    series = layers.Input(SERIES, name="input")
    model = tf.keras.Model(series, [function(series) for function in COMPOSED.values()])
    values = np.random.default_rng(5).normal(size=(7, *SERIES)).astype(np.float32)
    rewritten = rewrite(model).model
    for name, wanted, found in zip(COMPOSED, model(values), rewritten(values), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=2e-4, err_msg=name)
    called = {layer.function for layer in rewritten.layers if hasattr(layer, "function")}
    assert called <= set(FUNCTIONS)


@pytest.mark.parametrize("name", ZOO)
def test_model_whose_layers_are_all_kept_is_the_same(name):
    model, inputs = made(name)
    given = dict(zip(model.input_names, inputs, strict=True)) if name == "several" else inputs
    rewritten = rewrite(model, kept=lambda _: True)
    np.testing.assert_allclose(outputs(rewritten.model, inputs), outputs(model, given), rtol=1e-5, atol=1e-6)
    # Operations on tensors become layers in any case, because no wrapper takes their arguments.
    functions = ["Dense", "Operator", "Operator", "ReLU"]
    assert kinds(rewritten.model) == (functions if name == "operations" else kinds(model))
    assert rewritten.notes == {}


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("dense_bn_relu", ["Dense", "ReLU"]),
        ("dense_relu_bn", ["Dense", "ReLU", "Reshape", "DepthwiseConv2D", "Reshape"]),
        ("dense_swish", ["Dense", "Activation", "Multiply"]),
        ("dense_relu6", ["Dense", "ReLU"]),
        ("conv_bn", ["Conv2D", "BatchNormalization"]),
        ("bn_first", ["DepthwiseConv2D", "Conv2D"]),
        (
            "bn_of_another_axis",
            ["Reshape", "Conv2D", "Reshape", "Permute", *("Reshape", "DepthwiseConv2D"), "Reshape", "Permute"],
        ),
        ("transposed_bn", ["Conv2DTranspose"]),
        ("separable1d_bn", ["Reshape", "DepthwiseConv2D", "Conv2D", "BatchNormalization", "Reshape"]),
        (
            "conv1d_causal",
            ["ZeroPadding1D", "Reshape", "Conv2D", "Reshape", "Activation", *("Reshape", "DepthwiseConv2D"), "Reshape"],
        ),
        ("nested_sequential", ["Conv2D", "BatchNormalization", "ReLU"]),
    ],
)
def test_rewritten_model_is_made_of_kernels(name, wanted):
    assert kinds(rewrite(made(name)[0]).model) == wanted


@pytest.mark.parametrize("name", CALLED)
def test_function_of_a_constant_kernel_becomes_layers_that_do_not_train(name):
    build, wanted = CALLED[name]
    model = build()
    rewritten = rewrite(model).model
    inputs = np.random.default_rng(2).normal(size=(7, *model.input_shape[1:])).astype(np.float32)
    np.testing.assert_allclose(outputs(rewritten, inputs), outputs(model, inputs), rtol=1e-5, atol=1e-5)
    made_of = [layer for layer in rewritten.layers if layer.name != "before" and "Input" not in type(layer).__name__]
    assert [type(layer).__name__ for layer in made_of] == wanted
    assert not any(layer.trainable_weights for layer in made_of)


@pytest.mark.parametrize("name", LEFT)
def test_function_that_no_layer_computes_stays(name):
    assert "Operator" in {type(layer).__name__ for layer in rewrite(LEFT[name]()).model.layers}


def test_normalization_is_folded_where_scales_are_not_per_channel():
    model, _ = made("conv_bn")
    rewritten = rewrite(model, folds=lambda name: name == "conv")
    assert kinds(rewritten.model) == ["Conv2D"]
    assert rewritten.notes == {"norm": "folded into the weights of conv before training, with its statistics"}


def test_shared_weights_stay_shared():
    model, _ = made("shared")
    rewritten = rewrite(model)
    # The normalization follows one of two calls: it cannot go into the weights of both.
    assert kinds(rewritten.model).count("Dense") == 1
    assert kinds(rewritten.model).count("DepthwiseConv2D") == 1


def test_layers_of_nested_models_have_full_names():
    rewritten = rewrite(made("twice_nested")[0])
    assert set(rewritten.origins.values()) == {
        *("outer/block/conv", "outer/block/norm", "outer/block/relu", "outer/point"),
        *("block/conv", "block/norm", "block/relu", "minus"),
    }
    assert rewritten.notes["outer/point"] == "its swish is rewritten as x * sigmoid(x)"


def test_kept_nested_model_stays_whole():
    model, inputs = made("nested_sequential")
    rewritten = rewrite(model, kept=lambda name: name == "block")
    assert kinds(rewritten.model) == ["Sequential", "ReLU"]
    np.testing.assert_allclose(outputs(rewritten.model, inputs), outputs(model, inputs), atol=1e-6)


def test_layers_that_do_not_train_still_do_not():
    model = chain(IMAGE, inner(layers.Conv2D(3, 3, name="conv"), norm(), layers.SeparableConv2D(2, 2, name="last")))
    model.get_layer("block").trainable = False
    assert rewrite(model).model.trainable_weights == []


def test_name_of_an_activation_is_that_of_its_function():
    assert activation_name(None) == activation_name(tf.keras.activations.linear) == "linear"
    assert activation_name(tf.nn.relu) == "relu"
    assert activation_name(lambda x: x) is None
    assert activation_name(layers.LeakyReLU(0.1)) is None


def test_depthwise_convolutions_of_one_tensor_with_one_dilation_are_refused() -> None:
    series = tf.keras.Input([12, 3], name="series")

    def refused(rate: int, kind: type = tf.keras.layers.DepthwiseConv1D, **sizes: int) -> set[str]:
        sizes = sizes or {"kernel_size": 2}
        one, other = (kind(**sizes, dilation_rate=each, padding="same") for each in (2, rate))
        model = tf.keras.Model(series, tf.keras.layers.Add()([one(series), other(series)]))
        twins = {one.name, other.name}
        return twins & rewrite(model).refusals.keys()

    assert len(refused(2)) == 2
    assert refused(3) == set()
    # Others are exported as one operation each.
    assert refused(2, tf.keras.layers.Conv1D, filters=4, kernel_size=2) == set()


def of_places(places, softmax):
    logits = layers.Input([3, places], name="logits")
    values = np.random.default_rng(4).normal(size=(places, 2)).astype(np.float32)
    return tf.keras.Model(logits, tf.matmul(softmax(logits), values))


@pytest.mark.parametrize(
    "softmax", [layers.Softmax(), layers.Activation("softmax"), tf.nn.softmax], ids=["layer", "activation", "function"]
)
@pytest.mark.parametrize(
    ("places", "coarse", "kernels"), [(256, True, 2), (256, False, 1), (64, True, 1), (131, True, 1)]
)
def test_softmax_over_many_places_becomes_two_in_8_bits(softmax, places, coarse, kernels):
    model = of_places(places, softmax)
    rewritten = rewrite(model, coarse=coarse).model
    of_softmax = ["softmax" in f"{type(each).__name__} {each.get_config().get('activation')}".lower()
                  for each in rewritten.layers]  # fmt: skip
    assert sum(of_softmax) == kernels
    logits = np.random.default_rng(5).normal(0, 4, (6, 3, places)).astype(np.float32)
    np.testing.assert_allclose(rewritten(logits), model(logits), atol=2e-6)
