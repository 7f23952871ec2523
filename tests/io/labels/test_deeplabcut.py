"""Test DeepLabCut projects as found: both copies of a table, foreign paths, mistakes."""

import csv
import logging
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline_lib.core.errors import LabelError
from pipeline_lib.io.labels.deeplabcut import PIXEL_OFFSET, read_deeplabcut
from pipeline_lib.io.labels.points import POINT_COLUMNS

NAN = float("nan")


def draw_images(folder, names, size=(20, 10), mode="L"):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.new(mode, size).save(folder / name)


def cells(values):
    return ["" if np.isnan(value) else repr(float(value)) for value in values]


def write_csv(path, rows, bodyparts=("nose", "tail"), scorer="ann", index=1):
    """Write a 3-level table; rows map an image's path to x, y of each bodypart."""
    blank = [""] * (index - 1)
    header = [
        ["scorer", *blank, *[scorer] * (2 * len(bodyparts))],
        ["bodyparts", *blank, *[name for name in bodyparts for _ in "xy"]],
        ["coords", *blank, *["x", "y"] * len(bodyparts)],
    ]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerows(header)
        for image, values in rows:
            writer.writerow([*(image.split("/") if index > 1 else [image]), *cells(values)])


def write_hdf5(path, rows, bodyparts=("nose", "tail"), scorer="ann", split=False):
    columns = pd.MultiIndex.from_product(
        [[scorer], bodyparts, ["x", "y"]], names=["scorer", "bodyparts", "coords"]
    )
    images = [image for image, _ in rows]
    index = pd.MultiIndex.from_tuples([tuple(i.split("/")) for i in images]) if split else images
    frame = pd.DataFrame([values for _, values in rows], index=index, columns=columns)
    frame.to_hdf(path, key="df_with_missing", mode="w")


ROWS = [
    ("labeled-data/mouse/img007.png", (1.0, 2.0, 3.5, 4.5)),
    ("labeled-data/mouse/img003.png", (5.0, 6.0, NAN, NAN)),
]


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "task-ann-2024-01-01"
    draw_images(folder / "labeled-data" / "mouse", ["img003.png", "img007.png"])
    return folder


@pytest.fixture
def table(project):
    return project / "labeled-data" / "mouse" / "CollectedData_ann.csv"


def points_of(frame):
    return list(
        zip(
            frame["frame"],
            frame["bodypart"],
            frame["x"].fillna(-9).tolist(),
            frame["y"].fillna(-9).tolist(),
            frame["visible"],
            strict=True,
        )
    )


# Rows stay in the table's order; the step sorts.
EXPECTED = [
    (7, "nose", 1.0, 2.0, True),
    (7, "tail", 3.5, 4.5, True),
    (3, "nose", 5.0, 6.0, True),
    (3, "tail", -9, -9, False),
]


def test_table_becomes_one_row_per_point(project, table):
    write_csv(table, ROWS)
    frame = read_deeplabcut(project)
    assert tuple(frame.columns) == POINT_COLUMNS
    assert points_of(frame) == EXPECTED
    assert frame["frame"].dtype == np.int64
    assert frame["x"].dtype == np.float64
    assert frame["visible"].dtype == np.bool_
    assert set(frame["video"]) == {"mouse"}
    assert set(frame["individual"]) == {"animal"}
    assert set(frame["source"]) == {str(table)}
    assert frame["image"][0] == str(project / "labeled-data" / "mouse" / "img007.png")
    assert frame["x"].isna().tolist() == [False, False, False, True]


def test_pixel_convention_is_ours(project, table):
    write_csv(table, [("labeled-data/mouse/img003.png", (0.0, 0.0, 19.0, 9.0))])
    frame = read_deeplabcut(project)
    assert PIXEL_OFFSET == 0.0
    # The centre of the top-left pixel and that of the bottom-right one of a 20 x 10 image.
    assert frame[["x", "y"]].to_numpy().tolist() == [[0.0, 0.0], [19.0, 9.0]]


@pytest.mark.parametrize("split", [False, True])
def test_hdf5_alone_and_with_split_index(project, table, split):
    write_hdf5(table.with_suffix(".h5"), ROWS, split=split)
    assert points_of(read_deeplabcut(project)) == EXPECTED


def test_three_index_columns(project, table):
    write_csv(table, ROWS, index=3)
    assert table.read_text().startswith("scorer,,,ann")
    assert points_of(read_deeplabcut(project)) == EXPECTED


@pytest.mark.parametrize(
    "prefix", ["labeled-data\\mouse\\", "C:\\Users\\ann\\labeled-data\\mouse\\", "/mnt/x/mouse/"]
)
def test_foreign_paths_in_the_index(project, table, prefix):
    write_csv(table, [(prefix + Path(image).name, values) for image, values in ROWS])
    assert points_of(read_deeplabcut(project)) == EXPECTED


@pytest.mark.parametrize("where", [".", "config.yaml", "labeled-data", "labeled-data/mouse", None])
def test_every_way_to_name_a_project(project, table, where, monkeypatch):
    (project / "config.yaml").write_text("scorer: ann\nvideo_sets: {}\nproject_path: WILL BE SET\n")
    write_csv(table, ROWS)
    path = table if where is None else project / where
    assert points_of(read_deeplabcut(path)) == EXPECTED
    monkeypatch.chdir(project.parent)
    frame = read_deeplabcut(Path(os.path.relpath(path)))
    assert Path(frame["image"][0]) == project / "labeled-data" / "mouse" / "img007.png"


def test_first_row_without_labels_is_kept(project, table):
    # pandas.read_csv takes such a row for the names of the index.
    write_csv(table, [(ROWS[0][0], (NAN,) * 4), ROWS[1]])
    frame = read_deeplabcut(project)
    assert frame["frame"].tolist() == [7, 7, 3, 3]
    assert frame["visible"].tolist() == [False, False, True, False]


def test_names_of_the_index_are_not_an_image(project, table):
    write_csv(table, ROWS)
    lines = table.read_text().splitlines()
    table.write_text("\n".join([*lines[:3], "image,,,,", *lines[3:]]))
    assert points_of(read_deeplabcut(project)) == EXPECTED


def test_images_of_mixed_size_and_colour(project, table):
    draw_images(table.parent, ["img007.png"], size=(400, 300), mode="RGB")
    rows = [(ROWS[0][0], (399.0, 299.0, 0.0, 0.0)), ROWS[1]]
    write_csv(table, rows)
    assert read_deeplabcut(project)["x"][0] == 399.0
    write_csv(table, [(image, (399.0, 299.0, 0.0, 0.0)) for image, _ in ROWS])
    with pytest.raises(LabelError) as error:
        read_deeplabcut(project)
    assert error.value.problems == (
        "mouse/img003.png, nose: x 399, y 299 is outside its image of 20 x 10 px",
    )


@pytest.mark.parametrize(
    ("x", "y", "good"),
    [
        (-1.5, 0, True),  # the image begins at -0.5, and 1 px beyond is let pass
        (-1.51, 0, False),
        (20.5, 10.5, True),  # it ends at 19.5 and 9.5
        (20.51, 0, False),
        (0, 10.51, False),
    ],
)
def test_points_outside_their_image(project, table, x, y, good):
    write_csv(table, [(ROWS[0][0], (x, y, 1.0, 1.0))])
    if good:
        assert read_deeplabcut(project)["x"][0] == x
    else:
        with pytest.raises(LabelError, match=r"nose: x .* is outside its image of 20 x 10 px"):
            read_deeplabcut(project)


def test_every_problem_is_reported_at_once(project, table):
    (table.parent / "broken005.png").write_bytes(b"no image")
    write_csv(
        table,
        [
            ("labeled-data/mouse/img003.png", (1.0, NAN, 1.0, 1.0)),
            ("labeled-data/mouse/img003.png", (1.0, 1.0, 1.0, 1.0)),
            ("labeled-data/mouse/gone9.png", (1.0, 1.0, 1.0, 1.0)),
            ("labeled-data/mouse/broken005.png", (1.0, 1.0, 1.0, 1.0)),
        ],
    )
    with pytest.raises(LabelError) as error:
        read_deeplabcut(project)
    missing, twice, broken, half = error.value.problems
    assert missing.startswith("labeled-data/mouse/gone9.png: no such image (expected at ")
    assert twice == "mouse/img003.png: 2 rows, expected one per image: remove the others"
    assert "mouse/broken005.png: expected an image" in broken
    assert half == (
        "mouse/img003.png, nose: x 1, y nan: one coordinate is missing; write both or none"
    )


def test_long_lists_of_problems_are_cut_where_shown(project, table):
    write_csv(table, [(f"labeled-data/mouse/no{n}.png", (1.0,) * 4) for n in range(25)])
    with pytest.raises(LabelError) as error:
        read_deeplabcut(project)
    assert len(error.value.problems) == 25
    assert "25 problems" in str(error.value)
    assert str(error.value).endswith("... and 5 more")


def test_renamed_folder_still_finds_its_images(project, table):
    write_csv(table, ROWS)
    (project / "labeled-data" / "mouse").rename(project / "labeled-data" / "mouse-1")
    frame = read_deeplabcut(project)
    assert points_of(frame) == EXPECTED
    assert set(frame["video"]) == {"mouse-1"}


def test_image_of_the_same_name_in_another_folder_is_not_taken(project, table):
    draw_images(project / "labeled-data" / "rat", ["img001.png"])
    write_csv(table, [("labeled-data/rat/img003.png", (1.0,) * 4)])
    with pytest.raises(LabelError, match=r"labeled-data/rat/img003.png: no such image"):
        read_deeplabcut(project)


def test_images_of_several_missing_folders_are_not_guessed(project, table):
    write_csv(
        table,
        [(f"labeled-data/gone{n}/img00{n}.png", (1.0,) * 4) for n in (3, 7)],
    )
    with pytest.raises(LabelError) as error:
        read_deeplabcut(project)
    assert [problem.split(":")[0] for problem in error.value.problems] == [
        "labeled-data/gone3/img003.png",
        "labeled-data/gone7/img007.png",
    ]


def test_image_labelled_in_two_tables(project, table):
    write_csv(table, ROWS)
    draw_images(project / "labeled-data" / "rat", ["img001.png"])
    write_csv(project / "labeled-data" / "rat" / "CollectedData_ann.csv", ROWS[:1])
    with pytest.raises(LabelError) as error:
        read_deeplabcut(project)
    (problem,) = error.value.problems
    assert problem.startswith(str(table.parent / "img007.png") + ": labelled in ")


@pytest.mark.parametrize("prefix", ["", "D:\\old\\labeled-data\\task\\"])
def test_merged_table_elsewhere_in_the_project(project, prefix):
    merged = project / "training-datasets" / "iteration-0" / "CollectedData_ann.csv"
    merged.parent.mkdir(parents=True)
    write_csv(merged, [(prefix + image, values) for image, values in ROWS])
    assert points_of(read_deeplabcut(merged)) == EXPECTED


def test_folders_without_a_table_are_skipped_and_said(project, table, caplog):
    write_csv(table, ROWS)
    draw_images(project / "labeled-data" / "new", ["img1.png"])
    with caplog.at_level(logging.INFO):
        assert len(read_deeplabcut(project)) == 4
    assert [r.levelname for r in caplog.records if "labeled-data/new has no" in r.message] == [
        "INFO"
    ]


def test_project_without_any_table(project):
    with pytest.raises(LabelError, match=r"no CollectedData_SCORER.csv or .h5 in any folder"):
        read_deeplabcut(project)


def test_scorer_of_the_project_picks_the_table(project, table):
    write_csv(table, ROWS)
    write_csv(table.with_name("CollectedData_bob.csv"), ROWS[:1], scorer="bob")
    with pytest.raises(LabelError, match=r"mouse: tables of several scorers \(ann, bob\)"):
        read_deeplabcut(project)
    (project / "config.yaml").write_text("scorer: bob\n")
    assert len(read_deeplabcut(project)) == 2
    assert len(read_deeplabcut(table.parent)) == 2
    (project / "config.yaml").write_text("scorer: cid\n")
    with pytest.raises(LabelError, match="names 'cid'"):
        read_deeplabcut(project)


def test_hdf5_is_preferred_and_a_difference_is_said(project, table, caplog):
    write_hdf5(table.with_suffix(".h5"), ROWS)
    write_csv(table, ROWS[::-1])
    read_deeplabcut(project)
    assert not [r for r in caplog.records if r.levelname == "WARNING"]
    write_csv(table, [(image, tuple(v + 1 for v in values)) for image, values in ROWS])
    frame = read_deeplabcut(project)
    assert points_of(frame) == EXPECTED
    assert "CollectedData_ann.csv differ" in caplog.text


def test_unreadable_hdf5_leaves_the_csv(project, table, caplog):
    table.with_suffix(".h5").write_bytes(b"not HDF5")
    with pytest.raises(LabelError, match="is not readable as HDF5"):
        read_deeplabcut(project)
    write_csv(table, ROWS)
    assert points_of(read_deeplabcut(project)) == EXPECTED
    assert "reading CollectedData_ann.csv instead" in caplog.text


def test_several_individuals_keep_their_names(project, table):
    lines = [
        "scorer,ann,ann,ann,ann,ann,ann",
        "individuals,m1,m1,m2,m2,single,single",
        "bodyparts,nose,nose,nose,nose,door,door",
        "coords,x,y,x,y,x,y",
        "labeled-data/mouse/img003.png,1,2,,,5,6",
    ]
    table.write_text("\n".join(lines))
    frame = read_deeplabcut(project)
    named = list(zip(frame["individual"], frame["bodypart"], frame["visible"], strict=True))
    assert named == [("m1", "nose", True), ("m2", "nose", False), ("single", "door", True)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("nose,nose,tail,tail", "nose,nose,tail,eye"), "tail has no column y"),
        (("coords,x,y,x,y", "coords,x,y,x,likelihood"), "is it a table of predictions"),
        (("nose,nose,tail,tail", "nose,nose,nose,tail"), "columns more than once: nose x"),
        (("ann,ann,ann,ann", "ann,ann,bob,bob"), "several scorers in one table: ann, bob"),
        (("1.0,2.0", "one,2.0"), "line 4, column 2: 'one' is not a number"),
        (("1.0,2.0,", "1.0,"), "line 4: 4 cells, expected 5"),
        (("labeled-data/mouse/img007.png", " "), "row 1 names no image"),
        (("coords,", "co-ords,"), "expected header rows"),
    ],
)
def test_malformed_tables(project, table, change, message):
    write_csv(table, ROWS)
    text = table.read_text()
    assert change[0] in text
    table.write_text(text.replace(*change))
    with pytest.raises(LabelError, match=message):
        read_deeplabcut(project)


def test_binary_file_as_a_table(project, table):
    table.write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(LabelError, match=r"is not UTF-8 text \(byte 0xff in line 1\)"):
        read_deeplabcut(project)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_a_table_in_utf16(project, table, encoding):
    write_csv(table, ROWS)
    table.write_text(table.read_text(), encoding=encoding)
    with pytest.raises(LabelError, match="is saved as UTF-16: save it as CSV in UTF-8"):
        read_deeplabcut(project)


@pytest.fixture
def shared():
    folder = os.environ.get("COHORTPOSE_DATA")
    if not folder:
        pytest.skip("COHORTPOSE_DATA is not set")
    return Path(folder)


@pytest.mark.real
def test_open_field_project(shared, caplog):
    frame = read_deeplabcut(shared / "openfield" / "openfield-Pranav-2018-10-30")
    assert len(frame) == 116 * 4
    assert frame["visible"].all()
    assert frame["bodypart"].unique().tolist() == ["snout", "leftear", "rightear", "tailbase"]
    assert set(frame["video"]) == {"m4s1"}
    # First line of the project's CSV.
    first = frame[frame["frame"] == 0]
    assert first["x"].tolist() == pytest.approx([21.521, 33.819, 19.984, 87.11])
    assert first["y"].tolist() == pytest.approx([265.428, 265.941, 250.056, 152.698])
    # Its two copies are the same.
    assert "differ" not in caplog.text


@pytest.mark.real
def test_flies_in_multi_animal_layout(shared):
    frame = read_deeplabcut(shared / "flies-madlc-derived" / "flies-dreem-2025-11-18")
    assert frame["individual"].unique().tolist() == ["fly1", "fly2", "fly3"]
    assert frame["bodypart"].nunique() == 13
    assert (len(frame), int(frame["visible"].sum())) == (624, 472)
    in_two = frame[frame["video"] == "two_flies"]
    assert not in_two.loc[in_two["individual"] == "fly3", "visible"].any()
