"""Gather the regions of interest of a config and its file, and check them."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from pipeline_lib.core.errors import ConfigError
from pipeline_lib.core.regions import Region
from pipeline_lib.core.settings.outputs.kinematics import KinematicsSettings
from pipeline_lib.io.regions import read_regions
from pipeline_lib.kernels.kinematics.regions import find_polygon_problem


def gather_regions(settings: KinematicsSettings) -> tuple[Region, ...]:
    """Return all regions of a config, those of its file last.

    Raises
    ------
    ConfigError
        With a line for each region that is none: of two corners, or that crosses itself.
    """
    regions = [
        Region(one.name, (_open(one.polygon),), one.video or "", one.camera or "")
        for one in settings.regions
    ]
    problems = [f"`kinematics.regions`: {text}" for text in _find_problems(regions)]
    if settings.regions_file is not None:
        read = read_regions(Path(settings.regions_file))
        problems += [f"{settings.regions_file}: {text}" for text in _find_problems(read)]
        regions += read
    counts = Counter((one.name, one.video, one.camera) for one in regions)
    twice = next((key for key, count in counts.items() if count > 1), None)
    if twice:
        problems.append(f"`kinematics.regions`: two regions of the same videos are {twice[0]!r}")
    if problems:
        raise ConfigError("kinematics", problems)
    return tuple(regions)


def choose_regions(regions: Iterable[Region], video: str, camera: str) -> dict[str, Region]:
    """Return the regions of a video by name: its own before its camera's, these before all's."""
    chosen: dict[str, Region] = {}
    for one in sorted(regions, key=lambda region: (bool(region.video), bool(region.camera))):
        if one.concerns(video, camera):
            chosen[one.name] = one
    return chosen


def _open(polygon: tuple[tuple[float, float], ...]) -> np.ndarray:
    corners = np.array(polygon, np.float64).reshape(-1, 2)
    closed = len(corners) > 1 and bool((corners[0] == corners[-1]).all())
    return corners[:-1] if closed else corners


def _find_problems(regions: Iterable[Region]) -> list[str]:
    return [
        f"region {one.name}: polygon {problem}"
        for one in regions
        for ring in one.rings
        if (problem := find_polygon_problem(ring))
    ]
