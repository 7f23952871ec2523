"""Files that come back from strangers: names, numbers and links that lead somewhere else."""

import json

import numpy as np
import pytest
import sleap_io

from pipeline_lib.core.errors import LabelError
from pipeline_lib.io.label_projects.label_studio import TASKS
from tests.steps.label_projects.example import Run

COCO = "annotations/person_keypoints_default.json"


@pytest.fixture
def run(tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path / "run")
    return Run(tmp_path / "run")


def list_files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def annotate(folder, **annotation):
    """Annotate a task as somebody in Label Studio."""
    path = folder / TASKS
    tasks = json.loads(path.read_text())
    task = next(task for task in tasks if task["predictions"])
    task["annotations"] = [{"result": task["predictions"][0]["result"], **annotation}]
    path.write_text(json.dumps(tasks))
    return path


@pytest.mark.parametrize("author", ["../../evil", "..", "a\nb", "x" * 500, "a\0b"])
def test_an_author_is_no_path(run, author, tmp_path):
    path = annotate(run.hand_over("label-studio"), completed_by={"email": author})
    before = list_files(tmp_path)
    with pytest.raises(LabelError, match="author"):
        run.merge(path)
    assert list_files(tmp_path) == before


@pytest.mark.parametrize("author", ["CON", ".hidden", "a:b", "Ada*", "-rf"])
def test_odd_authors_have_a_folder_of_their_own(run, author):
    path = annotate(run.hand_over("label-studio"), completed_by=author)
    run.merge(path)
    (table,) = (run.folder / "corrections").rglob("*.tsv")
    assert table.parents[1] == run.folder / "corrections" / "labels"
    assert author in table.read_text()


@pytest.mark.parametrize("changes", [{"video": "../../x"}, {"video": "day1-cam", "frame": 10**9}])
def test_a_record_cannot_invent_frames(run, changes):
    folder = run.hand_over("coco")
    path = folder / "cohortpose.json"
    manifest = json.loads(path.read_text())
    manifest["frames"][0] |= changes
    path.write_text(json.dumps(manifest))
    summary = run.merge(folder / COCO, untouched=True)
    assert len(summary.gone) == 1
    assert {key[0] for key in run.corrections()} == {"day1-cam"}


def test_a_record_cannot_name_images_that_are_no_labels(run):
    folder = run.hand_over("coco")
    path = folder / "cohortpose.json"
    manifest = json.loads(path.read_text())
    manifest["frames"][0] |= {"image": "/etc/hostname"}
    path.write_text(json.dumps(manifest))
    assert len(run.merge(folder / COCO, untouched=True).gone) == 1
    assert all("hostname" not in image for _, _, image in run.corrections())


@pytest.mark.parametrize("name", ["../../outside.png", "/etc/hostname", "a/../../outside.png"])
def test_names_of_images_lead_nowhere_else(run, name):
    (run.folder.parent / "outside.png").write_bytes(b"")
    folder = run.hand_over("coco")
    values = json.loads((folder / COCO).read_text())
    values["images"][0]["file_name"] = name
    (folder / COCO).write_text(json.dumps(values))
    with pytest.raises(LabelError, match=r"leads out|no such image"):
        run.merge(folder / COCO)


def test_links_in_the_corrections_are_not_followed(run, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (run.folder / "corrections").mkdir()
    (run.folder / "corrections" / "labels").symlink_to(elsewhere)
    path = run.hand_over("coco") / COCO
    with pytest.raises(LabelError):
        run.merge(path, untouched=True)
    assert list_files(elsewhere) == []


def make_slp(path, filename, frame=9, point=(3.0, 4.0), track=None):
    skeleton = sleap_io.Skeleton(["nose", "ear", "tail"])
    video = sleap_io.Video(filename, open_backend=False)
    points = np.array([point, (5.0, 6), (7, 8)])
    instance = sleap_io.Instance.from_numpy(points, skeleton=skeleton)
    instance.track = sleap_io.Track(track) if track else None
    one = sleap_io.LabeledFrame(video=video, frame_idx=frame, instances=[instance])
    sleap_io.Labels([one]).save(str(path), verbose=False)
    return path


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"filename": "http://localhost:1/day1/mouse.mp4"}, "is none of the videos"),
        ({"filename": "/dev/zero"}, "is none of the videos"),
        ({"filename": "x" * 5000 + ".mp4"}, "is none of the videos"),
        ({"frame": 10**12}, "has the frames 0 to 59"),
        ({"point": (1e9, 4.0)}, "is outside its frame of 96 x 64 px"),
        ({"point": (-np.inf, 4.0)}, "outside|infinite|finite"),
        ({"track": "a\nb"}, "its name holds a tab"),
    ],
)
def test_sleap_files_of_strangers(run, changes, problem):
    path = make_slp(run.folder / "x.slp", **{"filename": "day1/cam.mp4", **changes})
    with pytest.raises(LabelError, match=problem):
        run.merge(path)
    assert not (run.folder / "corrections").exists()
