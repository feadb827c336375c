"""What is reported of recipes once the model is there, before anything is trained."""

import pickle
from pathlib import Path
from typing import Any

import pytest

from components.core.errors import ModelError, SpecError
from components.core.user_code import process_kept
from components.spec.recipe import Recipe
from pipelines.checks.conversion_check import conversion_refusals
from pipelines.checks.converted.model import ConvertedModel
from pipelines.checks.dry_run import dry_run
from pipelines.file.impossible import without_impossible
from pipelines.file.load import LoadedPipeline, PipelineFileError, load_pipeline
from pipelines.file.user_folders import make_importable
from tests.small_pipeline import TASK, SmallPipeline


def checked(folder: Path, task: str = TASK, scheme: Any = "static_wi8_ai8", **step: Any) -> Any:
    small = SmallPipeline(folder, task)
    small.spec["recipes"] = [{"name": "a", "steps": [{"kind": "qat", "epochs": 1, **step}], "scheme": scheme}]
    make_importable(small.write())
    return dry_run(load_pipeline(small.file))[1]


def with_steps(folder: Path, *steps: dict[str, Any], scheme: str = "static_wi8_ai8") -> Any:
    small = SmallPipeline(folder)
    small.spec["recipes"] = [{"name": "a", "steps": list(steps), "scheme": scheme}]
    make_importable(small.write())
    return dry_run(load_pipeline(small.file))[1]


def refused(folder: Path, task: str = TASK, **step: Any) -> str:
    with pytest.raises(PipelineFileError) as caught:
        checked(folder, task, **step)
    return str(caught.value)


def with_layer(layer: str) -> str:
    return TASK.replace("layers.Flatten(),", f"layers.Flatten(), {layer},")


def test_operator_that_a_device_lacks_is_found(tmp_path: Path) -> None:
    small = SmallPipeline(tmp_path, with_layer('layers.Activation("gelu")'))
    small.spec["devices"] = ["phone_cpu", "cortex_m55"]
    make_importable(small.write())
    assert dry_run(load_pipeline(small.file))[0].lacking == {"cortex_m55": ("GELU",)}


def test_each_layer_of_the_model_is_reported(tmp_path: Path) -> None:
    task = TASK.replace("layers.Conv2D(8, 3", 'layers.Conv2D(8, 3, name="convolution"')
    layers = checked(tmp_path, task)["a"]
    assert [(layer.kind, layer.mode, layer.weights) for layer in layers] == [
        ("Conv2D", "trained", "int8 per channel"),
        ("Flatten", "trained", ""),
        ("Dense", "trained", "int8 per tensor"),
    ]
    assert layers[0].note == "its input also gets a range"


def test_each_step_is_listed_with_a_note_when_nothing_executes_the_zeros(tmp_path: Path) -> None:
    previews = with_steps(
        tmp_path,
        {"kind": "prune", "sparsity": 0.5, "epochs": 2, "structure": "block_1x16", "layers": ["probabilities"]},
        {"kind": "cluster", "num_clusters": 8, "epochs": 1, "layers": ["probabilities"]},
        {"kind": "qat", "epochs": 1},
        scheme="static_wi8_ai8",
    )
    assert list(previews) == ["a, prune", "a, cluster", "a, qat"]
    plan = {layer.layer: layer for layer in previews["a, prune"]}["probabilities"]
    assert (plan.mode, plan.weights) == ("pruned", "sparsity 0.5, block_1x16")
    (plan,) = with_steps(
        tmp_path / "float", {"kind": "prune", "sparsity": 0.5, "epochs": 2, "layers": ["prob*"]}, scheme="float16"
    )["a"][-1:]
    assert plan.note == "there is no sparse kernel for float16: smaller when compressed, not faster"


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (
            {"kind": "prune", "epochs": 2, "structure": "2:4"},
            "the structure 2:4 does not fit these layers (expected: kernels whose input axis is a multiple of 4",
        ),
        ({"kind": "cluster", "epochs": 1, "num_clusters": 100}, "there are at least as many centroids as weights"),
        ({"kind": "prune", "sparsity": 0.5, "epochs": 2, "layers": ["prob"]}, "no layer of the model matches 'prob'"),
    ],
)
def test_step_that_the_model_does_not_bear_is_refused_before_training(
    tmp_path: Path, step: dict[str, Any], message: str
) -> None:
    with pytest.raises(PipelineFileError) as caught:
        with_steps(tmp_path, step)
    assert "recipes[0] (a): " in str(caught.value)
    assert message in str(caught.value)


def test_pipeline_without_steps_has_no_plan(tmp_path: Path) -> None:
    small = SmallPipeline(tmp_path)
    make_importable(small.write())
    assert dry_run(load_pipeline(small.file))[1] == {}


def test_model_too_small_for_dynamic_range_is_named_with_the_size_of_its_largest_weight(tmp_path: Path) -> None:
    small = SmallPipeline(tmp_path)
    small.spec["recipes"].append({"name": "dynamic", "scheme": "dynamic_wi8_afp32"})
    make_importable(small.write())
    with pytest.raises(PipelineFileError) as caught:
        dry_run(load_pipeline(small.file))
    # 8 kernels of 3 x 3; 2 x 2 x 8 features to 3 classes.
    assert "recipes[2] (dynamic): scheme: no weight is large enough for dynamic range" in str(caught.value)
    assert "(expected: a weight of at least 1,024 elements; found: 96 in the largest)" in str(caught.value)


@pytest.mark.parametrize(
    "large",
    ["layers.Dense(32)", "layers.Lambda(lambda x: tf.matmul(x, tf.ones([32, 32]) * 0.1))"],
    ids=["weight", "constant"],
)
def test_model_with_one_large_weight_is_not(tmp_path: Path, large: str) -> None:
    large = TASK.replace("layers.Flatten(),", f"layers.Flatten(), {large},")
    small = SmallPipeline(tmp_path, large)
    small.spec["recipes"].append({"name": "dynamic", "scheme": "dynamic_wi8_afp32"})
    make_importable(small.write())
    assert dry_run(load_pipeline(small.file))[1] == {}


def test_unknown_layer_is_reported_with_the_nearest(tmp_path: Path) -> None:
    said = refused(tmp_path, layers=["probabilites"])
    assert "recipes[0] (a): layers: no layer of the model matches 'probabilites'; did you mean probabilities" in said


def test_step_that_quantizes_nothing_is_refused(tmp_path: Path) -> None:
    said = refused(tmp_path, **{"except": ["*"]})
    assert "recipes[0] (a): layers: the step quantizes nothing in training" in said
    assert "found: layers [], except ['*']" in said


@pytest.mark.parametrize(
    ("layer", "fix"),
    [
        (
            'layers.ReLU(threshold=1.0, name="odd")',
            "use relu, relu6, leaky ReLU, swish, gelu, elu, sigmoid, tanh, or softmax",
        ),
        ('layers.Lambda(lambda x: tf.sin(x), name="odd")', "compute it in the task's decode"),
        ('layers.Masking(1.0, name="odd")', "remove it, and train on padded sequences as they are"),
    ],
)
def test_layer_without_integer_form_is_refused_with_its_name_and_fix(tmp_path: Path, layer: str, fix: str) -> None:
    said = refused(tmp_path, with_layer(layer))
    assert "recipes[0] (a): layer odd: quantization-aware training cannot quantize odd" in said
    assert fix in said
    assert "`except: [odd]` in the step and `float_fallback: true` in the scheme" in said


def test_layer_without_integer_form_may_stay_float(tmp_path: Path) -> None:
    layers = checked(
        tmp_path,
        with_layer('layers.Lambda(lambda x: x * 2, name="odd")'),
        {"kind": "static_wi8_ai8", "float_fallback": True},
        **{"except": ["odd"]},
    )["a"]
    assert {layer.layer: layer.mode for layer in layers}["odd"] == "float"


def test_task_without_compile_is_reported_when_a_recipe_trains(tmp_path: Path) -> None:
    import tensorflow as tf

    small = SmallPipeline(tmp_path, TASK.partition("    def build_model")[0] + "TASK = Task()\n")
    tf.keras.Sequential([tf.keras.layers.Input([4, 4, 1]), tf.keras.layers.Flatten(), tf.keras.layers.Dense(3)]).save(
        tmp_path / "model.keras"
    )
    small.spec["baseline"] = {"kind": "pretrained", "path": "model.keras"}
    small.spec["recipes"] = [{"name": "a", "steps": [{"kind": "qat", "epochs": 1}], "scheme": "static_wi8_ai8"}]
    make_importable(small.write())
    with pytest.raises(PipelineFileError) as caught:
        dry_run(load_pipeline(small.file))
    assert "a recipe has a step that trains, but the task has no compile" in str(caught.value)


def test_model_that_keras_cannot_load_again_is_reported(tmp_path: Path) -> None:
    task = TASK.replace(
        "class Task:",
        """class Unregistered(tf.keras.layers.Layer):
    def __init__(self, size):
        super().__init__()
        self.size = size

    def call(self, x):
        return x

class Task:""",
    )
    said = refused(tmp_path, task.replace("layers.Flatten(),", "layers.Flatten(), Unregistered(3),"))
    assert "Keras cannot save the model and load it again" in said
    assert "register_keras_serializable" in said


QUANTIZER = """
from tensorflow_model_optimization.quantization.keras import quantizers

class Sum(quantizers.Quantizer):
    def build(self, tensor_shape, name, layer):
        return {}

    def __call__(self, inputs, training, weights, **kwargs):
        return tf.reduce_sum(inputs, -1)

    def get_config(self):
        return {}

class Asks(Sum):
    def __init__(self, question):
        pass

def nothing():
    return None

def leaves():
    raise SystemExit(0)

class Ends(Sum):
    def build(self, tensor_shape, name, layer):
        import os
        os._exit(0)
"""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Sum", "the quantizer Sum returns a different shape or type than its input (expected: float32 (1, 4, 4, 1)"),
        ("Asks", "cannot be created: TypeError"),
        ("nothing", "has the wrong type (expected: a Quantizer of tensorflow_model_optimization; found: NoneType)"),
        ("leaves", "quantizer: user code exits with SystemExit(0) instead of returning"),
        ("Ends", "user code exits with os._exit(0) instead of returning"),
    ],
)
def test_own_quantizer_that_is_none_is_refused(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / f"own_{name}.py").write_text("import tensorflow as tf\n" + QUANTIZER)
    with process_kept():
        assert message in refused(tmp_path, activations={"quantizer": f"own_{name}:{name}"})


# A raw operation takes no symbolic tensors.
NORM = with_layer('layers.Lambda(lambda x: tf.raw_ops.Mul(x=x, y=2.0), name="odd")')
RECIPES = [
    {"name": "float32", "scheme": "float32"},
    {"name": "qat", "steps": [{"kind": "qat", "epochs": 1}], "scheme": "static_wi8_ai8"},
    {"name": "dynamic", "scheme": "dynamic_wi8_afp32"},
    {"name": "int8", "scheme": "static_wi8_ai8"},
    {
        "name": "both",
        "steps": [{"kind": "cluster", "epochs": 1, "num_clusters": 100}, {"kind": "qat", "epochs": 1}],
        "scheme": "static_wi8_ai8",
    },
]


def loaded(folder: Path, *recipes: dict[str, Any], **fields: Any) -> LoadedPipeline:
    small = SmallPipeline(folder, NORM)
    small.spec.update({"recipes": list(recipes), **fields})
    make_importable(small.write())
    return load_pipeline(small.file)


def test_all_impossible_recipes_are_reported_at_once_with_every_reason(tmp_path: Path) -> None:
    with pytest.raises(PipelineFileError) as caught:
        dry_run(loaded(tmp_path, *RECIPES))
    first, *reasons, last = str(caught.value).splitlines()
    assert first.endswith("4 errors in the pipeline file")
    for reason, words in zip(
        reasons,
        (
            "recipes[1] (qat): layer odd: quantization-aware training cannot quantize odd",
            "recipes[2] (dynamic): scheme: no weight is large enough",
            "recipes[4] (both): layer conv2d",
            "recipes[4] (both): layer odd: quantization-aware training cannot quantize odd",
        ),
        strict=True,
    ):
        assert reason.startswith(f"  - {words}")
    assert "others (float32, int8), add `impossible: skip` to the file, or pass --skip-impossible" in last


def test_impossible_recipes_are_skipped_on_request_and_keep_their_places(tmp_path: Path) -> None:
    before = loaded(tmp_path, *RECIPES, impossible="skip")
    after, previews = dry_run(before)
    assert [recipe.name for recipe in after.spec.recipes] == ["float32", "int8"]
    assert [(one.name, one.scheme, one.place, len(one.reasons)) for one in after.skipped] == [
        ("qat", "static_wi8_ai8", 1, 1),
        ("dynamic", "dynamic_wi8_afp32", 2, 1),
        ("both", "static_wi8_ai8", 4, 2),
    ]
    assert after.skipped[0].reasons[0].startswith("layer odd: quantization-aware training cannot quantize odd")
    assert "Remedy: " in after.skipped[0].reasons[0]
    assert previews == {}
    with pytest.raises(PipelineFileError) as caught:
        without_impossible(
            after, {"int8": [ModelError("no", remedy="other")], "float32": [SpecError("no", remedy="-")]}
        )
    assert [error.where for error in caught.value.errors] == ["recipes[0] (float32)", "recipes[3] (int8)"]


@pytest.mark.parametrize("impossible", ["stop", "skip"])
def test_file_whose_recipes_are_all_impossible_is_refused(tmp_path: Path, impossible: str) -> None:
    with pytest.raises(PipelineFileError, match=r"No recipe can work on this model\.$") as caught:
        dry_run(loaded(tmp_path, RECIPES[1], RECIPES[2], impossible=impossible))
    assert len(caught.value.errors) == 2
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_device_that_can_run_none_of_the_others_stops_the_file_with_all_reasons(tmp_path: Path) -> None:
    devices = ["phone_cpu", "cortex_m55"]
    fine = loaded(tmp_path / "fine", *RECIPES, impossible="skip", devices=devices)
    assert [recipe.name for recipe in dry_run(fine)[0].spec.recipes] == ["float32", "int8"]
    # The microcontroller runs integers only, and all recipes with integers are impossible.
    with pytest.raises(PipelineFileError) as caught:
        dry_run(loaded(tmp_path / "none", *RECIPES[:3], RECIPES[4], impossible="skip", devices=devices))
    *impossible, device = caught.value.errors
    assert [(error.where or "").split(":")[0] for error in impossible] == [
        "recipes[1] (qat)",
        "recipes[2] (dynamic)",
        "recipes[3] (both)",
        "recipes[3] (both)",
    ]
    assert (device.where, device.what) == ("devices[1]", "the device 'cortex_m55' can't run any of the recipes")


def test_mistake_in_the_file_is_never_skipped(tmp_path: Path) -> None:
    step = {"kind": "prune", "sparsity": 0.5, "epochs": 2, "layers": ["hiden"]}
    mistake = {"name": "pruned", "steps": [step], "scheme": "float16"}
    with pytest.raises(PipelineFileError) as caught:
        dry_run(loaded(tmp_path, *RECIPES, mistake, impossible="skip"))
    assert "recipes[5] (pruned): layers: no layer of the model matches 'hiden'" in str(caught.value)
    assert "impossible: skip" not in str(caught.value)


RECURRENT = (
    TASK.replace("4, 4, 1]", "16, 1]")
    .replace('layers.Conv2D(8, 3, activation="relu"),', "")
    .replace("layers.Flatten()", "layers.{layer}(16)")
)


def reasons_against(folder: Path, task: str, **recipe: Any) -> str:
    small = SmallPipeline(folder, task)
    small.spec["recipes"] = [{"name": "a", **recipe}]
    make_importable(small.write())
    with pytest.raises(PipelineFileError) as caught:
        dry_run(load_pipeline(small.file))
    return str(caught.value)


def test_recurrent_file_that_would_be_larger_or_unquantized_is_refused_with_the_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without the loop, the time steps are larger than the float file.
    monkeypatch.setattr("pipelines.checks.converted.recurrent.with_loops", lambda made, _: made)
    said = reasons_against(tmp_path / "gru", RECURRENT.replace("{layer}", "GRU"), scheme="static_wi8_ai8")
    assert "the recurrent layers over the sequence are larger than the float file" in said
    assert "use `recurrent: streaming`, whose file has one time step and" in said
    said = reasons_against(tmp_path / "lstm", RECURRENT.replace("{layer}", "LSTM"), scheme="dynamic_wi8_afp32")
    assert "no weight has the 1024 elements that quantization requires" in said


def test_large_constant_that_dynamic_range_leaves_float_is_refused_before_work(tmp_path: Path) -> None:
    task = TASK.replace(
        'layers.Conv2D(8, 3, activation="relu"),',
        "layers.Resizing(16, 16), layers.Lambda(lambda x: x + tf.reshape(tf.range(1024.0), [1, 16, 16, 4])),"
        "layers.GlobalAveragePooling2D(),",
    )
    said = reasons_against(tmp_path, task, scheme="dynamic_wi8_afp32")
    assert "most weights are FLOAT32 instead of INT8" in said


def test_cast_that_a_concatenation_reads_is_refused_in_8_bits() -> None:
    import tensorflow as tf

    layers = tf.keras.layers
    vector, flags = tf.keras.Input([4], name="vector"), tf.keras.Input([2, 2], dtype="uint8", name="flags")
    moved = layers.Reshape((4,))(tf.cast(flags, tf.float32))

    def refused(joined: Any, **scheme: Any) -> list[str]:
        model = ConvertedModel(tf.keras.Model([vector, flags], layers.Dense(3)(joined)))
        recipe = Recipe(name="a", scheme=scheme)
        return [error.what for error in conversion_refusals(recipe, model, recurrent=False)]

    joined = layers.Concatenate()([vector, moved])
    assert "casts an input to floats and concatenates it" in refused(joined, kind="static_wi8_ai8")[0]
    assert refused(joined, kind="static_wi8_ai8", float_fallback=True) == []
    assert refused(layers.Concatenate()([vector, layers.Dense(4)(moved)]), kind="static_wi8_ai8") == []


def test_input_that_nothing_reads_is_refused_in_integers() -> None:
    import tensorflow as tf

    used, idle = tf.keras.Input([4], name="used"), tf.keras.Input([3], name="idle")
    echoed, codes = tf.keras.Input([2], name="echoed"), tf.keras.Input([2], dtype="int32", name="codes")
    outputs = {"y": tf.keras.layers.Dense(2)(used), "echoed": echoed}
    model = ConvertedModel(tf.keras.Model([idle, used, echoed, codes], outputs))

    def refused(model: ConvertedModel, **scheme: Any) -> list[str]:
        recipe = Recipe.model_validate({"name": "a", "scheme": scheme})
        return [str(error) for error in conversion_refusals(recipe, model, recurrent=False)]

    for bits in ("static_wi8_ai8", "static_wi8_ai16"):
        (reason,) = refused(model, kind=bits)
        assert reason.startswith("input idle: no output depends on an input")
        assert refused(model, kind=bits, float_io=True) == []
    assert refused(model, kind="static_wi8_ai8", float_fallback=True) == []
    assert refused(model, kind="float16") == []
    assert refused(ConvertedModel(tf.keras.Model(used, outputs["y"])), kind="static_wi8_ai16") == []


def test_product_of_computed_vectors_is_refused_in_16_bits() -> None:
    import tensorflow as tf

    layers = tf.keras.layers
    one, other = tf.keras.Input([4], name="one"), tf.keras.Input([4], name="other")
    model = tf.keras.Model([one, other], layers.Dot(1)([layers.Dense(3)(one), layers.Dense(3)(other)]))
    converted = ConvertedModel(model)

    def reasons(scheme: str) -> list[str]:
        recipe = Recipe.model_validate({"name": "a", "scheme": scheme})
        return [str(error) for error in conversion_refusals(recipe, converted, recurrent=False)]

    assert reasons("static_wi8_ai8") == []
    (reason,) = reasons("static_wi8_ai16")
    assert "no kernel for a matrix product of two computed vectors with 16-bit activations" in reason


@pytest.mark.parametrize("impossible", ["stop", "skip"])
def test_advice_on_an_impossible_recipe_fits_the_devices(tmp_path: Path, impossible: str) -> None:
    small = SmallPipeline(tmp_path)
    small.spec["recipes"] = [{"name": name, "scheme": name} for name in ("dynamic_wi8_afp32", "static_wi8_ai8")]
    small.spec["recipes"][0]["name"] = "dynamic"
    small.spec |= {"devices": ["integer_dsp"], "impossible": impossible}
    make_importable(small.write())
    advice = (
        "use float16 or static_wi8_ai8 (the devices of this file do not accept float16; they accept static_wi8_ai8)"
    )
    if impossible == "skip":
        (skipped,) = dry_run(load_pipeline(small.file))[0].skipped
        assert advice in skipped.reasons[0]
        return
    with pytest.raises(PipelineFileError) as caught:
        dry_run(load_pipeline(small.file))
    assert advice in str(caught.value)


def test_advice_on_a_contradiction_in_the_file_fits_the_devices(tmp_path: Path) -> None:
    small = SmallPipeline(tmp_path)
    small.spec["devices"] = ["integer_dsp"]
    del small.spec["calibrate"]
    with pytest.raises(PipelineFileError) as caught:
        load_pipeline(small.write())
    assert "or use dynamic_wi8_afp32 (the devices of this file do not accept dynamic_wi8_afp32;" in str(caught.value)
