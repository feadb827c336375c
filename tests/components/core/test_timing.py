import pytest

from components.core.timing import interleaved_minima, twins_agree


def test_interleaved_minima_runs_all_in_another_order_each_round_when_seeded():
    def order(seed):
        calls = []
        # Longer than a block, so that a block is one call.
        runs = {name: lambda name=name: (calls.append(name), sum(range(200_000))) for name in "abc"}
        minima = interleaved_minima(runs, seed, rounds=12)
        assert set(minima) == set("abc")
        assert min(minima.values()) > 0
        return ["".join(calls[6 + i : 9 + i]) for i in range(0, 36, 3)]

    first = order(1)
    assert all(sorted(each) == ["a", "b", "c"] for each in first)
    assert len(set(first)) > 2
    assert first == order(1)
    assert first != order(2)


@pytest.mark.parametrize(("one", "other", "agree"), [(100, 105, True), (100, 105.1, False), (105.1, 100, False)])
def test_twins_agree_up_to_5_percent_of_the_faster(one, other, agree):
    assert twins_agree(one * 1e-6, other * 1e-6) == agree
