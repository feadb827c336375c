import importlib.abc
import os
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

import components  # noqa: F401  # chooses tf-keras before TensorFlow is imported
from components.upstream.beam import keep_beam_in_process

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

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
        # The code under test may have made an error of its own of the skip.
        if report.failed and error is not None and (self._reason or error in self._seen):
            self._seen.append(error)
            report.outcome = "skipped"
            report.longrepr = (str(item.path), item.location[1] or 0, self._reason or "--fast: as the test before")
        return report


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fast", action="store_true", help="skip what imports TensorFlow or TFX or starts Python")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--fast"):
        fast = _Fast()
        sys.meta_path.insert(0, fast)
        sys.addaudithook(fast.audit)
        config.pluginmanager.register(fast)


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
