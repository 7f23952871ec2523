"""Test that with more animals than allowed, the same ones are kept throughout."""

from types import SimpleNamespace

import numpy as np
import pytest

from pipeline_lib.core.tables import TrackStatus
from pipeline_lib.kernels.metrics.tracks import measure_tracks
from pipeline_lib.kernels.tracking.detections import Detections
from pipeline_lib.kernels.tracking.identities import TrackSegment
from pipeline_lib.kernels.tracking.surplus import choose_track_segments, count_animals, count_usual
from pipeline_lib.kernels.tracking.track import cut_video, follow_individuals
from pipeline_lib.kernels.tracking.tracks import track_individuals
from tests.kernels.tracking.tracking_scenes import (
    NAN,
    count_switches,
    drop,
    identify,
    make_rules,
    mislead,
    shuffle,
    slide,
    walk,
)

RULES = make_rules()


def detect_unevenly(position, seed=0):
    """Return detections whose confidences change from frame to frame and animal to animal."""
    there = np.isfinite(position).all(-1)
    sure = np.random.default_rng(seed).uniform(0.6, 1.0, position.shape[:2])
    return Detections(position, np.where(there, sure[..., None], 0.0).astype(np.float32))


def follow(detections, kept, segment_frames=2000):
    frames = len(detections.position)

    def read(start, stop):
        part = slice(start, stop)
        return Detections(detections.position[part], detections.confidence[part])

    return follow_individuals(read, cut_video(frames, segment_frames), kept, RULES)


def measure_kept(tracks, truth):
    """Return IDF1 of the tracks against the animals that they mostly are."""
    who = identify(tracks.position, truth)
    animals = {int(np.bincount(line[line >= 0]).argmax()) for line in who.T if (line >= 0).any()}
    return measure_tracks(tracks.position, truth[:, sorted(animals)], max_distance=100.0).idf1


@pytest.mark.parametrize(
    ("animals", "kept", "seed", "ground"),
    [
        (5, 3, 0, (220.0, 180.0)),
        (5, 3, 1, (150.0, 120.0)),
        (5, 2, 2, (150.0, 120.0)),
        (8, 3, 0, (300.0, 260.0)),
        (4, 3, 3, (150.0, 120.0)),
    ],
)
def test_the_same_animals_are_kept_throughout(animals, kept, seed, ground):
    truth = walk(1000, animals, seed, ground)
    detections = detect_unevenly(shuffle(truth, seed), seed)
    tracks = track_individuals(detections, kept, RULES, segment_frames=2000)
    assert count_switches(tracks.position, truth) == 0
    assert measure_kept(tracks, truth) >= 0.99
    # Nobody has a place for some frames only.
    assert np.isfinite(tracks.position).all(-1).any(-1).mean(axis=0).min() > 0.99
    # The best ones of each frame, as before, are another one every few frames.
    best = np.argsort(-detections.confidence.mean(-1), axis=1)[:, :kept]
    chosen = Detections(
        np.take_along_axis(detections.position, best[..., None, None], axis=1),
        np.take_along_axis(detections.confidence, best[..., None], axis=1),
    )
    assert measure_kept(track_individuals(chosen, kept, RULES, segment_frames=2000), truth) < 0.8


def test_losses_and_false_points_do_not_change_who_is_kept():
    truth = walk(1000, 5, 1, (150.0, 120.0))
    found = mislead(drop(truth, 0.1), 0.05)
    lost = np.random.default_rng(5).random(found.shape[:2]) < 0.1
    found[lost] = NAN
    tracks = track_individuals(detect_unevenly(shuffle(found)), 3, RULES, segment_frames=2000)
    assert count_switches(tracks.position, truth) == 0
    # A tenth of the poses is not there: 2 * 0.9 / 1.9.
    assert measure_kept(tracks, truth) >= 0.94


@pytest.mark.parametrize("segment_frames", [37, 250])
def test_neither_segments_nor_order_show(segment_frames):
    truth = walk(400, 5, 1, (150.0, 120.0))
    found = detect_unevenly(mislead(drop(truth, 0.1), 0.05))
    whole, parts = (follow(found, 3, frames) for frames in (400, segment_frames))
    for name in ("slot", "status", "animals"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name))
    turned = Detections(found.position[:, ::-1], found.confidence[:, ::-1])
    np.testing.assert_array_equal(follow(turned, 3).slot[:, ::-1], whole.slot)


def test_it_is_told_how_many_there_were():
    truth = slide(100, [[0, 0], [0, 200], [0, 400], [0, 600]], np.zeros((4, 2)))
    truth[:60, 3] = NAN
    truth[90:, 3] = NAN
    # Found for less than five frames: no animal.
    truth[:, 2][:50] = NAN
    truth[10:13, 2] = truth[99, 2]
    followed = follow(detect_unevenly(shuffle(truth)), 2)
    expected = np.full(100, 2)
    expected[50:] += 1
    expected[60:90] += 1
    np.testing.assert_array_equal(followed.animals, expected)
    assert (followed.status[:, :2] == TrackStatus.FOLLOWED).all()


def test_an_animal_that_was_there_before_others_came_is_not_lost():
    """Keep two of three; the first leaves ten frames after the third has arrived."""
    truth = slide(1000, [[0, 0], [0, 300], [0, 600]], [[0.1, 0.0]] * 3)
    truth[400:, 0], truth[:390, 2] = NAN, NAN
    tracks = track_individuals(detect_unevenly(shuffle(truth)), 2, RULES, segment_frames=2000)
    shown = np.isfinite(tracks.position).all(-1).any(-1)
    assert shown.all()
    who = identify(tracks.position, truth)
    assert (who == 1).any(axis=1).all()
    assert (who == 0).any(axis=1).tolist() == [True] * 390 + [False] * 610
    assert (who == 2).any(axis=1).tolist() == [False] * 390 + [True] * 610


def test_a_hidden_animal_is_not_replaced_by_a_neighbour():
    """Show the worst of three while one of the two best is hidden for 40 frames."""
    truth = slide(600, [[0, 0], [0, 200], [0, 400]], np.zeros((3, 2)))
    found = truth.copy()
    found[300:340, 0] = NAN
    confidence = np.isfinite(found).all(-1).astype(float)
    confidence[:, 2] *= 0.5
    tracks = track_individuals(Detections(found, confidence), 2, RULES, segment_frames=2000)
    who = identify(tracks.position, truth)
    assert (who[:, 0] == np.where((np.arange(600) >= 300) & (np.arange(600) < 340), -1, 0)).all()
    assert (who[:, 1] == 1).all()
    assert (tracks.status[300:340, 0] == TrackStatus.GAP).all()


def test_animals_are_counted_without_short_tracklets():
    number = np.array([[0, 1], [0, -1], [-1, 2], [0, 2]], np.int32)
    assert count_animals(number, 1).tolist() == [2, 1, 1, 2]
    assert count_animals(number, 2).tolist() == [1, 1, 1, 2]
    assert count_animals(number, 3).tolist() == [1, 1, 0, 1]
    assert count_animals(np.full((3, 2), -1, np.int32), 1).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("animals", "usual"),
    [
        ([2] * 19 + [3], 2),  # one frame in twenty is a mistake, two are not
        ([2] * 18 + [3] * 2, 3),
        ([0] * 980 + [3] * 20, 3),
        ([0, 0], 0),
        ([], 0),
    ],
)
def test_the_usual_number_is_shown_by_more_than_one_frame_in_twenty(animals, usual):
    assert count_usual(np.array(animals, np.int64)) == usual


def make_segments(*spans):
    """Return segments of one tracklet each, and what is known of these: (first, last, worth)."""
    first, last, worth = np.array(spans).T
    tracklets = SimpleNamespace(
        worth=worth.astype(float),
        head=SimpleNamespace(frame=first),
        tail=SimpleNamespace(frame=last),
    )
    segments = [TrackSegment((number,), int(a), int(b)) for number, (a, b, _) in enumerate(spans)]
    return segments, tracklets


@pytest.mark.parametrize(
    ("spans", "most", "kept"),
    [
        # The worth decides, of equal ones the first.
        ([(0, 9, 5), (0, 9, 9), (0, 9, 7)], 2, [(1, 0, 9), (2, 0, 9)]),
        ([(0, 9, 5), (0, 9, 5), (0, 9, 5)], 2, [(0, 0, 9), (1, 0, 9)]),
        # One after the other is no crowd; the last frame of one is not the next one's first.
        ([(0, 4, 1), (5, 9, 1)], 1, [(0, 0, 4), (1, 5, 9)]),
        ([(0, 5, 2), (5, 9, 1)], 1, [(0, 0, 5), (1, 6, 9)]),
        # The longest free part, if it is half of the stay ...
        ([(0, 9, 9), (4, 19, 8)], 1, [(0, 0, 9), (1, 10, 19)]),
        ([(0, 9, 9), (4, 14, 8)], 1, [(0, 0, 9)]),
        # ... or 20 frames.
        ([(0, 59, 60), (0, 79, 50)], 1, [(0, 0, 59), (1, 60, 79)]),
        ([(0, 59, 60), (0, 78, 50)], 1, [(0, 0, 59)]),
        ([], 2, []),
    ],
)
def test_segments_are_kept_where_there_is_room(spans, most, kept):
    segments, tracklets = (
        make_segments(*spans) if spans else ([], SimpleNamespace(worth=np.zeros(0)))
    )
    found = choose_track_segments(segments, tracklets, most, 20)
    assert [(one.tracklets[0], one.first, one.last) for one in found] == kept
