"""Test sources of exports: blocks of poses, names that fit them, no frame lost between blocks."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.io.exports import source as exports_source
from pipeline_lib.io.exports.source import name_video
from tests.io.exports.export_examples import make_several, make_source
from tests.io.poses.pose_examples import make_poses


@settings(max_examples=20, deadline=None)
@given(frames=st.integers(0, 9), most=st.integers(1, 10), points=st.integers(1, 40))
def test_blocks_have_each_frame_once(frames, most, points):
    poses = make_poses(frames, individuals=("a", "b"))
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(exports_source, "BLOCK_FRAMES", most)
        patch.setattr(exports_source, "BLOCK_POINTS", points)
        source = make_source(Path(folder), poses)
        blocks = list(source.read_blocks())
    # Four points a frame.
    longest = max(1, min(most, points // 4))
    assert [len(block.time) for block in blocks[:-1]] == [longest] * (len(blocks) - 1)
    assert len(blocks[-1].time) <= longest
    np.testing.assert_array_equal(
        np.concatenate([block.position for block in blocks]), poses.position
    )


def test_facts_are_those_of_the_poses(tmp_path):
    source = make_source(tmp_path, make_several())
    assert source.frames == 3
    assert source.fps == 25.0
    assert source.tracks == ("a", "b", "single")
    assert source.head.bodyparts == ("nose", "tail", "corner")


def test_only_several_that_were_tracked_are_tracks(tmp_path):
    assert make_source(tmp_path, make_poses(2, individuals=("a", "b"))).tracks == ()
    assert make_source(tmp_path, make_poses(2)).tracks == ()


def test_edges_of_other_bodyparts_are_left_out(tmp_path):
    skeleton = Skeleton(
        bodyparts=("tail", "ear", "nose"),
        edges=(("nose", "tail"), ("nose", "ear")),
        symmetries=(("tail", "nose"),),
    )
    source = make_source(tmp_path, make_poses(2), skeleton=skeleton)
    assert source.edges == ((0, 1),)
    assert source.symmetries == ((1, 0),)


@pytest.mark.parametrize(
    ("video", "folder", "name"),
    [
        ("/data/run/videos/v.mp4", "/data/run/results/exports/pose", "../../../videos/v.mp4"),
        ("/data/videos/v.mp4", "/data/run/results/exports/pose", "../../../../videos/v.mp4"),
        ("/home/ann/cage 1/v.mp4", "/home/ann/results/exports/pose", "../../../cage 1/v.mp4"),
        # The way there is the absolute path, or tells whose the video is.
        ("/data/ann/v.mp4", "/scratch/run/results/exports/pose", "v.mp4"),
        ("/home/ann/v.mp4", "/home/bob/results/exports/pose", "v.mp4"),
        ("/Users/ann/videos/v.mp4", "/Users/Shared/results/exports/pose", "v.mp4"),
        ("/mnt/lab/home/ann/videos/v.mp4", "/mnt/lab/results/exports/pose", "v.mp4"),
        ("/mnt/scratch/ann/v.mp4", "/mnt/scratch/bob/results/exports/pose", "v.mp4"),
    ],
)
def test_a_video_is_named_on_the_way_from_the_file_unless_that_tells_whose_it_is(
    video, folder, name
):
    assert name_video(Path(video), Path(folder)).as_posix() == name


def test_the_way_starts_where_a_linked_folder_really_is(tmp_path):
    real, video = tmp_path / "fast" / "disk" / "results", tmp_path / "project" / "v.mp4"
    real.mkdir(parents=True)
    video.parent.mkdir()
    video.touch()
    (tmp_path / "project" / "results").symlink_to(real)
    folder = tmp_path / "project" / "results"
    assert (folder / name_video(video, folder)).samefile(video)
