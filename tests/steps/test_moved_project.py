"""Check that a copied project reads its own images while the old project still exists."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import pipeline_lib.steps.evaluate.run as evaluate
from pipeline_lib.core.layout import Results
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.io.labels.table import read_labels
from pipeline_lib.io.targets.store import TargetStore
from pipeline_lib.models.card import ModelCard
from pipeline_lib.models.inference.decoding import Located
from pipeline_lib.models.inference.predictor import Predictor
from pipeline_lib.steps.evaluate.run import run_evaluate
from pipeline_lib.steps.import_labels.run import run_import_labels
from pipeline_lib.steps.make_targets.run import run_make_targets
from pipeline_lib.steps.report.inputs import read_inputs
from pipeline_lib.steps.report.samples import draw_samples
from tests.fixed_settings import parse_fixed_config
from tests.io.labels.slp_examples import Project

CONFIG = parse_fixed_config(
    {
        "cohort": "cohort.tsv",
        "labels": [{"path": "dlc"}, {"path": "sleap/a.slp"}],
        "training": {"split": {"test_fraction": 0.0}},
    }
)
RESULTS = Results(Path(CONFIG.results))


class ReadsTheGray:
    """Simulate a network: the bodypart is at the brightest pixel."""

    name = "gray"

    def locate(self, frames):
        gray = frames[..., 0].reshape(len(frames), -1)
        rows, columns = np.divmod(gray.argmax(1), frames.shape[2])
        position = np.stack([columns, rows], -1)[:, None, None].astype(np.float32)
        return Located(position, np.ones(position.shape[:3], np.float32))


def paint(path, x, y):
    image = np.zeros((48, 64), np.uint8)
    image[y, x] = 255
    Image.fromarray(image).save(path)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Import labels of one DeepLabCut image and one SLEAP image."""
    folder = tmp_path / "project"
    images = folder / "dlc" / "labeled-data" / "v"
    images.mkdir(parents=True)
    paint(images / "img1.png", 5, 6)
    (images / "CollectedData_a.csv").write_text(
        "scorer,a,a\nbodyparts,nose,nose\ncoords,x,y\nlabeled-data/v/img1.png,5,6\n"
    )
    (folder / "sleap").mkdir()
    paint(folder / "sleap" / "0.png", 7, 8)
    labels = Project(("nose",), ())
    labels.add([str(folder / "sleap" / "0.png")], 0, [(7, 8)])
    labels.save(folder / "sleap" / "a.slp")
    monkeypatch.chdir(folder)
    run_import_labels(CONFIG, RESULTS)
    card = ModelCard.model_construct(
        name="pose", scale=1.0, stride=8, skeleton=Skeleton(bodyparts=("nose",))
    )
    predictor = Predictor(card, ReadsTheGray())
    monkeypatch.setattr(evaluate, "load_pose_predictor", lambda *_, **__: predictor)
    monkeypatch.setattr(evaluate, "list_networks", lambda *_: {})
    monkeypatch.setattr(evaluate, "hash_networks", lambda *_: {".": "0" * 64})
    run_evaluate(CONFIG, RESULTS)
    return folder


@pytest.fixture
def copy(project, tmp_path, monkeypatch):
    """Copy the project, with other pixels in both images."""
    folder = tmp_path / "copy"
    shutil.copytree(project, folder)
    paint(folder / "dlc" / "labeled-data" / "v" / "img1.png", 30, 31)
    (written,) = (folder / "results" / "labels" / "images").rglob("*.png")
    paint(written, 40, 41)
    monkeypatch.chdir(folder)
    return folder


def predicted():
    table = read_inputs(CONFIG, RESULTS).predictions
    return sorted(zip(table["x"].tolist(), table["y"].tolist(), strict=True))


def test_no_path_of_this_machine_is_stored(project):
    for path in (RESULTS.labels, RESULTS.predictions("pose")):
        texts = pd.read_parquet(path).select_dtypes(exclude="number").astype(str)
        assert not texts.apply(lambda column: column.str.contains(str(project.parent))).any().any()


def test_labels_of_the_copy(project, copy):
    images = read_labels(RESULTS.labels).table["image"].unique()
    assert len(images) == 2
    assert all(image.startswith(f"{copy}/") for image in images)
    images = read_labels(project / RESULTS.labels).table["image"].unique()
    assert all(image.startswith(f"{project}/") for image in images)


@pytest.mark.usefixtures("copy")
def test_evaluation_of_the_copy():
    assert predicted() == [(5, 6), (7, 8)]
    run_evaluate(CONFIG, RESULTS)
    assert predicted() == [(30, 31), (40, 41)]


@pytest.mark.usefixtures("copy")
def test_targets_of_the_copy(project):
    run_make_targets(CONFIG, RESULTS)
    store = TargetStore(RESULTS.targets)
    found = [store.read("image", number)[..., 0] for number in range(2)]
    places = sorted(divmod(int(image.argmax()), image.shape[1]) for image in found)
    assert places == [(31, 30), (41, 40)]
    assert not any(str(project.parent) in one.image for one in store.samples)


@pytest.mark.parametrize("old_is_there", [True, False])
def test_pictures_of_the_report_of_the_copy(project, copy, old_is_there):
    if not old_is_there:
        shutil.rmtree(project)
    inputs = read_inputs(CONFIG, RESULTS)
    images = inputs.predictions["image"].unique().tolist()
    assert all(image.startswith(f"{copy}/") for image in images)
    samples = draw_samples(inputs.predictions, CONFIG, ())
    assert len(samples) == 2
    assert all(sample.data for sample in samples)
