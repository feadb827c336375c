"""What is reported of nodes while a run works."""

from pipelines.runs.metadata import NodeRecord, StateChanges


def looks(*looks, last=()):
    """What each look at the states of nodes (name -> state) reports; the one at `last` is after the run."""
    changes = StateChanges()

    def look(states, after=False):
        records = [NodeRecord(node, state, began=begun, ended=begun) for begun, (node, state) in enumerate(states)]
        return [(record.node, record.state) for record in changes.among(records, last=after)]

    return [look(states) for states in looks] + [look(states, after=True) for states in last]


def test_node_from_the_cache_that_was_registered_as_running_for_a_moment_never_runs():
    running, cached = [("a", "running")], [("a", "cached"), ("b", "running")]
    assert looks(running, cached, [("a", "cached"), ("b", "cached")]) == [[], [("a", "cached")], [("b", "cached")]]


def test_node_that_works_runs_from_the_second_look_on_and_is_reported_once():
    states = [[("a", "running")]] * 4 + [[("a", "complete")]] * 2
    assert looks(*states) == [[], [("a", "running")], [], [], [("a", "complete")], []]


def test_node_that_still_runs_after_the_run_is_reported():
    assert looks([], last=[[("a", "running")]]) == [[], [("a", "running")]]
