"""Test that animals are followed through blocks of frames, and searched where they are lost."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from pipeline_lib.models.inference.decoding import Located
from pipeline_lib.models.inference.locating.blocks import mark_blocks, predict_blocks
from pipeline_lib.models.inference.locating.coarse_to_fine import LookCounts
from pipeline_lib.models.inference.shared import SharedPredictor
from tests.models.inference.locating import test_coarse_to_fine as one
from tests.models.inference.locating import test_top_down as several


def test_blocks_count_from_the_first_frame_of_the_video():
    assert mark_blocks(range(9), 4) == [True, False, False, False, True, *[False] * 3, True]
    # Frame 4 is damaged: 5 begins its block.
    assert mark_blocks([2, 3, 5, 6, 11, 12], 4) == [True, False, True, False, True, True]
    assert mark_blocks([3, 4, 5], 1) == [True] * 3
    assert mark_blocks([], 4) == []
    # After every tenth frame blocks are counted anew: 8 and 9 are two, 10 to 13 four.
    marks = mark_blocks(range(7, 16), 4, grid=10)
    assert marks == [True, True, False, True, False, False, False, True, False]


def as_located(values):
    values = np.asarray(values, np.float32).reshape(-1, 1, 1)
    return Located(np.stack([values, values], -1), values)


def value_of(frame):
    return float(frame[0, 0, 0])


def make_frames(values):
    return [np.full((2, 2, 3), value, np.uint8) for value in values]


def test_frames_in_step_are_predicted_together_each_from_the_one_before():
    looked, asked = [], []

    def look(frames):
        looked.append([value_of(one) for one in frames])
        return as_located(looked[-1])

    def follow(frames, before):
        asked.append([value_of(one) for one in frames])
        lost = np.array([value_of(one) == 9 for one in frames])
        return as_located(100 + before.confidence.ravel()), lost

    frames = make_frames([1, 2, 3, 4, 5, 9, 7, 8])
    first = [True, False, False, True, True, False, False, False]
    found = predict_blocks(frames, first, look, follow)
    assert looked == [[1, 4, 5], [9]]
    assert asked == [[2, 9], [3, 7], [8]]
    # 9 was lost, and 7 follows from what was then found.
    assert found.confidence.ravel().tolist() == [1, 101, 201, 4, 5, 9, 109, 209]
    assert predict_blocks([], [], look, follow).confidence.shape == (0, 1, 1)
    for wrong in ([False, *first[1:]], first[1:]):
        with pytest.raises(ValueError, match="must begin a block"):
            predict_blocks(frames, wrong, look, follow)


def walk(steps, size=one.SIZE):
    """Return animals of `test_coarse_to_fine` at offsets, and what a locator says of them."""
    animals = [[(x + dx, y + dy) for x, y in one.ANIMAL] for dx, dy in steps]
    frames = [one.draw(*animal, size=size) for animal in animals]
    for number, frame in enumerate(frames):
        frame[0, 0] = (number, 0, 0)
    return animals, frames, [one.near(*animal) for animal in animals]


# The light of the first pixel is 5 at most, which is dark.
STEPS = [(0, 0), (6, 2), (13, 5), (20, 8), (22, 9), (26, 10)]
BLOCKS = [True, False, False, False, True, False]


def test_a_window_follows_the_animal():
    animals, frames, told = walk(STEPS)
    predictor, locator, runtime = one.build(told)
    found = predictor.predict(frames, BLOCKS)
    np.testing.assert_array_equal(found.position[:, 0], animals)
    assert locator.asked == 2
    assert set(runtime.sizes) == {(96, 96)}
    assert predictor.counts == LookCounts(2, followed=4)
    # The same alone, in other calls, and through decoders that share it.
    for rows in (slice(0, 4), slice(4, 6)):
        again = one.build(told)[0].predict(frames[rows], BLOCKS[rows])
        assert again.position.tobytes() == found.position[rows].tobytes()
    shared = SharedPredictor(predictor, 32)
    with ThreadPoolExecutor(3) as pool:
        parts = list(pool.map(shared.predict, [frames] * 3, [BLOCKS, None, BLOCKS]))
    for part in parts:
        np.testing.assert_array_equal(part.position[:, 0], animals)


@pytest.mark.parametrize("jump", [(70, 60), (0, 80), (-130, -80)])
def test_an_animal_that_jumps_is_searched_in_that_very_frame(jump):
    steps = [(0, 0), (3, 0), jump, np.add(jump, (3, 1)).tolist()]
    animals, frames, told = walk(steps)
    predictor, locator, _ = one.build(told)
    found = predictor.predict(frames, [True, False, False, False])
    np.testing.assert_array_equal(found.position[:, 0], animals)
    assert (locator.asked, predictor.counts.followed) == (2, 2)


def test_an_animal_that_leaves_is_searched_until_it_comes_back():
    animals, frames, told = walk([(0, 0)] * 5)
    for number in (1, 2):
        frames[number][:] = 0
        frames[number][0, 0] = (number, 0, 0)
        told[number] = [(0, 0, 0.0)] * 3
    predictor, locator, _ = one.build(told)
    found = predictor.predict(frames, [True, *[False] * 4])
    assert (found.confidence[:, 0] == one.CERTAIN).all(axis=1).tolist() == [
        *(True, False, False, True, True),
    ]
    np.testing.assert_array_equal(found.position[3:, 0], animals[3:])
    assert locator.asked == 4


class CountsFrames(several.Tells):
    """Count the frames that the locator searches."""

    asked = 0

    def predict(self, frames):
        self.asked += len(frames)
        return super().predict(frames)


def build_several(*answers):
    predictor, _ = several.build(*answers)
    predictor._locator = CountsFrames(*answers)
    return predictor, predictor._locator


def centres_of(located, frame):
    found = [pose.mean(0) for pose in several.poses_of(located, frame)]
    return sorted(tuple(np.round(one).astype(int).tolist()) for one in found)


def follow_several(*places):
    """Predict a block of frames with animals at these places; return centres and searches."""
    frames = [several.draw(*animals, number=n) for n, animals in enumerate(places)]
    predictor, locator = build_several(*places)
    located = predictor.predict(frames, [True, *[False] * (len(places) - 1)])
    return [centres_of(located, n) for n in range(len(places))], locator.asked


def test_windows_follow_each_animal():
    places = [[(60 + 4 * n, 50), (200 - 3 * n, 120 + 2 * n)] for n in range(4)]
    assert follow_several(*places) == ([sorted(each) for each in places], 1)


def test_all_animals_are_searched_where_one_is_lost():
    near, far = (60, 50), (200, 120)
    # One leaves; it comes back elsewhere, which is seen when the next block begins.
    found, asked = follow_several([near, far], [near], [near, (240, 60)])
    assert (found, asked) == ([[near, far], [near], [near]], 2)
    # One jumps farther than a quarter of the window of 64 px, onto the other side of its window.
    found, asked = follow_several([near, far], [near, (222, 120)], [near, (224, 120)])
    assert (found, asked) == ([[near, far], [near, (222, 120)], [near, (224, 120)]], 2)
    # A frame without any animal, and the one after it.
    found, asked = follow_several([near], [], [near])
    assert (found, asked) == ([[near], [], [near]], 3)
