"""Test that nothing is computed where nothing moves, and that everything that moves is."""

import logging

import numpy as np
import pytest
from distributed import LocalCluster

from pipeline_lib.core.layout import Results
from pipeline_lib.core.tables import FrameStatus
from pipeline_lib.io.poses.read import count_frames, read_poses
from pipeline_lib.models.card import read_card
from pipeline_lib.models.inference.decoding import Located
from pipeline_lib.steps.infer import segment as infer_segment
from pipeline_lib.steps.infer.frames.still_frames import Choice
from pipeline_lib.steps.infer.run import run_infer
from pipeline_lib.steps.infer.segment import _fill_in
from tests.models.synthetic import write_tiny_model
from tests.steps.infer.frames.still_examples import draw_cage, film
from tests.steps.infer.test_run import (
    SHARD,
    FollowsBlocks,
    assert_same_poses,
    make_config,
    read_rows,
    use_model,
    write_probe,
)
from tests.video_corpus import damage_packet, turn_a_quarter

EVERY = 50
# Rests, walks 12 px, rests, moves by 1 px, rests.
PLACES = [60] * 83 + list(range(61, 73)) + [72] * 60 + [73] * 64
MOVING = {*range(83, 95), 155}


@pytest.fixture(scope="module")
def cage(tmp_path_factory):
    """Encode the cage as cameras do: noise hardly changes but at keyframes."""
    path = tmp_path_factory.mktemp("cage") / "cage.mp4"
    return film(path, [draw_cage(x=x) for x in PLACES], gop=30)


@pytest.fixture(scope="module")
def cluster():
    """Start a Dask cluster with one worker in this process."""
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    files = Results(tmp_path_factory.mktemp("model")).model("pose")
    write_tiny_model(files)
    return files


@pytest.fixture
def results(tmp_path, model):
    results = Results(tmp_path / "results")
    use_model(results, model)
    return results


def infer(results, cluster, path, name="v", **settings):
    write_probe(results, **{name: path})
    run_infer(
        make_config(cluster, **{"still": "auto", "still_frames": EVERY} | settings), results, SHARD
    )
    return read_poses(results.poses("pose", name))


def check_copies(poses, full):
    """Check that computed frames are those of full inference, and still ones those before them."""
    still = poses.frame_status == FrameStatus.STILL
    source = np.maximum.accumulate(
        np.where(poses.frame_status == FrameStatus.DECODED, np.arange(len(still)), -1)
    )
    for name in ("position", "confidence"):
        mine, theirs = getattr(poses, name), getattr(full, name)
        np.testing.assert_array_equal(mine[~still], theirs[~still])
        np.testing.assert_array_equal(mine[still], theirs[source[still]])
    assert (np.flatnonzero(still) - source[still]).max() < EVERY
    return np.flatnonzero(~still)


def test_what_moves_is_computed_and_what_rests_is_copied(results, cluster, cage):
    poses = infer(results, cluster, cage)
    assert read_rows(results)["v"]["still"] == str((poses.frame_status == 3).sum())
    assert poses.attributes["still_frames"] == EVERY
    full = infer(results, cluster, cage, still="off")
    assert "still_frames" not in full.attributes
    assert read_rows(results)["v"]["still"] == ""
    computed = check_copies(poses, full)
    assert set(computed) >= MOVING | set(range(0, len(PLACES), EVERY))
    # Some more at keyframes, where the noise jumps.
    assert len(computed) < 45
    assert count_frames(results.poses("pose", "v")) == (len(PLACES), 0, 0)


def test_segments_of_any_length_give_the_same_bytes(results, cluster, cage):
    for length in (1000, 64, 7):
        infer(results, cluster, cage, segment_frames=length)
        results.poses("pose", "v").rename(results.root / f"segments-{length}")
    for length in (64, 7):
        assert_same_poses(results.root / "segments-1000", results.root / f"segments-{length}")


def test_animals_are_followed_through_blocks_that_no_segment_cuts(
    results, cluster, cage, monkeypatch
):
    """The grid of computed frames, every 50th, is none of the blocks, of seven frames."""
    predictor = FollowsBlocks(read_card(results.model("pose").card))
    monkeypatch.setattr(infer_segment, "load_warm_predictor", lambda _: predictor)
    write_probe(results, v=cage)
    for length in (1000, 64, 9):
        settings = {"still": "auto", "still_frames": EVERY, "segment_frames": length}
        config = make_config(cluster, **settings, batch_size=5)
        locating = config.locating.model_copy(update={"every": 7})
        run_infer(config.model_copy(update={"locating": locating}), results, SHARD)
        results.shard(SHARD).infer("pose").unlink()
        results.poses("pose", "v").rename(results.root / f"segments-{length}")
    for length in (64, 9):
        assert_same_poses(results.root / "segments-1000", results.root / f"segments-{length}")
    poses = read_poses(results.root / "segments-1000")
    assert (poses.frame_status == FrameStatus.STILL).sum() > 100
    assert len(np.unique(poses.position[83:95, 0, 0, 0])) > 5


def test_damage_and_rotation(results, cluster, cage, tmp_path):
    """Lose a packet, and turn the picture: undecodable frames, and those after them, as always."""
    path = tmp_path / "damaged.mp4"
    path.write_bytes(cage.read_bytes())
    turn_a_quarter(path)
    damage_packet(path, 70)
    crop = (8, 88, 20, 150)
    poses = infer(results, cluster, path, crop=crop)
    lost = poses.frame_status == FrameStatus.UNDECODABLE
    assert 0 < lost.sum() < 30
    assert np.isnan(poses.confidence[lost]).all()
    row = read_rows(results)["v"]
    assert (row["undecodable"], row["still"]) == (
        str(lost.sum()),
        str((poses.frame_status == 3).sum()),
    )
    results.poses("pose", "v").rename(results.root / "whole")
    infer(results, cluster, path, crop=crop, segment_frames=30)
    assert_same_poses(results.root / "whole", results.poses("pose", "v"))
    full = infer(results, cluster, path, crop=crop, still="off")
    np.testing.assert_array_equal(lost, full.frame_status == FrameStatus.UNDECODABLE)
    computed = check_copies(poses, full)
    assert set(computed) >= MOVING - set(np.flatnonzero(lost))
    assert len(computed) < 60


BAD = {
    "flicker": (
        [draw_cage(light=6 * (-1) ** number) for number in range(120)],
        2.0,
        "v: nothing moved in 0.0% of 120 frames: the whole picture changes",
    ),
    "lamp": (
        [draw_cage(lamp=80 * (number % 2)) for number in range(120)],
        2.0,
        "the picture changes at x 0 to 32, y 0 to 32 in nearly every frame (a timestamp",
    ),
    "noise": ([draw_cage()] * 120, 6.0, "the camera's noise would hide small motions in 98% of"),
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_light_means_full_inference_and_is_said(results, cluster, tmp_path, caplog, bad):
    scenes, noise, said = BAD[bad]
    options = {"crf": "8", "preset": "ultrafast", "threads": "1"}
    path = film(tmp_path / "v.mp4", scenes, noise=noise, gop=12, options=options)
    with caplog.at_level(logging.INFO):
        poses = infer(results, cluster, path, segment_frames=50)
    assert (poses.frame_status == FrameStatus.DECODED).all()
    assert said in caplog.text


def test_noise_that_rises_at_night_is_followed_by_full_inference(
    results, cluster, tmp_path, caplog
):
    noise = [1.0] * 150 + [3.5] * 50
    options = {"crf": "8", "preset": "ultrafast", "threads": "1"}
    path = film(tmp_path / "v.mp4", [draw_cage()] * 200, noise=noise, gop=12, options=options)
    with caplog.at_level(logging.INFO):
        poses = infer(results, cluster, path)
    still = poses.frame_status == FrameStatus.STILL
    assert still[:150].mean() > 0.9
    assert not still[150:].any()
    assert "nothing moved in 7" in caplog.text


def test_a_lamp_outside_of_the_crop_does_not_matter(results, cluster, tmp_path):
    scenes = [draw_cage(lamp=80 * (number % 2)) for number in range(120)]
    poses = infer(results, cluster, film(tmp_path / "v.mp4", scenes, gop=30), crop=(32, 160, 0, 96))
    assert (poses.frame_status == FrameStatus.STILL).mean() > 0.8


def test_all_that_is_known_of_a_pose_is_copied():
    """Copy the slots, identities and spread that detectors, trackers and ensembles give."""
    random = np.random.default_rng(0)
    shapes = ((6, 2, 3, 2), (6, 2, 3), (6, 2, 4), (6, 2, 3))
    expected = Located(*(random.random(shape).astype(np.float32) for shape in shapes))
    found = Located(*(np.full(shape, np.nan, np.float32) for shape in shapes))
    status = np.full(6, FrameStatus.UNDECODABLE, np.uint8)
    image = np.zeros((4, 4, 3), np.uint8)

    def predict(images):
        assert list(images) == [10, 13]
        return expected.take(np.array([0, 3]))

    group = [
        Choice(10, image, 10),
        Choice(11, None, 10),
        Choice(12, None, -1),
        Choice(13, image, 13),
        Choice(14, None, 13),
        Choice(15, None, 13),
    ]
    _fill_in(found, status, group, 10, predict)
    assert status.tolist() == [0, 3, 1, 0, 3, 3]
    for array, known in zip(found, expected, strict=True):
        np.testing.assert_array_equal(array[[0, 1, 3, 4, 5]], known[[0, 0, 3, 3, 3]])
        assert np.isnan(array[2]).all()
