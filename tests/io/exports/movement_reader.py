"""Read exports with movement, in the Python of an environment without our package.

``python movement_reader.py JOBS.json`` reads files and writes what it found beside each, as arrays
of (time, individual, keypoint, space) and (time, individual, keypoint) and as names.
"""

import json
import sys
from pathlib import Path

import numpy as np
from movement.io import load_poses


def read(path, count, individuals):
    """Read as movement does by default; of NWB files of several, each under its name."""
    if path.suffix == ".nwb" and count > 1:
        each = [load_poses.from_nwb_file(path, pose_estimation_key=name) for name in individuals]
        arrays = [arrange(one) for one in each]
        together = tuple(np.concatenate(both, axis=1) for both in zip(*arrays, strict=True))
        return together, {**describe(each[0]), "individuals": individuals}
    if path.suffix == ".nwb":
        dataset = load_poses.from_nwb_file(path)
    elif path.suffix == ".csv" or path.suffixes == [".h5"]:
        dataset = load_poses.from_dlc_file(path)
    else:
        dataset = load_poses.from_sleap_file(path)
    return arrange(dataset), describe(dataset)


def arrange(dataset):
    """Return positions and confidence in our order of axes."""
    return (
        dataset.position.transpose("time", "individuals", "keypoints", "space").to_numpy(),
        dataset.confidence.transpose("time", "individuals", "keypoints").to_numpy(),
    )


def describe(dataset):
    """Return names and the rate."""
    return {
        "bodyparts": [str(name) for name in dataset.keypoints.to_numpy()],
        "individuals": [str(name) for name in dataset.individuals.to_numpy()],
        "fps": float(dataset.attrs.get("fps") or np.nan),
    }


for job in json.loads(Path(sys.argv[1]).read_text()):
    file = Path(job["path"])
    (position, confidence), told = read(file, len(job["individuals"]), job["individuals"])
    np.savez(f"{file}.npz", position=position, confidence=confidence)
    Path(f"{file}.json").write_text(json.dumps(told))
