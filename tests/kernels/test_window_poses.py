"""Test that overlapping windows give each animal once, and each keypoint to one animal."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.kernels.window_poses import SharingRules, find_copies, rank_poses, share_peaks

NAN = np.nan
# Three keypoints 20 px from their centre: the size is 20 px, of which 0.3 are 6 px.
ANIMAL = np.array([[20.0, 0.0], [-10.0, 17.3205], [-10.0, -17.3205]])


def at(x, y):
    """Return the animal with its centre there."""
    return np.add(ANIMAL, (x, y))


def choose(poses, confidence, *, pcutoff=0.1, min_confidence=0.1, min_keypoints=2):
    """Choose among the poses of one frame."""
    position, confidence, _ = rank_poses(
        np.array([poses], np.float32),
        np.array([confidence], np.float32),
        pcutoff=pcutoff,
        min_confidence=min_confidence,
        min_keypoints=min_keypoints,
        least_size=4.0,
    )
    assert position.dtype == confidence.dtype == np.float32
    return position[0], confidence[0]


def test_poses_come_best_first():
    poses = [ANIMAL + 100, ANIMAL, ANIMAL + 300]
    position, confidence = choose(poses, [[0.5] * 3, [0.9, 0.8, 0.9], [0.6] * 3])
    np.testing.assert_allclose(position, [poses[1], poses[2], poses[0]], rtol=1e-6)
    np.testing.assert_allclose(confidence[:, 0], [0.9, 0.6, 0.5])


def test_a_keypoint_below_the_cutoff_is_not_there():
    position, confidence = choose([ANIMAL, ANIMAL + 100], [[0.9, 0.09, 0.1], [0.3] * 3])
    assert np.isnan(position[0, 1]).all()
    np.testing.assert_allclose(position[0, 2], ANIMAL[2], rtol=1e-6)
    np.testing.assert_allclose(confidence[0], np.array([0.9, 0.0, 0.1], np.float32))
    assert np.isfinite(position[1]).all()


def test_weak_keypoints_are_kept_if_others_make_the_individual():
    """Keep what two certain keypoints vouch for, not what three weak ones would make."""
    position, confidence = choose(
        [ANIMAL, ANIMAL + 100], [[0.9, 0.05, 0.1], [0.09] * 3], min_confidence=0.04
    )
    np.testing.assert_allclose(position[0], ANIMAL, rtol=1e-6)
    np.testing.assert_allclose(confidence[0], np.array([0.9, 0.05, 0.1], np.float32))
    assert np.isnan(position[1]).all()


def test_weak_keypoints_do_not_hide_a_copy():
    """The worse pose shares its two certain keypoints with the better one; a third is elsewhere."""
    worse = ANIMAL.copy()
    worse[2] += 50.0
    position, _ = choose([ANIMAL, worse], [[0.9] * 3, [0.5, 0.5, 0.05]], min_confidence=0.04)
    assert np.isnan(position[1]).all()


def test_an_individual_of_too_few_keypoints_is_not_there():
    position, confidence = choose([ANIMAL, ANIMAL + 100], [[0.9, 0.05, 0.05], [0.3, 0.3, 0.0]])
    np.testing.assert_allclose(position[0, :2], ANIMAL[:2] + 100, rtol=1e-6)
    assert np.isnan(position[1]).all()
    assert (confidence[1] == 0).all()


@pytest.mark.parametrize(("wanted", "found"), [(1, 1), (3, 1), (9, 1)])
def test_no_more_keypoints_are_asked_for_than_there_are(wanted, found):
    position, _ = choose([ANIMAL], [[0.5] * 3], min_keypoints=wanted)
    assert np.isfinite(position).all(axis=(1, 2)).sum() == found


def test_no_window_is_no_individual_whatever_the_cutoff():
    position, confidence = choose([np.full((3, 2), NAN)], [[0.0] * 3], pcutoff=0.0)
    assert np.isnan(position).all()
    assert (confidence == 0).all()
    nothing = rank_poses(
        np.empty((0, 2, 3, 2), np.float32),
        np.empty((0, 2, 3), np.float32),
        pcutoff=0.1,
        min_confidence=0.1,
        min_keypoints=1,
        least_size=1.0,
    )
    assert [part.shape for part in nothing] == [(0, 2, 3, 2), (0, 2, 3), (0, 2)]


@pytest.mark.parametrize(
    ("shift", "copies"),
    # exp(-d^2 / (2 * 6^2)) is 0.5 at d = 6 * sqrt(2 * ln 2) = 7.0645.
    [(0.0, True), (7.06, True), (7.07, False), (40.0, False)],
)
def test_two_windows_that_found_the_same_animal_give_one(shift, copies):
    poses = [at(shift, 0.0), ANIMAL]
    position, confidence = choose(poses, [[0.6] * 3, [0.9] * 3])
    np.testing.assert_allclose(position[0], ANIMAL, rtol=1e-6)
    assert np.isnan(position[1]).all() == copies
    assert (confidence[1] == 0).all() == copies


def test_a_part_of_an_animal_is_a_copy_and_one_keypoint_in_common_is_none():
    part = ANIMAL + 1.0
    part[2] = NAN
    assert find_copies(np.array([[ANIMAL, part]]), 1.0).tolist() == [[False, True]]
    nose_to_nose = at(0.0, 0.0) * (-1.0, 1.0) + np.array([40.0, 0.0])
    assert find_copies(np.array([[ANIMAL, nose_to_nose]]), 1.0).tolist() == [[False, False]]


def test_a_pose_similar_to_a_copy_is_kept():
    """Place three in a row, 6 px apart: the middle one copies the first, the last one does not."""
    poses = np.array([[ANIMAL, at(6.0, 0.0), at(12.0, 0.0)]])
    assert find_copies(poses, 1.0).tolist() == [[False, True, False]]


def test_a_pose_of_one_keypoint_has_the_size_that_is_given():
    """Check that 0.3 of 10 px are 3 px, and that the similarity is one half at 3.53 px."""
    for apart, copy in ((3.5, True), (3.6, False)):
        poses = np.array([[[[50.0, 50.0]], [[50.0 + apart, 50.0]]]])
        assert find_copies(poses, 10.0).tolist() == [[False, copy]]


def test_those_that_are_not_there_are_no_copies():
    assert find_copies(np.full((2, 3, 3, 2), NAN), 1.0).tolist() == [[False] * 3] * 2


@given(st.data())
def test_neither_order_nor_other_frames_matter(data):
    seed = data.draw(st.integers(0, 10_000))
    stream = np.random.default_rng(seed)
    frames, animals = 3, 4
    centre = stream.uniform(0, 60, (frames, animals, 1, 2))
    poses = (ANIMAL + centre).astype(np.float32)
    confidence = stream.uniform(0, 1, (frames, animals, 3)).astype(np.float32)
    settings = {"pcutoff": 0.2, "min_confidence": 0.1, "min_keypoints": 2, "least_size": 4.0}
    together = rank_poses(poses, confidence, **settings)[:2]
    orders = list(itertools.permutations(range(animals)))
    order = list(data.draw(st.sampled_from(orders)))
    turned = rank_poses(poses[:, order], confidence[:, order], **settings)[:2]
    for ours, theirs in zip(together, turned, strict=True):
        assert ours.tobytes() == theirs.tobytes()
    for frame in range(frames):
        alone = rank_poses(poses[frame : frame + 1], confidence[frame : frame + 1], **settings)
        for ours, theirs in zip(together, alone[:2], strict=True):
            assert ours[frame].tobytes() == theirs[0].tobytes()


def share(peaks, confidence, *, pcutoff=0.1, min_keypoints=2, cell=4.0):
    """Share peaks (window, peak, keypoint, 2) of one frame and one network."""
    position, values = share_members(
        [peaks], [confidence], pcutoff=pcutoff, min_keypoints=min_keypoints, cell=cell
    )
    return position[0], values[0]


def share_members(peaks, confidence, *, pcutoff=0.1, min_keypoints=2, cell=4.0):
    """Share peaks (member, window, peak, keypoint, 2) of one frame."""
    position, values = share_peaks(
        np.array(peaks, np.float32),
        np.array(confidence, np.float32),
        SharingRules(pcutoff, min_keypoints, cell),
    )
    assert position.dtype == values.dtype == np.float32
    return position, values


NONE = np.full((3, 2), NAN)
# Beside `ANIMAL`, so that a window shows both.
OTHER = ANIMAL + 45.0


def test_animals_that_dispute_nothing_take_their_best_peaks():
    position, confidence = share(
        [[ANIMAL, ANIMAL + 9], [OTHER, OTHER + 9]], [[[0.9] * 3, [0.5] * 3], [[0.6] * 3, [0.5] * 3]]
    )
    np.testing.assert_allclose(position, [ANIMAL, OTHER], rtol=1e-6)
    np.testing.assert_allclose(confidence, np.array([[0.9] * 3, [0.6] * 3], np.float32))


def test_a_keypoint_that_two_windows_found_goes_to_one_of_them():
    """The second window's best first keypoint is that of the first animal, 1 px off."""
    best, next_ = OTHER.copy(), NONE.copy()
    best[0], next_[0] = ANIMAL[0] + 1.0, OTHER[0]
    position, confidence = share(
        [[ANIMAL, NONE], [best, next_]], [[[0.9] * 3, [0.0] * 3], [[0.8, 0.9, 0.9], [0.3, 0, 0]]]
    )
    np.testing.assert_allclose(position, [ANIMAL, OTHER], rtol=1e-6)
    np.testing.assert_allclose(confidence[1], np.array([0.3, 0.9, 0.9], np.float32))


def test_who_has_the_better_alternative_gives_way():
    """0.8 and 0.7 at the disputed place are worth less than 0.7 there and 0.6 elsewhere."""
    first, second, away = ANIMAL.copy(), OTHER.copy(), NONE.copy()
    second[0] = ANIMAL[0]
    away[0] = ANIMAL[0] + 12.0
    position, confidence = share(
        [[first, away], [second, NONE]],
        [[[0.8, 0.9, 0.9], [0.6, 0, 0]], [[0.7, 0.9, 0.9], [0.0] * 3]],
    )
    np.testing.assert_allclose(position[:, 0], [away[0], second[0]], rtol=1e-6)
    np.testing.assert_allclose(confidence[:, 0], np.array([0.6, 0.7], np.float32))


@pytest.mark.parametrize(("other", "moves"), [(0.0, False), (0.12, False), (0.13, True)])
def test_a_weak_peak_is_no_alternative(other, moves):
    """Sharing is worth 0.8 and a quarter of 0.9: 1.025; moving 0.9 and the other peak."""
    best, next_ = OTHER.copy(), NONE.copy()
    best[2], next_[2] = ANIMAL[2], OTHER[2]
    position, confidence = share(
        [[ANIMAL, NONE], [best, next_]], [[[0.9] * 3, [0.0] * 3], [[0.8] * 3, [0.0, 0.0, other]]]
    )
    np.testing.assert_allclose(position, [ANIMAL, OTHER if moves else best], rtol=1e-6)
    np.testing.assert_allclose(confidence[1, 2], other if moves else 0.8, rtol=1e-6)


@pytest.mark.parametrize(
    ("cell", "apart", "same"),
    # The size of the animals is 20 px, of which 0.15 are 3 px.
    [(2.0, 1.9, True), (2.0, 2.1, False), (8.0, 2.9, True), (8.0, 3.1, False)],
)
def test_keypoints_further_apart_than_a_cell_are_two(cell, apart, same):
    best, next_ = OTHER.copy(), NONE.copy()
    best[0], next_[0] = ANIMAL[0] + (0.0, apart), OTHER[0]
    position, _ = share(
        [[ANIMAL, NONE], [best, next_]],
        [[[0.9] * 3, [0.0] * 3], [[0.8] * 3, [0.5, 0.0, 0.0]]],
        cell=cell,
    )
    np.testing.assert_allclose(position[1, 0], OTHER[0] if same else best[0], rtol=1e-6)


def test_a_window_with_the_animal_of_another_takes_nothing():
    """Its other peaks are not an animal of their own."""
    position, confidence = share(
        [[ANIMAL + 1.0, OTHER], [ANIMAL, NONE]], [[[0.6] * 3, [0.3] * 3], [[0.9] * 3, [0.0] * 3]]
    )
    assert np.isnan(position[0]).all()
    assert (confidence[0] == 0).all()
    np.testing.assert_allclose(position[1], ANIMAL, rtol=1e-6)


def test_the_owner_keeps_its_keypoint_beside_one_that_has_no_other():
    """0.95 and a quarter of 0.9 are more than 0.1 elsewhere and 0.9."""
    best, noise = OTHER.copy(), NONE.copy()
    best[0], noise[0] = ANIMAL[0], ANIMAL[0] + 15.0
    position, _ = share(
        [[ANIMAL, noise], [best, NONE]],
        [[[0.95, 0.9, 0.9], [0.1, 0, 0]], [[0.9] * 3, [0.0] * 3]],
    )
    np.testing.assert_allclose(position, [ANIMAL, best], rtol=1e-6)
    # With 0.6 elsewhere it gives way.
    position, _ = share(
        [[ANIMAL, noise], [best, NONE]],
        [[[0.95, 0.9, 0.9], [0.6, 0, 0]], [[0.9] * 3, [0.0] * 3]],
    )
    np.testing.assert_allclose(position[0, 0], noise[0], rtol=1e-6)


def test_noise_is_no_alternative_to_the_keypoint_of_a_surer_animal():
    """0.04 is less than a tenth of 0.5, 0.06 is more."""
    best, noise = OTHER.copy(), NONE.copy()
    best[0], noise[0] = ANIMAL[0], OTHER[0]
    for value, place in ((0.04, best[0]), (0.06, noise[0])):
        position, _ = share(
            [[ANIMAL, NONE], [best, noise]],
            [[[0.9] * 3, [0.0] * 3], [[0.5, 0.9, 0.9], [value, 0, 0]]],
        )
        np.testing.assert_allclose(position[1, 0], place, rtol=1e-6)


def test_a_small_animal_near_a_large_one_has_a_keypoint_of_its_own():
    """They are 4 px apart: within a cell, but not within 0.15 of the 10 px of the small one."""
    large, third, small = ANIMAL * 4, ANIMAL * 4 + 300.0, ANIMAL / 2 - 200.0
    third[0], small[0] = large[0], large[0] + (4.0, 0.0)
    small[1:] = small[0] + ANIMAL[1:] / 2 - ANIMAL[0] / 2
    away = [NONE.copy() for _ in range(3)]
    for number, one in enumerate(away):
        one[0] = 1000.0 * (number + 1)
    poses = zip((large, third, small), away, strict=True)
    confidence = [
        [[sure, 0.9, 0.9], [other, 0, 0]] for sure, other in ((0.9, 0.5), (0.8, 0.6), (0.95, 0.3))
    ]
    position, _ = share([list(pair) for pair in poses], confidence, cell=8.0)
    np.testing.assert_allclose(position[:, 0], [large[0], away[1][0], small[0]], rtol=1e-6)


def test_a_window_without_an_animal_disputes_nothing():
    """The second window has one certain keypoint less than an animal needs."""
    best, next_ = OTHER.copy(), NONE.copy()
    best[0], next_[0] = ANIMAL[0] + 0.5, OTHER[0]
    noise = NONE.copy()
    noise[0] = ANIMAL[0] + 15.0
    peaks = [[ANIMAL, noise], [best, next_]]
    confidence = [[[0.5, 0.9, 0.9], [0.4, 0, 0]], [[0.9, 0.9, 0.05], [0.1, 0, 0]]]
    position, _ = share(peaks, confidence, min_keypoints=3)
    np.testing.assert_allclose(position, [ANIMAL, best], rtol=1e-6)
    position, _ = share(peaks, confidence, min_keypoints=2)
    np.testing.assert_allclose(position[0, 0], noise[0], rtol=1e-6)


def test_sharing_does_not_leave_an_animal_with_too_few_keypoints():
    best, next_ = OTHER.copy(), NONE.copy()
    best[2], next_[2] = ANIMAL[2], OTHER[2]
    peaks = [[ANIMAL, NONE], [best, next_]]
    for least, expected in ((3, best), (2, OTHER)):
        position, _ = share(
            peaks,
            [[[0.9] * 3, [0.0] * 3], [[0.88] * 3, [0, 0, 0.25]]],
            pcutoff=0.3,
            min_keypoints=least,
        )
        np.testing.assert_allclose(position[1], expected, rtol=1e-6)


def test_members_decide_together_who_has_a_keypoint():
    """The first of two networks would give it to the second animal, the second to the first."""
    first, second = ANIMAL.copy(), OTHER.copy()
    second[0] = ANIMAL[0] + 0.5
    away, back = NONE.copy(), NONE.copy()
    away[0], back[0] = ANIMAL[0] + 15.0, OTHER[0]
    peaks = [[first, away], [second, back]]
    rest = [0.9, 0.9]
    one = [[[0.7, *rest], [0.3, 0, 0]], [[0.8, *rest], [0.3, 0, 0]]]
    other = [[[0.9, *rest], [0.3, 0, 0]], [[0.6, *rest], [0.3, 0, 0]]]
    position, confidence = share_members([peaks, peaks], [one, other])
    np.testing.assert_allclose(position, [[ANIMAL, OTHER]] * 2, rtol=1e-6)
    np.testing.assert_allclose(confidence[:, :, 0], [[0.7, 0.3], [0.9, 0.3]], rtol=1e-6)
    alone, _ = share(peaks, one)
    np.testing.assert_allclose(alone[:, 0], [away[0], second[0]], rtol=1e-6)


def test_a_member_without_the_peak_that_was_chosen_has_none():
    best, next_ = OTHER.copy(), NONE.copy()
    best[0], next_[0] = ANIMAL[0], OTHER[0]
    sure = [[[0.9] * 3, [0.0] * 3], [[0.8, 0.9, 0.9], [0.3, 0, 0]]]
    position, confidence = share_members(
        [[[ANIMAL, NONE], [best, next_]], [[ANIMAL, NONE], [best, NONE]]], [sure, sure]
    )
    np.testing.assert_allclose(position[0, 1], OTHER, rtol=1e-6)
    assert np.isnan(position[1, 1, 0]).all()
    assert confidence[1, 1, 0] == 0.0


def test_members_agree_which_of_two_windows_shows_a_copy():
    peaks = [[ANIMAL, NONE], [ANIMAL + 1.0, NONE]]
    one, other = (
        [[[value] * 3, [0.0] * 3] for value in pair] for pair in ((0.9, 0.8), (0.7, 0.75))
    )
    position, _ = share_members([peaks, peaks], [one, other])
    there = np.isfinite(position).all(axis=(2, 3))
    assert there.tolist() == [[True, False]] * 2


def test_windows_without_anything_share_nothing():
    position, confidence = share([[NONE], [NONE]], [[[0.0] * 3], [[0.0] * 3]])
    assert np.isnan(position).all()
    assert (confidence == 0).all()


@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 3))
def test_peaks_are_those_of_the_windows_whatever_their_order(seed, windows, members):
    stream = np.random.default_rng(seed)
    centre = stream.uniform(0, 60, (windows, 1, 1, 2))
    # Half of the peaks stand where another window found one, too.
    peaks = ANIMAL + centre + stream.uniform(-40, 40, (members, windows, 3, 3, 2))
    peaks[:, :, 1] = np.where(
        stream.random((windows, 3, 1)) < 0.5, peaks[:1, :1, 0], peaks[:, :, 1]
    )
    confidence = -np.sort(-stream.uniform(0, 1, (members, windows, 3, 3)), axis=2)
    position, values = share_members(peaks, confidence)
    order = stream.permutation(windows)
    again, _ = share_members(peaks[:, order], confidence[:, order])
    assert again.tobytes() == position[:, order].tobytes()
    there = np.isfinite(position).all(-1)
    offered = (position[:, :, None] == peaks.astype(np.float32)).all(-1).any(2)
    assert (offered == there).all()
    assert ((values > 0) == there).all()
