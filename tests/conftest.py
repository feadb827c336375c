import gc
import importlib.abc
import os
import signal
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

import components  # noqa: F401  # chooses tf-keras before TensorFlow is imported
from components.upstream.beam import keep_beam_in_process

# A shell that starts the tests in the background makes them and all of their children ignore Ctrl-C, which some tests
# send.
for _number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGCHLD})
# Until all test files are imported. What imports make stays.
gc.disable()
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
# The models of the tests are so small that several threads cost more than they save. Child processes inherit this.
for _library in ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_library, "1")

# What `--fast` leaves out: tests that import one of these, directly or not, and tests that start a Python process,
# which can import anything. Both are found when it happens, so there is no list of tests that goes stale.
SLOW_LIBRARIES = frozenset(
    {
        "apache_beam",
        "kfp",
        "ml_metadata",
        "tensorflow",
        "tensorflow_data_validation",
        "tensorflow_model_analysis",
        "tensorflow_model_optimization",
        "tensorflow_transform",
        "tf_keras",
        "tfx",
        "tfx_bsl",
    }
)


# The files that take longest, longest first. Several processes start them in this order, so that none of them is left
# alone with a long file at the end. Files that are not listed follow, and take less than the last of these.
LONGEST_FILES = (
    "components/convert/recurrent/test_lowered.py",
    "components/convert/recurrent/test_fused_lstm.py",
    "e2e/test_qat_levels.py",
    "pipelines/checks/test_dry_run.py",
    "e2e/test_fashion_mnist.py",
    "e2e/test_recurrent.py",
    "components/fine_tune/test_loop.py",
    "e2e/test_resilience.py",
    "e2e/test_inputs.py",
    "e2e/test_run.py",
    "components/push/test_faults.py",
    "components/gate/test_false_blessings.py",
    "pipelines/checks/test_limits.py",
    "components/quantize/test_preserve.py",
    "e2e/test_cache.py",
    "components/fake_quantize/test_layer_table.py",
    "pipelines/checks/test_recipe_check.py",
    "components/quantize/test_qat_training.py",
    "components/model/keras3/test_rebuild.py",
    "e2e/test_combinations.py",
    "components/evaluate/test_outputs.py",
    "components/convert/test_wide.py",
    "e2e/test_object_store.py",
    "e2e/test_extensions.py",
    "edgemill/test_fuzz.py",
    "components/device_check/test_tflm.py",
    "e2e/test_two_outputs.py",
    "kubeflow/test_launcher.py",
    "e2e/test_clean.py",
    "e2e/test_tampering.py",
    "e2e/test_device_tools.py",
    "components/model/keras3/test_proof.py",
    "components/device_check/test_check.py",
    "components/fake_quantize/test_rewrite.py",
    "components/fake_quantize/test_whole_models.py",
    "e2e/test_recovery.py",
    "components/convert/child/test_worker.py",
    "components/convert/aeq/test_layer_families.py",
)


class _Fast(importlib.abc.MetaPathFinder):
    """Skips tests, or whole files, when they turn out to be slow."""

    def __init__(self) -> None:
        self._reason = ""
        self._running = False
        # A fixture that failed once fails again with the same exception.
        self._seen: list[BaseException] = []

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.partition(".")[0] in SLOW_LIBRARIES:
            self._skip(f"imports {name}")

    def audit(self, event: str, arguments: tuple[object, ...]) -> None:
        if self._running and event == "subprocess.Popen" and "python" in str(arguments[:2]):
            self._skip("starts a Python process")

    def _skip(self, reason: str) -> None:
        self._reason = f"--fast: {reason}"
        pytest.skip(self._reason, allow_module_level=True)

    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        return True if collection_path == Path(__file__).parent / "e2e" else None

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self) -> Generator[None, object, object]:
        self._running, self._reason = True, ""
        try:
            return (yield)
        finally:
            self._running = False

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        error = call.excinfo.value if call.excinfo else None
        # The code under test may have turned the skip into an error.
        if report.failed and error is not None and (self._reason or error in self._seen):
            self._seen.append(error)
            report.outcome = "skipped"
            report.longrepr = (str(item.path), item.location[1] or 0, self._reason or "--fast: as the test before")
        return report


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fast", action="store_true", help="skip what imports TensorFlow or TFX or starts Python")


def pytest_configure(config: pytest.Config) -> None:
    # Without this, --dist loadfile sorts files by their number of tests, and those with whole pipelines come last.
    config.option.loadscopereorder = False
    if config.getoption("--fast"):
        fast = _Fast()
        sys.meta_path.insert(0, fast)
        sys.addaudithook(fast.audit)
        config.pluginmanager.register(fast)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    root = Path(__file__).parent
    if gone := [file for file in LONGEST_FILES if not (root / file).is_file()]:
        raise pytest.UsageError(f"LONGEST_FILES in tests/conftest.py names files that don't exist: {', '.join(gone)}")
    place = {file: index for index, file in enumerate(LONGEST_FILES)}
    items.sort(key=lambda item: place.get(item.path.relative_to(root).as_posix(), len(place)))


def pytest_collection_finish() -> None:
    # Full collections leave these objects out from now on.
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if report.skipped:
        # What a skipped file has not executed must be missing where another file imports it, not half there.
        for name, module in list(sys.modules.items()):
            if getattr(module, "__file__", None) == str(collector.path):
                del sys.modules[name]
    return report


@pytest.fixture(scope="session", autouse=True)
def beam_in_process() -> None:
    if "apache_beam" in sys.modules:
        keep_beam_in_process()


@pytest.fixture(scope="module", autouse=True)
def keras_as_it_is() -> None:
    """Tests build Keras models themselves: without this, AutoGraph rewrites every layer of Keras that they use."""
    if "tensorflow" in sys.modules:
        from components.upstream.autograph import leave_keras_as_it_is

        leave_keras_as_it_is()
