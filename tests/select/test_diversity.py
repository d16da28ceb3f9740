import numpy as np
import pytest

from moesift.select.diversity import k_centre

# A cluster at the origin, one at (10, 0), and a point far up.
POINTS = np.array([[0.0, 0.0], [0.1, 0.0], [10.0, 0.0], [10.0, 0.5], [0.0, 4.0]])


def test_each_point_is_the_farthest_from_those_before():
    assert k_centre(POINTS, 1) == [0]
    assert k_centre(POINTS, 3) == [0, 3, 4]
    assert k_centre(POINTS, 5) == [0, 3, 4, 2, 1]


def test_a_point_at_no_place_is_refused():
    with pytest.raises(ValueError, match="not finite"):
        k_centre(np.array([[0.0, 0.0], [np.nan, 0.0]]), 1)


def test_equal_points_are_chosen_once_each():
    assert k_centre(np.zeros((3, 2)), 3) == [0, 1, 2]
