"""Sources of exports: poses block by block, names that fit them, nothing lost between blocks."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.io.exports import source as exports_source
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
