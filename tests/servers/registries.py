"""Registries of every kind under many kills: six publishers, pushes, changes of signed ones, collections, and devices.

`make test-registries` runs it. It isn't part of the suite, which runs a few of the same.
"""

from __future__ import annotations

import os

# Before the modules read them.
os.environ.setdefault("EDGEMILL_TEST_EVERY_STEP", "1")
os.environ.setdefault("EDGEMILL_TEST_KILLS", "400")
os.environ.setdefault("EDGEMILL_TEST_STRIDE", "3")
os.environ.setdefault("EDGEMILL_TEST_ROUNDS", "10")
os.environ.setdefault("EDGEMILL_TEST_SIGNED_KILLS", "12")

from tests.components.conftest import signed_registry  # noqa: F401
from tests.components.device_client.conftest import fleet  # noqa: F401
from tests.components.device_client.test_attacks_everywhere import *  # noqa: F403
from tests.components.device_client.test_pull import test_kill_at_every_step_leaves_the_old_model_or_the_new_one  # noqa: F401
from tests.components.push.conftest import processes, store  # noqa: F401
from tests.components.push.test_collection_races import *  # noqa: F403
from tests.components.push.test_decisions_of_a_model import *  # noqa: F403
from tests.components.push.test_faults import test_killed_push_leaves_the_old_release_or_the_new_one  # noqa: F401
from tests.components.push.test_random_kills import *  # noqa: F403
from tests.components.push.test_rollback_of_the_set import test_older_timestamp_is_refused_and_repaired_in_every_kind  # noqa: F401
from tests.components.push.test_signed_kills import *  # noqa: F403
