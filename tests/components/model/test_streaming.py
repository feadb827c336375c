import numpy as np

from components.model.streaming import drive, next_name, state_name, state_pairs, zero_state


def test_states_are_paired_by_name():
    assert state_name("block/gru-1", "h") == "state_block_gru_1_h"
    assert next_name("block/gru-1", "h") == "next_block_gru_1_h"
    assert state_pairs(["x", "state_a_h"], ["y", "next_a_h"]) == {"state_a_h": "next_a_h"}


def test_a_model_that_does_not_return_every_state_is_no_streaming_one():
    assert state_pairs(["x", "state_a_h", "state_b_h"], ["y", "next_a_h"]) == {}
    assert state_pairs(["x"], ["y"]) == {}


def test_loop_hands_the_state_on_from_frame_to_frame():
    def summing(inputs):
        total = inputs["state_s"] + inputs["x"]
        return {"y": 2 * total, "next_s": total}

    frames = np.array([[[1], [2], [4]], [[5], [0], [1]]], np.int16)
    zeros = zero_state(2, [1], np.int16, 3)
    returned = drive(summing, {"x": frames}, {"state_s": zeros}, {"state_s": "next_s"})
    assert [step["y"].ravel().tolist() for step in returned] == [[8, 16], [12, 16], [20, 18]]
    assert zeros.tolist() == [[3], [3]]
