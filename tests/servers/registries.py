"""Registries of every kind under many kills: six publishers, changes of signed registries, and collections.

`make test-registries` runs it. It isn't part of the suite, which runs a few of the same.
"""

from __future__ import annotations

import os

# Before the modules read them.
os.environ.setdefault("EDGEMILL_TEST_KILLS", "400")
os.environ.setdefault("EDGEMILL_TEST_STRIDE", "3")
os.environ.setdefault("EDGEMILL_TEST_ROUNDS", "10")
os.environ.setdefault("EDGEMILL_TEST_SIGNED_KILLS", "12")

from tests.components.push.conftest import processes, store  # noqa: F401
from tests.components.push.test_collection_races import *  # noqa: F403
from tests.components.push.test_random_kills import *  # noqa: F403
from tests.components.push.test_signed_kills import *  # noqa: F403
