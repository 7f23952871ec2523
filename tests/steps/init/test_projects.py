"""Test the settings that init reads from projects of several animals."""

import os
from pathlib import Path

import pytest

from pipeline_lib.core.errors import LabelError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import read_config
from pipeline_lib.steps.import_labels.run import run_import_labels
from pipeline_lib.steps.init.run import init_project
from tests.io.labels.coco_examples import make_animal, write_cvat, write_one
from tests.io.labels.slp_examples import Project
from tests.video_corpus import encode

SHARED = os.environ.get("COHORTPOSE_DATA")

PROJECT_CONFIG = """
multianimalproject: true
identity: {identity}
video_sets: {{}}
individuals: [m1, m2, m3]
uniquebodyparts: [corner]
multianimalbodyparts: [nose, tail]
bodyparts: MULTI!
skeleton: {edges}
"""


def init(source, folder):
    init_project(source, folder)
    lines = (folder / "cohort.tsv").read_text().splitlines()[1:]
    videos = dict(line.split("\t") for line in lines)
    return read_config(folder / "config.yaml"), {
        name: (folder / path).resolve() for name, path in videos.items()
    }


def make_project(folder, identity="false", edges="[[nose, tail]]"):
    (folder / "labeled-data" / "v").mkdir(parents=True)
    (folder / "labeled-data" / "v" / "CollectedData_ann.csv").touch()
    (folder / "config.yaml").write_text(PROJECT_CONFIG.format(identity=identity, edges=edges))
    return folder


def test_deeplabcut_project_of_several_animals(tmp_path):
    config, _ = init(make_project(tmp_path / "p"), tmp_path / "run")
    assert config.individuals.max == 3
    # Without `identity` the names mean nobody in particular.
    assert config.individuals.names == ()
    assert config.skeleton.bodyparts == ("nose", "tail", "corner")
    assert config.skeleton.edges == (("nose", "tail"),)
    assert config.skeleton.unique_bodyparts == ("corner",)
    assert config.assembly.graph == "skeleton"


def test_deeplabcut_project_with_identities_but_no_edges(tmp_path):
    config, _ = init(make_project(tmp_path / "p", "true", "[]"), tmp_path / "run")
    assert config.individuals.names == ("m1", "m2", "m3")
    assert config.assembly.graph == "complete"


def test_sleap_file(tmp_path, caplog):
    (tmp_path / "videos").mkdir()
    encode(tmp_path / "videos" / "v.mp4", frames=5)
    project = Project(("nose", "eyeL", "eyeR"), [("nose", "eyeL")], [("eyeL", "eyeR")])
    for frame in (1, 2):
        project.add("/lab/videos/v.mp4", frame, [(3, 3), None, None], "M")
        project.add("/lab/videos/v.mp4", frame, [(9, 3), None, None], "F")
    project.add("C:\\lab\\gone.mp4", 1, [(3, 3), None, None], predicted=True)
    path = project.save(tmp_path / "labels.slp")
    config, videos = init(path, tmp_path / "run")
    assert [(one.path, one.format) for one in config.labels] == [("../labels.slp", "sleap")]
    assert (config.individuals.max, config.individuals.names) == (2, ("F", "M"))
    assert config.skeleton.bodyparts == ("nose", "eyeL", "eyeR")
    assert config.skeleton.edges == (("nose", "eyeL"),)
    assert config.skeleton.symmetries == (("eyeL", "eyeR"),)
    assert not config.frames.extract
    assert videos == {"v": tmp_path / "videos" / "v.mp4"}
    assert "video C:/lab/gone.mp4 is not here: left out" in caplog.text


def test_sleap_file_of_one_animal_or_without_lasting_tracks(tmp_path):
    encode(tmp_path / "v.mp4", frames=5)
    project = Project()
    project.add("v.mp4", 1, [(3, 3), None], "track_0")
    config, _ = init(project.save(tmp_path / "one.slp"), tmp_path / "one")
    assert config.individuals.max == 1
    project.add("v.mp4", 2, [(3, 3), None], "F")
    project.add("v.mp4", 3, [(3, 3), None], "M")
    project.add("v.mp4", 2, [(9, 3), None])
    config, _ = init(project.save(tmp_path / "two.slp"), tmp_path / "two")
    assert (config.individuals.max, config.individuals.names) == (2, ())
    project = Project()
    for number in range(2):
        project.add("v.mp4", 2, [(3, 3), None], f"track_{number}")
    config, _ = init(project.save(tmp_path / "three.slp"), tmp_path / "three")
    assert (config.individuals.max, config.individuals.names) == (2, ())


def test_sleap_file_that_cannot_be_read(tmp_path):
    (tmp_path / "a.slp").write_text("no HDF5")
    with pytest.raises(LabelError, match="is not readable as a SLEAP file"):
        init(tmp_path / "a.slp", tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.real
@pytest.mark.skipif(not SHARED, reason="COHORTPOSE_DATA is not set")
def test_real_flies(tmp_path, monkeypatch):
    config, videos = init(Path(SHARED, "flies-dreem", "two_flies.slp"), tmp_path / "sleap")
    assert (config.individuals.max, config.individuals.names) == (2, ("F", "M"))
    assert len(config.skeleton.edges) == 12
    assert list(videos) == ["two_flies"]
    source = Path(SHARED, "flies-madlc-derived", "flies-dreem-2025-11-18")
    config, _ = init(source, tmp_path / "dlc")
    assert (config.individuals.max, config.individuals.names) == (3, ())
    assert len(config.skeleton.edges) == 12
    # What init writes is what import-labels takes.
    monkeypatch.chdir(tmp_path / "dlc")
    run_import_labels(config, Results(Path("results")))


def test_a_dataset_of_cvat(tmp_path):
    path = write_cvat(tmp_path / "task")
    (tmp_path / "task" / "cage.mp4").touch()
    config, videos = init(path, tmp_path / "run")
    assert config.skeleton.bodyparts == ("nose", "ear", "tail")
    assert config.skeleton.edges == (("nose", "ear"), ("ear", "tail"))
    assert config.individuals.max == 2
    assert config.individuals.names == ()
    assert config.assembly.graph == "skeleton"
    (source,) = config.labels
    assert (source.format, Path(source.path).name) == ("coco", "person_keypoints_default.json")
    assert videos == {"cage": tmp_path / "task" / "cage.mp4"}
    # The folder of the dataset is as good.
    again, _ = init(tmp_path / "task", tmp_path / "again")
    assert (again.skeleton, again.individuals) == (config.skeleton, config.individuals)
    assert [one.path for one in again.labels] == ["../task"]


def test_a_coco_file_of_one_animal(tmp_path):
    category = {"id": 1, "name": "m", "keypoints": ["a", "b", "c"], "skeleton": [[0, 1]]}
    path = write_one(tmp_path / "d", make_animal(1), categories=[category])
    config, videos = init(path, tmp_path / "run")
    assert (config.individuals.max, config.skeleton.edges, videos) == (1, (), {})
    path.write_text('{"images": []}')
    with pytest.raises(LabelError, match="no list `annotations`"):
        init(path, tmp_path / "bad")
    assert not (tmp_path / "bad").exists()


def test_several_coco_files_in_a_folder(tmp_path):
    path = write_cvat(tmp_path / "task")
    path.with_name("person_keypoints_train.json").write_bytes(path.read_bytes())
    with pytest.raises(LabelError, match=r"several label files .*name each of them"):
        init(tmp_path / "task", tmp_path / "run")
