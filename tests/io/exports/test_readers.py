"""Test that other tools read from every export the same values, names, frames and rate.

movement pulls a second OpenCV, which must not lie beside ours, and so has an environment of its own
(`tests.peers.environments`).
"""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sleap_io

from pipeline_lib.core.formats.exports import FORMATS
from pipeline_lib.core.poses import Poses
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.core.tables import FrameStatus, TrackStatus
from pipeline_lib.io.exports.registry import write_export
from tests.io.exports import reading
from tests.io.exports.export_examples import NAN, make_source
from tests.peers.environments import require_peer

READERS = {
    ("h5", "pandas"): reading.read_pandas_h5,
    ("csv", "pandas"): reading.read_pandas_csv,
    ("slp", "sleap-io"): reading.read_sleap_io_slp,
    ("analysis", "sleap-io"): reading.read_sleap_io_analysis,
    ("nwb", "pynwb"): reading.read_pynwb_nwb,
    ("coco", "pycocotools"): reading.read_pycocotools,
}
ODD_NAMES = ("left ear", "Schwänzchen", "鼻", "a,b", "ear/left", "scorer_1", "x")


def make_poses(frames, bodyparts=("nose", "tail"), individuals=("animal",), *, fps=30.0):
    """Return every animal in every frame, each number different; several are tracked."""
    random = np.random.default_rng(0)
    points = (len(individuals), len(bodyparts))
    several = len(individuals) > 1
    return Poses(
        position=random.uniform(-5, 2000, (frames, *points, 2)).astype(np.float32),
        confidence=random.random((frames, *points), np.float32),
        frame_status=np.full(frames, FrameStatus.DECODED, np.uint8),
        time=np.arange(frames) / fps,
        bodyparts=tuple(bodyparts),
        individuals=tuple(individuals),
        attributes={"fps": fps, "video": "v", "key": "pose-key"},
        track_status=np.full((frames, points[0]), TrackStatus.FOLLOWED, np.uint8)
        if several
        else None,
    )


def remove(poses, *frames, animals=slice(None)):
    """Find no animal in some frames."""
    for frame in frames:
        poses.position[frame, animals] = NAN
        poses.confidence[frame, animals] = 0
    return poses


def lose(poses, *frames):
    """Make some frames undecodable."""
    for frame in frames:
        poses.position[frame] = NAN
        poses.confidence[frame] = NAN
        poses.frame_status[frame] = FrameStatus.UNDECODABLE
    return poses


def make_unique():
    """Return two animals, and a corner that belongs to no animal."""
    poses = make_poses(6, ("nose", "tail", "corner"), ("a", "b", "single"))
    poses.position[:, :2, 2], poses.confidence[:, :2, 2] = NAN, 0
    poses.position[:, 2, :2], poses.confidence[:, 2, :2] = NAN, 0
    return poses


# movement reads no COCO, and no tables that are made for others.
FOR_MOVEMENT = [name for name in FORMATS if name not in ("coco", "simba", "bsoid", "motion-bids")]
THREE = ("b", "a", "c")
SCENES = {
    "one": lambda: make_poses(7),
    "three": lambda: make_poses(7, individuals=THREE),
    "none of one": lambda: remove(make_poses(7), *range(7)),
    "none of three": lambda: remove(make_poses(7, individuals=THREE), *range(7)),
    "only in the middle": lambda: remove(make_poses(9), 0, 1, 2, 6, 7, 8),
    "three only in the middle": lambda: remove(make_poses(9, individuals=THREE), 0, 1, 7, 8),
    "one of three never": lambda: remove(make_poses(5, individuals=THREE), *range(5), animals=1),
    "a bodypart missing": lambda: remove_bodypart(make_poses(5)),
    "first and last lost": lambda: lose(make_poses(6), 0, 1, 5),
    "first lost, then none": lambda: remove(lose(make_poses(6, individuals=THREE), 0), 1, 5),
    "all lost": lambda: lose(make_poses(4), *range(4)),
    "odd names": lambda: make_poses(4, ODD_NAMES, ("mouse 1", "Mäuschen, 2")),
    "one with odd names": lambda: make_poses(4, ODD_NAMES),
    "one frame": lambda: make_poses(1),
    "unique": make_unique,
    "broken rate": lambda: make_poses(9, fps=30000 / 1001),
}


def remove_bodypart(poses):
    """Put a bodypart below the cutoff, which keeps its confidence."""
    poses.position[2:4, :, 1] = NAN
    return poses


def export(folder, poses, name):
    path = folder / f"v.{FORMATS[name].suffix}"
    edges = ((poses.bodyparts[0], poses.bodyparts[1]),)
    skeleton = Skeleton(
        bodyparts=poses.bodyparts,
        edges=edges,
        unique_bodyparts=("corner",) if "corner" in poses.bodyparts else (),
    )
    write_export(name, path, make_source(folder, poses, skeleton=skeleton))
    return path


def check(found, poses, name, *, by_movement=False):
    expected = poses.position, poses.confidence
    several = len(poses.individuals) > 1
    bodyparts, individuals = list(poses.bodyparts), list(poses.individuals)
    if name in ("slp", "coco") or (name == "analysis" and not by_movement):
        # SLEAP, sleap-io and COCO keep nothing of an animal without a keypoint.
        there = ~np.isnan(poses.position).any(axis=-1).all(axis=-1, keepdims=True)
        expected = poses.position, np.where(there, poses.confidence, NAN)
    elif name in ("h5", "csv") and "single" in individuals:
        # A bodypart that an individual does not have has no column.
        own = np.ones(poses.confidence.shape[1:], bool)
        own[2, :2], own[:2, 2] = False, False
        expected = poses.position, np.where(own, poses.confidence, NAN)
    position, confidence = found.position, found.confidence
    if not by_movement and not position.size and name in ("slp", "analysis"):
        # To sleap-io, an animal without a name that is never found is no animal.
        assert np.isnan(poses.position).all()
        assert len(position) == len(poses.time)
        return
    if by_movement and name == "nwb":
        # NWB and movement put bodyparts in order.
        bodyparts = [bodypart.translate(str.maketrans("/:\\", "___")) for bodypart in bodyparts]
        order = [found.bodyparts.index(bodypart) for bodypart in bodyparts]
        assert sorted(bodyparts) == sorted(found.bodyparts)
        position, confidence = position[:, :, order], confidence[:, :, order]
    else:
        assert list(found.bodyparts) == bodyparts
    if several:
        if by_movement or name != "nwb":
            assert list(found.individuals) == individuals
        else:
            order = [found.individuals.index(individual) for individual in individuals]
            position, confidence = position[:, order], confidence[:, order]
    if name == "coco":
        # Numbers of four digits after the point.
        np.testing.assert_allclose(position, expected[0], rtol=0, atol=1e-4)
        np.testing.assert_allclose(confidence, expected[1], rtol=0, atol=1e-4)
        position, confidence = expected
    # Readers hold them as float64; the text of a CSV is that of the float32.
    np.testing.assert_array_equal(position.astype(np.float32), expected[0])
    np.testing.assert_array_equal(confidence.astype(np.float32), expected[1])
    if not np.isnan(found.fps):
        # movement rounds rates to six digits.
        assert found.fps == pytest.approx(poses.attributes["fps"], rel=1e-7, abs=1e-6)


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize(("name", "reader"), READERS)
def test_readers_find_the_poses(tmp_path, name, reader, scene):
    poses = SCENES[scene]()
    path = export(tmp_path, poses, name)
    check(READERS[name, reader](path, len(poses.individuals)), poses, name)


def make_flies(folder, name):
    """Return labels of real flies as predictions."""
    labels = sleap_io.load_slp(str(folder / "flies-dreem" / f"{name}.slp"), open_videos=False)
    position = labels.numpy().astype(np.float32)
    individuals = [track.name for track in labels.tracks]
    poses = make_poses(len(position), labels.skeleton.node_names, individuals)
    return replace(poses, position=position)


FLIES = ("single_fly", "two_flies", "three_flies")


@pytest.mark.real
@pytest.mark.parametrize("flies", FLIES)
@pytest.mark.parametrize(("name", "reader"), READERS)
def test_readers_find_real_flies(tmp_path, data_folder, name, reader, flies):
    poses = make_flies(data_folder, flies)
    path = export(tmp_path, poses, name)
    check(READERS[name, reader](path, len(poses.individuals)), poses, name)


def read_by_movement(folder, exports):
    """Read files with movement in one process, since it takes seconds to load."""
    python = require_peer("movement")
    jobs = []
    for (scene, name), poses in exports.items():
        place = folder / f"{scene}-{name}".replace(" ", "_")
        place.mkdir()
        jobs.append(
            {"path": str(export(place, poses, name)), "individuals": list(poses.individuals)}
        )
    (folder / "jobs.json").write_text(json.dumps(jobs))
    program = Path(__file__).parent / "movement_reader.py"
    subprocess.run([python, program, folder / "jobs.json"], check=True, timeout=300)
    return {
        key: reading.Found(
            **np.load(f"{job['path']}.npz"), **json.loads(Path(f"{job['path']}.json").read_text())
        )
        for key, job in zip(exports, jobs, strict=True)
    }


@pytest.fixture(scope="module")
def found_by_movement(tmp_path_factory):
    poses = {(scene, name): make() for scene, make in SCENES.items() for name in FOR_MOVEMENT}
    # movement's limit: to it, all individuals of a DeepLabCut table have the same bodyparts.
    poses = {key: one for key, one in poses.items() if key not in NOT_FOR_MOVEMENT}
    return read_by_movement(tmp_path_factory.mktemp("movement"), poses)


NOT_FOR_MOVEMENT = {("unique", "h5"), ("unique", "csv")}


@pytest.mark.parametrize(
    ("scene", "name"),
    [
        (scene, name)
        for scene in SCENES
        for name in FOR_MOVEMENT
        if (scene, name) not in NOT_FOR_MOVEMENT
    ],
)
def test_movement_finds_the_poses(found_by_movement, name, scene):
    check(found_by_movement[scene, name], SCENES[scene](), name, by_movement=True)


@pytest.mark.real
def test_movement_finds_real_flies(tmp_path, data_folder):
    poses = {
        (flies, name): make_flies(data_folder, flies) for flies in FLIES for name in FOR_MOVEMENT
    }
    for (flies, name), found in read_by_movement(tmp_path, poses).items():
        check(found, poses[flies, name], name, by_movement=True)
