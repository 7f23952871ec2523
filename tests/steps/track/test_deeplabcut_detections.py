"""Test tracks from DeepLabCut's detections of one video."""

import pickle

import numpy as np
import pytest
from typer.testing import CliRunner

from pipeline_lib.cli import app
from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.tables import TrackStatus
from pipeline_lib.io.poses.read import read_poses
from pipeline_lib.steps.track.deeplabcut_detections import track_detections

NAN = np.nan
FRAMES = 60
BODYPARTS = ["nose", "middle", "tail", "corner"]
ABSENT, FOLLOWED, _, _ = TrackStatus


def make_truth(animals=2):
    """Make animals that walk to the right, one above the other, with the corner at (7, 8)."""
    x = 3.0 * np.arange(FRAMES)
    position = np.zeros((FRAMES, animals, 4, 2))
    position[..., 0] = x[:, None, None] + 20.0 * np.arange(4)
    position[..., 1] = 100.0 * np.arange(animals)[:, None]
    position[:, :, 3] = NAN
    return position


def write_detections(folder, truth, *, assembled=False):
    """Write what DeepLabCut would: peaks in an order of their own in each frame."""
    random = np.random.default_rng(0)
    content = {
        "metadata": {
            "all_joints_names": BODYPARTS,
            "PAFgraph": [[0, 1], [1, 2]],
            "PAFinds": np.array([0, 1]),
            "nframes": FRAMES,
        }
    }
    animals = truth.shape[1]
    for frame, poses in enumerate(truth):
        order = [random.permutation(animals) for _ in range(3)]
        if assembled:
            order = [order[0]] * 3
        peaks = [poses[places, part] for part, places in enumerate(order)]
        costs = {
            edge: {"m1": (order[edge][:, None] == order[edge + 1]).astype(np.float32)}
            for edge in range(2)
        }
        content[f"frame{frame:02d}"] = {
            "coordinates": ([*peaks, np.array([[7.0, 8.0]])],),
            "confidence": [np.full((animals, 1), 0.9, np.float32)] * 3
            + [np.array([[0.8]], np.float32)],
            "costs": None if assembled else costs,
        }
    path = folder / "videoDLC_full.pickle"
    path.write_bytes(pickle.dumps(content))
    return path


def check_tracks(poses, truth):
    animals = truth.shape[1]
    np.testing.assert_allclose(poses.position[:, :animals], truth, rtol=1e-6)
    assert (poses.track_status == FOLLOWED).all()
    np.testing.assert_array_equal(poses.position[:, animals, 3], [[7, 8]] * FRAMES)
    np.testing.assert_allclose(poses.confidence[:, animals, 3], 0.8)
    assert poses.bodyparts == tuple(BODYPARTS)


def test_detections_become_tracks_beside_them(tmp_path):
    truth = make_truth()
    written = track_detections(write_detections(tmp_path, truth))
    assert written == tmp_path / "videoDLC.zarr.zip"
    poses = read_poses(written)
    # That there are two animals is what most frames show.
    assert poses.individuals == ("individual1", "individual2", "single")
    check_tracks(poses, truth)
    # Nothing tells how fast the video is.
    np.testing.assert_array_equal(poses.time, np.arange(FRAMES))
    assert poses.attributes["fps"] is None
    assert poses.attributes["video"] == "videoDLC"
    assert poses.attributes["tracking"]["similarity"] == "oks"
    assert poses.attributes["assembly"]["min_affinity"] == 0.05


def add_false_noses(source):
    """Add a nose to each frame that is more certain than the true ones, and not linked."""
    content = pickle.loads(source.read_bytes())  # noqa: S301 - written by this test
    for frame in range(FRAMES):
        shown = content[f"frame{frame:02d}"]
        (coordinates,), confidence = shown["coordinates"], shown["confidence"]
        coordinates[0] = np.vstack([coordinates[0], [[1000.0, 1000.0]]])
        confidence[0] = np.vstack([confidence[0], np.array([[0.99]], np.float32)])
        shown["costs"][0]["m1"] = np.vstack([shown["costs"][0]["m1"], np.zeros((1, 2))])
    source.write_bytes(pickle.dumps(content))


def test_keypoints_without_a_link_are_added_only_if_asked_for(tmp_path, monkeypatch):
    """Assemble two of three noses; of equal confidences, the first in the file."""
    for name, least in (("_MIN_KEYPOINTS", 2), ("_MIN_LINKS", 1)):
        monkeypatch.setattr(f"pipeline_lib.steps.track.deeplabcut_detections.{name}", least)
    truth = make_truth()
    source = write_detections(tmp_path, truth)
    content = pickle.loads(source.read_bytes())  # noqa: S301 - written by this test
    later = [
        int(content[f"frame{frame:02d}"]["coordinates"][0][0][1, 1]) // 100
        for frame in range(FRAMES)
    ]
    add_false_noses(source)
    check_tracks(read_poses(track_detections(source, individuals=2, fill_gaps=True)), truth)
    truth[np.arange(FRAMES), later, 0] = NAN
    check_tracks(read_poses(track_detections(source, individuals=2)), truth)


def test_unique_bodyparts_that_are_not_certain_are_not_there(tmp_path):
    source = write_detections(tmp_path, make_truth())
    content = pickle.loads(source.read_bytes())  # noqa: S301 - written by this test
    content["frame07"]["confidence"][3] = np.array([[0.1]])
    # Single precision's 0.1 is a little more, and so it is for DeepLabCut.
    content["frame08"]["confidence"][3] = np.array([[0.1]], np.float32)
    source.write_bytes(pickle.dumps(content))
    poses = read_poses(track_detections(source))
    shown = np.isfinite(poses.position[:, 2, 3, 0])
    assert np.flatnonzero(~shown).tolist() == [7]
    assert poses.confidence[7, 2, 3] == 0
    assert poses.track_status[7, 2] == ABSENT


def test_individuals_of_each_frame_are_written_if_asked_for(tmp_path):
    truth = make_truth()
    source, path = write_detections(tmp_path, truth), tmp_path / "assemblies.zarr.zip"
    tracks = read_poses(track_detections(source, assemblies=path))
    poses = read_poses(path)
    assert poses.track_status is None
    assert poses.individuals == tracks.individuals == ("individual1", "individual2", "single")
    # Which of them comes first says nothing.
    rows = np.sort(poses.position[:, :2], axis=1)
    np.testing.assert_allclose(rows, np.sort(truth, axis=1))
    np.testing.assert_array_equal(poses.position[:, 2], tracks.position[:, 2])
    assert poses.attributes["key"] != tracks.attributes["key"]
    assert "tracking" not in poses.attributes


def test_individuals_that_were_assembled_are_tracked_as_they_are(tmp_path):
    truth = make_truth()
    source = write_detections(tmp_path, truth, assembled=True)
    poses = read_poses(track_detections(source))
    check_tracks(poses, truth)
    assert poses.attributes["assembly"] == {}


def test_the_same_detections_have_the_same_key(tmp_path):
    source = write_detections(tmp_path, make_truth())
    keys = [
        read_poses(track_detections(source, individuals=count)).attributes["key"]
        for count in (2, 2, 1)
    ]
    assert keys[0] == keys[1] != keys[2]


def test_the_command_writes_what_it_is_asked_for(tmp_path):
    source = write_detections(tmp_path, make_truth())
    output = tmp_path / "tracks.zarr.zip"
    asked = ["--individuals", "3", "--fps", "20", "--output", str(output)]
    result = CliRunner().invoke(app, ["track", "--from-dlc-detections", str(source), *asked])
    assert result.exit_code == 0, result.output
    assert str(output) in result.output.replace("\n", "")
    poses = read_poses(output)
    assert len(poses.individuals) == 4
    assert (poses.track_status[:, 2] == ABSENT).all()
    np.testing.assert_allclose(poses.time, np.arange(FRAMES) / 20)


def test_limits_are_those_that_are_asked_for(tmp_path):
    """Set affinities to 1 within animals and 0 else; confidences to 0.9, the corner's to 0.8."""
    source, output = write_detections(tmp_path, make_truth()), tmp_path / "tracks.zarr.zip"

    def track(*options):
        asked = ["track", "--from-dlc-detections", str(source), "--output", str(output), *options]
        result = CliRunner().invoke(app, [*asked, "--individuals", "2"])
        assert result.exit_code == 0, result.output
        poses = read_poses(output)
        found = np.isfinite(poses.position[..., 0]).any(axis=-1)
        return found.mean(axis=0).tolist(), poses.attributes["assembly"]

    everything, rules = track()
    assert everything == [1, 1, 1]
    assert (rules["pcutoff"], rules["min_affinity"]) == (0.1, 0.05)
    without_corner, rules = track("--pcutoff", "0.85", "--min-affinity", "0.5")
    assert without_corner == [1, 1, 0]
    assert (rules["pcutoff"], rules["min_affinity"]) == (0.85, 0.5)
    assert track("--pcutoff", "0.95")[0] == [0, 0, 0]
    assert track("--min-affinity", "1")[0] == [1, 1, 1]
    assert track("--min-affinity", "1.01")[0] == [0, 0, 1]


@pytest.mark.parametrize("option", [("--pcutoff", "1.5"), ("--min-affinity", "-1")])
def test_limits_out_of_range_are_refused(tmp_path, option):
    asked = ["track", "--from-dlc-detections", str(write_detections(tmp_path, make_truth()))]
    assert CliRunner().invoke(app, [*asked, *option]).exit_code == 2


@pytest.mark.parametrize("option", [("--pcutoff", "0.5"), ("--min-affinity", "0.5")])
def test_limits_are_not_for_the_videos_of_a_config(option):
    result = CliRunner().invoke(app, ["track", *option])
    assert result.exit_code == 2
    assert "--from-dlc-detections" in result.stderr


def test_a_video_with_animals_in_few_of_its_frames_has_them_all(tmp_path):
    """Show three animals in 20 of 1,000 frames."""
    source = write_detections(tmp_path, make_truth(animals=3))
    content = pickle.loads(source.read_bytes())  # noqa: S301 - written by this test
    content["metadata"]["nframes"] = 1000
    few = {key: content[key] for key in ["metadata", *(f"frame{n:02d}" for n in range(40, 60))]}
    source.write_bytes(pickle.dumps(few))
    poses = read_poses(track_detections(source))
    assert poses.individuals == ("individual1", "individual2", "individual3", "single")
    shown = np.isfinite(poses.position[:, :3, 0, 0]).all(axis=1)
    assert np.flatnonzero(shown).tolist() == list(range(40, 60))


def test_a_file_that_is_none_is_named(tmp_path):
    path = tmp_path / "other.pickle"
    path.write_bytes(pickle.dumps([1, 2]))
    result = CliRunner().invoke(app, ["track", "--from-dlc-detections", str(path)])
    assert result.exit_code == 1
    assert "other.pickle" in result.stderr


def test_options_of_detections_are_not_for_the_videos_of_a_config():
    result = CliRunner().invoke(app, ["track", "--individuals", "3"])
    assert result.exit_code == 2
    assert "--from-dlc-detections" in result.stderr


@pytest.mark.parametrize("option", ["--individuals", "--fps"])
def test_no_animal_and_no_time_are_refused(tmp_path, option):
    result = CliRunner().invoke(
        app, ["track", "--from-dlc-detections", str(tmp_path / "x"), option, "0"]
    )
    assert result.exit_code == 2


def test_nothing_but_a_pose_file_is_replaced(tmp_path):
    source = write_detections(tmp_path, make_truth())
    content = source.read_bytes()
    folder, packed = tmp_path / "keep.zarr", tmp_path / "other.zarr.zip"
    folder.mkdir()
    (folder / "notes.txt").write_text("precious")
    packed.write_text("precious")
    for place in (folder, packed):
        for options in ({"target": place}, {"assemblies": place}):
            with pytest.raises(StoreError, match="is there and is no pose file"):
                track_detections(source, **options)
    for place in (source, tmp_path, tmp_path / "t.h5", tmp_path / ".zarr"):
        with pytest.raises(StoreError, match=r"--output is a pose file, expected NAME\.zarr or"):
            track_detections(source, place)
    with pytest.raises(StoreError, match="--assemblies and --output are the same file"):
        track_detections(source, tmp_path / "t.zarr", assemblies=tmp_path / "t.zarr")
    assert source.read_bytes() == content
    assert (folder / "notes.txt").read_text() == packed.read_text() == "precious"
    # A pose file is, and so is an empty folder.
    (tmp_path / "t.zarr").mkdir()
    for place in (tmp_path / "t.zarr", tmp_path / "t.zarr.zip"):
        for _ in range(2):
            assert read_poses(track_detections(source, place)).position.shape[0] == FRAMES


def test_more_individuals_than_a_pose_file_has(tmp_path):
    source = write_detections(tmp_path, make_truth())
    with pytest.raises(StoreError, match="--individuals is 100000000, expected at most 10000"):
        track_detections(source, individuals=100_000_000)


def test_a_folder_is_no_file_of_detections(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["track", "--from-dlc-detections", "."])
    assert result.exit_code == 1
    assert ".: cannot be read: Is a directory" in result.stderr
