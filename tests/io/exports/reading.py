"""Read exported files with other tools."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pynwb
import sleap_io
from pycocotools.coco import COCO


@dataclass
class Found:
    """Hold the poses that a reader finds.

    position is (time, individual, keypoint, 2), confidence (time, individual, keypoint);
    individuals is empty where the format has no names, fps NaN where it has no times.
    """

    position: np.ndarray
    confidence: np.ndarray
    bodyparts: list
    individuals: list
    fps: float = np.nan


def _read_deeplabcut(table):
    names = table.columns.names
    several = "individuals" in names
    individuals = list(table.columns.unique("individuals")) if several else []
    bodyparts = list(table.columns.unique("bodyparts"))
    (scorer,) = table.columns.unique("scorer")
    assert list(table.index) == list(range(len(table)))
    values = np.full((len(table), max(len(individuals), 1), len(bodyparts), 3), np.nan)
    for animal, individual in enumerate(individuals or [None]):
        for keypoint, bodypart in enumerate(bodyparts):
            for axis, coord in enumerate(("x", "y", "likelihood")):
                name = (scorer, *([individual] if several else []), bodypart, coord)
                if name in table:
                    values[:, animal, keypoint, axis] = table[name]
    return Found(values[..., :2], values[..., 2], bodyparts, individuals)


def read_pandas_h5(path, count):
    del count
    return _read_deeplabcut(pd.read_hdf(path, "df_with_missing"))


def read_pandas_csv(path, count):
    # As DeepLabCut itself does.
    levels = list(range(4 if count > 1 else 3))
    return _read_deeplabcut(pd.read_csv(path, header=levels, index_col=0))


def _read_labels(labels):
    values = labels.numpy(return_confidence=True)
    names = [track.name for track in labels.tracks]
    fps = labels.videos[0].backend_metadata["fps"]
    bodyparts = labels.skeletons[0].node_names
    return Found(values[..., :2], values[..., 2], bodyparts, names, fps)


def read_sleap_io_slp(path, count):
    del count
    labels = sleap_io.load_slp(str(path), open_videos=False)
    found = _read_labels(labels)
    assert [frame.frame_idx for frame in labels] == list(range(len(found.position)))
    return found


def read_sleap_io_analysis(path, count):
    del count
    return _read_labels(sleap_io.load_analysis_h5(str(path)))


def read_pynwb_nwb(path, count):
    with pynwb.NWBHDF5IO(str(path), "r") as file:
        module = file.read().processing["behavior"]
        bodyparts = list(module["Skeletons"]["skeleton"].nodes[:])
        names = [name for name in module.data_interfaces if name != "Skeletons"]
        assert len(names) == count
        values, rates = [], set()
        for name in names:
            assert module[name].skeleton.nodes[:].tolist() == bodyparts
            series = module[name].pose_estimation_series
            points = [series[_rename(bodypart)] for bodypart in bodyparts]
            both = [np.column_stack([point.data[:], point.confidence[:]]) for point in points]
            values.append(np.stack(both, axis=1))
            rates |= {float(point.rate) for point in points if point.rate}
        (fps,) = rates or {np.nan}
    values = np.stack(values, axis=1)
    return Found(values[..., :2], values[..., 2], bodyparts, names if count > 1 else [], fps)


def _rename(bodypart):
    for character in "/:\\":
        bodypart = bodypart.replace(character, "_")
    return bodypart


def read_pycocotools(path, count):
    found = COCO(str(path))
    info, (category,) = found.dataset["info"], found.loadCats(found.getCatIds())
    bodyparts, images = category["keypoints"], found.loadImgs(found.getImgIds())
    assert [image["id"] for image in images] == list(range(1, len(images) + 1))
    values = np.full((len(images), count, len(bodyparts), 3), np.nan)
    for one in found.loadAnns(found.getAnnIds()):
        x, y, visibility = np.array(one["keypoints"], float).reshape(-1, 3).T
        assert one["num_keypoints"] == (visibility > 0).sum()
        assert set(visibility) <= {0, 2}
        # The centre of the first pixel is (0.5, 0.5).
        known = np.where(visibility > 0, (x - 0.5, y - 0.5), np.nan)
        point = values[one["image_id"] - 1, one.get("track_id", 1) - 1]
        assert np.isnan(point).all()
        point[:, :2], point[:, 2] = known.T, np.array(one["keypoint_scores"], float)
    individuals = [track["name"] for track in info["tracks"]]
    return Found(values[..., :2], values[..., 2], bodyparts, individuals, info["fps"])
