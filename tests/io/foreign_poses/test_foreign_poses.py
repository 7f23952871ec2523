"""Test that poses of other tools are read: values, names, frames; and what is wrong is told."""

import json
import os
import pickle
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import sleap_io

from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.formats.foreign_poses import FORMATS
from pipeline_lib.core.tables import TrackStatus
from pipeline_lib.io.exports.registry import write_export
from pipeline_lib.io.foreign_poses.files import detect_format, read_foreign_poses
from pipeline_lib.io.poses.write import write_poses
from tests.io.exports.export_examples import make_source
from tests.io.exports.test_readers import make_poses, remove

DATA = os.environ.get("COHORTPOSE_DATA")
needs_data = pytest.mark.skipif(not DATA, reason="COHORTPOSE_DATA does not name the data")
NAN = np.nan


def make_tracked():
    """Return two animals in 6 frames: none in frame 2, the first one only until 3."""
    poses = remove(make_poses(6, ("nose", "tail tip"), ("Ä", "b")), 2)
    remove(poses, 4, 5, animals=0)
    poses.position[1, 1, 0] = NAN
    poses.confidence[1, 1, 0] = 0
    return poses


@pytest.mark.parametrize("name", ["h5", "csv", "slp", "analysis"])
@pytest.mark.parametrize("several", [True, False])
def test_our_exports_are_read_back(tmp_path, name, several):
    poses = make_tracked() if several else remove(make_poses(6), 0, 2)
    suffix = {"analysis": "analysis.h5"}.get(name, name)
    path = tmp_path / f"v.{suffix}"
    write_export(name, path, make_source(tmp_path, poses))
    kinds = {"h5": "deeplabcut", "csv": "deeplabcut", "slp": "sleap", "analysis": "sleap-analysis"}
    assert detect_format(path) == kinds[name]
    found = read_foreign_poses(path, fps=20.0, frames=6)
    assert (found.bodyparts, found.individuals) == (poses.bodyparts, poses.individuals)
    np.testing.assert_array_equal(found.position, poses.position)
    seen = ~np.isnan(poses.position[..., 0])
    np.testing.assert_array_equal(found.confidence, np.where(seen, poses.confidence, 0))
    np.testing.assert_allclose(found.time, np.arange(6) / 20)
    assert found.attributes["fps"] == 20.0
    assert found.attributes["source"] == {"file": path.name, "format": kinds[name]}
    if several:
        followed, gap, absent = TrackStatus.FOLLOWED, TrackStatus.GAP, TrackStatus.ABSENT
        first = [followed, followed, gap, followed, absent, absent]
        assert found.track_status.T.tolist() == [first, [*[followed] * 2, gap, *[followed] * 3]]
    else:
        assert found.track_status is None


def test_our_own_files_keep_what_they_have(tmp_path):
    poses = make_tracked()
    write_poses(tmp_path / "v.zarr.zip", poses)
    found = read_foreign_poses(tmp_path / "v.zarr.zip")
    np.testing.assert_array_equal(found.track_status, poses.track_status)
    np.testing.assert_array_equal(found.time, poses.time)
    assert found.attributes["key"] == "pose-key"
    more = read_foreign_poses(tmp_path / "v.zarr.zip", fps=10.0, frames=8)
    np.testing.assert_allclose(more.time, np.arange(8) / 10)
    assert np.isnan(more.position[6:]).all()
    with pytest.raises(
        StoreError, match=r"has poses of 6 frames, and the video has 5.*empty cell `path`"
    ):
        read_foreign_poses(tmp_path / "v.zarr.zip", frames=5)


def test_frames_of_deeplabcut_that_are_missing_show_nobody(tmp_path):
    columns = pd.MultiIndex.from_product(
        [["net"], ["nose"], ["x", "y", "likelihood"]], names=["scorer", "bodyparts", "coords"]
    )
    table = pd.DataFrame([[NAN] * 3, [1, 2, 0.5], [3, 4, 0.25]], index=[0, 3, 5], columns=columns)
    for suffix in ("csv", "h5"):
        path = tmp_path / f"v.{suffix}"
        if suffix == "csv":
            # The first row is empty, as DeepLabCut itself writes it.
            table.to_csv(path)
        else:
            table.to_hdf(path, key="df_with_missing", format="table")
        found = read_foreign_poses(path, frames=7)
        x = [NAN, NAN, NAN, 1, NAN, 3, NAN]
        np.testing.assert_array_equal(found.position[:, 0, 0, 0], x)
        assert found.confidence[:, 0, 0].tolist() == [0, 0, 0, 0.5, 0, 0.25, 0]
        assert found.individuals == ("animal",)


HEAD = "scorer,net,net,net\nbodyparts,nose,nose,nose\ncoords,x,y,likelihood\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0,1,2,1\n1,1,two,1\n", "row 5: 'two' of net, nose, y is no number"),
        ("0,1,2,1\nimg7.png,1,2,1\n", r"row 5: 'img7\.png' is no number of a frame"),
        ("0,1,2,1\n0,1,2,1\n", "row 5 is of frame 0, as an earlier row is"),
        ("-1,1,2,1\n", "row 4 is of frame -1; expected frames from 0"),
        ("999999999999,1,2,1\n", "row 4 is of frame 999999999999; expected frames from 0, and"),
        ("0,1,2,1\n1.5,1,2,1\n", "row 5: '1.5' is no number of a frame"),
        ("0,1,2\n", "has rows of 2 numbers, expected 3"),
    ],
)
def test_what_is_wrong_with_a_table_is_told_with_its_row(tmp_path, text, message):
    path = tmp_path / "v.csv"
    path.write_text(HEAD + text)
    with pytest.raises(StoreError, match=message) as caught:
        read_foreign_poses(path)
    assert str(path) in str(caught.value)


def write_people(folder, frames, name="cam01_{:012d}_keypoints.json"):
    folder.mkdir()
    for frame, people in frames.items():
        content = {"version": 1.3, "people": people} if people is not None else {}
        (folder / name.format(frame)).write_text(json.dumps(content))


def make_person(points, shift=0.0, *, face=()):
    """Return a person whose points lie on a curve, but for those of the face, around the first."""
    place = np.arange(points)
    values = np.stack([100.0 + 10 * place + shift, 50.0 + place**2, 0.5 + place / 100], axis=1)
    for number, point in enumerate(face):
        values[point, :2] = values[0, :2] + [4 * number - 6, -5]
    return {"person_id": [-1], "pose_keypoints_2d": values.ravel().tolist()}


@pytest.mark.parametrize(
    ("points", "face", "names"),
    [
        (25, (15, 16, 17, 18), {1: "Neck", 8: "MidHip", 24: "RHeel"}),
        (25, (1, 2, 3, 4), {1: "LEye", 17: "Neck", 18: "Head"}),
        (26, (), {18: "Neck", 19: "Hip"}),
        (18, (), {1: "Neck", 17: "LEar"}),
        (17, (), {16: "RAnkle"}),
        (15, (), {14: "Chest"}),
        (4, (), {0: "point0", 3: "point3"}),
    ],
)
def test_the_number_of_points_tells_their_names(tmp_path, points, face, names):
    write_people(tmp_path / "json", {0: [make_person(points, face=face)]})
    found = read_foreign_poses(tmp_path / "json")
    assert len(set(found.bodyparts)) == points
    assert {place: found.bodyparts[place] for place in names} == names
    assert found.confidence[0, 0, 2] == np.float32(0.52)


def test_openpose_has_people_in_no_order_and_frames_of_nobody(tmp_path):
    lost = make_person(17)
    lost["pose_keypoints_2d"][3:6] = [0, 0, 0]
    frames = {1: [make_person(17), make_person(17, 5.0)], 2: None, 4: [lost], 5: [{}]}
    for number, name in enumerate(["cam01.{:04d}.json", "a_{}_keypoints.json", "{}.json"]):
        folder = tmp_path / str(number)
        write_people(folder, frames, name)
        assert detect_format(folder) == "openpose"
        found = read_foreign_poses(folder, fps=60.0, frames=7)
        assert found.individuals == ("individual1", "individual2")
        assert found.track_status is None
        x = [NAN, 100, NAN, NAN, 100, NAN, NAN]
        np.testing.assert_array_equal(found.position[:, 0, 0, 0], x)
        np.testing.assert_array_equal(found.position[:, 1, 0, 0], [NAN, 105, *[NAN] * 5])
        assert np.isnan(found.position[4, 0, 1]).all()
        assert found.confidence[4, 0, 1] == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"7\.json: is not JSON"),
        ("[]", r"7\.json: is no JSON of OpenPose"),
        ('{"people": {}}', r"7\.json: is no JSON of OpenPose"),
        ('{"people": [{"pose_keypoints_2d": [1, 2]}]}', "person 0: expected `pose_keypoints_2d`"),
        ('{"people": [{"pose_keypoints_2d": [1, "2", 3]}]}', "person 0: expected"),
        ('{"people": [{"pose_keypoints_2d": [1, NaN, 3]}]}', "person 0: a number is not finite"),
        (f'{{"people": [{{"pose_keypoints_2d": [1, {"9" * 400}, 3]}}]}}', "is not finite"),
        ('{"people": [{"pose_keypoints_2d": [1, 2, 3]}]}', "has people of 1 and of 17 points"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_wrong_with_openposes_files_is_told(tmp_path, content, message):
    write_people(tmp_path / "json", {0: [make_person(17)]}, "{}.json")
    (tmp_path / "json" / "7.json").write_text(content)
    with pytest.raises(StoreError, match=message):
        read_foreign_poses(tmp_path / "json")


def test_names_of_openposes_files_are_frames(tmp_path):
    write_people(tmp_path / "json", {0: [make_person(17)]}, "{}.json")
    (tmp_path / "json" / "x_00.json").write_text("{}")
    with pytest.raises(StoreError, match=r"x_00\.json: is of frame 0, as 0\.json is"):
        read_foreign_poses(tmp_path / "json")
    (tmp_path / "json" / "x_00.json").rename(tmp_path / "json" / "notes.json")
    with pytest.raises(StoreError, match=r"notes\.json: its name does not end in the number"):
        read_foreign_poses(tmp_path / "json")
    (tmp_path / "json" / "notes.json").rename(tmp_path / "json" / "9999999999.json")
    with pytest.raises(StoreError, match="row 9999999999 is of frame 9999999999; expected"):
        read_foreign_poses(tmp_path / "json")


def test_sleap_analysis_in_other_orders_of_axes(tmp_path):
    tracks = np.arange(2 * 3 * 4 * 2, dtype=float).reshape(2, 3, 4, 2)
    path = tmp_path / "v.analysis.h5"
    with h5py.File(path, "w") as file:
        # (frame, track, node, xy), as sleap-io writes it for Python.
        file["tracks"] = tracks
        file["tracks"].attrs["dims"] = json.dumps(["frame", "track", "node", "xy"])
        file["node_names"] = np.array([b"a", b"b", b"c", b"d"])
        file["track_names"] = np.array([b"x", b"y", b"z"])
    found = read_foreign_poses(path)
    np.testing.assert_array_equal(found.position, tracks)
    assert found.individuals == ("x", "y", "z")
    with h5py.File(path, "r+") as file:
        del file["track_names"]
        file["track_names"] = np.array([b"x", b"y"])
    with pytest.raises(StoreError, match="`tracks` is of 3 tracks, 4 nodes and 2 coordinates"):
        read_foreign_poses(path)


@needs_data
def test_real_files_of_sleap_are_read_as_sleap_io_reads_them():
    for name in ("two_flies", "single_fly"):
        path = Path(DATA, "flies-dreem", f"{name}.slp")
        found = read_foreign_poses(path)
        labels = sleap_io.load_slp(str(path), open_videos=False)
        expected = labels.numpy(untracked=found.track_status is None, return_confidence=False)
        order = [track.name for track in labels.tracks if track.name in found.individuals]
        slots = [found.individuals.index(name) for name in order] or [0]
        np.testing.assert_allclose(
            found.position[:, slots], expected[: len(found.time), : len(slots)], rtol=1e-6
        )
        assert found.bodyparts == tuple(labels.skeleton.node_names)
        assert np.isfinite(found.position).any(axis=(0, 2, 3)).all()


def test_instances_without_tracks_are_counted_and_users_correct(tmp_path):
    skeleton = sleap_io.Skeleton(["nose", "tail"])
    video = sleap_io.Video("v.mp4", open_backend=False)
    frames = []
    for number in (1, 3):
        found = [
            sleap_io.PredictedInstance.from_numpy(
                np.array([[x, 2.0], [NAN, NAN]]),
                skeleton=skeleton,
                point_scores=np.array([0.5, 0.25]),
                score=1.0,
            )
            for x in range(number)
        ]
        user = sleap_io.Instance.from_numpy(np.array([[9.0, 9.0], [8.0, 8.0]]), skeleton=skeleton)
        user.from_predicted = found[0]
        frames.append(
            sleap_io.LabeledFrame(video=video, frame_idx=number, instances=[*found, user])
        )
    path = tmp_path / "v.slp"
    sleap_io.Labels(frames).save(str(path), verbose=False)
    poses = read_foreign_poses(path)
    assert poses.individuals == ("individual1", "individual2", "individual3")
    assert poses.track_status is None
    assert sorted(poses.position[3, :, 0, 0].tolist()) == [1, 2, 9]
    np.testing.assert_array_equal(poses.position[1, :, 0, 0], [9, NAN, NAN])
    assert poses.confidence[1, 0].tolist() == [1, 1]
    assert sorted(poses.confidence[3, :, 0].tolist()) == [0.5, 0.5, 1]


class Payload:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (self.mark,)


def test_nothing_is_unpickled_and_no_other_file_is_read(tmp_path):
    mark = tmp_path / "ran"
    path = tmp_path / "v.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("df_with_missing")
        group.attrs["pandas_type"] = np.bytes_(pickle.dumps(Payload(mark), protocol=0))
    with pytest.raises(StoreError):
        read_foreign_poses(path)
    with h5py.File(path, "w") as file:
        file["tracks"] = h5py.ExternalLink("other.h5", "tracks")
        file["node_names"] = np.array([b"a"])
    with pytest.raises(StoreError, match="link to another file"):
        read_foreign_poses(path, name="sleap-analysis")
    assert not mark.exists()


@pytest.mark.parametrize("name", ["v.slp", "v.h5", "v.csv", "v.zarr", "v.zarr.zip", "v.txt"])
def test_what_is_none_of_the_formats_is_told(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x89nothing\n" * 100)
    with pytest.raises(StoreError, match=name.replace(".", r"\.")):
        read_foreign_poses(tmp_path / name)
    with pytest.raises(StoreError, match="no such file or folder"):
        read_foreign_poses(tmp_path / f"no-{name}")
    with pytest.raises(ValueError, match="is no format of poses; there are cohortpose, sleap"):
        read_foreign_poses(tmp_path / name, name="numpy")
    assert len(FORMATS) == 5
