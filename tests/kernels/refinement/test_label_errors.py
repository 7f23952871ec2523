"""Test the search for label errors: errors put into real labels, and correct labels left alone.

Predictions imitate a network: a few px off, and now and then somewhere else with less confidence.
"""

import numpy as np
import pandas as pd
import pytest

from pipeline_lib.kernels.refinement.blocks import PoseNames
from pipeline_lib.kernels.refinement.label_errors import (
    EXCHANGED,
    FAR,
    IMPLAUSIBLE,
    MISSING,
    SWAPPED,
    LabelledPoses,
    find_exchanged_frames,
    find_label_errors,
)

OPENFIELD = ("snout", "leftear", "rightear", "tailbase")
EARS = [(1, 2)]
# The open field's frame of this number has left and right ear exchanged, in the data as published.
PUBLISHED_ERROR = 102
INJECTED = 20


def read_openfield(data_folder):
    folder = data_folder / "openfield" / "openfield-Pranav-2018-10-30" / "labeled-data" / "m4s1"
    table = pd.read_csv(folder / "CollectedData_Pranav.csv", header=[0, 1, 2], index_col=0)
    return table.to_numpy(float).reshape(len(table), 1, 4, 2)


def read_mirror_mouse(data_folder):
    path = next((data_folder / "mirror-mouse" / "mirror-mouse-example").glob("CollectedData*.csv"))
    table = pd.read_csv(path, header=[0, 1, 2], index_col=0)
    names = list(dict.fromkeys(table.columns.get_level_values(1)))
    return table.to_numpy(float).reshape(len(table), 1, len(names), 2), names


def imitate_network(truth, seed):
    random = np.random.default_rng(seed)
    predicted = truth + random.laplace(0, 1.5, truth.shape)
    confidence = random.beta(8, 2, truth.shape[:3])
    gross = random.random(truth.shape[:3]) < 0.03
    predicted[gross] += random.normal(0, 40, (gross.sum(), 2))
    confidence[gross] *= 0.6
    return predicted, confidence


def search(labelled, network, pairs, *, seen=False, names=None):
    predicted, confidence = network
    number = labelled.shape[2]
    names = names or PoseNames(
        tuple(map(str, range(number))), tuple(map(str, range(labelled.shape[1]))), ()
    )
    poses = LabelledPoses(
        labelled,
        predicted,
        confidence,
        np.full(len(labelled), seen),
        np.ones(labelled.shape[:3], np.bool_),
    )
    return find_label_errors(poses, names, pairs, 0.4)


def no_network(labelled):
    return np.full(labelled.shape, np.nan), np.full(labelled.shape[:3], np.nan)


def shift(labelled, random, distance=25):
    """Shift a keypoint of 20 images; return the images and keypoints."""
    changed = labelled.copy()
    places = set()
    for image in random.choice(len(labelled), INJECTED, replace=False).tolist():
        keypoint = int(random.choice(np.flatnonzero(np.isfinite(labelled[image, 0]).all(-1))))
        angle = random.uniform(0, 2 * np.pi)
        changed[image, 0, keypoint] += distance * np.array([np.cos(angle), np.sin(angle)])
        places.add((image, keypoint))
    return changed, places


def swap(labelled, random, pairs):
    """Exchange left and right in 20 images; return the images and left keypoints."""
    changed = labelled.copy()
    places = set()
    for image in random.permutation(len(labelled)).tolist():
        apart = [
            pair
            for pair in pairs
            if np.linalg.norm(np.diff(labelled[image, 0, list(pair)], axis=0)) > 8
        ]
        if apart and len(places) < INJECTED and image != PUBLISHED_ERROR:
            left, right = apart[random.integers(len(apart))]
            changed[image, 0, [left, right]] = labelled[image, 0, [right, left]]
            places.add((image, left))
    assert len(places) == INJECTED
    return changed, places


def count_first(doubts, places, what):
    """Return how many of the first rows, as many as were injected, are injected errors."""
    first = doubts[: len(places)]
    return sum((one.image, one.keypoint) in places and one.what in what for one in first)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("seen", [False, True])
def test_shifted_labels_of_the_open_field_come_first(data_folder, seed, seen):
    truth = read_openfield(data_folder)
    labelled, places = shift(truth, np.random.default_rng(seed))
    doubts = search(labelled, imitate_network(truth, seed), EARS, seen=seen)
    assert count_first(doubts, places, {FAR, IMPLAUSIBLE}) >= 17
    assert {(one.image, one.keypoint) for one in doubts} >= places
    assert len(doubts) <= INJECTED + 20  # the network's own errors


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_swapped_ears_of_the_open_field_are_named_and_come_first(data_folder, seed):
    truth = read_openfield(data_folder)
    labelled, places = swap(truth, np.random.default_rng(seed), EARS)
    doubts = search(labelled, imitate_network(truth, seed), EARS)
    assert count_first(doubts, places, {SWAPPED}) >= 19
    named = {one.image for one in doubts if one.what == SWAPPED}
    assert named <= {image for image, _ in places} | {PUBLISHED_ERROR}
    for one in doubts[:10]:
        if (one.image, one.keypoint) in places:
            distance = np.linalg.norm(np.subtract(one.suggestion, truth[one.image, 0, 1]))
            assert distance < 15 or one.what != SWAPPED


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_without_a_network_swapped_ears_are_found_by_the_other_poses(data_folder, seed):
    truth = read_openfield(data_folder)
    labelled, places = swap(truth, np.random.default_rng(seed), EARS)
    doubts = search(labelled, no_network(truth), EARS)
    assert count_first(doubts, places, {SWAPPED}) >= 18
    assert len(doubts) <= INJECTED + 3


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_without_a_network_half_of_the_shifted_labels_are_found_and_nothing_else(data_folder, seed):
    truth = read_openfield(data_folder)
    labelled, places = shift(truth, np.random.default_rng(seed))
    doubts = search(labelled, no_network(truth), EARS)
    assert count_first(doubts, places, {IMPLAUSIBLE}) >= 9
    assert len(doubts) - count_first(doubts, places, {IMPLAUSIBLE}) <= 5


def test_the_published_labels_of_the_open_field_have_one_pair_of_ears_exchanged(data_folder):
    truth = read_openfield(data_folder)
    doubts = search(truth, no_network(truth), EARS)
    assert [(one.image, one.what) for one in doubts[:1]] == [(PUBLISHED_ERROR, SWAPPED)]
    assert len(doubts) <= 2
    # From above, the left ear is on the left of the line from the tail base to the snout.
    forward = truth[:, 0, 0] - truth[:, 0, 3]
    across = truth[:, 0, 1] - truth[:, 0, 2]
    side = np.sign(forward[:, 0] * across[:, 1] - forward[:, 1] * across[:, 0])
    assert np.flatnonzero(side != np.median(side)).tolist() == [PUBLISHED_ERROR]


@pytest.mark.parametrize("seed", [0, 1])
def test_errors_in_the_mirror_mouse_come_first(data_folder, seed):
    truth, names = read_mirror_mouse(data_folder)
    pairs = [
        (names.index(f"paw1LH_{view}"), names.index(f"paw4RH_{view}")) for view in ("top", "bot")
    ] + [(names.index(f"paw2LF_{view}"), names.index(f"paw3RF_{view}")) for view in ("top", "bot")]
    network = imitate_network(truth, seed)
    labelled, places = swap(truth, np.random.default_rng(seed), pairs)
    assert count_first(search(labelled, network, pairs), places, {SWAPPED}) >= 17
    labelled, places = shift(truth, np.random.default_rng(seed))
    assert count_first(search(labelled, network, pairs), places, {FAR, IMPLAUSIBLE}) >= 16


def read_flies(data_folder):
    sleap_io = pytest.importorskip("sleap_io")
    path = data_folder / "flies-dreem" / "three_flies.slp"
    labels = sleap_io.load_slp(str(path), open_videos=False)
    tracks = list(labels.tracks)
    frames = sorted(labels, key=lambda frame: frame.frame_idx)
    truth = np.full((len(frames), len(tracks), len(labels.skeleton.nodes), 2), np.nan)
    for number, frame in enumerate(frames):
        for instance in frame.instances:
            if instance.track is not None:
                truth[number, tracks.index(instance.track)] = instance.numpy()[:, :2]
    return truth


def test_keypoints_exchanged_between_flies_are_named_and_come_first(data_folder):
    truth = read_flies(data_folder)
    random = np.random.default_rng(0)
    labelled, places = truth.copy(), set()
    for image in random.permutation(len(truth)).tolist():
        keypoint = int(random.integers(truth.shape[2]))
        if len(places) < INJECTED and np.isfinite(truth[image, :2, keypoint]).all():
            labelled[image, [0, 1], keypoint] = truth[image, [1, 0], keypoint]
            places.add((image, keypoint))
    doubts = search(labelled, imitate_network(truth, 0), [])
    assert count_first(doubts, places, {EXCHANGED}) >= 16
    named = [one for one in doubts if one.what == EXCHANGED]
    assert len(named) <= INJECTED + 2


def test_flies_that_have_each_others_name_in_a_frame_are_found(data_folder):
    truth = read_flies(data_folder)
    frames = np.arange(len(truth))
    videos = ["flies"] * len(truth)
    assert find_exchanged_frames(truth, videos, frames) == []
    labelled, images = truth.copy(), set(range(3, 123, 6))
    for image in images:
        labelled[image, [0, 2]] = truth[image, [2, 0]]
    doubts = find_exchanged_frames(labelled, videos, frames)
    assert {(one.image, one.individual, one.other) for one in doubts} == {
        (image, 0, 2) for image in images
    }
    assert {one.what for one in doubts} == {EXCHANGED}
    # Frames that are far apart in time, or of other videos, say nothing.
    assert find_exchanged_frames(labelled, videos, frames * 100) == []
    assert find_exchanged_frames(labelled, list(map(str, frames)), frames) == []


def walk(number, keypoints=6):
    random = np.random.default_rng(4)
    body = np.linspace(0, 60, keypoints) + 1j * np.array([0, 8, -8, 8, -8, 0])
    turned = body * np.exp(1j * random.uniform(0, 6, number))[:, None] + 200 + 200j
    position = np.stack([turned.real, turned.imag], axis=-1)[:, None]
    return position + random.normal(0, 0.7, position.shape)


def test_what_is_certain_and_unlabelled_is_missing_unless_somebody_said_it_is():
    truth = walk(60)
    labelled = truth.copy()
    labelled[7, 0, 2] = labelled[8, 0, 2] = np.nan
    free = np.ones(labelled.shape[:3], np.bool_)
    free[8, 0, 2] = False
    network = (truth, np.full(truth.shape[:3], 0.95))
    poses = LabelledPoses(labelled, *network, np.zeros(60, np.bool_), free)
    names = PoseNames(tuple("abcdef"), ("x",), ())
    (found,) = find_label_errors(poses, names, [], 0.4)
    assert (found.image, found.keypoint, found.what) == (7, 2, MISSING)
    assert found.suggestion == tuple(truth[7, 0, 2])
    # A network that has learned that it is not labelled there says nothing about it.
    seen = poses._replace(seen=np.ones(60, np.bool_))
    assert find_label_errors(seen, names, [], 0.4) == []


def test_a_wrong_bone_is_found_where_there_are_too_few_poses_for_more():
    labelled = walk(20)
    labelled[5, 0, 0] += 80
    names = PoseNames(tuple("abcdef"), ("x",), ((0, 1), (1, 3), (3, 5)))
    (found,) = search(labelled, no_network(labelled), [], names=names)
    assert (found.image, found.keypoint, found.what) == (5, 0, IMPLAUSIBLE)


@pytest.mark.parametrize("images", [0, 1, 2, 60])
def test_correct_labels_are_not_doubted(images):
    truth = walk(images)
    # A network's own errors are the only ones that are listed, of 360 keypoints.
    predicted, confidence = imitate_network(truth, 9)
    wrong = np.linalg.norm(predicted - truth, axis=-1) > 8
    for one in search(truth, (predicted, confidence), [(1, 2)]):
        assert wrong[one.image, one.individual, one.keypoint]
        assert one.what == FAR
    assert search(truth, no_network(truth), [(1, 2)]) == []
    empty = np.full_like(truth, np.nan)
    assert search(empty, no_network(truth), [(1, 2)]) == []


def test_a_doubtful_prediction_is_no_reason():
    truth = walk(60)
    far = truth + 100
    assert search(truth, (far, np.full(truth.shape[:3], 0.39)), []) == []
