"""Test which frames, bodyparts and individuals of tracks are compared with labels."""

import numpy as np
import pandas as pd
import pytest

from pipeline_lib.core.errors import LabelError
from pipeline_lib.core.poses import Poses
from pipeline_lib.core.settings.network import EvaluationSettings
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.core.tables import LABEL_COLUMNS, FrameStatus
from pipeline_lib.io.labels.table import Labels
from pipeline_lib.steps.evaluate.tracks import find_true_tracks, measure_video_tracks

SETTINGS = EvaluationSettings()
SKELETON = Skeleton(bodyparts=("nose", "cage", "tail"), unique_bodyparts=("cage",))


def place(individual, bodypart, frame):
    """Return where a bodypart is: animals 100 px apart, walking 2 px a frame in x."""
    if bodypart == "cage":
        return 5.0, 6.0
    x = {"anna": 0.0, "ben": 100.0}[individual] + 2.0 * frame
    return (x, 10.0) if bodypart == "nose" else (x + 20.0, 30.0)


def make_labels(frames, video="v"):
    """Label frames; their rows stand in the given order."""
    keypoints = [(name, part) for name in ("anna", "ben") for part in ("nose", "tail")]
    rows = []
    for number in frames:
        for individual, bodypart in [*keypoints, ("single", "cage")]:
            x, y = place(individual, bodypart, number)
            values = (video, number, individual, bodypart, x, y, True, "s", "train", f"{number}")
            values += (0, "visible")
            rows.append(dict(zip(LABEL_COLUMNS, values, strict=True)))
    table = pd.DataFrame(rows, columns=list(LABEL_COLUMNS))
    return Labels(table, SKELETON.bodyparts, ("anna", "ben"), SKELETON)


def make_poses(frames, *, exchange_from=None, bodyparts=("tail", "nose", "cage")):
    """Return poses as exact as labels, with ben in the first slot; others in the last frames."""
    position = np.full((frames, 3, len(bodyparts), 2), np.nan, np.float32)
    for frame in range(frames):
        names = ("ben", "anna")
        if exchange_from is not None and frame >= exchange_from:
            names = names[::-1]
        for number, bodypart in enumerate(bodyparts):
            if bodypart == "cage":
                position[frame, 2, number] = place("", bodypart, frame)
            else:
                for slot, name in enumerate(names):
                    position[frame, slot, number] = place(name, bodypart, frame)
    return Poses(
        position=position,
        confidence=np.ones((frames, 3, len(bodyparts)), np.float32),
        frame_status=np.zeros(frames, np.uint8),
        time=np.arange(frames) / 25.0,
        bodyparts=bodyparts,
        individuals=("individual1", "individual2", "single"),
    )


def test_true_tracks_are_in_the_order_of_the_frames():
    truth = find_true_tracks(make_labels([3, 1, 2]), "v")
    assert truth.frames.tolist() == [1, 2, 3]
    assert truth.bodyparts == ("nose", "tail")
    assert truth.position.shape == (3, 2, 2, 2)
    assert truth.position[:, 0, 0].tolist() == [[2.0, 10.0], [4.0, 10.0], [6.0, 10.0]]
    part = truth.between(2, 4)
    assert part.frames.tolist() == [2, 3]
    np.testing.assert_array_equal(part.position, truth.position[1:])


def test_exact_tracks_in_another_order_are_perfect():
    found = measure_video_tracks(
        make_poses(6), find_true_tracks(make_labels(range(6)), "v"), SETTINGS
    )
    assert (found.frames, found.truths, found.predictions) == (6, 12, 12)
    assert (found.mota, found.idf1, found.hota, found.identity_switches) == (1.0, 1.0, 1.0, 0)


def test_an_exchange_is_two_switches_where_both_sides_are_labelled():
    poses = make_poses(10, exchange_from=6)
    truth = find_true_tracks(make_labels(range(10)), "v")
    assert measure_video_tracks(poses, truth, SETTINGS).identity_switches == 2
    assert measure_video_tracks(poses, truth.between(0, 6), SETTINGS).idf1 == 1.0
    assert measure_video_tracks(poses, truth.between(6, 10), SETTINGS).idf1 == 1.0


def test_only_labelled_frames_count():
    poses = make_poses(10)
    poses.position[[0, 1, 3]] = np.nan
    found = measure_video_tracks(poses, find_true_tracks(make_labels([2, 4]), "v"), SETTINGS)
    assert (found.frames, found.misses, found.mota) == (2, 0, 1.0)


def test_the_similarity_asked_for_is_a_parameter():
    poses = make_poses(4)
    poses.position[..., 0] += 5.0
    truth = find_true_tracks(make_labels(range(4)), "v")
    # Boxes of 20 x 20 px: OKS = exp(-25 / (2 * 400 * 0.04)) = 0.458.
    assert measure_video_tracks(poses, truth, SETTINGS).matches == 0
    assert measure_video_tracks(poses, truth, SETTINGS, min_similarity=0.45).matches == 8
    assert measure_video_tracks(poses, truth, SETTINGS, max_distance=5.0).matches == 8
    assert measure_video_tracks(poses, truth, SETTINGS, max_distance=4.9).matches == 0


def test_labels_behind_a_gap_are_refused_and_those_before_it_compared():
    """Refuse labels of row 4, a missing frame: other tools give its number to the next one."""
    poses = make_poses(8)
    poses.frame_status[4] = FrameStatus.MISSING
    truth = find_true_tracks(make_labels([1, 3, 4, 6]), "v")
    with pytest.raises(LabelError, match=r"frame 4 is labelled, .* lacks 1 frames \(frame 4 first"):
        measure_video_tracks(poses, truth, SETTINGS)
    with pytest.raises(LabelError, match="frame 6 is labelled"):
        measure_video_tracks(poses, truth.between(5, 8), SETTINGS)
    assert measure_video_tracks(poses, truth.between(0, 4), SETTINGS).matches == 4
    # A frame that is there but could not be decoded shifts nothing.
    poses.frame_status[4] = FrameStatus.UNDECODABLE
    assert measure_video_tracks(poses, truth, SETTINGS).matches == 8


def test_tracks_that_do_not_fit_the_labels_are_refused():
    labels = make_labels([0, 5])
    truth = find_true_tracks(labels, "v")
    with pytest.raises(LabelError, match="no frame of video w; there are frames of v"):
        find_true_tracks(labels, "w")
    with pytest.raises(LabelError, match="frame 5 is labelled, but the poses have 3"):
        measure_video_tracks(make_poses(3), truth, SETTINGS)
    with pytest.raises(LabelError, match="bodypart tail is not in the poses"):
        measure_video_tracks(make_poses(6, bodyparts=("nose", "cage")), truth, SETTINGS)
    unnumbered = make_labels([-1])
    with pytest.raises(LabelError, match="no track is known"):
        find_true_tracks(unnumbered, "v")
