"""Who gets which release, by the state of a channel."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from components.trust.rollout import (
    ChannelState,
    ReleaseRef,
    RolloutError,
    choose,
    from_json,
    paused,
    released,
    rolled_back,
    to_json,
)

IDS = [f"device-{number}" for number in range(100_000)]
EMPTY = ChannelState("phone", "shoes", "stable")


def ref(letter: str) -> ReleaseRef:
    return ReleaseRef(letter * 16, letter * 64, 2048, "model.tflite.gz", letter * 64, 700, {"subject": []})


A, B, C, D, E, F = (ref(letter) for letter in "abcdef")


def holders(state: ChannelState, release: ReleaseRef) -> set[str]:
    return {one for one in IDS if choose(state, one, None) == release}


def test_share_of_simulated_devices_is_the_percentage_and_no_device_flips() -> None:
    state, before = released(EMPTY, A), set[str]()
    for percent in (5, 20, 50):
        state = released(state, B, percent * 100)
        have = holders(state, B)
        # 0.2 points to 5 %, which is 2.9 standard errors. Wider shares vary more: five standard errors.
        spread = (percent * (100 - percent) / len(IDS)) ** 0.5
        assert abs(100 * len(have) / len(IDS) - percent) < (0.2 if percent == 5 else 5 * spread)
        assert before <= have
        before = have
    assert holders(released(state, B), B) == set(IDS)
    # Another roll-out begins with other devices: 5 % of those that began with B, within five standard errors.
    first = holders(released(released(EMPTY, A), B, 500), B)
    both = first & holders(released(released(EMPTY, A), C, 500), C)
    assert abs(len(both) - 0.05 * len(first)) < 5 * (len(first) * 0.05 * 0.95) ** 0.5


def test_second_roll_out_leaves_the_first_as_it_is() -> None:
    first = released(released(EMPTY, A), B, 5000)
    second = released(first, C, 500)
    assert [stage.release for stage in second.stages] == [C, B, A]
    assert all(choose(second, one, None) in (C, choose(first, one, None)) for one in IDS[:2000])
    complete = released(second, C)
    assert (complete.stages[0].release, len(complete.stages), complete.history) == (C, 1, (A,))


def test_pause_keeps_what_devices_have_and_gives_it_to_no_other() -> None:
    state = paused(released(released(EMPTY, A), B, 5000))
    covered = next(one for one in IDS if choose(released(released(EMPTY, A), B, 5000), one, None) == B)
    assert choose(state, covered, None) == A
    assert choose(state, covered, B.version) == B
    assert choose(released(state, B, 5000), covered, None) == B


def test_raising_a_lower_roll_out_to_all_devices_leaves_the_newer_one() -> None:
    second = released(released(released(EMPTY, A), B, 2000), C, 500)
    raised = released(second, B)
    assert [(stage.release, stage.share) for stage in raised.stages] == [(C, 500), (B, 10_000)]
    assert (raised.history, released(raised, B)) == ((A,), raised)
    assert all((choose(raised, one, None) == C) == (choose(second, one, None) == C) for one in IDS[:2000])


def test_smaller_share_of_the_release_of_all_devices_returns_the_others_to_the_one_before() -> None:
    state = released(released(released(EMPTY, A), B), C)
    fewer = released(state, C, 500)
    assert ([stage.release for stage in fewer.stages], fewer.complete, fewer.history) == ([C, B], B, (A,))
    assert all(choose(fewer, one, C.version) in (B, C) for one in IDS[:2000])
    assert released(fewer, C) == state
    with pytest.raises(RolloutError, match=r"all devices get a{16}"):
        released(released(EMPTY, A), A, 500)


def test_paused_release_of_all_devices_gives_the_one_before_to_devices_without_it() -> None:
    state = paused(released(released(EMPTY, A), B))
    assert [choose(state, "device", running) for running in (None, A.version, B.version, "e" * 16)] == [A, A, B, A]
    # Also to those that a newer roll-out has reached, after that is taken back.
    back = rolled_back(released(state, C, 9999))
    assert (back, back.given) == (state, (B, A))
    assert choose(back, "device", C.version) == A
    # Without an earlier release, only the paused one is left for them.
    first = paused(released(EMPTY, A))
    assert [choose(first, "device", running) for running in (None, A.version)] == [None, A]
    assert choose(rolled_back(released(first, C, 9999)), "device", C.version) == A


def test_rollback_returns_to_the_release_before() -> None:
    state = released(released(released(EMPTY, A), B), C, 500)
    assert rolled_back(state).complete == B
    assert rolled_back(rolled_back(state)).complete == A
    with pytest.raises(RolloutError, match="no earlier release"):
        rolled_back(rolled_back(rolled_back(state)))


@pytest.mark.parametrize("share", [0, -1, 10_001])
def test_share_out_of_range_is_refused(share: int) -> None:
    with pytest.raises(RolloutError, match="is no share in percent"):
        released(EMPTY, A, share)


def test_changes_that_contradict_the_state_are_refused() -> None:
    with pytest.raises(RolloutError, match="no release"):
        paused(EMPTY)
    with pytest.raises(RolloutError, match=r"is below the newer roll-out of b{16}"):
        released(released(released(EMPTY, A, 100), B, 100), A, 200)
    state = EMPTY
    for one in (A, B, C, D):
        state = released(state, one, 100)
    with pytest.raises(RolloutError, match="already serves 4 releases"):
        released(state, E, 100)


def test_state_survives_json_and_unknown_fields_are_ignored() -> None:
    state = paused(released(released(EMPTY, A), B, 250))
    written = json.loads(json.dumps(to_json(state)))
    written["later"] = written["stages"][0]["later"] = written["stages"][0]["release"]["later"] = 1
    assert from_json(written) == state


@pytest.mark.parametrize(
    "broken",
    [None, [], {}, {"format": 2}, {**to_json(replace(EMPTY)), "stages": [{}]}, {**to_json(EMPTY), "stages": 3}],
)
def test_state_that_cannot_be_read_is_refused(broken: object) -> None:
    with pytest.raises(RolloutError):
        from_json(broken)
