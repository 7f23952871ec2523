"""Test that pycocotools, sleap-io and our own reader read back exported COCO keypoints."""

import contextlib
import io
import json
import tempfile
import tracemalloc
from dataclasses import replace
from pathlib import Path

import hypothesis.extra.numpy as npst
import numpy as np
import pytest
import sleap_io
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from pipeline_lib.core.errors import LabelError, StoreError
from pipeline_lib.core.poses import Poses
from pipeline_lib.io.exports import source as exports_source
from pipeline_lib.io.exports.coco import PIXEL_OFFSET, write_coco
from pipeline_lib.io.labels.coco import file as coco_file
from pipeline_lib.io.labels.coco.read import read_coco
from pipeline_lib.io.labels.images import image_path
from pipeline_lib.io.poses.write import write_poses
from tests.io.exports.export_examples import NAN, make_several, make_source
from tests.io.poses.pose_examples import make_poses

SIZE = (640, 480)


def export(folder, poses, **changes):
    path = folder / "v.coco.json"
    write_coco(path, make_source(folder, poses, **changes))
    return path


def load(path):
    return json.loads(path.read_text(encoding="utf-8"))


def extract(folder, frames, video="v"):
    """Write images under the names that extracted frames have."""
    for frame in range(frames):
        image = image_path(folder, video, frame)
        image.parent.mkdir(exist_ok=True)
        Image.new("1", SIZE).save(image)


def test_each_animal_of_a_frame_is_an_annotation(tmp_path):
    found = load(export(tmp_path, make_several()))
    assert found["images"] == [
        {"id": n + 1, "file_name": f"v/frame-{n:07d}.png", "width": 640, "height": 480}
        for n in range(3)
    ]
    assert found["categories"] == [
        {
            "id": 1,
            "name": "animal",
            "supercategory": "animal",
            "keypoints": ["nose", "tail", "corner"],
            "skeleton": [[1, 2]],
        }
    ]
    first, second, corner, last = found["annotations"]
    assert first == {
        "id": 1,
        "image_id": 1,
        "category_id": 1,
        "keypoints": [10.5, 20.5, 2, 30.5, 40.5, 2, 0, 0, 0],
        "num_keypoints": 2,
        "bbox": [10.5, 20.5, 20, 20],
        "area": 400,
        "segmentation": [],
        "iscrowd": 0,
        "score": 0.5,
        "keypoint_scores": [0.75, 0.25, 0],
        "track_id": 1,
        "attributes": {"track_id": 1, "individual": "a"},
    }
    assert second["keypoints"] == [51, 60.75, 2, 70.5, 80.5, 2, 0, 0, 0]
    assert corner["keypoints"] == [0, 0, 0, 0, 0, 0, 1.5, 2.5, 2]
    assert (last["image_id"], last["keypoints"]) == (2, [52, 61.75, 2, 0, 0, 0, 0, 0, 0])
    assert [one["track_id"] for one in found["annotations"]] == [1, 2, 3, 2]
    assert found["info"]["tracks"] == [
        {"id": 1, "name": "a"},
        {"id": 2, "name": "b"},
        {"id": 3, "name": "single"},
    ]


@pytest.mark.parametrize("name", ["cage.1.zarr", "cage.1.zarr.zip"])
def test_images_are_named_after_the_video(tmp_path, name):
    write_poses(tmp_path / name, make_poses(1))
    source = replace(make_source(tmp_path, make_poses(1)), poses=tmp_path / name)
    write_coco(tmp_path / "x.coco.json", source)
    (image,) = load(tmp_path / "x.coco.json")["images"]
    assert image["file_name"] == "cage.1/frame-0000000.png"


def test_a_lost_frame_has_an_image_and_no_annotation(tmp_path):
    found = load(export(tmp_path, make_several()))
    assert [image["id"] for image in found["images"]] == [1, 2, 3]
    assert {one["image_id"] for one in found["annotations"]} == {1, 2}


def test_the_file_says_what_its_coordinates_are(tmp_path):
    info = load(export(tmp_path, make_several()))["info"]
    assert "(0.5, 0.5) the centre of its first pixel" in info["description"]
    assert (info["scorer"], info["key"], info["fps"]) == ("net", "export-key", 25)
    # What is added here is taken away there.
    assert PIXEL_OFFSET == -coco_file.PIXEL_OFFSET == 0.5


@pytest.mark.parametrize("poses", [make_poses(4), replace(make_several(), track_status=None)])
def test_animals_that_were_not_tracked_have_no_track(tmp_path, poses):
    found = load(export(tmp_path, poses))
    assert found["annotations"]
    assert not any({"track_id", "attributes"} & set(one) for one in found["annotations"])
    assert found["info"]["tracks"] == []


@pytest.mark.parametrize("frames", [0, 3])
def test_a_video_without_an_animal(tmp_path, frames):
    poses = make_poses(frames)
    poses.position[:] = NAN
    path = export(tmp_path, poses)
    found = COCO(str(path))
    assert found.getImgIds() == list(range(1, frames + 1))
    assert found.getAnnIds() == []


def test_keypoints_of_an_ensemble_have_their_spread(tmp_path):
    poses = make_several()
    spread = np.full(poses.confidence.shape, 1.23456, np.float32)
    spread[..., 1] = np.nan
    first = load(export(tmp_path, replace(poses, spread=spread)))["annotations"][0]
    assert first["keypoint_spreads"] == [1.2346, None, 1.2346]
    assert "keypoint_spreads" not in load(export(tmp_path, poses))["annotations"][0]


def test_an_animal_interpolated_over_a_lost_frame_has_no_keypoint_scores(tmp_path):
    poses = make_several()
    poses.position[2, 0, 0] = (11, 21)
    last = load(export(tmp_path, poses))["annotations"][-1]
    assert (last["image_id"], last["num_keypoints"], last["score"]) == (3, 1, 0)
    assert last["keypoint_scores"] == [None, None, None]


def test_pycocotools_loads_and_evaluates_it(tmp_path):
    poses = make_several()
    truth = COCO(str(export(tmp_path, poses)))
    # Of results, pycocotools wants the list of annotations.
    path = tmp_path / "results.json"
    path.write_text(json.dumps(truth.dataset["annotations"]))
    results = truth.loadRes(str(path))
    assert len(results.anns) == 4
    for number, one in truth.anns.items():
        assert results.anns[number]["keypoints"] == one["keypoints"]
        assert results.anns[number]["score"] == one["score"]
    evaluation = COCOeval(truth, results, "keypoints")
    evaluation.params.kpt_oks_sigmas = np.full(3, 0.05)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    # Every animal is found where it is.
    assert evaluation.stats[0] == pytest.approx(1)


def test_sleap_io_reads_it(tmp_path):
    path = export(tmp_path, make_several())
    extract(tmp_path, 3)
    labels = sleap_io.load_file(str(path), format="coco")
    assert labels.skeleton.node_names == ["nose", "tail", "corner"]
    assert labels.skeleton.edge_inds == [(0, 1)]
    found = [one.numpy() for frame in labels for one in frame]
    np.testing.assert_allclose(found[0], [[10.5, 20.5], [30.5, 40.5], [NAN, NAN]])
    np.testing.assert_allclose(found[3], [[52, 61.75], [NAN, NAN], [NAN, NAN]])
    assert sorted(track.name for track in labels.tracks) == ["track_1", "track_2", "track_3"]


def test_blocks_make_the_same_file(tmp_path, monkeypatch):
    whole = export(tmp_path, make_several()).read_bytes()
    monkeypatch.setattr(exports_source, "BLOCK_FRAMES", 1)
    assert export(tmp_path, make_several()).read_bytes() == whole


def test_memory_stays_flat(tmp_path, monkeypatch):
    monkeypatch.setattr(exports_source, "BLOCK_FRAMES", 256)
    peaks = []
    # The first one loads what is loaded once.
    for frames in (10, 1000, 8000):
        folder = tmp_path / str(frames)
        folder.mkdir()
        source = make_source(folder, make_poses(frames))
        tracemalloc.start()
        write_coco(folder / "v.coco.json", source)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    written = (tmp_path / "8000" / "v.coco.json").stat().st_size
    assert written > 2_000_000
    # Times of the frames are held, 8 bytes each.
    assert peaks[2] - peaks[1] < 400_000


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    source = make_source(tmp_path, make_several())
    (tmp_path / "v.zarr" / "position" / "c.0.0.0.0").write_bytes(b"spoilt")
    with pytest.raises(StoreError, match="damaged pose file"):
        write_coco(tmp_path / "v.coco.json", source)
    assert [entry.name for entry in tmp_path.iterdir()] == ["v.zarr"]


NAMES = st.text("abäé鼻 ,_\"'\\{", min_size=1, max_size=6).filter(
    lambda name: name.strip(" \\") not in ("", ".", "..")
)


@st.composite
def any_poses(draw):
    frames, animals, keypoints = (draw(st.integers(1, size)) for size in (4, 3, 3))
    points = (frames, animals, keypoints)
    width, height = SIZE
    # An image covers -0.5 .. size - 0.5.
    axes = [
        draw(npst.arrays(np.float32, points, elements=st.floats(-0.5, size - 0.5, width=32)))
        for size in (width, height)
    ]
    position = np.stack(axes, axis=-1)
    position[draw(npst.arrays(bool, points))] = NAN
    return Poses(
        position=position,
        confidence=draw(npst.arrays(np.float32, points, elements=st.floats(0, 1, width=32))),
        frame_status=np.zeros(frames, np.uint8),
        time=np.arange(frames) / 30,
        bodyparts=tuple(draw(st.lists(NAMES, min_size=keypoints, max_size=keypoints, unique=True))),
        individuals=tuple(f"i{i}" for i in range(animals)),
        attributes={"video": "v"},
        track_status=np.ones((frames, animals), np.uint8),
    )


@settings(max_examples=40, deadline=None)
@given(poses=any_poses(), block=st.integers(1, 4))
def test_exported_poses_are_read_back_as_labels(poses, block):
    known = ~np.isnan(poses.position).any(axis=-1)
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(exports_source, "BLOCK_FRAMES", block)
        path = export(Path(folder), poses, width=SIZE[0], height=SIZE[1])
        extract(Path(folder), len(poses.time))
        if not known.any():
            with pytest.raises(LabelError, match="no annotation has a labelled keypoint"):
                read_coco(path)
            return
        labels = read_coco(path)
    assert labels.skeleton.bodyparts == poses.bodyparts
    frame, animal = np.nonzero(known.any(axis=-1))
    points = labels.points
    count = len(poses.bodyparts)
    assert points["frame"].tolist() == np.repeat(frame, count).tolist()
    assert points["bodypart"].tolist() == list(poses.bodyparts) * len(frame)
    assert set(points["video"]) == {"v"}
    assert points["visible"].tolist() == known[frame, animal].ravel().tolist()
    expected = poses.position[frame, animal].reshape(-1, 2)
    np.testing.assert_allclose(points[["x", "y"]], expected, rtol=0, atol=1e-4)
