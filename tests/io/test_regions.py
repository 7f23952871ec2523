"""Test files of regions: GeoJSON of movement and QuPath, plain JSON, and what is neither."""

import json

import numpy as np
import pytest

from pipeline_lib.core.errors import ConfigError
from pipeline_lib.io.regions import read_regions

RING = [[0.0, 0.0], [4.0, 0.0], [4.0, 4.0], [0.0, 0.0]]
HOLE = [[1.0, 0.5], [2.0, 0.5], [2.0, 1.0], [1.0, 0.5]]


def make_feature(kind="Polygon", coordinates=(RING, HOLE), **properties):
    return {
        "type": "Feature",
        "geometry": {"type": kind, "coordinates": list(coordinates)},
        "properties": properties,
    }


def read(tmp_path, content):
    path = tmp_path / "regions.geojson"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return read_regions(path)


def test_what_movement_writes(tmp_path):
    feature = make_feature(name="arena", roi_type="PolygonOfInterest")
    (region,) = read(tmp_path, {"type": "FeatureCollection", "features": [feature]})
    assert (region.name, region.video, region.camera) == ("arena", "", "")
    np.testing.assert_array_equal(region.rings[0], RING[:-1])
    np.testing.assert_array_equal(region.rings[1], HOLE[:-1])


def test_several_polygons_and_whose_they_are(tmp_path):
    feature = make_feature("MultiPolygon", ([RING], [HOLE]), name="arms", camera="top", video=None)
    (region,) = read(tmp_path, [feature])
    assert len(region.rings) == 2
    assert region.concerns("any", "top")
    assert not region.concerns("any", "side")


def test_a_polygon_by_name(tmp_path):
    regions = read(tmp_path, {"left": RING[:3], "right": [[1, 2], [3, 4], [5, 7]]})
    assert [one.name for one in regions] == ["left", "right"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON|nested too deeply"),
        ([], "has no region"),
        ({"a": "b"}, "region 'a' is no list"),
        ({"a": [[0, "1"], [2, 3]]}, r"region 'a': corner \[0, '1'\] is not"),
        ({"a": [[0, 1e300]]}, "corner"),
        ('{"a": [[0, NaN]]}', "corner"),
        ({"../a": RING}, "name '../a' must be letters"),
        (7, "neither GeoJSON nor an object"),
        ([make_feature()], "feature 1 has no property `name`"),
        ([make_feature("LineString", RING, name="a")], "region 'a' is a LineString"),
        ([make_feature(coordinates=(), name="a")], "region 'a' has no corners"),
        ([make_feature(name="a", video=3)], "`video` is no text"),
        ([{"type": "Feature", "geometry": [], "properties": 3}], "feature 1 has no"),
        ([5], "feature 1 is no object"),
        ({f"r{n}": [[0, n]] * 1000 for n in range(201)}, "has 200799 corners in all"),
    ],
)
def test_what_is_no_file_of_regions(tmp_path, content, problem):
    with pytest.raises(ConfigError, match=problem) as error:
        read(tmp_path, content)
    assert "regions.geojson" in str(error.value)
