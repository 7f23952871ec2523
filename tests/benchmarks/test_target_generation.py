"""Check that all timed ways draw the same targets."""

import numpy as np
import pytest

from benchmarks.training import target_generation as benchmark_module


@pytest.mark.parametrize("kind", ["gaussian", "plateau"])
def test_all_ways_agree_also_at_the_borders(kind):
    position = benchmark_module.make_positions(frames=3, keypoints=4)
    position[0, 0], position[1, 1] = (0.0, 0.0), (639.75, 479.75)
    benchmark_module.check_equal(position, kind, size=2)


def test_a_difference_is_found(monkeypatch):
    position = benchmark_module.make_positions(frames=2, keypoints=2)

    def draw_shifted(block, kind):
        return benchmark_module.draw_map_by_map(block + np.array([8.0, 0.0]), kind)

    monkeypatch.setitem(benchmark_module.WAYS, benchmark_module.MAP_LOOP, draw_shifted)
    with pytest.raises(AssertionError, match="score: NumPy over whole maps against kernels"):
        benchmark_module.check_equal(position, "gaussian", size=2)
