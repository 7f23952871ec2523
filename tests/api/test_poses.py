"""Test poses of cohorts whose videos differ in length, bodyparts or tracking."""

import json
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

import pipeline_lib
from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.tables import LEDGER_COLUMNS
from pipeline_lib.io.poses.write import write_poses
from pipeline_lib.io.stage_tables import write_table
from tests.io.poses.pose_examples import make_poses, make_tracked


def write_results(folder, videos, locate=Results.filtered, **sheet):
    """Write a ledger and the poses of each video."""
    results = Results(folder)
    rows = []
    for number, (video, poses) in enumerate(videos.items()):
        if poses is not None:
            write_poses(locate(results, "pose", video), poses)
        row = dict.fromkeys(LEDGER_COLUMNS, "")
        status = "done" if poses is not None else "failed"
        own = {name: values[number] for name, values in sheet.items()}
        rows.append({**row, "video": video, "status": status, **own})
    write_table(results.ledger, (*LEDGER_COLUMNS, *sheet), rows)
    return folder


def test_a_shorter_video_is_filled_up(tmp_path):
    folder = write_results(tmp_path, {"a": make_poses(3), "b": make_poses(5)})
    cohort = pipeline_lib.open_cohort(folder)
    assert dict(cohort.sizes) == {
        "video": 2, "frame": 5, "space": 2, "keypoint": 2, "individual": 1
    }  # fmt: skip
    assert cohort.frames.values.tolist() == [3, 5]
    assert cohort.frame_status.values.tolist() == [[0, 0, 0, 2, 2], [0, 0, 0, 0, 0]]
    a = cohort.sel(video="a", keypoint="tail", individual="animal", space="y")
    # make_poses counts up along (time, space, keypoint, individual).
    np.testing.assert_array_equal(a.position.values, [3, 7, 11, np.nan, np.nan])
    np.testing.assert_allclose(a.time.values[:3], [0, 1 / 30, 2 / 30])
    assert np.isnan(a.time.values[3:]).all()
    assert cohort.position.dtype == np.float32
    assert cohort.frame_status.dtype == np.uint8


def test_values_beyond_one_chunk_are_those_of_their_frames(tmp_path):
    frames = 2**14 + 10
    folder = write_results(tmp_path, {"a": make_poses(7), "b": make_poses(frames)})
    cohort = pipeline_lib.open_cohort(folder)
    assert cohort.position.chunks[1] == (2**14, 10)
    x = cohort.position.sel(video="b", keypoint="nose", individual="animal", space="x")
    np.testing.assert_array_equal(x.values, np.arange(frames, dtype=np.float32) * 4)
    assert np.isnan(cohort.position.sel(video="a").values[7:]).all()


def test_nothing_is_read_before_values_are_asked_for(tmp_path):
    folder = write_results(tmp_path, {"a": make_poses(3), "b": make_poses(5)}, Results.poses)
    cohort = pipeline_lib.open_cohort(folder, stage="infer")
    for chunk in Results(folder).poses("pose", "b").glob("position/c*"):
        chunk.write_bytes(b"damaged")
    assert np.isfinite(cohort.position.sel(video="a").values[:3]).all()
    with pytest.raises(Exception, match=r"(?i)crc|checksum|decompress|blosc|buffer"):
        cohort.position.sel(video="b").values  # noqa: B018


def test_tracks_keep_their_status(tmp_path):
    folder = write_results(tmp_path, {"a": make_tracked(2), "b": make_tracked(4)}, Results.tracked)
    cohort = pipeline_lib.open_cohort(folder, stage="track")
    assert cohort.track_status.values.tolist() == [
        [[1, 2], [3, 0], [0, 0], [0, 0]],
        [[1, 2], [3, 0], [1, 2], [3, 0]],
    ]
    assert cohort.track_status.attrs["flag_meanings"] == "absent followed gap uncertain"
    assert cohort.identity_confidence.dims == ("video", "frame", "individual", "identity")
    assert cohort.identity.values.tolist() == ["ann", "bob", "cy"]


def test_columns_of_the_sheet_are_coordinates(tmp_path):
    sheet = {"group": ["ko", "wt"], "space": ["home", "field"]}
    folder = write_results(tmp_path, {"a": make_poses(2), "b": make_poses(2)}, **sheet)
    cohort = pipeline_lib.open_cohort(folder)
    assert cohort.group.values.tolist() == ["ko", "wt"]
    assert cohort.sheet_space.values.tolist() == ["home", "field"]
    assert cohort.space.values.tolist() == ["x", "y"]


def test_videos_that_are_not_done_are_left_out(tmp_path):
    folder = write_results(tmp_path, {"a": make_poses(2), "b": None, "c": make_poses(2)})
    assert pipeline_lib.open_cohort(folder).video.values.tolist() == ["a", "c"]


@pytest.mark.parametrize(
    "other",
    [
        make_poses(2, bodyparts=("nose", "paw")),
        make_poses(2, bodyparts=("nose",)),
        make_poses(2, individuals=("a", "b")),
        make_poses(2, individuals=("other",)),
    ],
)
def test_videos_of_other_bodyparts_are_refused(tmp_path, other):
    folder = write_results(tmp_path, {"a": make_poses(2), "b": other})
    with pytest.raises(StoreError, match=r"b\.zarr\.zip: has other bodyparts"):
        pipeline_lib.open_cohort(folder)


def test_an_animal_that_was_added_to_one_video_is_absent_in_others(tmp_path):
    tracked, more = make_tracked(), make_tracked()
    names = tracked.individuals
    added = replace(
        more,
        position=np.concatenate([more.position, more.position[:, :1] + 5], axis=1),
        confidence=np.concatenate([more.confidence, more.confidence[:, :1]], axis=1),
        track_status=np.concatenate([more.track_status, more.track_status[:, :1]], axis=1),
        identity=None,
        individuals=(*names, "extra"),
        attributes={**more.attributes, "added_individuals": ["extra"]},
    )
    tracked = replace(tracked, identity=None)
    folder = write_results(tmp_path, {"a": tracked, "b": tracked}, Results.tracked)
    write_poses(Results(folder).corrected("pose", "b"), added)
    cohort = pipeline_lib.open_cohort(folder, stage="correct")
    assert cohort.individual.values.tolist() == [*names, "extra"]
    extra = cohort.sel(individual="extra")
    assert np.isnan(extra.position.sel(video="a").values).all()
    assert (extra.track_status.sel(video="a").values == 0).all()
    found = extra.position.sel(video="b").transpose("frame", "keypoint", "space").values
    np.testing.assert_array_equal(found, more.position[:, 0] + 5)
    for video in "ab":
        same = cohort.position.sel(video=video, individual=list(names))
        same = same.transpose("frame", "individual", "keypoint", "space").values
        np.testing.assert_array_equal(same, tracked.position)
    assert pipeline_lib.open_cohort(folder, stage="track").sizes["individual"] == len(names)


def test_a_pose_file_that_is_missing(tmp_path):
    folder = write_results(tmp_path, {"a": make_poses(2), "b": make_poses(2)})
    Results(folder).filtered("pose", "b").unlink()
    with pytest.raises(StoreError, match=r"b\.zarr\.zip: no such pose file"):
        pipeline_lib.open_cohort(folder)


def test_no_video_is_done(tmp_path):
    with pytest.raises(StoreError, match="no video is done"):
        pipeline_lib.open_cohort(write_results(tmp_path, {"a": None}))


def test_several_networks(tmp_path):
    folder = write_results(tmp_path, {"a": make_poses(2)})
    write_poses(Results(folder).filtered("other", "a"), make_poses(2, bodyparts=("ear", "tail")))
    with pytest.raises(ValueError, match="holds poses of other, pose; choose one by `model`"):
        pipeline_lib.open_cohort(folder)
    cohort = pipeline_lib.open_cohort(folder, model="other")
    assert cohort.keypoint.values.tolist() == ["ear", "tail"]


@pytest.mark.parametrize("suffix", [".zarr", ".zarr.zip"])
def test_a_pose_file_is_read_when_values_are_asked_for(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    write_poses(path, make_tracked(5))
    poses = pipeline_lib.open_poses(path)
    assert poses.position.chunks is not None
    assert poses.frame_status.dtype == np.uint8
    np.testing.assert_array_equal(poses.track_status.values[0], [1, 2])
    np.testing.assert_allclose(poses.time.values, np.arange(5) / 30)


@pytest.mark.parametrize("make", [make_poses, make_tracked])
def test_poses_can_be_written_as_netcdf(tmp_path, make):
    file = Results(tmp_path).filtered("pose", "a")
    write_poses(file, make(3))
    poses = pipeline_lib.open_poses(file)
    poses.to_netcdf(tmp_path / "a.nc")
    with xr.open_dataset(tmp_path / "a.nc") as again:
        # What netCDF changes: a list of names, and the dtype of texts.
        assert again.position.attrs["units"] == "px"
        assert again.time.dtype == np.float64
        np.testing.assert_array_equal(again.position, poses.position)
        assert again.keypoint.values.tolist() == poses.keypoint.values.tolist()
        assert json.loads(again.attrs["versions"]) == {"infer": 1}


def test_a_network_without_poses_names_those_that_have_some(tmp_path):
    folder = write_results(tmp_path, {"a": make_poses(2)})
    with pytest.raises(StoreError, match=r"filtered: no poses of 'other'; choose one of pose$"):
        pipeline_lib.open_cohort(folder, model="other")
