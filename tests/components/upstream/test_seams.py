"""Every private or experimental name, signature, and flag that Edgemill uses, asserted on the installed libraries.

If an upgrade of a library breaks one, the test names it here; the module of `components/upstream` with the name of the
test's library is the only place to change.
"""

import inspect
from collections.abc import Callable
from typing import Any

import flatbuffers
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from tfx.types.standard_artifacts import Model

from components.cells.quantizers import MovingAverageQuantizer
from components.cells.weight_quantizer import WeightQuantizer
from components.core.errors import EdgemillError
from components.fake_quantize.layer_config import LayerConfig
from components.upstream import keras, litert, tfmot
from components.upstream.tflite import converter as tflite_converter
from components.upstream.tflite.interpreter import interpreter
from components.upstream.tflite.objects import pack, schema, unpack
from components.upstream.tflite.schema import load_schema
from components.upstream.tfx import dsl


def parameters(function: Callable[..., Any]) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name != "self"]


@pytest.fixture(scope="module")
def dense() -> Any:
    """A float converter of a dense layer, as conversion makes it."""
    weights = tf.constant(np.ones((4, 3), np.float32))

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([1, 4], tf.float32, name="x")])
    def serve(x: Any) -> dict[str, Any]:
        return {"y": tf.matmul(x, weights)}

    return tf.lite.TFLiteConverter.from_concrete_functions([serve.get_concrete_function()])


@dsl.component
def Doubled(number: dsl.Parameter[int], doubled: dsl.OutputArtifact[Model]) -> None:
    """A component that is never run."""


# LiteRT: litert.


@pytest.mark.parametrize("kernels", ["xnnpack", "builtin", "reference"])
def test_interpreter_of_litert_runs_with_each_kind_of_kernels(dense: Any, kernels: str) -> None:
    running = litert.interpreter(dense.convert(), kernels)
    running.allocate_tensors()
    running.set_tensor(running.get_input_details()[0]["index"], np.array([[1, 2, 3, 4]], np.float32))
    running.invoke()
    assert running.get_tensor(running.get_output_details()[0]["index"]).tolist() == [[10, 10, 10]]


# Python: fork_server.


def test_fork_server_of_python() -> None:
    from multiprocessing import forkserver, process, spawn

    assert parameters(forkserver.ForkServer.connect_to_new_process) == ["fds"]
    assert parameters(forkserver.ForkServer.set_forkserver_preload) == ["modules_names"]
    assert parameters(forkserver.ForkServer.ensure_running) == []
    assert parameters(forkserver.read_signed) == ["fd"]
    assert hasattr(forkserver._forkserver, "_forkserver_alive_fd")
    # What a child of the fork server does with what it unpickles.
    assert parameters(process.BaseProcess._bootstrap) == ["parent_sentinel"]
    assert "._bootstrap(parent_sentinel)" in inspect.getsource(spawn._main)


# TensorFlow Lite: tflite.


@pytest.mark.parametrize(
    "option",
    [
        tflite_converter.PER_TENSOR,
        tflite_converter.ANY_BITS,
        tflite_converter.BATCH_OF_ONE,
        tflite_converter.NEW_DYNAMIC_RANGE,
        tflite_converter.FULLY_CONNECTED_PRODUCTS,
    ],
)
def test_option_of_the_converter(dense: Any, option: str) -> None:
    before = getattr(dense, option)
    assert isinstance(before, bool)
    tflite_converter.set_option(dense, option, before)


def test_unknown_option_is_refused_and_not_set(dense: Any) -> None:
    with pytest.raises(EdgemillError, match="_experimental_renamed") as caught:
        tflite_converter.set_option(dense, "_experimental_renamed", True)
    assert f"TensorFlow {tf.__version__}" in str(caught.value)
    assert not hasattr(dense, "_experimental_renamed")


def test_dense_layers_have_one_scale(dense: Any) -> None:
    tflite_converter.with_one_scale_per_dense_layer(dense)
    newer = tuple(map(int, tf.__version__.split(".")[:2])) >= (2, 21)
    assert getattr(dense, tflite_converter._PER_TENSOR_DENSE, None) is (True if newer else None)


def test_quantizer_of_the_converter(dense: Any) -> None:
    from tensorflow.lite.python import convert

    expected = [
        "result",
        "input_type",
        "output_type",
        "activations_type",
        "bias_type",
        "allow_float",
        "enable_variable_quantization",
    ]
    assert parameters(type(dense)._quantize) in (expected, [*expected, "debug_options"])
    assert parameters(convert.mlir_quantize)[:2] == ["input_data_str", "disable_per_channel"]
    assert set(parameters(convert.mlir_quantize)) >= {
        "input_data_type",
        "output_data_type",
        "enable_variable_quantization",
    }


def test_replaced_quantizer_quantizes(dense: Any) -> None:
    seen = []

    def quantize(content: bytes, input_type: Any, output_type: Any, variables: bool) -> bytes:
        seen.append((input_type, output_type, variables))
        return content

    dense.optimizations = [tf.lite.Optimize.DEFAULT]
    dense.representative_dataset = lambda: iter([{"x": np.ones((1, 4), np.float32)}])
    dense.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    tflite_converter.replace_quantizer(dense, quantize)
    content = dense.convert()
    assert len(seen) == 1
    watched = interpreter(content, keeps_all_tensors=True)
    watched.allocate_tensors()
    assert unpack(tflite_converter.with_intermediate_tensors(content)).subgraphs
    assert unpack(tflite_converter.without_model_hash(content)).subgraphs


def test_flags_of_the_converter() -> None:
    assert isinstance(tflite_converter.INT16_OPERATORS, tf.lite.OpsSet)
    assert isinstance(tflite_converter.SPARSITY, tf.lite.Optimize)
    from tensorflow.lite.python import util

    assert parameters(util.modify_model_io_type)[:3] == ["model", "inference_input_type", "inference_output_type"]


def metadata_with_hash(value: int) -> bytes:
    """What TensorFlow 2.21 writes: an Environment with a fourth field."""
    builder = flatbuffers.Builder()
    builder.StartObject(4)
    builder.PrependUint64Slot(3, value, 0)
    environment = builder.EndObject()
    builder.StartObject(2)
    builder.PrependUOffsetTRelativeSlot(0, environment, 0)
    builder.Finish(builder.EndObject())
    return bytes(builder.Output())


def file_with_metadata(*buffers: bytes) -> bytes:
    model = schema.ModelT()
    model.buffers, model.metadata = [schema.BufferT()], []
    for data in buffers:
        buffer, metadata = schema.BufferT(), schema.MetadataT()
        buffer.data = np.frombuffer(data, np.uint8)
        metadata.name, metadata.buffer = "CONVERSION_METADATA", len(model.buffers)
        model.buffers.append(buffer)
        model.metadata.append(metadata)
    return pack(model)


def test_hash_in_the_metadata_becomes_zero() -> None:
    content = file_with_metadata(metadata_with_hash(0x1122334455667788))
    cleaned = tflite_converter.without_model_hash(content)
    assert bytes.fromhex("8877665544332211") in content
    assert cleaned == content.replace(bytes.fromhex("8877665544332211"), bytes(8))


def test_hash_at_no_single_place_is_refused() -> None:
    twice = metadata_with_hash(7)
    with pytest.raises(EdgemillError, match="2 places"):
        tflite_converter.without_model_hash(file_with_metadata(twice, twice))


def test_reader_of_the_format_is_the_same_without_tensorflow() -> None:
    alone = load_schema()
    for name in ("BuiltinOperator", "TensorType", "ActivationFunctionType"):
        ours, theirs = vars(getattr(alone, name)), vars(getattr(schema, name))
        assert {key: value for key, value in ours.items() if key[0] != "_"} == {
            key: value for key, value in theirs.items() if key[0] != "_"
        }
    content = file_with_metadata(b"x" * 16)
    assert alone.Model.GetRootAs(content, 0).MetadataLength() == 1


def test_arguments_of_the_interpreter() -> None:
    named = {"model_content", "num_threads", "experimental_preserve_all_tensors", "experimental_op_resolver_type"}
    assert named <= set(parameters(tf.lite.Interpreter.__init__))
    resolvers = tf.lite.experimental.OpResolverType
    assert {resolvers.AUTO, resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES}


# flatbuffers: what convert/compaction.py overrides, and the fields it writes.


def test_builder_of_flatbuffers() -> None:
    builder = flatbuffers.Builder
    assert parameters(builder.__init__) == ["initialSize"]
    assert parameters(builder.StartObject) == ["numfields"]
    assert parameters(builder.PrependSlot) == ["flags", "o", "x", "d"]
    assert parameters(builder.PrependUOffsetTRelativeSlot) == ["o", "x", "d"]
    assert parameters(builder.EndObject) == []
    assert parameters(builder.StartVector) == ["elemSize", "numElems", "alignment"]
    assert parameters(builder.EndVector) in ([], ["numElems"])
    assert parameters(builder.PrependUOffsetTRelative) == ["off"]
    assert parameters(builder.CreateString) == ["s", "encoding", "errors"]
    assert {"CreateByteVector", "Slot", "Prepend", "Offset", "Head", "Finish", "Output"} <= set(dir(builder))
    made = builder(16)
    assert isinstance(made.head, int)
    assert len(made.Bytes) == 16


# ai-edge-quantizer: what convert/aeq/quantize.py calls.


def test_interface_of_ai_edge_quantizer() -> None:
    from ai_edge_quantizer import algorithm_manager, qtyping, quantizer
    from ai_edge_quantizer.utils import tfl_flatbuffer_utils

    assert parameters(quantizer.Quantizer.__init__)[0] == "float_model"
    assert parameters(quantizer.Quantizer.update_quantization_recipe)[:4] == [
        "regex",
        "operation_name",
        "op_config",
        "algorithm_key",
    ]
    named = {"calibration_result", "enable_progress_bar", "enable_progress_report"}
    assert named <= set(parameters(quantizer.Quantizer.quantize))
    assert len(parameters(algorithm_manager.check_op_quantization_config)) == 3
    assert set(tfl_flatbuffer_utils.TFL_OP_CODE_TO_NAME.values()) <= set(qtyping.TFLOperationName)


# tf-keras: keras, autograph.


def test_graph_of_keras() -> None:
    x = tf.keras.Input([3], name="x")
    inner = tf.keras.Sequential([tf.keras.layers.Dense(2, name="deep")], name="inner")
    dropped = tf.keras.layers.Dropout(0.5, name="dropped")(inner(x))
    model = tf.keras.Model(x, dropped)
    assert [node.layer.name for node in keras.nodes_in_order(model)] == ["x", "inner", "dropped"]
    nodes = {node.layer.name: node for node in keras.nodes_in_order(model)}
    for attribute in ("is_input", "keras_inputs", "call_args", "call_kwargs", "outputs"):
        assert hasattr(nodes["dropped"], attribute)
    assert keras.layer_behind(model.outputs[0]).name == "dropped"
    assert [node.layer.name for node in keras.calls_of(model.get_layer("dropped"))] == ["dropped"]
    assert keras.is_graph(model)
    assert keras.is_graph(model.get_layer("inner"))
    assert not keras.is_graph(model.get_layer("dropped"))
    assert not keras.is_graph(type("Own", (tf.keras.Model,), {})())
    assert keras.takes_training(model.get_layer("dropped"))
    assert not keras.takes_training(inner.get_layer("deep"))


def test_mask_of_keras() -> None:
    x = tf.keras.Input([5, 3])
    assert keras.is_masked(tf.keras.layers.Masking()(x))
    assert not keras.is_masked(tf.keras.layers.Dense(2)(x))


def test_call_for_shapes_of_keras() -> None:
    asked = []

    class Asked(tf.keras.layers.Layer):
        def call(self, x: Any) -> Any:
            asked.append(keras.asks_for_shapes())
            return x

    x = tf.keras.Input([3])
    model = tf.keras.Model(x, Asked()(x))
    assert asked == [True]
    tf.keras.Sequential([tf.keras.Input([3]), model])
    assert asked == [True, True]
    model(tf.ones([1, 3]))
    tf.function(model, autograph=False)(tf.ones([1, 3]))
    assert asked == [True, True, False, False]


@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
def test_forms_for_gpus_of_keras(kind: str) -> None:
    keras.trace_gpu_forms_only_to_run()
    x = tf.keras.Input([4, 3])
    model = tf.keras.Model(x, getattr(tf.keras.layers, kind)(2)(x))

    @tf.function(autograph=False)
    def run(x: Any) -> Any:
        return model(x)

    def of_gpus(graph: Any) -> int:
        return sum(
            "gpu" in function.attr["api_preferred_device"].s.decode().lower()
            for function in graph.as_graph_def().library.function
        )

    assert of_gpus(run.get_concrete_function(tf.TensorSpec([1, 4, 3])).graph) > 0
    asked = []

    class Asked(tf.keras.layers.Layer):
        def call(self, x: Any) -> Any:
            result = model(x)
            asked.append((keras.asks_for_shapes(), of_gpus(x.graph)))
            return result

    assert Asked()(x).shape == (None, 2)
    assert asked == [(True, 0)]


def test_options_of_losses_and_metrics_of_keras() -> None:
    assert keras.takes_logits(tf.keras.losses.BinaryCrossentropy(from_logits=True)) == "sigmoid"
    assert keras.takes_logits(tf.keras.losses.BinaryFocalCrossentropy(from_logits=True)) == "sigmoid"
    assert keras.takes_logits(tf.keras.losses.BinaryCrossentropy()) is False
    assert keras.takes_logits(tf.keras.losses.CategoricalCrossentropy(from_logits=True)) is True
    assert keras.takes_logits(tf.keras.losses.SparseCategoricalCrossentropy()) is False
    assert keras.takes_logits(tf.keras.losses.binary_crossentropy) is None
    metric = tf_keras.metrics.BinaryAccuracy(threshold=0.8)
    values = keras.wrapped_function(metric)(tf.ones([2, 1]), tf.constant([[0.7], [0.9]]))
    assert values.numpy().reshape(-1).tolist() == [0.0, 1.0]


def test_steps_per_execution_of_keras() -> None:
    model = tf.keras.Sequential([tf.keras.layers.Dense(1)])
    model.compile("sgd", "mse", steps_per_execution=4)
    keras.train_single_batches(model)
    assert int(model._steps_per_execution.numpy()) == 1


def test_metrics_given_to_compile_of_keras() -> None:
    model = tf.keras.Sequential([tf.keras.layers.Dense(1)])
    assert keras.compiled_metrics(model) == []
    model.compile("sgd", "mse", {"dense": ["mae", "mse"]}, weighted_metrics=["acc"])
    assert keras.compiled_metrics(model) == ["mae", "mse", "acc"]


def test_lambdas_of_keras() -> None:
    from tf_keras.src.saving import serialization_lib

    with keras.lambdas_allowed():
        assert serialization_lib.in_safe_mode() is False


def test_projections_of_attention_of_keras() -> None:
    layer = tf.keras.layers.MultiHeadAttention(1, 2)
    x = tf.keras.Input([3, 4])
    layer(x, x)
    assert all(hasattr(one, "kernel") for one in keras.attention_projections(layer).values())


def test_rules_of_autograph() -> None:
    from tensorflow.python.autograph.core import config, config_lib
    from tensorflow.python.autograph.impl import conversion

    assert isinstance(config.CONVERSION_RULES, tuple)
    assert parameters(conversion.is_allowlisted)[0] in {"o", "entity"}
    assert parameters(conversion.cache_allowlisted) == ["entity", "options"]
    assert parameters(config_lib.Convert.__init__) == ["module_prefix"]
    assert parameters(config_lib.DoNotConvert.__init__) == ["module_prefix"]


# TensorFlow Model Optimization: tfmot.


def test_wrapper_of_the_model_optimization_toolkit() -> None:
    wrapper = tfmot.QuantizeWrapper(
        tf.keras.layers.Dense(2), LayerConfig("kernel", WeightQuantizer(), MovingAverageQuantizer())
    )
    wrapper(tf.keras.Input([3]))
    (kernel,) = tfmot.quantized_weights(wrapper)
    assert kernel.shape == (3, 2)
    assert {"min_var", "max_var"} <= set(tfmot.output_range(wrapper))
    assert any(variable is kernel for variable in wrapper.trainable_weights)
    tfmot.freeze(wrapper)
    assert not any(variable is kernel for variable in wrapper.trainable_weights)
    assert any(variable is kernel for variable in wrapper.non_trainable_weights)


def test_bases_of_the_model_optimization_toolkit() -> None:
    assert parameters(tfmot.QuantizeScheme.get_layout_transformer) == []
    assert parameters(tfmot.QuantizeScheme.get_quantize_registry) == []
    assert parameters(tfmot.QuantizeLayoutTransform.apply) == ["model", "layer_quantize_map"]
    assert parameters(tfmot.QuantizeRegistry.get_quantize_config) == ["layer"]


def test_smart_cond_of_the_model_optimization_toolkit() -> None:
    assert tfmot.smart_cond(True, lambda: 1, lambda: 2) == 1
    assert int(tfmot.smart_cond(tf.constant(False), lambda: tf.constant(1), lambda: tf.constant(2))) == 2


@pytest.mark.parametrize("kind", ["LINEAR", "RANDOM", "DENSITY_BASED", "KMEANS_PLUS_PLUS"])
def test_centroids_of_the_model_optimization_toolkit(kind: str) -> None:
    values = np.linspace(-1, 1, 20, dtype=np.float32)
    assert tfmot.initial_centroids(kind, values, 4, keeps_zero=False).shape == (4,)


# Apache Beam: beam.


def test_runners_of_beam() -> None:
    from apache_beam.options.pipeline_options import StandardOptions

    assert isinstance(StandardOptions.DEFAULT_RUNNER, str | None)
    assert all(isinstance(path, str) for path in StandardOptions.ALL_KNOWN_RUNNERS)


def test_pickler_and_signatures_of_beam() -> None:
    from apache_beam.internal import pickler
    from apache_beam.transforms import core, ptransform, util
    from apache_beam.typehints import decorators

    assert pickler.USE_CLOUDPICKLE == "cloudpickle"
    assert pickler.DEFAULT_PICKLE_LIB in {"dill", "cloudpickle"}
    assert parameters(decorators.get_signature) in (["func"], ["function"])
    for module in (core, ptransform, util):
        assert module.get_signature is decorators.get_signature


# ML Metadata: ml_metadata.


def test_native_calls_of_ml_metadata(tmp_path: Any) -> None:
    from ml_metadata.metadata_store import metadata_store

    from components.upstream.ml_metadata import is_postgresql
    from pipelines.storage.metadata_connection import open_store

    assert parameters(metadata_store.MetadataStore._pywrap_cc_call) == ["method", "request", "response"]
    assert not is_postgresql(open_store(f"sqlite:{tmp_path}/m.sqlite"))


# TFX: tfx.


def test_launcher_of_tfx() -> None:
    from tfx.orchestration.portable import launcher, runtime_parameter_utils
    from tfx.proto.orchestration import executable_spec_pb2

    kinds = {executable_spec_pb2.PythonClassExecutableSpec, executable_spec_pb2.BeamExecutableSpec}
    assert kinds <= set(launcher.DEFAULT_EXECUTOR_OPERATORS)
    assert parameters(runtime_parameter_utils.substitute_runtime_parameter) == ["msg", "parameter_bindings"]


def test_cache_of_tfx() -> None:
    from tfx.orchestration.portable import cache_utils, launcher
    from tfx.orchestration.portable.mlmd import context_lib

    # The launcher looks the function up in its module, and names all arguments.
    call = inspect.getsource(launcher).split("cache_utils.get_cache_context(")[1].split(")")[0]
    named = ["metadata_handle", "pipeline_node", "pipeline_info", "executor_spec", "input_artifacts"]
    assert [part.partition("=")[0].strip() for part in call.split(",") if part.strip()][:5] == named
    assert parameters(cache_utils.get_cache_context) == [*named, "output_artifacts", "parameters"]
    assert parameters(cache_utils.get_cached_outputs) == ["metadata_handle", "cache_context"]
    wanted = {"metadata_handle", "context_type_name", "context_name"}
    assert wanted <= set(parameters(context_lib.register_context_if_not_exists))
    assert context_lib.CONTEXT_TYPE_EXECUTION_CACHE


def test_executors_of_tfx() -> None:
    from tfx.components.trainer.executor import GenericExecutor
    from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor

    assert parameters(BaseBeamExecutor._make_beam_pipeline) == []
    assert parameters(GenericExecutor._GetFnArgs) == ["input_dict", "output_dict", "exec_properties"]


def test_example_gens_of_tfx() -> None:
    from tfx.components.example_gen import write_split

    assert "beam.ParDo(MaybeSerialize())" in inspect.getsource(write_split)


def test_example_validator_of_tfx() -> None:
    from tfx.components.example_validator import executor

    assert parameters(executor.Executor._Validate) == ["inputs", "outputs"]
    assert "self._Validate(" in inspect.getsource(executor.Executor.Do)


def test_function_components_of_tfx() -> None:
    assert list(Doubled(number=1).outputs) == ["doubled"]


def test_kubeflow_support_of_tfx() -> None:
    from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_entrypoint_utils as utils
    from tfx.orchestration.kubeflow.v2.file_based_example_gen import driver
    from tfx.orchestration.kubeflow.v2.kubeflow_v2_dag_runner import KubeflowV2DagRunner, KubeflowV2DagRunnerConfig
    from tfx.orchestration.portable import outputs_utils

    assert parameters(utils.parse_raw_artifact_dict) == ["inputs_dict", "name_from_id"]
    assert parameters(utils.parse_execution_properties) == ["google_parameters", "kubeflow_parameters", "inputs_spec"]
    assert parameters(utils.translate_executor_output) == ["output_dict", "name_from_id"]
    assert parameters(outputs_utils.tag_output_artifacts_with_version) == ["output_artifacts"]
    assert parameters(driver.main) == ["args"]
    source = inspect.getsource(driver.main)
    assert "args.json_serialized_invocation_args" in source
    assert "args.json_serialized_inputs_spec_args" in source
    named = {"default_image", "default_commands", "use_pipeline_spec_2_1"}
    assert named <= set(parameters(KubeflowV2DagRunnerConfig.__init__))
    assert parameters(KubeflowV2DagRunner.run)[0] == "pipeline"
    assert "write_out" in parameters(KubeflowV2DagRunner.run)


def test_definition_of_a_saved_model(tmp_path: Any) -> None:
    from components.upstream.saved_model import read_proto

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
    def serve(x: Any) -> Any:
        return {"y": tf.quantization.fake_quant_with_min_max_args(x, -1.0, 1.0, num_bits=4)}

    module = tf.Module()
    module.serve = serve
    tf.saved_model.save(module, str(tmp_path), signatures={"serving_default": serve})
    functions = read_proto(tmp_path).meta_graphs[0].graph_def.library.function
    nodes = [node for one in functions for node in one.node_def if node.op.startswith("FakeQuantWithMinMax")]
    assert {node.attr["num_bits"].i for node in nodes} == {4}
    taken = {argument.type for one in functions for argument in one.signature.input_arg}
    assert tf.float32.as_datatype_enum in taken
