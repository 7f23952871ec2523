"""Test the detection of label formats, and the list of files that the import reads."""

import subprocess
import sys

import pytest

from pipeline_lib.core.errors import LabelError
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.io.labels.detect import detect_format, label_inputs

PROJECT = ("config.yaml", "labeled-data/m1/CollectedData_ann.csv")


def touch(folder, *names, text=""):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("files", "path", "expected"),
    [
        (PROJECT, "", "deeplabcut"),
        (PROJECT, "config.yaml", "deeplabcut"),
        (PROJECT, "labeled-data", "deeplabcut"),
        (PROJECT, "labeled-data/m1", "deeplabcut"),
        (PROJECT, "labeled-data/m1/CollectedData_ann.csv", "deeplabcut"),
        (("labeled-data/m1/CollectedData_ann.h5",), "", "deeplabcut"),
        (("labeled-data/m1/img1.png",), "", "deeplabcut"),
        (("CollectedData.csv", "labeled-data/img1.png"), "", "lightning-pose"),
        (("CollectedData.csv", "labeled-data/m1/img1.png"), "", "lightning-pose"),
        (("CollectedData.csv", "labeled-data/img1.png", "config.yaml"), "", "lightning-pose"),
        (
            ("CollectedData.csv", "labeled-data/img1.png"),
            "CollectedData.csv",
            "lightning-pose",
        ),
        (("CollectedData_ann.csv", "img1.png"), "", "deeplabcut"),
        (("labels.v001.slp",), "labels.v001.slp", "sleap"),
        (("labels.pkg.slp",), "labels.pkg.slp", "sleap"),
    ],
)
def test_format_by_the_files_found(tmp_path, files, path, expected):
    touch(tmp_path, *files)
    assert detect_format(tmp_path / path) == expected


@pytest.mark.parametrize("text", ['{"images": []}', "\n \t{\r\n", "\ufeff{}"])
def test_a_json_object_is_coco_and_a_list_is_label_studio(tmp_path, text):
    path = "annotations/person_keypoints_default.json"
    touch(tmp_path, path, "labels.JSON", text=text)
    for name in ("labels.JSON", path, ""):
        assert detect_format(tmp_path / name) == "coco"
    touch(tmp_path, "list.json", text='[{"image_id": 1}]')
    assert detect_format(tmp_path / "list.json") == "label-studio"


def test_config_yaml_of_deeplabcut_is_told_from_others(tmp_path):
    touch(tmp_path, "config.yaml", text="cohort: cohort.tsv\n")
    with pytest.raises(LabelError, match="holds no labels that are known"):
        detect_format(tmp_path)
    touch(tmp_path, "config.yaml", text="video_sets:\n")
    assert detect_format(tmp_path) == "deeplabcut"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "no such file or folder"),
        ("gone.slp", "no such file or folder"),
        ("notes.txt", "holds no labels that are known"),
    ],
)
def test_other_files_are_no_label_source(tmp_path, name, message):
    touch(tmp_path, "notes.txt")
    with pytest.raises(LabelError, match=message):
        detect_format(tmp_path / name)


def test_inputs_of_the_import(tmp_path, monkeypatch):
    touch(tmp_path, "dlc/config.yaml", text="scorer: ann\n")
    touch(
        tmp_path,
        "dlc/labeled-data/m1/CollectedData_ann.csv",
        "dlc/labeled-data/m1/CollectedData_ann.h5",
        "dlc/labeled-data/m1/CollectedData_bob.csv",
        "dlc/labeled-data/m2/img1.png",
        "dlc/labeled-data/m3/CollectedData_ann.h5",
        "lp/CollectedData.csv",
        "lp/labeled-data/img1.png",
        "labels.pkg.slp",
    )
    monkeypatch.chdir(tmp_path)
    paths = ["dlc", "lp", str(tmp_path / "lp"), "missing", "labels.pkg.slp"]
    config = parse_config({"cohort": "c.tsv", "labels": [{"path": path} for path in paths]})
    assert [str(path) for path in label_inputs(config)] == [
        "dlc/labeled-data/m1/CollectedData_ann.csv",
        "dlc/labeled-data/m1/CollectedData_ann.h5",
        "dlc/labeled-data/m3/CollectedData_ann.h5",
        "dlc/config.yaml",
        "lp/CollectedData.csv",
        str(tmp_path / "lp" / "CollectedData.csv"),
        "missing",
        "labels.pkg.slp",
    ]


def test_a_part_of_a_project_has_its_project_file_among_its_inputs(tmp_path):
    touch(tmp_path, "config.yaml", text="cohort: c.tsv\n")
    touch(tmp_path, "dlc/labeled-data/m1/CollectedData_ann.csv")
    touch(tmp_path, "dlc/config.yaml", text="scorer: ann\n")
    touch(tmp_path, "bare/labeled-data/m1/CollectedData_ann.csv")
    paths = [str(tmp_path / "dlc/labeled-data/m1"), str(tmp_path / "bare")]
    config = parse_config({"cohort": "c.tsv", "labels": [{"path": path} for path in paths]})
    # A run's own config.yaml is none of a project that has none.
    assert [str(path.relative_to(tmp_path)) for path in label_inputs(config)] == [
        "dlc/labeled-data/m1/CollectedData_ann.csv",
        "dlc/config.yaml",
        "bare/labeled-data/m1/CollectedData_ann.csv",
    ]


def test_naming_inputs_stays_light():
    code = (
        "import sys, pipeline_lib.io.labels.detect\n"
        "print({'pandas', 'numpy', 'tables', 'PIL', 'torch'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout == "set()\n"
