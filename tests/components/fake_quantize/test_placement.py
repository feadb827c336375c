"""What a file says of layers, and where quantizers go, over graphs of names alone."""

import subprocess
import sys

import pytest

from components.core.errors import ModelError, SpecError
from components.fake_quantize.layer_policy import LayerPolicy, chosen, policies
from components.fake_quantize.placement import place
from components.fake_quantize.placement_plan import Node
from components.spec.scheme import StaticWi4Ai8, StaticWi8Ai8, StaticWi8Ai16
from components.spec.steps.qat import QatStep

INT8 = StaticWi8Ai8()
NAMES = ["stem", "block_1/conv", "block_1/norm", "block_1/relu", "block_2/conv", "flat", "head", "probabilities"]


def step(**said):
    return QatStep.model_validate({"kind": "qat", "epochs": 1, **said})


def modes(scheme=INT8, **said):
    return {name: one.mode for name, one in policies(step(**said), scheme, NAMES).items()}


def of(name, scheme=INT8, **said):
    return policies(step(**said), scheme, NAMES)[name]


def trained(**said):
    return {name for name, mode in modes(**said).items() if mode == "trained"}


@pytest.mark.parametrize(
    ("said", "names"),
    [
        ({}, set(NAMES)),
        ({"layers": ["head"]}, {"head"}),
        ({"layers": ["block_1"]}, {"block_1/conv", "block_1/norm", "block_1/relu"}),
        ({"layers": ["block_*/conv", "stem"]}, {"block_1/conv", "block_2/conv", "stem"}),
        ({"layers": ["block_[12]"], "except": ["*/relu", "block_2"]}, {"block_1/conv", "block_1/norm"}),
        ({"except": ["block_?", "hea[d]", "prob*"]}, {"stem", "flat"}),
    ],
)
def test_names_and_globs_choose_layers(said, names):
    assert trained(**said) == names
    assert {name for name in NAMES if chosen(step(**said), name)} == names


def test_layer_that_is_left_out_is_watched_or_float_with_a_fallback():
    assert modes(**{"except": ["head"]})["head"] == "observed"
    assert modes(StaticWi8Ai8(float_fallback=True), **{"except": ["head"]})["head"] == "float"
    assert modes(StaticWi8Ai8(float_fallback=True), layers=["head"])["stem"] == "float"


@pytest.mark.parametrize(
    ("said", "place", "pattern"),
    [
        ({"layers": ["hed"]}, "layers", "hed"),
        ({"except": ["hed"]}, "except", "hed"),
        (
            {"configs": [{"layers": ["stem"], "weights": "none"}, {"layers": ["hed"], "weights": "none"}]},
            "configs[1].layers",
            "hed",
        ),
    ],
)
def test_name_that_fits_no_layer_is_reported_with_the_nearest(said, place, pattern):
    with pytest.raises(SpecError) as caught:
        policies(step(**said), StaticWi8Ai8(), NAMES)
    assert str(caught.value).startswith(f"{place}: no layer of the model matches '{pattern}'; did you mean head")
    assert "a name or shell pattern of stem, block_1/conv" in str(caught.value)
    assert "`edgemill validate --deep` lists the layers" in str(caught.value)


def test_nested_model_is_among_the_nearest():
    with pytest.raises(SpecError, match="no layer of the model matches 'blok_1'; did you mean block_1"):
        policies(step(**{"except": ["blok_1"]}), StaticWi8Ai8(), NAMES)


def test_name_that_is_near_nothing_is_reported_without():
    with pytest.raises(SpecError, match=r"no layer of the model matches 'zzz' \(expected"):
        policies(step(layers=["zzz"]), StaticWi8Ai8(), NAMES)


@pytest.mark.parametrize("said", [{"except": ["*"]}, {"layers": ["block_1"], "except": ["block_1"]}])
def test_step_that_quantizes_nothing_is_refused(said):
    with pytest.raises(SpecError) as caught:
        policies(step(**said), StaticWi8Ai8(), NAMES)
    assert "the step quantizes nothing in training" in str(caught.value)
    assert f"found: layers {said.get('layers', [])}, except {said['except']}" in str(caught.value)


@pytest.mark.parametrize(
    ("scheme", "said", "bits"),
    [
        (StaticWi8Ai8(), {}, (8, 8)),
        (StaticWi8Ai16(), {}, (8, 16)),
        (StaticWi4Ai8(), {}, (4, 8)),
        (StaticWi8Ai8(), {"weights": {"bits": 4}}, (4, 8)),
        (StaticWi4Ai8(), {"configs": [{"layers": ["head"], "weights": {"bits": 8}}]}, (8, 8)),
        # What a config says nothing of is the step's, not the scheme's.
        (
            StaticWi8Ai8(),
            {"weights": {"bits": 4}, "configs": [{"layers": ["head"], "weights": {"granularity": "per_tensor"}}]},
            (4, 8),
        ),
    ],
)
def test_bits_are_the_configs_then_the_steps_then_the_schemes(scheme, said, bits):
    found = of("head", scheme, **said)
    assert (found.weight_bits, found.activation_bits) == bits


def test_granularity_is_the_configs_then_the_steps_then_the_schemes():
    tensor = {"granularity": "per_tensor"}
    assert of("head").per_channel
    assert not of("head", StaticWi8Ai8(granularity="per_tensor")).per_channel
    assert not of("head", weights=tensor).per_channel
    assert of("head", StaticWi8Ai8(granularity="per_tensor"), weights={"granularity": "per_channel"}).per_channel
    only = of("head", weights={"granularity": "per_channel"}, configs=[{"layers": ["head"], "weights": tensor}])
    assert not only.per_channel


def test_later_config_goes_before_an_earlier_one():
    configs = [
        {"layers": ["*"], "activations": {"quantizer": "histogram"}, "weights": {"bits": 4}},
        {"layers": ["head"], "activations": {"quantizer": "last_value"}},
        {"layers": ["stem"], "config": "a:B"},
    ]
    head, stem = of("head", configs=configs), of("stem", configs=configs)
    assert (head.activations.quantizer.kind, head.weight_bits, head.config) == ("last_value", 4, None)
    assert head.says_activations
    assert (stem.config, stem.activations.quantizer.kind) == ("a:B", "histogram")


def test_none_leaves_weights_or_activations_to_the_conversion():
    configs = [{"layers": ["head"], "weights": "none"}, {"layers": ["stem"], "activations": "none"}]
    head, stem = of("head", configs=configs, weights={"bits": 4}), of("stem", configs=configs)
    assert (head.trains_weights, head.weight_bits, head.activations is None) == (False, 4, False)
    assert (stem.trains_weights, stem.activations) == (True, None)


def test_own_config_of_a_float_layer_is_not_used():
    said = {"configs": [{"layers": ["head"], "config": "a:B"}], "except": ["head"]}
    assert of("head", StaticWi8Ai8(float_fallback=True), **said).config is None
    assert of("head", **said).config == "a:B"


# Graphs. Each layer reads the one before it unless it says what it reads.
def graph(*parts):
    nodes = [Node("input", "input", "InputLayer", ())]
    for part in parts:
        name, kind, *more = part
        function = more[0] if more else None
        inputs = more[1] if len(more) > 1 else (nodes[-1].name,)
        nodes.append(Node(name, name.partition("/")[0], kind, tuple(inputs), function))
    return nodes


def placed(nodes, outputs=(), notes=None, **by_name):
    origins = dict.fromkeys(node.origin for node in nodes if node.kind != "InputLayer")
    by_name = {name: by_name.get(name, LayerPolicy()) for name in origins}
    kinds = {"input": "InputLayer"} | {node.origin: node.kind for node in nodes if node.kind != "InputLayer"}
    return place(nodes, by_name, kinds, notes or {}, outputs)


def ranges(plan):
    return {name: made.output for name, made in plan.places.items() if made.output != "none"}


CONV_BN_RELU = graph(("conv", "Conv2D"), ("norm", "BatchNormalization"), ("relu", "ReLU", "relu"))


def test_convolution_with_normalization_and_relu_has_one_range_at_its_end():
    plan = placed(CONV_BN_RELU)
    assert ranges(plan) == {"relu": "range"}
    assert plan.places["conv"].weights
    assert list(plan.input_quantizers) == ["input"]
    assert [(one.layer, one.weights, one.outputs) for one in plan.layers] == [
        ("conv", "int8 per channel", "inside the kernel"),
        ("norm", "", "inside the kernel"),
        ("relu", "", "int8, moving average"),
    ]
    assert plan.layers[0].note == "its input also gets a range"


def test_convolution_whose_output_has_two_readers_has_a_range_of_its_own():
    plan = placed(graph(("conv", "Conv2D"), ("relu", "ReLU", "relu"), ("sum", "Add", None, ("conv", "relu"))))
    assert ranges(plan) == {"conv": "range", "relu": "range", "sum": "range"}


@pytest.mark.parametrize(
    ("kind", "function", "end"),
    [
        ("ReLU", "relu6", {"relu": "range"}),
        ("LeakyReLU", None, {"dense": "range", "relu": "range"}),
        ("Activation", "gelu", {"dense": "range", "relu": "range"}),
        ("Activation", "sigmoid", {"dense": "range"}),
        ("Flatten", None, {"dense": "range"}),
        ("Softmax", None, {"dense": "range"}),
    ],
)
def test_only_what_a_kernel_fuses_shares_its_range(kind, function, end):
    assert ranges(placed(graph(("dense", "Dense"), ("relu", kind, function)))) == end


def test_kernel_that_prescribes_its_range_has_a_fixed_one_in_16_bits():
    sixteen = LayerPolicy(activation_bits=16)
    plan = placed(graph(("dense", "Dense"), ("end", "Activation", "tanh")), dense=sixteen, end=sixteen)
    assert ranges(plan) == {"dense": "range", "end": "fixed"}


@pytest.mark.parametrize(
    ("kind", "function", "limits"),
    [
        ("Activation", "sigmoid", (0.0, 255 / 256)),
        ("Activation", "tanh", (-1.0, 127 / 128)),
        ("Softmax", None, (0.0, 255 / 256)),
        ("Operator", "math.l2_normalize", (-1.0, 127 / 128)),
    ],
)
def test_kernel_that_prescribes_its_range_has_a_fixed_one_in_8_bits_if_a_slice_and_another_layer_read_it(
    kind, function, limits
):
    start = graph(("dense", "Dense"), ("end", kind, function))
    cut, joined = Node("cut", "cut", "Cropping1D", ("end",)), Node("joined", "joined", "Concatenate", ("end", "cut"))
    plan = placed([*start, cut, joined])
    assert ranges(plan) == {"dense": "range", "end": "fixed", "joined": "range"}
    assert plan.places["end"].limits == limits
    assert ranges(placed([*start, cut])) == {"dense": "range"}
    assert ranges(placed([*start, cut, joined], end=LayerPolicy(mode="float"))) == {"dense": "range", "joined": "range"}


def test_one_dimensional_convolution_is_fused_through_its_reshape():
    plan = placed(
        graph(("conv/upright", "Reshape"), ("conv", "Conv2D"), ("conv/flat", "Reshape"), ("relu", "ReLU", "relu"))
    )
    assert ranges(plan) == {"relu": "range"}
    # The user's own reshape is its own kernel.
    assert ranges(placed(graph(("conv", "Conv2D"), ("flat", "Reshape"), ("relu", "ReLU", "relu")))) == {
        "conv": "range",
        "relu": "range",
    }


def test_normalization_takes_the_treatment_of_its_convolution_but_for_what_is_said_of_it():
    four = LayerPolicy(weight_bits=4, activations=None)
    assert placed(CONV_BN_RELU, conv=four).places["relu"].policy == four
    own = LayerPolicy(activations=step(activations={"quantizer": "histogram"}).activations, says_activations=True)
    made = placed(CONV_BN_RELU, conv=four, relu=own).places["relu"].policy
    assert (made.weight_bits, made.activations.quantizer.kind) == (4, "histogram")
    float_conv = placed(CONV_BN_RELU, conv=LayerPolicy(mode="float"))
    assert ranges(float_conv) == {}


def test_float_layer_gets_nothing_and_its_integer_reader_an_entrance():
    plan = placed(graph(("a", "Dense"), ("b", "Dense"), ("c", "Dense")), a=LayerPolicy(mode="float"))
    assert list(plan.input_quantizers) == ["a"]
    assert plan.places["a"].empty and plan.places["b"].weights
    assert next((one.layer, one.mode, one.outputs) for one in plan.layers) == ("a", "float", "float")
    assert plan.model_io == set()


def test_border_of_an_integer_model_has_ranges_where_layers_stay_float():
    nodes = graph(("a", "Dense"), ("b", "Dense"), ("c", "Dense"))
    kept = LayerPolicy(mode="float")
    plan = placed(nodes, ("c",), a=kept, c=kept, b=LayerPolicy(activation_bits=16))
    assert set(plan.input_quantizers) == {"input", "a", "c"}
    assert plan.model_io == {"input", "c"}
    assert plan.input_quantizers["c"].activation_bits == 16


def test_what_only_passes_values_on_is_no_entrance_behind_a_range():
    plan = placed(graph(("a", "Dense"), ("flat", "Flatten"), ("b", "Dense")), flat=LayerPolicy(mode="float"))
    assert list(plan.input_quantizers) == ["input"]
    # Of float values it passes on floats.
    plan = placed(
        graph(("a", "Dense"), ("flat", "Flatten"), ("b", "Dense")),
        a=LayerPolicy(mode="float"),
        flat=LayerPolicy(mode="float"),
    )
    assert list(plan.input_quantizers) == ["flat"]


def test_entrance_that_a_trained_and_a_watched_layer_read_is_trained():
    nodes = graph(("a", "Dense", None, ("input",)), ("b", "Dense", None, ("input",)), ("sum", "Add", None, ("a", "b")))
    for first, second in (("observed", "trained"), ("trained", "observed")):
        plan = placed(nodes, a=LayerPolicy(mode=first), b=LayerPolicy(mode=second))
        assert plan.input_quantizers["input"].mode == "trained"


def test_input_of_integers_needs_no_range():
    nodes = [Node("ids", "ids", "InputLayer", (), is_float=False), Node("own", "own", "Own", ("ids",))]
    assert placed(nodes, own=LayerPolicy(config="a:B")).input_quantizers == {}


def test_refused_layers_are_all_named_with_reason_and_fix():
    nodes = graph(
        ("dense", "Dense"), ("odd", "LayerNormalization"), ("act", "Activation", "elu"), ("mystery", "Mystery")
    )
    plan = placed(nodes)
    assert [(one.layer, one.mode) for one in plan.layers] == [
        ("dense", "trained"),
        ("odd", "refused"),
        ("act", "refused"),
        ("mystery", "refused"),
    ]
    with pytest.raises(ModelError) as caught:
        plan.refuse()
    said = str(caught.value)
    assert said.startswith("layer odd, act, mystery: ")
    assert "odd (LayerNormalization): has no integer form; normalize along axes of a fixed length" in said
    assert "act (Activation elu): its activation has no integer kernel; use relu" in said
    assert "mystery (Mystery): has no integer form; give it its own config" in said
    assert "`except: [odd, act, mystery]` in the step and `float_fallback: true` in the scheme" in said


def test_normalization_along_another_axis_is_refused():
    # Where its axis is the last, the rewriting would have made a convolution of it.
    plan = placed(graph(("flat", "Flatten"), ("norm", "BatchNormalization")))
    with pytest.raises(ModelError, match=r"norm .BatchNormalization.: normalizes along an axis other than the last"):
        plan.refuse()


@pytest.mark.parametrize(
    ("kind", "function"), [("Concatenate", None), ("Conv2DTranspose", None), ("Activation", "gelu")]
)
def test_layer_without_16_bit_kernel_is_refused_for_it_alone(kind, function):
    nodes, sixteen = graph(("dense", "Dense"), ("odd", kind, function)), LayerPolicy(activation_bits=16)
    assert placed(nodes).refused == []
    plan = placed(nodes, dense=sixteen, odd=sixteen)
    with pytest.raises(ModelError, match="has no kernel for 16-bit activations; use the scheme static_wi8_ai8"):
        plan.refuse()


def test_layer_without_4_bit_kernel_is_refused_unless_it_has_8():
    nodes, four = graph(("dense", "Dense"), ("up", "Conv2DTranspose")), LayerPolicy(weight_bits=4)
    with pytest.raises(ModelError) as caught:
        placed(nodes, dense=four, up=four).refuse()
    said = str(caught.value)
    assert "up (Conv2DTranspose): has no kernel for 4-bit weights; give it 8 bits" in said
    assert "`configs: [{layers: [up], weights: {bits: 8}}]`" in said
    assert placed(nodes, dense=four).refused == []


@pytest.mark.parametrize("policy", [LayerPolicy(mode="float"), LayerPolicy(config="a:B")])
def test_layer_that_is_float_or_has_a_config_is_not_refused(policy):
    assert placed(graph(("dense", "Dense"), ("odd", "LayerNormalization")), odd=policy).refused == []


def test_layer_that_was_folded_away_is_reported():
    nodes = graph(("dense", "Dense"))
    plan = place(nodes, {"dense": LayerPolicy()}, {"dense": "Dense", "norm": "BatchNormalization"}, {"norm": "folded"})
    assert [(one.layer, one.outputs, one.note) for one in plan.layers][1] == ("norm", "none", "folded")


def test_table_reports_what_each_layer_gets():
    four = step(weights={"bits": 4, "granularity": "per_tensor"}, activations={"quantizer": "own:Clip"})
    by_name = policies(four, StaticWi8Ai8(), ["conv", "late", "odd", "end"])
    nodes = graph(("conv", "Conv2D"), ("late", "Dense"), ("odd", "Own"), ("end", "Activation", "softmax"))
    by_name["late"] = LayerPolicy(mode="observed", trains_weights=False)
    by_name["odd"] = LayerPolicy(config="own:Config")
    plan = placed(nodes, **by_name)
    assert [(one.kind, one.mode, one.weights, one.outputs) for one in plan.layers] == [
        ("Conv2D", "trained", "int4 per tensor", "int8, own:Clip"),
        ("Dense", "observed", "int8 per tensor, after training", "int8, range applied after training"),
        ("Own", "trained", "", "by own:Config"),
        ("Activation softmax", "trained", "", "range fixed by the kernel"),
    ]


def test_plan_needs_no_tensorflow():
    program = "import sys, components.fake_quantize.placement; print('tensorflow' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"


def recurrent(kind, name, source="input"):
    return (name, "IntegerRecurrent", kind, (source,))


@pytest.mark.parametrize(("kind", "joined"), [("LSTM", True), ("SRU", True), ("GRU", False), ("SimpleRNN", False)])
def test_what_is_concatenated_of_cells_that_hand_out_one_scale_has_one_range(kind, joined):
    nodes = graph(
        recurrent(kind, "both/forward"),
        recurrent(kind, "both/backward"),
        ("both", "Concatenate", None, ("both/forward", "both/backward")),
        ("end", "Dense"),
    )
    plan = placed(nodes)
    assert plan.joined == ([("both/forward", "both/backward")] if joined else [])
    assert ranges(plan) == {"end": "range"} | ({} if joined else {"both": "range"})


def test_one_cell_in_two_concatenations_makes_one_range_of_both():
    nodes = graph(
        *(recurrent("LSTM", name) for name in "abcd"),
        ("ab", "Concatenate", None, ("a", "b")),
        ("bc", "Concatenate", None, ("b", "c")),
        ("dd", "Concatenate", None, ("d", "d")),
    )
    assert placed(nodes).joined == [("b", "c", "a"), ("d",)]


def test_concatenation_with_another_layer_keeps_its_range_and_a_float_cell_is_not_joined():
    mixed = graph(
        recurrent("LSTM", "a"), ("dense", "Dense", None, ("input",)), ("ends", "Concatenate", None, ("a", "dense"))
    )
    assert placed(mixed).joined == []
    assert ranges(placed(mixed))["ends"] == "range"
    nodes = graph(recurrent("LSTM", "a"), recurrent("LSTM", "b"), ("ends", "Concatenate", None, ("a", "b")))
    assert placed(nodes, b=LayerPolicy(mode="float")).joined == []


def test_ranges_that_outputs_have_or_take_over_hold_all_values():
    layers = graph(
        ("conv", "Conv2D"),
        ("relu", "ReLU", "relu"),
        ("pool", "MaxPooling2D"),
        ("head", "Dense"),
        ("flat", "Flatten"),
        ("other", "Dense", None, ("relu",)),
    )
    for outputs, wanted in ((("flat", "other"), {"head", "other"}), (("pool",), {"relu"}), ((), set())):
        plan = placed(layers, outputs)
        held = {name for name, made in plan.places.items() if made.policy.extremes and made.output == "range"}
        assert held == wanted
    outputs = {layer.layer: layer.outputs for layer in placed(layers, ("flat",)).layers}
    assert (outputs["head"], outputs["relu"]) == ("int8, extremes of an epoch", "int8, moving average")


@pytest.mark.parametrize(
    ("kind", "function"),
    [("Add", None), ("Concatenate", None), ("Maximum", None), ("LeakyReLU", None), ("Activation", "gelu")],
)
def test_what_an_output_without_weights_is_made_of_holds_all_values(kind, function):
    sources = ("one", "two") if function is None and kind != "LeakyReLU" else ("one",)
    layers = graph(
        ("body", "Dense"),
        *((name, "Dense", None, ("body",)) for name in sources),
        ("last", kind, function, sources),
        ("flat", "Flatten"),
    )
    plan = placed(layers, ("flat",))
    held = {name for name, made in plan.places.items() if made.policy.extremes and made.output == "range"}
    assert held == {"last", *sources}


def test_output_of_a_float_layer_holds_all_values_at_the_border():
    plan = placed(graph(("head", "Dense"), ("last", "LayerNormalization")), ("last",), last=LayerPolicy(mode="float"))
    assert {name: policy.extremes for name, policy in plan.input_quantizers.items()} == {"input": False, "last": True}


def test_functions_of_tensors_have_ranges_by_their_row():
    nodes = graph(
        ("plus", "Operator", "math.add"),
        ("relu", "ReLU", "relu6"),
        ("deep", "Operator", "nn.depth_to_space"),
        ("size", "Operator", "math.abs"),
        ("unit", "Operator", "math.l2_normalize"),
    )
    # The kernel of the sum also computes the ReLU.
    assert ranges(placed(nodes)) == {"relu": "range", "size": "range"}
    assert [one.kind for one in placed(nodes).layers][2:] == [
        "tf.nn.depth_to_space", "tf.math.abs", "tf.math.l2_normalize",
    ]  # fmt: skip


def test_function_of_integers_needs_no_range_and_no_row():
    ids = Node("ids", "ids", "InputLayer", (), is_float=False)
    odd = Node("odd", "odd", "Operator", ("ids",), "math.floormod", is_float=False)
    assert placed([ids, odd]).refused == []
    assert placed([ids, odd]).input_quantizers == {}


def test_function_without_integer_kernel_is_refused_with_its_name_and_fix():
    plan = placed(graph(("ratio", "Operator", "math.truediv")))
    with pytest.raises(ModelError, match=r"ratio .tf\.math\.truediv.: has no integer form; multiply by the"):
        plan.refuse()


@pytest.mark.parametrize("function", ["nn.depth_to_space", "math.log", "stack"])
def test_function_without_16_bit_kernel_is_refused_for_it_alone(function):
    nodes, sixteen = graph(("odd", "Operator", function)), LayerPolicy(activation_bits=16)
    assert placed(nodes).refused == []
    with pytest.raises(ModelError, match="has no kernel for 16-bit activations; use the scheme static_wi8_ai8"):
        placed(nodes, odd=sixteen).refuse()


def test_layer_that_reads_a_mask_is_refused_with_the_reason():
    mean = Node("mean", "mean", "GlobalAveragePooling1D", ("ids",), refusal=("its inputs are masked", "remove it"))
    plan = placed([Node("ids", "ids", "InputLayer", ()), mean])
    with pytest.raises(ModelError, match=r"mean .GlobalAveragePooling1D.: its inputs are masked; remove it"):
        plan.refuse()


def test_looked_up_weights_give_the_output_their_range():
    ids = Node("ids", "ids", "InputLayer", (), is_float=False)
    plan = placed([ids, *graph(("table", "Embedding", None, ("ids",)), ("end", "Dense"))[1:]])
    assert plan.places["table"].weights
    assert ranges(plan) == {"end": "range"}
    assert plan.input_quantizers == {}
