"""Make poses to write and to read."""

from dataclasses import replace

import numpy as np

from pipeline_lib.core.poses import Poses

ATTRIBUTES = {"fps": 30.0, "video": "v1", "key": "0123456789abcdef", "versions": {"infer": 1}}


def make_poses(frames=3, bodyparts=("nose", "tail"), individuals=("animal",), attributes=None):
    keypoints, animals = len(bodyparts), len(individuals)
    size = frames * 2 * keypoints * animals
    # Counted up in the order of the file.
    position = np.arange(size, dtype=np.float32).reshape(frames, 2, keypoints, animals)
    confidence = np.linspace(0, 1, size // 2, dtype=np.float32)
    return Poses(
        position=position.transpose(0, 3, 2, 1),
        confidence=confidence.reshape(frames, keypoints, animals).transpose(0, 2, 1),
        frame_status=np.zeros(frames, np.uint8),
        time=np.arange(frames) / 30.0,
        bodyparts=tuple(bodyparts),
        individuals=tuple(individuals),
        attributes=ATTRIBUTES if attributes is None else attributes,
    )


def make_tracked(frames=3, individuals=("a", "b"), identities=("ann", "bob", "cy"), **changes):
    """Return poses with track status 1, 2, 3, 0, 1, ... and identities 0, 1/64, 2/64, ..."""
    poses = make_poses(frames, individuals=individuals)
    animals = len(individuals)
    status = (np.arange(frames * animals).reshape(frames, animals) + 1) % 4
    identity = np.arange(frames * animals * len(identities), dtype=np.float32) / 64
    own = {
        "attributes": {**ATTRIBUTES, "identities": list(identities)},
        "track_status": status.astype(np.uint8),
        "identity": identity.reshape(frames, animals, len(identities)),
    }
    return replace(poses, **{**own, **changes})


def assert_same(found: Poses, expected: Poses) -> None:
    arrays = ["position", "confidence", "frame_status", "time"]
    for name in ("track_status", "identity"):
        assert (getattr(found, name) is None) == (getattr(expected, name) is None)
        arrays += [name] * (getattr(found, name) is not None)
    for name in arrays:
        left, right = getattr(found, name), getattr(expected, name)
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(left, right)
    assert found.bodyparts == expected.bodyparts
    assert found.individuals == expected.individuals
    assert found.attributes == expected.attributes
