"""A format of labels is one module and one line of the registry; an unknown one is an error."""

import numpy as np
import pytest
import yaml
from PIL import Image

from pipeline_lib.core.cohort import read_cohort
from pipeline_lib.core.errors import ConfigError, LabelError
from pipeline_lib.core.formats.labels import FORMATS, LabelFormat, find_format
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.network import LabelSource
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.io.labels.detect import LabelReader, detect_format, label_inputs, load_reader
from pipeline_lib.io.labels.table import import_labels, read_labels
from pipeline_lib.steps.import_labels.run import run_import_labels
from pipeline_lib.steps.init.run import init_project

MODULE = """
import csv
import pandas as pd
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.io.labels.points import POINT_COLUMNS, SourceLabels

def is_format(path):
    return path.suffix == ".points"

def list_files(path):
    return [path, path.with_suffix(".notes")]

def read(path, images, *, predicted):
    rows = [
        (path.stem, int(frame), "animal", bodypart, float(x), float(y), True, str(path),
         str(path.parent / f"{frame}.png"), False)
        for frame, bodypart, x, y in csv.reader(path.open())
    ]
    skeleton = Skeleton(bodyparts=("nose", "tail"), edges=(("nose", "tail"),))
    return SourceLabels(pd.DataFrame(rows, columns=list(POINT_COLUMNS)), skeleton, "points")
"""


@pytest.fixture
def labels(tmp_path, monkeypatch):
    """A file of a format that is registered for this test alone."""
    (tmp_path / "points_of_a_test.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    # The one registration.
    monkeypatch.setitem(FORMATS, "points", LabelFormat("a .points file", "points_of_a_test"))
    folder = tmp_path / "mine"
    folder.mkdir()
    for frame in (3, 8):
        Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(folder / f"{frame}.png")
    path = folder / "cage.points"
    path.write_text("3,nose,1.5,2\n3,tail,10,20\n8,nose,4,5\n")
    return path


@pytest.mark.parametrize("name", ["points", "auto"])
def test_labels_of_a_new_format_are_imported(labels, tmp_path, name):
    config = parse_config({"cohort": "c.tsv", "labels": [{"path": str(labels), "format": name}]})
    assert label_inputs(config) == [labels, labels.with_suffix(".notes")]
    results = Results(tmp_path / "results")
    run_import_labels(config, results)
    found = read_labels(results.labels)
    assert found.bodyparts == ("nose", "tail")
    assert found.skeleton.edges == (("nose", "tail"),)
    rows = found.table.set_index(["frame", "bodypart"])[["x", "y"]]
    assert rows.loc[(3, "nose")].tolist() == [1.5, 2]
    assert rows.loc[(3, "tail")].tolist() == [10, 20]
    assert rows.loc[(8, "nose")].tolist() == [4, 5]
    assert rows.loc[(8, "tail")].isna().all()


def test_init_takes_labels_of_a_new_format(labels, tmp_path):
    (labels.parent / "cage.mp4").touch()
    init_project(labels, tmp_path / "run")
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config["labels"] == [{"path": "../mine/cage.points", "format": "points"}]
    assert [video.video for video in read_cohort(tmp_path / "run" / "cohort.tsv")] == ["cage"]


def test_a_path_of_no_format_names_all_there_are(labels):
    (labels.parent / "notes.txt").touch()
    with pytest.raises(LabelError, match=r"expected a DeepLabCut .*SLEAP .*a \.points file"):
        detect_format(labels.parent / "notes.txt")


@pytest.mark.parametrize("name", ["points", "DeepLabCut", "", "sleap ", "COCO", "Auto", 3, None])
def test_a_format_that_is_not_registered_is_an_error(tmp_path, name):
    (tmp_path / "labeled-data").mkdir()
    with pytest.raises(ConfigError, match=r"`labels\.0\.format`: ") as caught:
        parse_config({"cohort": "c", "labels": [{"path": str(tmp_path), "format": name}]})
    if isinstance(name, str):
        assert "is no format of labels; there are deeplabcut, lightning-pose, sleap, coco" in str(
            caught.value
        )
        with pytest.raises(ValueError, match="is no format of labels"):
            find_format(name)
        # Nor does it fall through to DeepLabCut's where settings were not checked.
        source = LabelSource.model_construct(path=str(tmp_path), format=name, predicted=False)
        with pytest.raises(ValueError, match="is no format of labels"):
            import_labels(source, tmp_path / "images")


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_has_a_reader(name):
    reader = load_reader(name)
    members = [member for member in vars(LabelReader) if not member.startswith("_")]
    assert sorted(members) == ["is_format", "list_files", "read"]
    assert all(callable(getattr(reader, member)) for member in members)
