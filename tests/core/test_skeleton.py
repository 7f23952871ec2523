"""Test the names, pairs and positions of skeletons."""

import pytest
from pydantic import ValidationError

from pipeline_lib.core.skeleton import Skeleton

BODYPARTS = ("nose", "ear_left", "ear_right", "tail", "paw_right", "paw_left")


def test_mirrored_order_swaps_the_pairs_and_keeps_the_rest():
    skeleton = Skeleton(
        bodyparts=BODYPARTS,
        symmetries=(("ear_left", "ear_right"), ("paw_left", "paw_right")),
    )
    assert skeleton.mirrored_order == (0, 2, 1, 3, 5, 4)
    order = skeleton.mirrored_order
    assert tuple(order[i] for i in order) == tuple(range(6))


def test_without_symmetries_every_bodypart_is_its_own_partner():
    assert Skeleton(bodyparts=BODYPARTS).mirrored_order == (0, 1, 2, 3, 4, 5)


def test_edges_are_pairs_of_positions():
    skeleton = Skeleton(bodyparts=BODYPARTS, edges=(("tail", "nose"), ("nose", "ear_left")))
    assert skeleton.edge_indices == ((3, 0), (0, 1))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"bodyparts": ("a", "b", "a")}, "bodyparts listed twice: a"),
        ({"edges": (("nose", "hip"),)}, "edges name unknown bodyparts: hip"),
        ({"symmetries": (("eyeL", "eyeR"),)}, "symmetries name unknown bodyparts: eyeL, eyeR"),
        ({"symmetries": (("nose", "nose"),)}, "symmetries join nose with itself"),
    ],
)
def test_names_that_do_not_fit(values, message):
    with pytest.raises(ValidationError, match=message):
        Skeleton(**{"bodyparts": BODYPARTS, **values})


def test_bodyparts_from_the_labels_complete_a_skeleton():
    skeleton = Skeleton(symmetries=(("ear_left", "ear_right"),))
    assert skeleton.with_bodyparts(BODYPARTS).mirrored_order == (0, 2, 1, 3, 4, 5)
    with pytest.raises(ValidationError, match="unknown bodyparts: ear_left"):
        skeleton.with_bodyparts(("nose", "ear_right"))


def test_a_bodypart_has_one_partner():
    """Refuse two, since mirroring would give two bodyparts the same keypoint."""
    with pytest.raises(ValidationError, match="symmetries name ear_left twice"):
        Skeleton(
            bodyparts=BODYPARTS,
            symmetries=(("ear_left", "ear_right"), ("ear_left", "paw_left")),
        )
