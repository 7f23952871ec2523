"""Test Lightning Pose data folders: one table beside ``labeled-data``."""

import os
from pathlib import Path

import pytest
from PIL import Image

from pipeline_lib.core.errors import LabelError
from pipeline_lib.io.labels.formats.lightning_pose import PIXEL_OFFSET, read_lightning_pose

TABLE = """scorer,ann,ann,ann,ann
bodyparts,paw,paw,nose,nose
coords,x,y,x,y
{first},0,0,19,9
{second},3.25,4.5,,
"""


@pytest.fixture
def folder(tmp_path):
    data = tmp_path / "mirror"
    for name in ("img27.png", "sub/img01.png"):
        image = data / "labeled-data" / name
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (20, 10)).save(image)
    write_table(data / "CollectedData.csv")
    return data


def write_table(path, first="labeled-data/img27.png", second="labeled-data/sub/img01.png"):
    path.write_text(TABLE.format(first=first, second=second))


@pytest.mark.parametrize("name", ["", "CollectedData.csv"])
def test_images_in_labeled_data_and_in_video_folders(folder, name):
    frame = read_lightning_pose(folder / name)
    assert frame["video"].tolist() == ["mirror", "mirror", "sub", "sub"]
    assert frame["frame"].tolist() == [27, 27, 1, 1]
    assert frame["bodypart"].tolist() == ["paw", "nose", "paw", "nose"]
    assert frame["visible"].tolist() == [True, True, True, False]
    assert frame["image"].tolist()[::2] == [
        str(folder / "labeled-data" / "img27.png"),
        str(folder / "labeled-data" / "sub" / "img01.png"),
    ]


def test_pixel_convention_is_ours(folder):
    frame = read_lightning_pose(folder)
    assert PIXEL_OFFSET == 0.0
    # The centre of the top-left pixel and that of the bottom-right one of a 20 x 10 image.
    assert frame[["x", "y"]].iloc[:2].to_numpy().tolist() == [[0.0, 0.0], [19.0, 9.0]]


def test_backslashes(folder):
    write_table(
        folder / "CollectedData.csv", "labeled-data\\img27.png", "labeled-data\\sub\\img01.png"
    )
    assert read_lightning_pose(folder)["frame"].tolist() == [27, 27, 1, 1]


def test_frames_set_aside_are_not_the_label_table(folder):
    write_table(folder / "CollectedData_new.csv", second="labeled-data/none.png")
    assert len(read_lightning_pose(folder)) == 4


def test_several_tables_without_the_usual_name(folder):
    (folder / "CollectedData.csv").rename(folder / "CollectedData_top.csv")
    assert len(read_lightning_pose(folder)) == 4
    write_table(folder / "CollectedData_side.csv")
    with pytest.raises(
        LabelError, match=r"\(CollectedData_side.csv, CollectedData_top.csv\): give the path of one"
    ):
        read_lightning_pose(folder)


def test_missing_image(folder):
    write_table(folder / "CollectedData.csv", second="labeled-data/img99.png")
    with pytest.raises(LabelError) as error:
        read_lightning_pose(folder)
    expected = folder / "labeled-data" / "img99.png"
    assert error.value.problems == (
        f"labeled-data/img99.png: no such image (expected at {expected})",
    )


def test_no_table(tmp_path):
    with pytest.raises(LabelError, match=r"no CollectedData.csv in this folder"):
        read_lightning_pose(tmp_path)


@pytest.mark.real
def test_mirror_mouse():
    shared = os.environ.get("COHORTPOSE_DATA")
    if not shared:
        pytest.skip("COHORTPOSE_DATA is not set")
    frame = read_lightning_pose(Path(shared, "mirror-mouse", "mirror-mouse-example"))
    assert (len(frame), int(frame["visible"].sum())) == (1530, 1396)
    assert set(frame["video"]) == {"mirror-mouse-example"}
    # First cells of the project's CSV.
    assert frame.loc[0, ["frame", "bodypart", "x", "y"]].tolist() == [1, "paw1LH_top", 77.25, 36.25]
