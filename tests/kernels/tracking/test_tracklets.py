"""Test tracklets: pure, in any order, and the same for any segments of the video."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.kernels.tracking.links import Links
from pipeline_lib.kernels.tracking.tracklets import link_poses, link_tracklets
from tests.kernels.tracking.tracking_scenes import (
    BODY,
    NAN,
    drop,
    make_link_rules,
    mislead,
    shuffle,
    slide,
)

# A pose moves by less than that per frame in these scenes.
RULES = make_link_rules()


def numbers_of(position, truth):
    """Return the tracklet of each true animal in each frame; -1 where it was not found."""
    number = link_tracklets(position, RULES)
    same = (np.nan_to_num(position[:, :, None], nan=-1e9) == truth[:, None]).all(-1).any(-1)
    return np.where(same.any(1), np.take_along_axis(number, same.argmax(1), 1), -1)


def test_animals_far_apart_are_one_tracklet_each():
    truth = slide(30, [[0, 0], [0, 200]], [[3, 0], [3, 0]])
    assert numbers_of(shuffle(truth), truth).tolist() in ([[0, 1]] * 30, [[1, 0]] * 30)


def test_numbers_ascend_with_the_first_frame():
    truth = slide(6, [[0, 0], [0, 200], [0, 400]], np.zeros((3, 2)))
    truth[:2, 1] = NAN
    truth[4:, 2] = NAN
    assert (
        link_tracklets(truth, RULES).tolist()
        == [[0, -1, 1]] * 2 + [[0, 2, 1]] * 2 + [[0, 2, -1]] * 2
    )


@pytest.mark.parametrize(("missing", "whole"), [(0, True), (5, True), (6, False)])
def test_gaps_of_at_most_max_gap_are_bridged(missing, whole):
    truth = slide(30, [[0, 0]], [[6, 2]])
    truth[10 : 10 + missing] = NAN
    number = link_tracklets(truth, RULES)
    assert bool(number[-1, 0] == number[0, 0]) is whole
    assert (number[10 : 10 + missing] == -1).all()


def test_a_fast_animal_is_expected_where_it_goes():
    # Two steps of the way are as long as the distance between the animals, which follow each
    # other; it takes them a while to get as fast.
    speed = np.minimum(np.arange(40) * 2.0, 18.0).cumsum()
    truth = slide(40, [[0, 0], [36, 0]], np.zeros((2, 2)))
    truth[..., 0] += speed[:, None, None]
    moving = link_tracklets(truth, RULES)
    assert (moving == [0, 1]).all()
    still = make_link_rules(motion="none")
    assert (link_tracklets(truth, still) != [0, 1]).any()


def test_a_tracklet_ends_where_two_continuations_are_as_good():
    # One animal, then two at the same distance from where it was.
    position = np.full((12, 2, 5, 2), NAN)
    position[:6, 0] = BODY
    position[6:, 0] = BODY + np.array([0, 8])
    position[6:, 1] = BODY - np.array([0, 8])
    number = link_tracklets(position, RULES)
    assert number[:6, 0].tolist() == [0] * 6
    assert number[6:].tolist() == [[1, 2]] * 6
    # The first is nearer than the other by far.
    position[6:, 1] = BODY - np.array([0, 24])
    assert link_tracklets(position, RULES)[6:].tolist() == [[0, 1]] * 6


def test_a_false_detection_beside_an_animal_does_not_become_it():
    truth = slide(20, [[0, 0]], [[2, 0]])
    false = np.full_like(truth, NAN)
    false[10] = truth[10] + np.array([0, 25])
    number = link_tracklets(np.concatenate([false, truth], axis=1), RULES)
    assert (number[:, 1] == 0).all()
    assert number[10, 0] == 1


def test_animals_that_coincide_are_cut_not_mixed():
    truth = slide(41, [[-80, 0], [80, 0]], [[4, 0], [-4, 0]])
    number = numbers_of(truth, truth)
    for animal in range(2):
        before, after = number[:18, animal], number[23:, animal]
        assert len(set(before.tolist())) == len(set(after.tolist())) == 1
    assert not set(number[:18, 0].tolist()) & set(number[23:, 1].tolist())
    assert not set(number[:18, 1].tolist()) & set(number[23:, 0].tolist())


@pytest.mark.parametrize("shape", [(0, 2, 3), (5, 0, 3), (1, 2, 3), (5, 2, 3)])
def test_no_frames_no_places_no_animals(shape):
    position = np.full((*shape, 2), NAN)
    number = link_tracklets(position, RULES)
    assert number.shape == shape[:2]
    assert (number == -1).all()


@settings(max_examples=40)
@given(st.integers(0, 999), st.lists(st.integers(1, 59), max_size=4), st.sampled_from([0, 1, 3]))
def test_tracklets_do_not_depend_on_the_segments(seed, cuts, max_gap):
    random = np.random.default_rng(seed)
    starts, velocities = random.uniform(0, 120, (4, 2)), random.normal(0, 4, (4, 2))
    position = mislead(drop(slide(60, starts, velocities), 0.2, seed), 0.1, seed)
    position[random.random((60, 4)) < 0.2] = NAN
    rules = make_link_rules(tolerance=12.0, max_gap=max_gap)
    whole = link_poses(position, rules)
    bounds = [0, *sorted(set(cuts)), 60]
    for start, stop in itertools.pairwise(bounds):
        first = max(0, start - rules.reach)
        part = link_poses(position[first : stop + rules.reach], rules)
        part = part.cut(start - first, stop - first)
        np.testing.assert_array_equal(part.step, whole.step[start:stop])
        np.testing.assert_array_equal(part.partner, whole.partner[start:stop])


def test_links_lead_to_one_pose_each():
    random = np.random.default_rng(3)
    position = drop(slide(50, random.uniform(0, 90, (3, 2)), random.normal(0, 5, (3, 2))), 0.4)
    links = link_poses(position, make_link_rules(min_similarity=0.2))
    frame, place = np.nonzero(links.step)
    targets = list(zip(frame + links.step[frame, place], links.partner[frame, place], strict=True))
    assert len(set(targets)) == len(targets) > 80
    assert all(np.isfinite(position[target]).all(-1).any() for target in targets)
    assert isinstance(links, Links)
    assert links.step.max() <= RULES.max_gap + 1
