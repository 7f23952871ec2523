"""Test labels as one Parquet table and as arrays."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.core.tables import LABEL_COLUMNS
from pipeline_lib.io.labels.table import Labels, label_arrays, read_labels, write_labels

NAN = float("nan")


def make_labels(points, bodyparts=("nose", "tail")):
    rows = [
        {
            "video": "v",
            "frame": frame,
            "individual": individual,
            "bodypart": bodypart,
            "x": x,
            "y": y,
            "visible": not np.isnan(x),
            "source": "table.csv",
            "split": "train",
            "image": f"/data/img{frame}.png",
            "iteration": 2,
            "visibility": "hidden",
        }
        for frame, individual, bodypart, x, y in points
    ]
    return Labels(pd.DataFrame(rows, columns=list(LABEL_COLUMNS)), bodyparts)


LABELS = make_labels(
    [
        (3, "a", "tail", 1.0, 2.0),
        (3, "a", "nose", 3.0, 4.0),
        (3, "b", "nose", 5.0, 6.0),
        (9, "b", "tail", NAN, NAN),
    ]
)


def test_arrays_hold_each_point_in_its_place():
    images, positions = label_arrays(LABELS)
    assert images.to_dict("list") == {
        "image": ["/data/img3.png", "/data/img9.png"],
        "video": ["v", "v"],
        "frame": [3, 9],
        "split": ["train", "train"],
    }
    assert positions.dtype == np.float64
    expected = np.full((2, 2, 2, 2), NAN)
    # Individuals a, b by appearance; keypoints nose, tail as in `bodyparts`.
    expected[0, 0] = [[3, 4], [1, 2]]
    expected[0, 1, 0] = [5, 6]
    np.testing.assert_array_equal(positions, expected)


def test_named_individuals_have_fixed_slots_and_unique_bodyparts_a_last_one():
    points = [
        (3, "b", "nose", 5.0, 6.0),
        (3, "single", "corner", 7.0, 8.0),
        (9, "a", "nose", 1.0, 2.0),
    ]
    skeleton = Skeleton(bodyparts=("corner", "nose"), unique_bodyparts=("corner",))
    table = make_labels(points).table
    labels = Labels(table, skeleton.bodyparts, ("a", "b", "individual3"), skeleton)
    assert labels.slots == ("a", "b", "individual3", "single")
    _, positions = label_arrays(labels)
    expected = np.full((2, 4, 2, 2), NAN)
    expected[0, 1, 1] = [5, 6]
    expected[0, 3, 0] = [7, 8]
    expected[1, 0, 1] = [1, 2]
    np.testing.assert_array_equal(positions, expected)


def test_missing_facts_follow_from_the_table():
    labels = make_labels(
        [(3, "b", "nose", 1, 1), (3, "single", "tail", 1, 1), (4, "a", "nose", 1, 1)]
    )
    assert labels.individuals == ("b", "a")
    assert labels.skeleton == Skeleton(bodyparts=("nose", "tail"))


def test_parquet_keeps_names_and_skeleton(tmp_path):
    skeleton = Skeleton(
        bodyparts=("nose", "tail", "corner"),
        edges=(("nose", "tail"),),
        symmetries=(("nose", "tail"),),
        unique_bodyparts=("corner",),
    )
    labels = Labels(LABELS.table, skeleton.bodyparts, ("a", "b", "c"), skeleton)
    write_labels(tmp_path / "labels.parquet", labels)
    found = read_labels(tmp_path / "labels.parquet")
    assert (found.bodyparts, found.individuals) == (skeleton.bodyparts, ("a", "b", "c"))
    assert found.skeleton == skeleton


def test_tables_of_before_images_were_relative(tmp_path):
    path = tmp_path / "labels.parquet"
    write_labels(path, LABELS)
    record = json.dumps({"version": 1, "bodyparts": ["nose", "tail"]}).encode()
    table = pq.read_table(path).drop_columns("image_base")
    pq.write_table(table.replace_schema_metadata({b"cohortpose": record}), path)
    with pytest.raises(StoreError, match=r"is of version 1, expected 3; run .*import-labels"):
        read_labels(path)


def test_tables_of_before_rounds_are_read_all_the_same(tmp_path):
    path = tmp_path / "labels.parquet"
    write_labels(path, LABELS)
    table = pq.read_table(path)
    record = json.loads(table.schema.metadata[b"cohortpose"]) | {"version": 2}
    table = table.drop_columns(["iteration", "visibility"])
    metadata = {b"cohortpose": json.dumps(record).encode()}
    pq.write_table(table.replace_schema_metadata(metadata), path)
    found = read_labels(path).table
    assert tuple(found.columns) == LABEL_COLUMNS
    assert found["iteration"].tolist() == [0] * 4
    assert found["visibility"].tolist() == [""] * 4
    assert found["x"].tolist()[:3] == [1, 3, 5]


coordinates = st.floats(allow_nan=True, allow_infinity=False, width=64)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(points=st.lists(st.tuples(st.integers(-1, 2**62), coordinates, coordinates), max_size=8))
def test_parquet_gives_back_what_was_written(tmp_path, points):
    labels = make_labels([(frame, "animal", "tail", x, y) for frame, x, y in points])
    path = tmp_path / "labels" / "labels.parquet"
    write_labels(path, labels)
    found = read_labels(path)
    assert found.bodyparts == ("nose", "tail")
    assert tuple(found.table.columns) == LABEL_COLUMNS
    assert found.table["frame"].dtype == np.int64
    for name in LABEL_COLUMNS:
        np.testing.assert_array_equal(found.table[name].to_list(), labels.table[name].to_list())


def test_schema_on_disk(tmp_path):
    path = tmp_path / "labels.parquet"
    write_labels(path, LABELS)
    schema = pq.read_schema(path)
    types = {field.name: str(field.type) for field in schema}
    assert {name: kind for name, kind in types.items() if kind != "string"} == {
        "frame": "int64",
        "x": "double",
        "y": "double",
        "visible": "bool",
        "iteration": "int64",
    }
    assert tuple(types) == (*LABEL_COLUMNS, "image_base")
    # Unlabelled is NaN, which readers of other languages see as such, never null.
    assert pq.read_table(path)["x"].null_count == 0


def test_stores_that_are_not_labels(tmp_path):
    path = tmp_path / "labels.parquet"
    with pytest.raises(StoreError, match=r"no such file; run `cohortpose import-labels`"):
        read_labels(path)
    path.write_bytes(b"no Parquet")
    with pytest.raises(StoreError, match="is not Parquet"):
        read_labels(path)
    pq.write_table(pa.table({"x": [1.0]}), path)
    with pytest.raises(StoreError, match="has other columns"):
        read_labels(path)
    write_labels(path, LABELS)
    pq.write_table(pq.read_table(path).replace_schema_metadata(None), path)
    with pytest.raises(StoreError, match="is of version none, expected 3"):
        read_labels(path)
