"""Label tables as people and spreadsheets leave them: read, or told in one line each."""

import os

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline_lib.core.errors import LabelError
from pipeline_lib.io.labels.deeplabcut import read_deeplabcut
from pipeline_lib.io.labels.formats.lightning_pose import read_lightning_pose

HEADER = "scorer,a,a,a,a\nbodyparts,nose,nose,tail,tail\ncoords,x,y,x,y\n"
ROW = "labeled-data/v/img1.png,1,2,3,4\n"
GOOD = [(1.0, 2.0), (3.0, 4.0)]


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "labeled-data" / "v"
    path.mkdir(parents=True)
    for name in ("img1.png", "img2.png"):
        Image.new("L", (60, 40)).save(path / name)
    return path


def read(folder, text):
    path = folder / "CollectedData_a.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    points = read_deeplabcut(path)
    return list(zip(points["x"], points["y"], strict=True))


def problems_of(folder, text):
    with pytest.raises(LabelError) as error:
        read(folder, text)
    assert not any("\n" in problem for problem in error.value.problems)
    return error.value.problems


def problem_of(folder, text):
    (problem,) = problems_of(folder, text)
    return problem


@pytest.mark.parametrize(
    "text",
    [
        HEADER + ROW,
        "\ufeff" + HEADER + ROW,  # byte order mark
        (HEADER + ROW).replace("\n", "\r\n"),
        (HEADER + ROW).replace("\n", "\r"),
        "\n" + HEADER + "\n\n" + ROW + "\n,,,,\n",
        HEADER + " , , , , \n" + ROW,
        HEADER.replace("\n", ",,\n") + ROW.replace("\n", ",,\n"),  # two empty columns
        HEADER + ROW.replace("\n", ",,,,\n"),
        HEADER.replace("\n", ",,\n") + ROW.replace("\n", ",nan,\n"),
        HEADER.replace("a,", " a ,").replace("nose", " nose ") + ROW,
        HEADER + ",,,,\n" + ROW,  # names of the index, as pandas writes them
        HEADER.split("\n", 1)[1] + ROW,  # no scorer
        "coords,x,y,x,y\nbodyparts,nose,nose,tail,tail\nscorer,a,a,a,a\n" + ROW,
        HEADER.replace(",a,a,", ",a,a,,", 1).replace("nose,t", "nose,,t").replace("y,x", "y,,x")
        + "labeled-data/v/img1.png,1,2,,3,4\n",  # an empty column inside
        HEADER.replace("\n", ',"Unnamed: 5_level_1"\n') + ROW.replace("\n", ",\n"),
        HEADER.replace(",", ",,,", 1).replace("rts,", "rts,,,").replace("ds,", "ds,,,")
        + "labeled-data,v,img1.png,1,2,3,4\n",
        HEADER + '"labeled-data/v/img1.png","1","2","3.0e0","+4."\n',
        HEADER + "labeled-data\\v\\img1.png,1,2,3,4\n",
    ],
)  # fmt: skip
def test_other_spellings_of_a_table_are_read(folder, text):
    assert read(folder, text) == GOOD


@pytest.mark.parametrize("empty", ["", "nan", "NaN", "NA", "n/a", "None", "null", " "])
def test_unlabelled(folder, empty):
    found = read(folder, HEADER + f"labeled-data/v/img1.png,1,2,{empty},{empty}\n")
    np.testing.assert_array_equal(found, [(1, 2), (np.nan, np.nan)])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty: expected a label table"),
        (" \n\n", "is empty: expected a label table"),
        ("a,b\n1,2\n", "no header: expected header rows `scorer`, `bodyparts` and `coords`"),
        (ROW, "no header: expected header rows"),
        (HEADER, "no row below its header: expected one row per labelled image"),
        ("scorer,a,a\ncoords,x,y\nimg1.png,1,2\n", "no row `bodyparts`: expected header rows"),
        ("scorer,a,a\nbodyparts,n,n\nimg1.png,1,2\n", "no row `coords`: expected header rows"),
        (HEADER + HEADER + ROW, "header rows more than once (`scorer`, `bodyparts`, `coords`): "),
        (HEADER + "coords,x,y,x,y\n" + ROW, "header rows more than once (`coords`): expected "),
        ("scorer\nbodyparts\ncoords\nlabeled-data/v/img1.png\n", "header without a column"),
        (HEADER + "labeled-data/v/img1.png\n", "line 4: 1 cells, expected 5 as in the header"),
        (HEADER + "labeled-data/v/img1.png,1,2,3\n", "line 4: 4 cells, expected 5"),
        (HEADER + ROW.replace("\n", ",,7\n"), "line 4: 7 cells, expected 5 as in the header"),
        (HEADER + ROW.replace("3", "three"), "line 4, column 4: 'three' is not a number"),
        (HEADER + ROW.replace("3", "inf"), "line 4, column 4: 'inf' is not a number"),
        (HEADER + ROW.replace("3", "-Infinity"), "column 4: '-Infinity' is not a number"),
        (HEADER + ROW.replace("3", "1e999"), "column 4: '1e999' is not a number"),
        (HEADER + ROW.replace("3", "1_0"), "column 4: '1_0' is not a number"),
        (HEADER + ROW.replace("3", "٣"), "column 4: '٣' is not a number"),
        (HEADER + ROW.replace("3", '"3,5"'), "column 4: '3,5' is not a number"),
        (HEADER.replace(",tail,tail", ",,") + ROW,
         "row `bodyparts` is empty in columns 4, 5: write a name there"),
        (HEADER.replace("nose,nose", ",nose") + ROW,
         "row `bodyparts` is empty in column 2: write a name there"),
        (HEADER.replace("coords,x", "coords,") + ROW, "row `coords` is empty in column 2"),
        (HEADER.replace("tail,tail", "Unnamed: 3_level_1,tail") + ROW,
         "row `bodyparts` is empty in column 4"),
        (HEADER.replace("\n", ",,\n") + ROW.replace("\n", ",5,6\n"),
         "line 4: 7 cells, expected 5 as in the header"),
        (HEADER.replace("tail,tail", "nose,nose") + ROW, "columns more than once: nose x, nose y"),
        (HEADER.replace("x,y,x,y", "x,y,x,likelihood") + ROW,
         "columns tail likelihood: labels have x and y only"),
        (HEADER.replace("a,a,a,a", "a,a,b,b") + ROW, "labels of several scorers in one table"),
        (HEADER.replace("nose,nose", '"no\tse","no\tse"') + ROW, "which holds a tab"),
        (HEADER + ROW + ROW, "v/img1.png: 2 rows, expected one per image: remove the others"),
        (HEADER + ROW + ",5,6,7,8\n", "row 2 names no image"),
        (HEADER + ROW.replace("img1", "img3"), "no such image (expected at "),
        (HEADER + ROW.replace("1,2", "1,"), "nose: x 1, y nan: one coordinate is missing"),
        (HEADER + ROW.replace("1,2", "1,99"), "nose: x 1, y 99 is outside its image of 60 x 40"),
        ((HEADER + ROW).replace(",", ";"), "divided by semicolons, expected commas: save it as"),
        ((HEADER + ROW).replace(",", "\t"), "divided by tabs, expected commas: save it as CSV"),
        ((HEADER.replace("nose", "né") + ROW).encode("cp1252"),
         "is not UTF-8 text (byte 0xe9 in line 2): save it as CSV in UTF-8"),
        ((HEADER + ROW).encode("utf-16"), "is saved as UTF-16: save it as CSV in UTF-8"),
        ((HEADER + ROW).encode("utf-16-le"), "is saved as UTF-16: save it as CSV in UTF-8"),
        ((HEADER + ROW + "\0").encode(), "is no text, it holds zero bytes"),
        (HEADER + '"' + ROW + "x" * 200_000, "field larger than field limit"),
    ],
)  # fmt: skip
def test_one_line_says_what_is_wrong(folder, text, message):
    """Report the cause alone, without its consequences, and with the file's name."""
    problem = problem_of(folder, text)
    assert message in problem
    assert any(name in problem for name in ("CollectedData_a.csv", "img1.png", "img3.png"))


def test_every_problem_of_the_cells(folder):
    problems = problems_of(folder, HEADER + ROW.replace("3", "x") + "labeled-data/v/img2.png,1\n")
    assert [problem.split("csv: ")[1] for problem in problems] == [
        "line 4, column 4: 'x' is not a number; leave unlabelled ones empty",
        "line 5: 2 cells, expected 5 as in the header",
    ]


def test_folders_and_special_files(tmp_path):
    with pytest.raises(LabelError, match=r"gone\.csv"):
        read_lightning_pose(tmp_path / "gone.csv")
    (tmp_path / "x.csv").mkdir()
    with pytest.raises(LabelError, match=r"no CollectedData\.csv in this folder"):
        read_lightning_pose(tmp_path / "x.csv")
    os.mkfifo(tmp_path / "y.csv")
    with pytest.raises(LabelError, match=r"y\.csv"):
        read_deeplabcut(tmp_path / "y.csv")


@pytest.mark.parametrize("layout", ["fixed", "table"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bodyparts": ["nose", "nose", "", ""]}, "row `bodyparts` is empty in columns 3, 4"),
        ({"coords": ["x", "y", "x", "likelihood"]}, "labels have x and y only"),
        ({"scorer": ["a", "a", "b", "b"]}, "labels of several scorers"),
    ],
)
def test_bad_headers_in_hdf5_are_refused(folder, layout, change, message):
    levels = {
        "scorer": ["a"] * 4,
        "bodyparts": ["nose", "nose", "tail", "tail"],
        "coords": ["x", "y"] * 2,
    } | change
    columns = pd.MultiIndex.from_arrays(list(levels.values()), names=list(levels))
    frame = pd.DataFrame([[1.0, 2, 3, 4]], columns=columns, index=["labeled-data/v/img1.png"])
    frame.to_hdf(folder / "CollectedData_a.h5", key="df_with_missing", format=layout)
    with pytest.raises(LabelError) as error:
        read_deeplabcut(folder / "CollectedData_a.h5")
    (problem,) = error.value.problems
    assert message in problem
    assert "CollectedData_a.h5" in problem


def test_infinite_positions_and_empty_tables_of_hdf5(folder):
    path = folder / "CollectedData_a.h5"
    columns = pd.MultiIndex.from_product(
        [["a"], ["nose"], ["x", "y"]], names=["scorer", "bodyparts", "coords"]
    )
    for values, message in [
        ([[1.0, np.inf]], "row 1, column 2: inf is not a position"),
        (np.empty((0, 2)), "no row below its header"),
    ]:
        names = ["labeled-data/v/img1.png"] * len(values)
        frame = pd.DataFrame(values, columns=columns, index=names)
        frame.to_hdf(path, key="df_with_missing", mode="w")
        with pytest.raises(LabelError, match=message):
            read_deeplabcut(path)
    pd.DataFrame({"a": [1.0]}).to_hdf(path, key="other", mode="w")
    with pytest.raises(LabelError, match="expected columns of levels scorer, bodyparts"):
        read_deeplabcut(path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(LabelError, match=r"CollectedData_a\.h5"):
        read_deeplabcut(path)
