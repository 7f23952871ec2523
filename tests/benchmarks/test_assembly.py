"""Check that the timed detections belong to animals and are assembled."""

import pickle

import numpy as np
import pytest

from benchmarks.several_animals import assembly as benchmark_module


@pytest.mark.parametrize("number", [0, 1])
def test_detections_have_peaks_missing_and_false_ones(number):
    case = benchmark_module.CASES[number]
    found = benchmark_module.make_detections(case, frames=40)
    there = np.isfinite(found.confidence)
    of_animal = found.owner >= 0
    assert there[of_animal].mean() == pytest.approx(0.9, abs=0.03)
    assert there[~of_animal].mean() == pytest.approx(0.05, abs=0.02)
    assert found.affinity.shape[1] == len(case.edges)


def test_a_perfect_assembly_is_all_right():
    case = benchmark_module.CASES[0]
    found = benchmark_module.make_detections(case, frames=5)
    shown = np.where(found.owner >= 0, np.nan_to_num(found.confidence), 0)[:, :, :3]
    position = found.position[:, :, :3]
    perfect = benchmark_module.Assemblies(
        position.swapaxes(1, 2), shown.swapaxes(1, 2), np.ones((5, 3), np.float32)
    )
    assert benchmark_module.measure_grouping(found, perfect) == (1.0, 0.0)
    # All bodyparts 0 of two animals exchanged.
    wrong = np.array(perfect.position), np.array(perfect.confidence)
    for values in wrong:
        values[:, [0, 1], 0] = values[:, [1, 0], 0]
    right, share = benchmark_module.measure_grouping(
        found, benchmark_module.Assemblies(*wrong, perfect.score)
    )
    exchanged = (shown[:, 0, :2] > 0).sum() / (shown > 0).sum()
    assert (right, share) == pytest.approx((1 - exchanged, exchanged))


def test_animals_are_put_together():
    for case, least in zip(benchmark_module.CASES, (0.97, 0.6), strict=True):
        found = benchmark_module.make_detections(case, frames=20)
        right, _ = benchmark_module.measure_grouping(found, benchmark_module.assemble(found, case))
        assert right > least


def test_a_case_reports_a_missed_target(capsys):
    case = benchmark_module.CASES[0]._replace(target=1e9)
    missed = benchmark_module.run_case(case, frames=4, repeats=1)
    assert "3 animals x 12 points x 66 edges: less than 1e+09 frames/s" in missed
    assert "frames/s; twice the frames" in capsys.readouterr().out


PEER = '''
class Assembly:
    def __init__(self, data):
        self.data = data


class Assembler:
    """As DeepLabCut's is called: finds what the file says that it does."""

    def __init__(self, data, *, max_n_individuals, n_multibodyparts):
        self.metadata = {"imnames": ["frame0", "frame1"]}
        self.data, self.asked = data, (max_n_individuals, n_multibodyparts)

    def __getitem__(self, frame):
        return self.data[frame]

    def _assemble(self, found, frame):
        assert self.asked == (2, 3)
        return (found and [Assembly(one) for one in found]), None
'''


def test_deeplabcut_is_run_beside(tmp_path):
    pose = np.array([[1.0, 2.0, 0.9], [3.0, 4.0, 0.8], [np.nan] * 3])
    (tmp_path / "peer.py").write_text(PEER)
    detections = tmp_path / "found.pickle"
    detections.write_bytes(pickle.dumps([[pose], None]))
    found, seconds = benchmark_module.assemble_by_peer(tmp_path / "peer.py", detections, 2, 3)
    np.testing.assert_array_equal(found[0][0], pose[:, :2])
    assert found[1] == []
    assert seconds >= 0


def test_assemblies_are_the_same_whatever_their_order():
    one, other = np.array([[0.0, 0], [1, 1], [2, 2]]), np.array([[5.0, 5], [6, 6], [np.nan] * 2])
    same = [[one, other], [other]]
    assert benchmark_module.compare_assemblies([[other, one], [other]], same) == (2, 7, 7)
    # A keypoint that has changed hands, and an individual that is not found at all.
    ours = [[np.array([one[0], one[1], [7, 7]]), np.array([*other[:2], one[2]])], []]
    assert benchmark_module.compare_assemblies(ours, same) == (0, 4, 7)
