"""Test that LEAP's files are read as sleap-io reads them."""

import numpy as np
import pytest
import scipy.io

from pipeline_lib.core.errors import LabelError
from pipeline_lib.io.images import read_image
from pipeline_lib.io.labels.detect import detect_format
from pipeline_lib.io.labels.leap import read_leap
from pipeline_lib.io.labels.returned import read_returned
from tests.video_corpus import encode, read_number

pytest.importorskip("pymatreader")


def write(folder, *, name="fly.labels.mat", **changes):
    """Write a file of 60 frames, of which two are labelled."""
    positions = np.full((3, 2, 60), np.nan)
    positions[:, :, 4] = [[10, 11], [20.5, 21.25], [30, 31]]
    positions[:2, :, 50] = [[40, 41], [50, 51]]
    values = {
        "boxPath": "C:/somewhere/fly.mp4",
        "positions": positions,
        "skeleton": {
            "nodes": np.array(["head", "thorax", "wingL"], dtype=object),
            "edges": np.array([[1.0, 2], [2, 3]]),
        },
    }
    path = folder / name
    scipy.io.savemat(
        path, {key: value for key, value in (values | changes).items() if value is not None}
    )
    return path


def test_labelled_frames_are_read_with_their_images(tmp_path):
    encode(tmp_path / "fly.mp4")
    path = write(tmp_path)
    assert detect_format(path) == "leap"
    source = read_leap(path, tmp_path / "images")
    assert source.skeleton.bodyparts == ("head", "thorax", "wingL")
    assert source.skeleton.edges == (("head", "thorax"), ("thorax", "wingL"))
    seen = source.points[source.points["visible"]].set_index(["frame", "bodypart"])
    assert seen.loc[(4, "thorax"), ["x", "y"]].tolist() == [20.5, 21.25]
    assert sorted(seen.index) == [
        *((4, "head"), (4, "thorax"), (4, "wingL"), (50, "head"), (50, "thorax"))
    ]
    assert read_number(read_image(tmp_path / "images" / "fly" / "frame-0000050.png")) == 50


def test_frames_that_come_back_need_no_video(tmp_path):
    found = read_returned(write(tmp_path), "leap")
    assert [(one.recorded, one.frame) for one in found.frames] == [
        ("C:/somewhere/fly.mp4", 4),
        ("C:/somewhere/fly.mp4", 50),
    ]
    assert found.frames[1].points[1][2:5] == ("thorax", 50.0, 51.0)


def test_a_video_that_is_missing(tmp_path):
    with pytest.raises(LabelError, match=r"video C:/somewhere/fly\.mp4: not found there"):
        read_leap(write(tmp_path), tmp_path / "images")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"boxPath": "http://localhost:1/fly.mp4"}, "expected the path of a video"),
        ({"boxPath": "/dev/zero"}, "which is no regular file"),
        ({"boxPath": np.eye(3)}, "expected the path of a video"),
        ({"skeleton": None}, "no `skeleton` with names of nodes"),
        ({"positions": None}, "no frame has a user instance"),
        ({"positions": np.full((3, 2, 5), np.nan)}, "no frame has a user instance"),
    ],
)
def test_files_that_are_wrong(tmp_path, changes, problem):
    with pytest.raises(LabelError, match=problem):
        read_leap(write(tmp_path, **changes), tmp_path / "images")


@pytest.mark.parametrize("data", [b"", b"MATLAB 5.0", b"\x89HDF\r\n\x1a\n" + bytes(100)])
def test_files_that_are_none(tmp_path, data):
    path = tmp_path / "x.mat"
    path.write_bytes(data)
    with pytest.raises(LabelError, match="is not readable"):
        read_leap(path, tmp_path / "images")
