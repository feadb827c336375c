"""The table of components/fake_quantize/operators, measured like that of layers: train, convert, run in integers.

One model has a branch, and an output, for each function and each layer that is written out.
"""

from functools import partial

import numpy as np
import pytest
import tensorflow as tf

from components.convert.tensorflow.converter import convert
from components.facts.artifact_paths import SERVING_FOLDER
from components.fake_quantize.operators.table import FUNCTIONS
from components.fake_quantize.qat import quantized, ready_to_export
from components.model.keras_model import export
from components.model.tflite_file import inspect_model
from components.spec.scheme import StaticWi8Ai8
from components.spec.steps.qat import QatStep
from tests.components.fake_quantize.test_layer_table import EXAMPLES, SHAPES, branch, build, run

layers = tf.keras.layers
STEP = QatStep.model_validate({"kind": "qat", "epochs": 1})


def joined(outputs):
    _, h, c = outputs
    return tf.concat([h, c], 1)


def twin(name, activation=None):
    return layers.Conv1D(3, 2, padding="causal", dilation_rate=2, activation=activation, name=name)


def mean_of_places(x, places):
    """The mean place of a heatmap, which has several groups if there are many places."""
    heat = tf.nn.softmax(tf.reshape(x, [-1, 1, places]))
    return tf.matmul(heat, np.linspace((0, 1), (3, -2), places, dtype=np.float32))


def drawn(*shape):
    """A constant kernel."""
    return np.random.default_rng(3).normal(0, 0.3, shape).astype(np.float32)


@tf.keras.utils.register_keras_serializable("test_operators")
def squared_relu(x):
    return tf.square(tf.nn.relu(x))


@tf.keras.utils.register_keras_serializable("test_operators")
class Block(layers.Layer):
    """Layers and an own weight in a layer of the user's."""

    def __init__(self, **options):
        super().__init__(**options)
        self.first, self.norm = layers.Dense(6, "relu"), layers.BatchNormalization()

    def build(self, shape):
        self.scale = self.add_weight("scale", [shape[-1]], initializer=tf.keras.initializers.Constant(1.3))
        super().build(shape)

    def call(self, inputs, training=None):
        return inputs * self.scale + self.norm(self.first(inputs), training=training)


# Written out: layers and functions without an integer kernel of their own.
WRITTEN_OUT = {
    "layer_norm": branch("series", mixed=partial(layers.Dense, 8), LayerNormalization=layers.LayerNormalization),
    "layer_norm_of_time": branch("series", LayerNormalization1=partial(layers.LayerNormalization, axis=1)),
    "layer_norm_of_all": branch("series", LayerNormalization2=partial(layers.LayerNormalization, axis=[1, 2])),
    "norm_of_time": branch("series", BatchNormalization1=partial(layers.BatchNormalization, axis=1)),
    "group_norm": branch("image", GroupNormalization=partial(layers.GroupNormalization, 2)),
    "attention": branch(
        "series", MultiHeadAttention=lambda name: lambda x: layers.MultiHeadAttention(2, 4, name=name)(x, x)
    ),
    "attention_of_places": branch(
        "image",
        places=lambda name: lambda x: layers.MultiHeadAttention(2, 4, name=name)(x[:, ::2, ::2], x[:, 1::2, :3]),
    ),
    "attention_of_rows": branch(
        "image", rows=lambda name: lambda x: layers.MultiHeadAttention(2, 4, attention_axes=(2,), name=name)(x, x)
    ),
    "causal_attention": branch(
        "series",
        causal=lambda name: lambda x: layers.MultiHeadAttention(2, 4, name=name)(x, x, use_causal_mask=True),
    ),
    "dot_attention": branch(
        "series", Attention=lambda name: lambda x: layers.Attention(name=name, use_scale=True)([x, x])
    ),
    "additive_attention": branch(
        "series",
        AdditiveAttention=lambda name: lambda x: layers.AdditiveAttention(name=name)([x, x], use_causal_mask=True),
    ),
    "each_step": branch(
        "series",
        up=lambda name: layers.Reshape((4, 2, 2, 2)),
        each=lambda name: layers.TimeDistributed(layers.Conv2D(3, 2), name=name),
    ),
    "einsum_dense": branch(
        "series",
        EinsumDense=partial(
            layers.EinsumDense, "abc,cde->abde", output_shape=[None, 2, 3], bias_axes="e", activation="relu"
        ),
    ),
    "rescaling": branch("image", Rescaling=partial(layers.Rescaling, 0.5, 0.1)),
    "normalization": branch(
        "image", Normalization=partial(layers.Normalization, mean=[0.1, 0.2, -0.3, 0.0], variance=[1.0, 2.0, 0.5, 1.5])
    ),
    "average": branch("pair", Average=layers.Average),
    "dot": branch("series", Dot=lambda name: lambda x: layers.Dot(2, name=name)([x, x])),
    "relu_max": branch("shared", relu_max=partial(layers.ReLU, 2.0)),
    "relu_slope": branch("shared", relu_slope=partial(layers.ReLU, negative_slope=0.3)),
    "hard_sigmoid": branch("shared", hard_sigmoid=partial(layers.Activation, "hard_sigmoid")),
    "td": branch("series", conv1d_up=partial(layers.Conv1DTranspose, 3, 3, strides=2)),
    "plus": branch("shared", plus=lambda name: lambda x: x * 1.5 + 0.5),
    "minus": branch("shared", minus=lambda name: lambda x: 1.0 - x),
    "halved": branch("shared", halved=lambda name: lambda x: -x / 2.0),
    "cube": branch("shared", cube=lambda name: lambda x: x**3),
    "hard_swish": branch("shared", hard_swish=lambda name: lambda x: x * tf.nn.relu6(x + 3.0) / 6.0),
    "clipped": branch("shared", clipped=lambda name: lambda x: tf.clip_by_value(x, 0.0, 1.0)),
    "sums": branch("pair", sums=lambda name: lambda x: tf.add_n([*x, x[0]])),
    "means_of": branch("image", means_of=lambda name: lambda x: tf.reduce_mean(x, [1, 2])),
    "sum_of": branch("image", sum_of=lambda name: lambda x: tf.reduce_sum(x, 1)),
    "most": branch("image", most=lambda name: lambda x: tf.reduce_max(x, [1, 2])),
    "least": branch("image", least=lambda name: lambda x: tf.reduce_min(x, [1, 2])),
    "product": branch("series", product=lambda name: lambda x: tf.matmul(x, x, transpose_b=True)),
    "einsum": branch("series", einsum=lambda name: lambda x: tf.einsum("btc,bsc->bts", x, x * 1.0)),
    "slices": branch("image", slices=lambda name: lambda x: x[:, 1:5, ::2, None]),
    "slice": branch("image", slice=lambda name: lambda x: tf.slice(x, [0, 0, 1, 0], [-1, 6, 2, 4])),
    "shapes_of": branch(
        "image",
        shapes_of=lambda name: (
            lambda x: tf.identity(
                tf.reshape(tf.transpose(tf.expand_dims(x, 1), [0, 2, 1, 3, 4]), [tf.shape(x)[0], 6, 24])
            )
        ),
    ),
    "squeezed": branch("series", squeezed=lambda name: lambda x: tf.squeeze(x[:, :1], 1)),
    "padded": branch("series", padded=lambda name: lambda x: tf.pad(x, [[0, 0], [1, 2], [0, 0]])),
    "split": branch("shared", split=lambda name: lambda x: (lambda a: a[0] * tf.sigmoid(a[1]))(tf.split(x, 2, -1))),
    "resized": branch("image", resized=lambda name: lambda x: tf.image.resize(x, (12, 12))),
    "reversed": branch("series", reversed=lambda name: lambda x: tf.reverse(x, [1])),
    "backward": branch("series", backward=lambda name: lambda x: x[:, ::-1, ::-2]),
    "pooled": branch(
        "image", pooled=lambda name: lambda x: tf.nn.max_pool2d(tf.nn.avg_pool2d(x, 2, 2, "VALID"), 2, 1, "VALID")
    ),
    "gathered": branch("shared", gathered=lambda name: lambda x: tf.gather(x, [0, 3, 2], axis=1)),
    "biased": branch("shared", biased=lambda name: lambda x: tf.nn.bias_add(x, tf.range(6.0))),
    "stopped": branch("shared", stopped=lambda name: lambda x: tf.stop_gradient(x) + x),
    "unstacked": branch(
        "series", unstacked=lambda name: lambda x: (lambda a: a[0] + a[1] * a[2])(tf.unstack(x, axis=1))
    ),
    "variance": branch("series", variance=lambda name: lambda x: tf.math.reduce_variance(x, 1)),
    "deviation": branch("series", deviation=lambda name: lambda x: tf.math.reduce_std(x, 1)),
    "root": branch("shared", root=lambda name: lambda x: tf.sqrt(x * x + 1.0)),
    "matrix": branch("series", matrix=lambda name: lambda x: tf.linalg.matmul(x, np.eye(4, 3) * 0.9)),
    "conv1d": branch("series", conv1d=lambda name: lambda x: tf.nn.conv1d(x, drawn(3, 4, 5), 2, "SAME")),
    "conv2d": branch(
        "image",
        conv2d=lambda name: (
            lambda x: tf.nn.relu(tf.nn.conv2d(x, drawn(3, 3, 4, 5), 1, [[0, 0], [1, 2], [0, 1], [0, 0]]))
        ),
    ),
    "depthwise": branch(
        "image", depthwise=lambda name: lambda x: tf.nn.depthwise_conv2d(x, drawn(3, 3, 4, 2), [1, 2, 2, 1], "SAME")
    ),
    "transposed": branch(
        "image",
        transposed=lambda name: lambda x: tf.nn.conv2d_transpose(x, drawn(3, 3, 5, 4), [tf.shape(x)[0], 12, 12, 5], 2),
    ),
    "pools": branch(
        "series", pools=lambda name: lambda x: tf.nn.avg_pool1d(tf.nn.max_pool1d(x, 2, 1, "SAME"), 2, 2, "VALID")
    ),
    "ones": branch("series", ones=lambda name: lambda x: tf.concat([tf.ones_like(x[:, :1]), x], 1)),
    "shifted": branch("series", shifted=lambda name: lambda x: tf.concat([tf.zeros_like(x[:, :1]), x[:, :-1]], 1)),
    "filled": branch(
        "series",
        filled=lambda name: (
            lambda x: tf.concat(
                [x, tf.fill(tf.shape(x), -0.7), tf.ones(tf.shape(x)), tf.zeros([tf.shape(x)[0], 8, 2])], -1
            )
        ),
    ),
    "frames": branch(
        "series", frames=lambda name: lambda x: tf.ensure_shape(tf.signal.frame(x, 4, 3, axis=1), [None, 2, 4, 4])
    ),
    "not_by_zero": branch(
        "shared", not_by_zero=lambda name: lambda x: tf.math.divide_no_nan(x, [2.0, 0.0, 4.0, -1.0, 0.5, 3.0])
    ),
    "in_boxes": branch(
        "image",
        in_boxes=lambda name: (
            lambda x: tf.image.pad_to_bounding_box(tf.image.crop_to_bounding_box(x, 1, 0, 4, 5), 2, 1, 8, 6)
        ),
    ),
    "fitted": branch(
        "image",
        fitted=lambda name: (
            lambda x: tf.image.central_crop(
                tf.image.resize_with_crop_or_pad(tf.image.resize_with_crop_or_pad(x, 9, 5), 7, 7), 0.7
            )
        ),
    ),
    "broadcast": branch("series", broadcast=lambda name: lambda x: tf.broadcast_to(x[:, :1], tf.shape(x)) + x),
    "dilated_twins": branch("series", twins=lambda name: lambda x: twin(name)(x) * twin(f"{name}_gate", "sigmoid")(x)),
    "five_axes": branch(
        "image",
        five_axes=lambda name: (
            lambda x: layers.Dense(3, "relu", name=name)(layers.Permute((2, 1, 3, 4))(tf.reshape(x, [-1, 3, 2, 6, 4])))
        ),
    ),
    "conv_lstm": branch(
        "image",
        ConvLSTM2D=lambda name: (
            lambda x: layers.ConvLSTM2D(3, 3, padding="same", name=name)(tf.reshape(x, [-1, 3, 6, 4, 2]))
        ),
    ),
    "given_states": branch(
        "series",
        LSTM=lambda name: lambda x: joined(layers.LSTM(3, return_state=True)(layers.Reshape([4, 8])(x))),
        GRU=lambda name: (
            lambda h: layers.GRU(3, return_sequences=True)(layers.Reshape([2, 3])(h), initial_state=h[:, 3:])
        ),
        GRU_before=lambda name: (
            lambda h: layers.GRU(3, reset_after=False, return_sequences=True)(h, initial_state=h[:, 0])
        ),
        SimpleRNN=lambda name: lambda x: layers.SimpleRNN(3)(x, initial_state=x[:, 0]),
    ),
    "given_cell": branch(
        "series",
        LSTM1=lambda name: lambda x: layers.LSTM(4)(x, initial_state=[x[:, 0], x[:, 1]]),
    ),
    "lambda": branch("series", Lambda=partial(layers.Lambda, lambda x: tf.reduce_mean(x * 2.0, 1))),
    "own_layer": branch("shared", Block=lambda name: Block(name=name)),
    "own_activation": branch("shared", squared=partial(layers.Dense, 4, activation=squared_relu)),
    "joined": branch(
        "pair", joined=lambda name: lambda x: tf.concat([tf.cast(x[0], tf.float32), tf.abs(x[1]) * 1.0], 1)
    ),
}
WRITTEN_OUT_IN_8_BITS = {
    "prelu": branch(
        "image", PReLU=partial(layers.PReLU, alpha_initializer=tf.keras.initializers.RandomUniform(0, 0.5))
    ),
    "elu": branch("shared", elu=partial(layers.Activation, "elu")),
    "ELU": branch("shared", ELU=partial(layers.ELU, 0.5)),
    "selu": branch("shared", selu=partial(layers.Activation, "selu")),
    "softplus": branch("shared", softplus=partial(layers.Activation, "softplus")),
    "mish": branch("shared", mish=partial(layers.Activation, "mish")),
    "unit": branch("shared", UnitNormalization=layers.UnitNormalization),
    "clipped_both": branch("shared", clipped_both=lambda name: lambda x: tf.clip_by_value(x, -0.5, 1.0)),
    "abs": branch("shared", abs=lambda name: tf.abs),
    "gelu_tanh": branch("shared", gelu_tanh=lambda name: lambda x: tf.nn.gelu(x, approximate=True)),
    "difference": branch("pair", difference=lambda name: lambda x: tf.math.squared_difference(x[0], x[1])),
    "stack": branch("pair", stack=lambda name: lambda x: tf.stack(x, 1)),
    "deep": branch("image", deep=lambda name: lambda x: tf.nn.depth_to_space(x, 2)),
    "shallow": branch("image", shallow=lambda name: lambda x: tf.nn.space_to_depth(x, 2)),
    "conv_lstm_sequence": branch(
        "image",
        ConvLSTM2D1=lambda name: (
            lambda x: layers.ConvLSTM2D(2, 2, return_sequences=True, go_backwards=True, recurrent_activation="sigmoid")(
                tf.reshape(x, [-1, 3, 6, 4, 2])
            )
        ),
    ),
    "places": branch("image", places_of=lambda name: lambda x: mean_of_places(x, 144)),
    "few_places": branch("series", few_places=lambda name: lambda x: mean_of_places(x, 32)),
    "tile": branch("shared", tile=lambda name: lambda x: tf.tile(x, [1, 2])),
    "repeated": branch("shared", repeated=lambda name: lambda x: tf.repeat(x, 2, axis=1)),
    "rolled": branch("shared", rolled=lambda name: lambda x: tf.roll(x, 2, axis=1)),
    "where": branch("shared", where=lambda name: lambda x: tf.where(x > 0.1, x, 0.3 * x)),
    "other_wheres": branch(
        "shared",
        wheres=lambda name: lambda x: tf.where(x >= 0.0, tf.where(x < 0.0, x, 0.2 * x), tf.where(x <= 0.0, 0.3 * x, x)),
    ),
    "thresholded": branch("shared", ThresholdedReLU=partial(layers.ThresholdedReLU, 0.2)),
    "slope_and_most": branch("shared", slope_and_most=partial(layers.ReLU, 0.5, negative_slope=0.3)),
    "log_softmax": branch("shared", log_softmax=lambda name: tf.nn.log_softmax),
    "one_hot": branch(
        "shared",
        one_hot=lambda name: lambda x: tf.one_hot(tf.argmax(x, -1, output_type=tf.int32) - 1, 4, on_value=0.5),
    ),
    "cosine": branch("pair", Dot1=partial(layers.Dot, 1, normalize=True)),
    "argmax": branch("shared", argmax=lambda name: lambda x: tf.argmax(x, -1, output_type=tf.int32)),
    "argmin": branch("shared", argmin=lambda name: lambda x: tf.argmin(x, -1, output_type=tf.int32)),
    "looked_up": branch(
        "shared",
        looked_up=lambda name: lambda x: tf.gather(np.eye(6, 3, dtype=np.float32) - 0.3, tf.argmin(x, -1)),
    ),
    "products_of": branch("shared", products_of=lambda name: lambda x: tf.reduce_prod(tf.sigmoid(x[:, :3]), -1)),
    "best_place": branch(
        "series",
        best_place=lambda name: lambda x: tf.gather_nd(x, tf.argmax(x, 1, output_type=tf.int32)[:, :1], batch_dims=1),
    ),
    "top_k": branch("shared", top_k=lambda name: lambda x: tf.math.top_k(x, 2).values),
}
# In steps of the output. A kernel requantizes once, so its result is at most one step from that of fake quantization,
# and the output itself adds one more. After n kernels whose gain is at most 1, that is n + 1 steps. A LeakyReLU and a
# minimum are two kernels, as are nested choices: 3 steps. Attention of other places has five, and could be 6 steps off.
# It is held to less. One step in a variance near zero is many steps behind its root: the gain of a root has no bound.
# A state is rounded at each time step, and gates between 0 and 1 carry the error on. The bounds of both are measured.
_TIME_STEPS = dict.fromkeys(("conv_lstm", "conv_lstm_sequence", "given_cell", "given_states"), 4.001)
WITHIN = {"layer_norm": 20, "slope_and_most": 3.001, "other_wheres": 3.001, "attention_of_places": 3.001, **_TIME_STEPS}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The model after a step, its file, and by branch the largest difference of the two in steps of the output."""
    float_model, names = build(WRITTEN_OUT | WRITTEN_OUT_IN_8_BITS)
    made = quantized(float_model, STEP, StaticWi8Ai8(), 1)
    random = np.random.default_rng(12)
    data = [random.normal(0.2, 1.0, (32, *shape)).astype(np.float32) for shape in SHAPES.values()]
    made(data, training=True)
    ready_to_export(made)
    folder = tmp_path_factory.mktemp("written_out")
    export(made, folder, names)
    content = convert(folder / SERVING_FOLDER, StaticWi8Ai8(), None)
    wanted = dict(zip(names, made(data, training=False), strict=True))
    steps = {
        name: np.abs((codes - zero) * (scale or 1) - wanted[name][:EXAMPLES].numpy()).max() / (scale or 1)
        for name, (codes, scale, zero) in run(content, data).items()
    }
    return made, content, steps


def test_every_function_of_the_table_is_measured(trained):
    model, _, _ = trained
    inner = [getattr(layer, "layer", layer) for layer in model.layers]
    assert set(FUNCTIONS) <= {getattr(layer, "function", None) for layer in inner}


def test_file_is_of_integers_only(trained):
    assert inspect_model(trained[1]).float_tensors == ()


def test_integer_kernels_yield_what_fake_quantization_does(trained):
    assert {name: steps for name, steps in trained[2].items() if steps > WITHIN.get(name, 2.001)} == {}
