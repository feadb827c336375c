import numpy as np
import pytest

from components.ranges.unequal import crowded, ranges_along_axes, union


def test_channels_are_along_the_last_axis_and_behind_the_batch() -> None:
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    found = ranges_along_axes(values)
    np.testing.assert_array_equal(found[1], [[0, 4, 8], [15, 19, 23]])
    np.testing.assert_array_equal(found[2], [[0, 1, 2, 3], [20, 21, 22, 23]])
    assert ranges_along_axes(np.zeros((5, 1), np.float32)) == {}
    assert ranges_along_axes(np.zeros(5, np.float32)) == {}
    assert ranges_along_axes(np.zeros((5, 3), np.int32)) == {}


def test_ranges_of_batches_are_joined() -> None:
    one, other = (ranges_along_axes(np.float32([[low, 0], [high, 1]])) for low, high in ((-1, 2), (0, 5)))
    np.testing.assert_array_equal(union(one, other)[1], [[-1, 0], [5, 1]])
    np.testing.assert_array_equal(union({}, other)[1], other[1])


@pytest.mark.parametrize(
    ("widths", "scale", "channels"),
    [
        ([255, 255, 7.9], 1.0, (2,)),
        ([255, 8.1, 8.1], 1.0, ()),
        # A channel that is constant loses nothing.
        ([255, 0.0, 255], 1.0, ()),
        # All channels are narrow, so unequal ranges aren't the cause.
        ([20.0, 1.0, 1.0], 1.0, ()),
        ([1.0, 300.0, 1.0], 300 / 65535, ()),
    ],
)
def test_channel_is_crowded_when_it_covers_fewer_than_eight_steps(
    widths: list[float], scale: float, channels: tuple[int, ...]
) -> None:
    found = crowded({1: np.stack([np.zeros(3), np.asarray(widths)])}, scale)
    assert (() if found is None else found.channels) == channels
