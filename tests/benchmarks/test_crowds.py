"""Check that the crowds have more animals than allowed and contradictory links."""

import numpy as np
import pytest

from benchmarks.several_animals import crowds
from pipeline_lib.io.detections.deeplabcut import read_detections


def test_crowds_are_written_as_deeplabcut_writes_them(tmp_path):
    path = tmp_path / "crowd_full.pickle"
    for crowd in crowds.make_crowds(frames=3):
        crowds.write_crowd(crowd, path)
        found = read_detections(path, most_peaks=32)
        animals, keypoints = crowd.position.shape[1:3]
        shown = np.isfinite(found.confidence[:, :keypoints]).sum(axis=-1)
        assert found.unique == ((keypoints,) if crowd.unique else ())
        assert shown.mean() == pytest.approx(animals * (1 - crowd.hidden) + crowd.false, rel=0.15)
        values = found.affinity[np.isfinite(found.affinity)].astype(float)
        assert np.abs(values * 1000 - np.round(values * 1000)).max() < 1e-3
        # Peaks of an animal are linked, and others as well, since animals touch.
        assert (values > 0.5).sum() > 3 * len(crowd.edges)


class _Peer:
    """Find nothing, with the interface of DeepLabCut's module."""

    class Assembler:
        def __init__(self, data, **asked):
            self.data, self.asked = data, asked
            self.metadata = {"imnames": [name for name in data if name != "metadata"]}

        def __getitem__(self, frame):
            return self.data[self.metadata["imnames"][frame]]

        def _assemble(self, _found, _frame):
            assert self.asked["n_multibodyparts"] == 10
            return None, None


def test_a_method_that_finds_nothing_is_not_equal(tmp_path):
    path = tmp_path / "crowd_full.pickle"
    crowds.write_crowd(next(crowds.make_crowds(frames=3)), path)
    assert crowds.compare(path, crowds.Setting(2), _Peer) == (0, 3)
    assert crowds.compare(path, crowds.Setting(2, min_affinity=10.0), _Peer) == (3, 3)
