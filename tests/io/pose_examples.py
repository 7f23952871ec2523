"""Poses to write and to read."""

import numpy as np

from pipeline_lib.core.poses import Poses

ATTRIBUTES = {"fps": 30.0, "video": "v1", "key": "0123456789abcdef", "versions": {"infer": 1}}


def make_poses(frames=3, bodyparts=("nose", "tail"), individuals=("animal",), attributes=None):
    keypoints, animals = len(bodyparts), len(individuals)
    size = frames * 2 * keypoints * animals
    position = np.arange(size, dtype=np.float32).reshape(frames, 2, keypoints, animals)
    confidence = np.linspace(0, 1, size // 2, dtype=np.float32)
    return Poses(
        position=position,
        confidence=confidence.reshape(frames, keypoints, animals),
        frame_status=np.zeros(frames, np.uint8),
        time=np.arange(frames) / 30.0,
        bodyparts=tuple(bodyparts),
        individuals=tuple(individuals),
        attributes=ATTRIBUTES if attributes is None else attributes,
    )


def assert_same(found: Poses, expected: Poses) -> None:
    for name in ("position", "confidence", "frame_status", "time"):
        left, right = getattr(found, name), getattr(expected, name)
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(left, right)
    assert found.bodyparts == expected.bodyparts
    assert found.individuals == expected.individuals
    assert found.attributes == expected.attributes
