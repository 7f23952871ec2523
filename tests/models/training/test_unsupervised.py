"""Test each loss of frames without labels by hand, and a training that learns from them."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from pipeline_lib.core.errors import ConfigError, ModelError, VideoError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.network import TargetSettings
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.core.settings.training.unsupervised import UnsupervisedSettings
from pipeline_lib.io.targets.clips import ClipStore, write_clips
from pipeline_lib.io.targets.store import TargetStore
from pipeline_lib.kernels.pose_subspace import Subspace
from pipeline_lib.models.card import read_card
from pipeline_lib.models.inference.preprocessing import FrameFit
from pipeline_lib.models.training.history import HistoryWriter
from pipeline_lib.models.training.unsupervised import (
    PixelPoses,
    TorchSubspace,
    UnsupervisedLosses,
    locate_softly,
    measure_implausibility,
    measure_jumps,
    plan_unsupervised,
)
from pipeline_lib.steps import make_clips
from pipeline_lib.steps.make_targets.run import run_make_targets
from pipeline_lib.steps.train import run_train, training_key
from tests.models.synthetic import BODYPARTS, draw_discs, tiny_config, write_tiny_labels


def pose(values, seen=True):
    position = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    return PixelPoses(position, torch.full(position.shape[:2], seen))


def test_jumps_beyond_the_tolerance_cost_their_excess():
    """Jumps of 5 and 10 px, tolerance 6: 4 px of the second count; gradients are unit steps."""
    poses = pose([[[0.0, 0.0]], [[3.0, 4.0]], [[9.0, 12.0]]])
    loss = measure_jumps(poses, 6.0)
    assert loss.item() == pytest.approx(4.0 / 2)
    loss.backward()
    # Half of the unit vector (0.6, 0.8), away from each other.
    expected = [[[0.0, 0.0]], [[-0.3, -0.4]], [[0.3, 0.4]]]
    np.testing.assert_allclose(poses.position.grad, expected, atol=1e-12)


def test_jumps_of_what_is_not_seen_cost_nothing():
    poses = pose([[[0.0, 0.0]], [[30.0, 40.0]], [[0.0, 0.0]]])
    poses.seen[1] = False
    loss = measure_jumps(poses, 0.0)
    loss.backward()
    assert loss.item() == 0.0
    assert not poses.position.grad.any()
    poses = pose([[[1.0, 1.0]], [[1.0, 1.0]]])  # nothing moves
    measure_jumps(poses, 0.0).backward()
    assert torch.isfinite(poses.position.grad).all()


def test_poses_off_the_subspace_cost_their_distance():
    """Two points on the line x1 = x2, y constant: the pose (0, 0), (6, 8) is off by known ways.

    Its features minus the mean are (0, 0, 6, 8); the part along (1, 0, 1, 0) / sqrt 2 is
    (3, 0, 3, 0), the rest (-3, 0, 3, 8): distances 3 and sqrt 73.
    """
    basis = np.array([[1.0, 0.0, 1.0, 0.0]]) / math.sqrt(2)
    subspace = TorchSubspace(torch.zeros(4).double(), torch.from_numpy(basis), 4.0)
    poses = pose([[[0.0, 0.0], [6.0, 8.0]]])
    loss = measure_implausibility(poses, subspace)
    assert loss.item() == pytest.approx((math.sqrt(73) - 4) / 2, rel=1e-6)
    loss.backward()
    # Of sqrt(((x2 - x1) / 2)^2 + y2^2) / 2.
    root = 2 * math.sqrt(73)
    expected = [[[-1.5 / root, 0.0], [1.5 / root, 8 / root]]]
    np.testing.assert_allclose(poses.position.grad, expected, rtol=1e-6, atol=1e-9)
    poses.seen[0, 0] = False
    assert measure_implausibility(poses, subspace).item() == 0.0
    assert measure_implausibility(pose([[[5.0, 0.0], [5.0, 0.0]]]), subspace).item() == 0.0


def test_positions_are_those_of_the_maps():
    """Two cells of equal score: the position is their mean; gradients lead to the higher one."""
    score = torch.full((1, 2, 4, 5), -9.0, dtype=torch.float64)
    score[0, 0, 1, 3] = 3.0
    score[0, 1, 2, 1] = score[0, 1, 2, 3] = 3.0
    score.requires_grad_()
    offset = torch.zeros(1, 2, 2, 4, 5, dtype=torch.float64)
    offset[0, 0, :, 1, 3] = torch.tensor([1.5, -2.0])
    found = locate_softly(score, offset, 8)
    expected = [[[3 * 8 + 3.5 + 1.5, 8 + 3.5 - 2.0], [2 * 8 + 3.5, 2 * 8 + 3.5]]]
    np.testing.assert_allclose(found.position.detach(), expected, atol=1e-6)
    assert found.seen.all()
    found.position[0, 1, 0].backward()
    # d mean / d logit = sharpness * p * (x - mean) = 4 * 0.5 * 8.
    assert score.grad[0, 1, 2, 3].item() == pytest.approx(16.0)
    assert score.grad[0, 1, 2, 1].item() == pytest.approx(-16.0)
    assert not locate_softly(
        torch.full((1, 1, 2, 2), -4.6), torch.zeros(1, 1, 2, 2, 2), 8
    ).seen.any()


def store_clips(path, number=3, side=64, length=4):
    stream = np.random.default_rng(1)
    clips = []
    for _ in range(number):
        points = stream.uniform(8, side - 8, (len(BODYPARTS), 2))
        clips.append(np.stack([draw_discs(points + n, (side, side)) for n in range(length)]))
    assert write_clips(path, iter(clips), clips[0].shape, "k") == number
    return clips


def test_clips_come_back_padded(tmp_path):
    clip = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)
    assert write_clips(tmp_path / "c", iter([clip, None, clip + 1]), (2, 4, 5, 3), "key") == 2
    store = ClipStore(tmp_path / "c")
    assert len(store) == 2
    # Clips that were left out make another network.
    keys = {store.key}
    for number, clips in enumerate(([clip, clip + 1], [clip, clip + 1, None], [None, clip])):
        write_clips(tmp_path / str(number), iter(clips), (2, 4, 5, 3), "key")
        keys.add(ClipStore(tmp_path / str(number)).key)
    assert len(keys) == 4
    assert ClipStore(tmp_path / "0").key == "key"
    read = store.read(1)
    assert np.array_equal(read[:, :3, :4], clip + 1)
    assert not read[:, 3:].any()
    assert not read[:, :, 4:].any()


class Reader:
    """Read a video of which frame 5 is damaged, and which ends in an error at frame 8."""

    def __init__(self, path, _):
        self.path = path

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def read(self, start, stop):
        if self.path.name == "b" and stop > 8:
            raise VideoError("the disk is gone")
        image = np.zeros((32, 32, 3), np.uint8)
        return [(frame, None if frame == 5 else image + frame) for frame in range(start, stop)]


def test_clips_that_cannot_be_read_keep_their_places(monkeypatch):
    monkeypatch.setattr(make_clips, "PatientReader", Reader)
    fit = FrameFit.of(32, 32, 1.0)
    videos = [make_clips._Video(name, Path(name), fit, 12, name) for name in "abc"]
    chosen = [(video, start) for video in range(3) for start in (0, 4, 6, 9)]
    clips = list(make_clips._read_clips(videos, chosen, 2, 60.0))
    told = [None if clip is None else clip[0, 0, 0, 0] for clip in clips]
    assert told == [0, None, 6, 9, 0, None, 6, None, 0, None, 6, 9]


def test_each_round_has_every_clip_once(tmp_path):
    clips = store_clips(tmp_path / "c")
    settings = UnsupervisedSettings(temporal=1.0)
    losses = UnsupervisedLosses(settings, TargetSettings(), tmp_path / "c", {}, seed=4)

    def number(step):
        read = losses.read_clip(step)
        return next(n for n, clip in enumerate(clips) if np.array_equal(read, clip))

    rounds = [[number(3 * n + k) for k in range(3)] for n in range(6)]
    assert all(sorted(one) == [0, 1, 2] for one in rounds)
    assert len({tuple(one) for one in rounds}) > 1
    # Weights grow in the first 30 % of the training.
    one = {"temporal": torch.tensor(2.0)}
    grown = [losses.weigh(one, part).item() for part in (0.0, 0.15, 0.3, 1.0)]
    assert grown == pytest.approx([0, 1, 2, 2])


def test_positions_are_not_rounded_in_mixed_precision(tmp_path):
    """Distances from a subspace are some px of positions of hundreds, which bfloat16 rounds."""
    store_clips(tmp_path / "c")
    basis = np.array([[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]])
    subspace = Subspace(np.array([0.0, 210.0, 0.0, 210.0]), basis, 0.5)
    subspaces = {"pose_pca": (np.array([[0, 1]]), subspace)}
    settings = UnsupervisedSettings(pose_pca=1.0, temporal=1.0, max_jump=0.0)
    losses = UnsupervisedLosses(settings, TargetSettings(), tmp_path / "c", subspaces, seed=0)
    # As `precision: bf16-true` converts all that a training has.
    losses.bfloat16()
    score = torch.full((2, 2, 64, 64), -9.0)
    score[0, :, 25, 37] = score[1, :, 26, 37] = 4.0

    class Fixed(torch.nn.Module):
        outputs = ("score", "offset")

        def forward(self, _):
            return score, torch.zeros(2, 2, 2, 64, 64)

    with torch.autocast("cpu", torch.bfloat16):
        found = losses.measure(Fixed(), torch.zeros(1))
    # Rows 25 and 26 are at 203.5 and 211.5 px: 6.5 and 1.5 px off, half a px is tolerated.
    assert found["pose_pca"].item() * 8 == pytest.approx((6.0 + 1.0) / 2, abs=1e-3)
    assert found["temporal"].item() * 8 == pytest.approx(8.0, abs=1e-3)


UNSUPERVISED = {
    "temporal": 0.1,
    "pose_pca": 0.1,
    "view_pca": 0.1,
    "max_jump": 0.0,
    "variance": 0.5,
    "views": [[BODYPARTS[0]], [BODYPARTS[1]]],
}


def test_a_training_learns_from_clips(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = Results(tmp_path / "results")
    write_tiny_labels(results, train=8)
    plain = tiny_config(epochs=2, measure_every=0)
    run_make_targets(plain, results)
    store_clips(results.clips)
    config = tiny_config(epochs=2, measure_every=0, unsupervised=UNSUPERVISED)
    run_train(config, results)
    files = results.model("pose")
    history = pd.read_csv(files.history, sep="\t")
    for name in ("train_temporal", "train_pose_pca", "train_view_pca"):
        values = history["value"][history["metric"] == name]
        assert len(values) == 2
        assert (values >= 0).all()
    store = TargetStore(results.targets)
    key = json.loads(files.card.read_text())["key"]
    assert key == training_key(config, store) != training_key(plain, store)
    # Other clips are another network.
    write_clips(results.clips, iter(store_clips(tmp_path / "d")), (4, 64, 64, 3), "other")
    assert training_key(config, store) != key


def test_a_killed_training_goes_on_with_its_clips(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    whole, killed = Results(tmp_path / "whole"), Results(tmp_path / "killed")
    write_tiny_labels(whole, train=8)
    # Two steps of an epoch and three clips: a round of clips does not end with an epoch.
    config = tiny_config(epochs=3, measure_every=0, batch_size=4, unsupervised=UNSUPERVISED)
    run_make_targets(config, whole)
    store_clips(whole.clips)
    shutil.copytree(whole.root, killed.root)
    run_train(config, whole)
    end = HistoryWriter.on_train_epoch_end

    def die(self, trainer, module):
        end(self, trainer, module)
        if trainer.current_epoch == 1:
            monkeypatch.setattr(HistoryWriter, "on_train_epoch_end", end)
            raise KeyError

    monkeypatch.setattr(HistoryWriter, "on_train_epoch_end", die)
    with pytest.raises(KeyError):
        run_train(config, killed)
    assert not killed.model("pose").card.exists()
    run_train(config, killed)
    cards = [read_card(one.model("pose").card) for one in (whole, killed)]
    assert cards[0].network_sha256 == cards[1].network_sha256
    assert cards[0].key == cards[1].key


def test_too_few_labels_for_a_subspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = Results(tmp_path / "results")
    write_tiny_labels(results, train=5)  # one of them has a bodypart that is not to be seen
    run_make_targets(tiny_config(), results)
    store_clips(results.clips)
    store = TargetStore(results.targets)

    def plan(**settings):
        own = UnsupervisedSettings(**settings)
        return plan_unsupervised(own, TargetSettings(), store, results.clips, 0)

    with pytest.raises(ModelError, match="pose_pca: 4 poses are labelled as a whole, at least 5"):
        plan(pose_pca=1.0)
    with pytest.raises(ModelError, match="bodyparts: 'tail' is no bodypart; there are red, green"):
        plan(pose_pca=1.0, bodyparts=("tail",))
    assert plan(pose_pca=1.0, bodyparts=("red", "blue")).losses == ("pose_pca",)


@pytest.mark.parametrize(
    ("own", "more", "problem"),
    [
        ({"view_pca": 1}, {}, "view_pca needs `views`"),
        ({"views": [["a"], ["b", "c"]]}, {}, "views must have the same number of bodyparts"),
        ({"views": [["a"], ["a"]]}, {}, "views names a twice"),
        ({"bodyparts": ["a", "a"]}, {}, "bodyparts names a twice"),
        ({"frames": 2, "clip": 4}, {}, r"frames \(2\) must be at least clip \(4\)"),
        ({"clip": 1}, {}, "greater than or equal to 2"),
        ({"temporal": -1}, {}, "greater than or equal to 0"),
        ({"views": [["a"], ["z"]]}, {}, "unsupervised.views`: `skeleton.bodyparts` has no 'z'"),
        ({"temporal": 1}, {"individuals": {"max": 2}}, "networks of one animal alone"),
    ],
)
def test_settings_that_contradict(own, more, problem):
    skeleton = {"bodyparts": ["a", "b", "c"], "edges": [["a", "b"], ["b", "c"]]}
    values = {"cohort": "c.tsv", "skeleton": skeleton, "training": {"unsupervised": own}, **more}
    with pytest.raises(ConfigError, match=problem):
        parse_config(values)
