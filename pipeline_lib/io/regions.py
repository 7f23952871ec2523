"""Read files of regions of interest: GeoJSON, or JSON with a polygon by name.

GeoJSON is what QuPath, napari's plugins and movement write: features of type ``Polygon`` or
``MultiPolygon`` with the property ``name``, and here optionally ``video`` or ``camera``.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import ConfigError, LabelError
from pipeline_lib.core.regions import Region
from pipeline_lib.core.untrusted.names import find_name_problem
from pipeline_lib.io.foreign.json_files import read_json, show_text

_MOST_REGIONS = 10_000
_MOST_CORNERS = 1_000
# Of all regions: each side is compared with all others of its polygon.
_MOST_IN_ALL = 200_000
_COORDINATE_LIMIT = 1e9


def read_regions(path: Path) -> tuple[Region, ...]:
    """Read the regions of a file.

    Raises
    ------
    ConfigError
        If the file is missing or is not such a file; it names the region.
    """
    try:
        content = read_json(path)
    except LabelError as error:
        raise ConfigError(str(path), list(error.problems)) from None
    try:
        regions = tuple(_list_regions(content))
    except ValueError as error:
        raise ConfigError(str(path), [str(error)]) from None
    if not regions:
        raise ConfigError(str(path), ["has no region"])
    corners = sum(len(ring) for region in regions for ring in region.rings)
    if corners > _MOST_IN_ALL:
        problem = f"has {corners} corners in all, expected at most {_MOST_IN_ALL}: simplify it"
        raise ConfigError(str(path), [problem])
    return regions


def _list_regions(content: Any) -> Iterator[Region]:  # noqa: ANN401 - whatever stands in the file
    features = _list_features(content)
    if features is not None:
        if len(features) > _MOST_REGIONS:
            raise ValueError(f"has {len(features)} regions, expected at most {_MOST_REGIONS}")
        for number, feature in enumerate(features, start=1):
            yield _read_feature(feature, number)
        return
    if not isinstance(content, Mapping) or len(content) > _MOST_REGIONS:
        raise ValueError("is neither GeoJSON nor an object with a polygon by name")
    for name, corners in content.items():
        where = f"region {show_text(name)!r}"
        yield Region(_check_name(name, where), (_read_ring(corners, where),))


def _list_features(content: Any) -> list[Any] | None:  # noqa: ANN401
    """Return the features of GeoJSON; None for another file."""
    if isinstance(content, list):
        return content
    if not isinstance(content, Mapping):
        return None
    if content.get("type") == "FeatureCollection" and isinstance(content.get("features"), list):
        return list(content["features"])
    return [content] if content.get("type") == "Feature" else None


def _read_feature(feature: Any, number: int) -> Region:  # noqa: ANN401
    where = f"feature {number}"
    if not isinstance(feature, Mapping):
        raise ValueError(f"{where} is no object")  # noqa: TRY004 - one error for the file
    properties, geometry = feature.get("properties") or {}, feature.get("geometry") or {}
    if not isinstance(properties, Mapping) or not isinstance(geometry, Mapping):
        raise ValueError(f"{where} has no `properties` or no `geometry`")  # noqa: TRY004
    name = _check_name(properties.get("name"), where)
    polygons: list[Any]
    where = f"region {name!r}"
    kind, coordinates = geometry.get("type"), geometry.get("coordinates")
    if kind == "Polygon":
        polygons = [coordinates]
    elif kind == "MultiPolygon" and isinstance(coordinates, list):
        polygons = coordinates
    else:
        raise ValueError(f"{where} is a {show_text(kind)}, expected Polygon or MultiPolygon")
    if not polygons or not all(isinstance(rings, list) and rings for rings in polygons):
        raise ValueError(f"{where} has no corners")
    rings = tuple(_read_ring(ring, where) for polygon in polygons for ring in polygon)
    video, camera = (_read_text(properties, key, where) for key in ("video", "camera"))
    return Region(name, rings, video, camera)


def _read_text(properties: Mapping[str, Any], key: str, where: str) -> str:
    text = properties.get(key) or ""
    if not isinstance(text, str):
        raise ValueError(f"{where}: `{key}` is no text")  # noqa: TRY004
    return text


def _check_name(name: Any, where: str) -> str:  # noqa: ANN401
    if not isinstance(name, str):
        raise ValueError(f"{where} has no property `name`")  # noqa: TRY004
    if problem := find_name_problem(name):
        raise ValueError(f"{where}: name {show_text(name)!r} {problem}")
    return name


def _read_ring(corners: Any, where: str) -> NDArray[np.float64]:  # noqa: ANN401
    """Return corners without the repetition of the first with which GeoJSON ends."""
    if not isinstance(corners, list) or len(corners) > _MOST_CORNERS:
        raise ValueError(f"{where} is no list of at most {_MOST_CORNERS} corners [x, y]")
    for corner in corners:
        good = isinstance(corner, list) and len(corner) in (2, 3)
        if not good or not all(_is_coordinate(value) for value in corner[:2]):
            raise ValueError(f"{where}: corner {show_text(corner)} is not [x, y]")
    ring = np.array([corner[:2] for corner in corners], np.float64).reshape(-1, 2)
    closed = len(ring) > 1 and bool((ring[0] == ring[-1]).all())
    return ring[:-1] if closed else ring


def _is_coordinate(value: Any) -> bool:  # noqa: ANN401
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value) <= _COORDINATE_LIMIT
