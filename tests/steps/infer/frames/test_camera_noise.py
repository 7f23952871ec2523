"""Test that noise is measured between frames of each kind, and the decisions that follow."""

import numpy as np
import pytest

from pipeline_lib.io.video.reader import VideoReader
from pipeline_lib.kernels.stillness import ChangeLimits
from pipeline_lib.steps.infer.frames.camera_noise import Limits, follow_noise
from pipeline_lib.steps.infer.frames.still_frames import StillCounts, choose_frames
from pipeline_lib.steps.infer.tasks import VideoTask
from tests.steps.infer.frames.still_examples import draw_cage, film


class FakeNetwork:
    """Follow no animals."""

    class locating:  # noqa: N801 - an attribute of a task
        every = 1


class Shown:
    """Show one plane."""

    def __init__(self, plane):
        self.plane = plane

    def read_planes(self):
        return (self.plane,)

    def convert(self, _):
        return self.plane


def make_task(path="v.mp4", frames=100, size=0, modified=0, crop=None):
    return VideoTask(
        video="v",
        path=str(path),
        frames=frames,
        fps=30.0,
        fingerprint="",
        size=size,
        modified=modified,
        key="k",
        output="",
        segments="",
        crop=crop,
        network=FakeNetwork,
        still_frames=50,
    )


def task_of(path, frames):
    told = path.stat()
    return make_task(path, frames, told.st_size, told.st_mtime_ns)


def limits_of(fine, coarse, keyframes=()):
    apart = ChangeLimits(np.full((2, 2), 40.0, np.float32), np.full((1, 1), 40.0, np.float32), 4.0)
    steps = ChangeLimits(
        np.full((2, 2), fine, np.float32), np.full((1, 1), coarse, np.float32), 0.1
    )
    return Limits((apart,), (steps,), (apart.tighten(steps, 2.5),), np.array(keyframes, np.int32))


def choose(levels, limits, start=0):
    """Return the frames that are computed of pictures with a block of other grey levels."""
    pictures = []
    for frame, level in enumerate(levels):
        plane = np.full((16, 16), 100, np.uint8)
        if level is not None:
            plane[:8, :8] += np.uint8(level)
        pictures.append((frame, None if level is None else Shown(plane)))
    counts = StillCounts()
    choices = choose_frames(iter(pictures), start, make_task(), lambda _: limits, counts)
    return [choice.frame for choice in choices if choice.image is not None], counts


def test_motion_stands_out_against_the_frame_before():
    """A step of 4 grey levels (16) is below the limit of any two frames (40)."""
    levels = [0] * 10 + [4] * 10
    assert choose(levels, limits_of(2.0, 2.0))[0] == [0, 10]
    # One of the 16 blocks of a coarse one: 36 / 16 = 2.25, of 2.5 times its limit.
    assert choose([0] * 10 + [6] * 10, limits_of(99.0, 0.8))[0] == [0, 10]
    assert choose([0] * 10 + [6] * 10, limits_of(99.0, 1.0))[0] == [0]
    # Noise jumps at keyframes.
    found, counts = choose(levels, limits_of(2.0, 2.0, keyframes=[10]))
    assert found == [0]
    assert (counts.still, counts.regular, counts.moved) == (19, 1, 0)
    # Seven grey levels (49) are more than noise there, too.
    assert choose([0] * 10 + [7] * 10, limits_of(2.0, 2.0, keyframes=[10]))[0] == [0, 10]


def test_the_end_of_a_motion_is_computed_when_it_has_added_up():
    """Steps of 2 (4) are motion, computed at 3 or more (9) from the last computed frame (5)."""
    levels = [0, 20, 40, 42, 44, 46, 48, 48, 48, 48, 48, 48]
    assert choose(levels, limits_of(2.0, 2.0))[0] == [0, 1, 2, 4, 6]


def test_slow_motion_adds_up():
    """One grey level each second frame is no step; 7 of them (49) are seen at the next fourth."""
    levels = [frame // 2 for frame in range(24)]
    assert choose(levels, limits_of(2.0, 2.0))[0] == [0, 16]


def test_after_a_lost_frame_the_last_computed_one_counts():
    """A step of 4 is unseen then; one of 7 is seen at once."""
    assert choose([0, 0, None, 4, 4, 4], limits_of(2.0, 2.0))[0] == [0]
    assert choose([0, 0, None, 7, 7, 7], limits_of(2.0, 2.0))[0] == [0, 3]


@pytest.mark.parametrize("start", [50, 53, 61, 75, 99])
def test_what_is_chosen_does_not_depend_on_the_start(start):
    random = np.random.default_rng(5)
    levels = np.cumsum(random.choice([0, 0, 0, 1, 2], 100)).tolist()
    limits = limits_of(2.0, 2.0, keyframes=[0, 70])
    whole = choose(levels, limits)[0]

    def shifted():
        for frame, level in enumerate(levels):
            if frame >= 50:
                plane = np.full((16, 16), 100, np.uint8)
                plane[:8, :8] += np.uint8(level)
                yield frame, Shown(plane)

    choices = list(choose_frames(shifted(), start, make_task(), lambda _: limits, StillCounts()))
    found = [choice.frame for choice in choices if choice.image is not None]
    assert [frame for frame in found if frame >= start] == [
        frame for frame in whole if frame >= start
    ]
    # Before the start at most the frame that the first ones have their poses from.
    assert [frame for frame in found if frame < start] in ([], [max(w for w in whole if w < start)])


def test_compressed_video_has_less_noise_from_frame_to_frame(tmp_path):
    path = film(tmp_path / "v.mp4", [draw_cage()] * 120, gop=30)
    limits = follow_noise(task_of(path, 120), share=False)(0)
    assert limits.keyframes.tolist() == [0, 30, 60, 90]
    assert [limits.is_keyframe(frame) for frame in (0, 29, 30, 31, 90, 119)] == [
        True, False, True, False, True, False,
    ]  # fmt: skip
    apart, steps, restless = limits.apart[0], limits.steps[0], limits.restless[0]
    assert steps.fine.max() < apart.fine.min() / 2
    np.testing.assert_array_equal(restless.fine, np.minimum(apart.fine, 2.5 * steps.fine))


def test_where_all_frames_are_keyframes_no_steps_are_measured(tmp_path):
    path = film(tmp_path / "v.mp4", [draw_cage()] * 30, gop=1)
    limits = follow_noise(task_of(path, 30), share=False)(0)
    assert limits.keyframes.tolist() == list(range(30))
    assert (limits.steps, limits.restless) == ((), ())
    assert limits.apart[0].noise > 1


def test_a_video_with_one_keyframe_tells_no_noise(tmp_path):
    path = film(tmp_path / "v.mp4", [draw_cage()] * 40, gop=100)
    assert follow_noise(task_of(path, 40), share=False)(0) is None


@pytest.mark.parametrize("start", [75, 77])
def test_a_faint_start_in_compressed_video_is_seen_at_once(tmp_path, start):
    """A patch of 16 x 16 px brightens by 5 grey levels, in noise of 3 (25 of 18)."""
    scenes = [draw_cage() for _ in range(100)]
    for scene in scenes[start:]:
        scene[56:72, 96:112] += 5
    path = film(tmp_path / "v.mp4", scenes, noise=3.0, gop=30)
    task = task_of(path, 100)
    limits = follow_noise(task, share=False)(0)

    def find(limits):
        pictures = VideoReader(path).read_pictures(0, 100)
        choices = choose_frames(pictures, 0, task, lambda _: limits, counts := StillCounts())
        found = {choice.frame for choice in choices if choice.image is not None}
        assert counts.still == 100 - len(found)
        return found

    found = find(limits)
    assert start in found
    assert len(found) < 10
    # Among any two frames it hides.
    assert start not in find(limits._replace(steps=(), restless=()))
