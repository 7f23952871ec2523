"""Time the drawing of training targets: vectorised kernels against loops over points.

Score map, location refinement and mask of every point are drawn in several ways that must give
the same arrays. Each way is timed several times, in turn, in one process.
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.settings.network import TargetSettings
from pipeline_lib.kernels.maps import score_maps
from pipeline_lib.models.training.memory import keep_freed_memory
from pipeline_lib.steps.make_targets.run import DRAWN_AT_A_TIME

WIDTH, HEIGHT, STRIDE = 640, 480, 8
SHAPE = score_maps.map_shape(HEIGHT, WIDTH, STRIDE)
SETTINGS = TargetSettings(stride=STRIDE)
SIGMA, RADIUS = SETTINGS.sigma, SETTINGS.pos_dist_thresh
GAUSSIAN_REACH = score_maps.GAUSSIAN_REACH * SIGMA
CENTRE = (STRIDE - 1) / 2

# Frames drawn at a time by make-targets, and by training with its default batch.
BLOCK_FRAMES = DRAWN_AT_A_TIME

KERNELS = "kernels"
OLDER_LOOP = "Python loop, older window"
TIGHT_LOOP = "Python loop, tight window"
MAP_LOOP = "NumPy over whole maps"
TARGET_RATIO = 20.0  # of the older loop's time to the kernels'

# DeeperCut's loop, and DeepLabCut's after it, looks at this many cells to each side of a point:
# the threshold in px, taken as a number of cells.
OLDER_WINDOW = RADIUS + 1

Array = NDArray[Any]


class Maps(NamedTuple):
    """Hold the targets of a block of frames.

    Attributes
    ----------
    score
        Shape (frame, keypoint, rows, columns), float32.
    offset
        Shape (frame, keypoint, 2, rows, columns), float32, (x, y) in network px.
    mask
        Shape (frame, keypoint, rows, columns), bool.
    """

    score: Array
    offset: Array
    mask: Array


def draw_with_kernels(position: Array, kind: str) -> Maps:
    """Draw with the functions that the pipeline uses; positions (frame, keypoint, 2) in px."""
    points = position[:, None]  # one individual
    if kind == "gaussian":
        score = score_maps.encode_gaussian(points, SHAPE, SIGMA)
    else:
        score = score_maps.encode_plateau(points, SHAPE, RADIUS)
    return Maps(score, *score_maps.encode_location_refinement(points, SHAPE, RADIUS))


def draw_in_older_window(position: Array, kind: str) -> Maps:
    """Draw cell by cell in Python, in the window of older published code."""
    return _draw_cell_by_cell(position, kind, OLDER_WINDOW * STRIDE)


def draw_in_tight_window(position: Array, kind: str) -> Maps:
    """Draw cell by cell in Python, in the smallest window that contains the disc."""
    return _draw_cell_by_cell(position, kind, max(_reach(kind), RADIUS))


def draw_map_by_map(position: Array, kind: str) -> Maps:
    """Draw with a loop over frames and points, and NumPy over all cells of each map."""
    maps = _allocate(position)
    row, column = np.mgrid[: SHAPE.rows, : SHAPE.columns]
    centre_x, centre_y = column * STRIDE + CENTRE, row * STRIDE + CENTRE
    for frame in range(position.shape[0]):
        for keypoint in range(position.shape[1]):
            x, y = position[frame, keypoint]
            dx, dy = x - centre_x, y - centre_y
            distance2 = dx**2 + dy**2
            near = distance2 <= RADIUS**2
            if kind == "gaussian":
                score = np.exp(-distance2 / (2 * SIGMA**2))
                score[distance2 > GAUSSIAN_REACH**2] = 0
            else:
                score = near
            maps.score[frame, keypoint] = score
            maps.offset[frame, keypoint, 0] = np.where(near, dx, 0)
            maps.offset[frame, keypoint, 1] = np.where(near, dy, 0)
            maps.mask[frame, keypoint] = near
    return maps


WAYS: dict[str, Callable[[Array, str], Maps]] = {
    KERNELS: draw_with_kernels,
    OLDER_LOOP: draw_in_older_window,
    TIGHT_LOOP: draw_in_tight_window,
    MAP_LOOP: draw_map_by_map,
}


def make_positions(frames: int, keypoints: int, seed: int = 0) -> Array:
    """Return random points (frame, keypoint, 2) in px, on quarters of a pixel.

    Their squared distances are exact in float32, so that all ways agree on cells on the edge of a
    circle.
    """
    generator = np.random.default_rng(seed)
    quarters = generator.integers(0, [WIDTH * 4, HEIGHT * 4], size=(frames, keypoints, 2))
    return quarters / 4


def check_equal(position: Array, kind: str, size: int) -> None:
    """Compare the drawings of all ways, N frames at a time.

    Raises
    ------
    AssertionError
        If they differ by more than the rounding of the exponential in float32.
    """
    for block in _blocks(position, size):
        expected = draw_with_kernels(block, kind)
        for way, draw in WAYS.items():
            for name, found, wanted in zip(Maps._fields, draw(block, kind), expected, strict=True):
                message = f"{name}: {way} against {KERNELS}"
                np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6, err_msg=message)


def time_ways(position: Array, kind: str, size: int, repeats: int) -> dict[str, float]:
    """Return the median CPU seconds of each way for all frames, N at a time.

    All ways use one thread, so that CPU time is less affected by other processes.
    """
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(repeats):
        for name, draw in WAYS.items():
            begin = time.process_time()
            for block in _blocks(position, size):
                draw(block, kind)
            seconds[name].append(time.process_time() - begin)
    return {name: statistics.median(values) for name, values in seconds.items()}


def _draw_cell_by_cell(position: Array, kind: str, window: float) -> Maps:
    """Loop over frames, points and the cells less than a window (px) away on either axis."""
    maps = _allocate(position)
    reach = _reach(kind)
    for frame in range(position.shape[0]):
        for keypoint in range(position.shape[1]):
            x, y = position[frame, keypoint].tolist()
            for row in _cells_near(y, window, SHAPE.rows):
                dy = y - (row * STRIDE + CENTRE)
                for column in _cells_near(x, window, SHAPE.columns):
                    dx = x - (column * STRIDE + CENTRE)
                    distance2 = dx * dx + dy * dy
                    if distance2 <= reach * reach:
                        value = math.exp(-distance2 / (2 * SIGMA**2)) if kind == "gaussian" else 1
                        maps.score[frame, keypoint, row, column] = value
                    if distance2 <= RADIUS * RADIUS:
                        maps.offset[frame, keypoint, 0, row, column] = dx
                        maps.offset[frame, keypoint, 1, row, column] = dy
                        maps.mask[frame, keypoint, row, column] = True
    return maps


def _reach(kind: str) -> float:
    return GAUSSIAN_REACH if kind == "gaussian" else RADIUS


def _allocate(position: Array) -> Maps:
    frames, keypoints, _ = position.shape
    grid = (SHAPE.rows, SHAPE.columns)
    return Maps(
        np.zeros((frames, keypoints, *grid), np.float32),
        np.zeros((frames, keypoints, 2, *grid), np.float32),
        np.zeros((frames, keypoints, *grid), np.bool_),
    )


def _cells_near(coordinate: float, window: float, count: int) -> range:
    """Return the cells of one axis whose centres are within a window of a coordinate, in px."""
    first = math.ceil((coordinate - CENTRE - window) / STRIDE)
    last = math.floor((coordinate - CENTRE + window) / STRIDE)
    return range(max(first, 0), min(last, count - 1) + 1)


def _blocks(position: Array, size: int) -> Iterator[Array]:
    for start in range(0, len(position), size):
        yield position[start : start + size]


def main() -> None:
    """Print the medians and the ratios; fail if the kernels are not fast enough."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=500)
    parser.add_argument("--keypoints", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=7)
    given = parser.parse_args()
    position = make_positions(given.frames, given.keypoints)
    print(
        f"{given.frames} frames, {given.keypoints} points, {WIDTH} x {HEIGHT} px, stride {STRIDE}: "
        f"score map, location refinement and mask; median of {given.repeats}"
    )
    slow = []
    keep_freed_memory()  # as make-targets and training do
    for kind in ("gaussian", "plateau"):
        check_equal(position, kind, BLOCK_FRAMES)
        seconds = time_ways(position, kind, BLOCK_FRAMES, given.repeats)
        print(f"\n{kind}, {BLOCK_FRAMES} frames at a time; all ways give the same arrays")
        for way, value in seconds.items():
            print(f"  {way:27}{value * 1000:9.1f} ms{value / seconds[KERNELS]:8.1f} x")
        ratio = seconds[OLDER_LOOP] / seconds[KERNELS]
        if ratio < TARGET_RATIO:
            slow.append(f"{kind}: {ratio:.1f}")
    if slow:
        raise SystemExit(f"\nless than {TARGET_RATIO:g} times the {OLDER_LOOP}: {'; '.join(slow)}")


if __name__ == "__main__":
    main()
