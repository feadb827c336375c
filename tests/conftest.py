import os
import sys

import pytest

import components  # noqa: F401  # chooses tf-keras before TensorFlow is imported
from components.upstream.compat import keep_beam_in_process

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")


@pytest.fixture(scope="session", autouse=True)
def beam_in_process() -> None:
    if "apache_beam" in sys.modules:
        keep_beam_in_process()
