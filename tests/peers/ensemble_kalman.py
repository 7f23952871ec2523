"""Write what the package `ensemble-kalman-smoother` makes of a made-up ensemble.

Run it with the Python of an environment of its own, because the package pins jax and another
OpenCV (any Python from 3.10 on)::

    make peers NAME=ensemble_kalman
    build/peers/ensemble_kalman/bin/python tests/peers/ensemble_kalman.py FILE
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np

MEMBERS, FRAMES, KEYPOINTS = 4, 40, 3
MOTION = (0.5, 2.0, 30.0)


def make_members():
    """Return what members predict: random walks with noise, shape (member, frame, keypoint, 3)."""
    random = np.random.default_rng(5)
    truth = 100 + np.cumsum(random.normal(0, 2, (FRAMES, KEYPOINTS, 2)), axis=0)
    width = random.uniform(0.3, 6.0, (1, FRAMES, KEYPOINTS, 1))
    points = truth + width * random.normal(size=(MEMBERS, FRAMES, KEYPOINTS, 2))
    confidence = random.uniform(0.3, 1.0, (MEMBERS, FRAMES, KEYPOINTS, 1))
    return np.round(np.concatenate([points, confidence], axis=-1), 4)


def smooth(members):
    """Return the table of `ensemble_kalman_smoother_singlecam`, and the names of its columns."""
    from eks import singlecam_smoother  # noqa: PLC0415
    from eks.marker_array import MarkerArray  # noqa: PLC0415

    table, _ = singlecam_smoother.ensemble_kalman_smoother_singlecam(
        MarkerArray(members[:, None], data_fields=["x", "y", "likelihood"]),
        [f"k{number}" for number in range(KEYPOINTS)],
        smooth_param=list(MOTION),
        var_mode="confidence_weighted_var",
    )
    names = [column[-1] for column in table.columns][: len(table.columns) // KEYPOINTS]
    return table.to_numpy().reshape(FRAMES, KEYPOINTS, -1), names


def main():
    """Write the file."""
    values, names = smooth(make_members())
    record = {
        "version": version("ensemble-kalman-smoother"),
        "motion": MOTION,
        "columns": names,
        "values": np.round(values.astype(float), 5).tolist(),
    }
    Path(sys.argv[1]).write_text(json.dumps(record, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
