"""Keys of results stay what they were: results that were made before are not made again.

The keys of fixed projects are kept in `golden_keys.json`: of two whose config states every value,
as commit 6fa2e40 gave them, and of one with settings that are `auto`. A key
that changes without intent would have every user's results computed anew. When the results of a
stage change for the same inputs, raise its version and write the file again:
``python tests/steps/runs/test_golden_keys.py``.
"""

import json
import os
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.core.stages import STAGES
from pipeline_lib.core.tables import PROBE_COLUMNS
from pipeline_lib.io.stage_tables import write_table
from pipeline_lib.models.card import ModelCard, TrainingRecord, format_card
from pipeline_lib.steps.export.sources import ExportSources
from pipeline_lib.steps.runs.result_keys import (
    filtering_key,
    identify_content,
    network_key,
    pose_key,
    probing_key,
    tracking_key,
)
from pipeline_lib.steps.runs.stage_keys import find_stage_key
from pipeline_lib.steps.train import training_key

GOLDEN = Path(__file__).with_name("golden_keys.json")
BODYPARTS = ["nose", "left", "right"]
SKELETON = {"bodyparts": BODYPARTS, "symmetries": [["left", "right"]]}
BASE = {"cohort": "cohort.tsv", "labels": [{"path": "project"}], "frames": {"extract": True}}
# The defaults of before settings could be `auto`.
FIXED = {
    "targets": {"scale": 1.0, "stride": 8, "sigma": 8.0, "pos_dist_thresh": 17.0},
    "training": {
        "augmentation": {"rotation": 180.0, "mirror": False},
        "crop": None,
        "epochs": 200,
        "batch_size": 8,
    },
    "locating": {"scale": 0.25, "window": 224},
}
PROJECTS = {
    "one animal": {**BASE, **FIXED, "skeleton": SKELETON},
    "several animals": {
        **BASE,
        **FIXED,
        "skeleton": {**SKELETON, "edges": [["nose", "left"], ["nose", "right"]]},
        "individuals": {"max": 3},
        "training": {**FIXED["training"], "weights": "weights.pt"},
        "exports": {"formats": ["h5", "nwb", "slp"]},
    },
    "chosen settings": {**BASE, "skeleton": SKELETON},
}
PROBED = {"fingerprint": "f", "frames": "9", "width": "96", "pixel_format": "yuv420p"}


# Stands for the target store.
TARGETS = SimpleNamespace(
    key="targets", layout=SimpleNamespace(skeleton=Skeleton(symmetries=(("left", "right"),)))
)


def list_keys(name, folder):
    """Return the key of each stage and of each result of a project, by its name."""
    os.chdir(folder)
    write_project()
    config, results = parse_config(PROJECTS[name]), Results(Path("results"))
    stages = {
        f"stage {stage.name}": find_stage_key(config, results, stage.name).name
        for stage in STAGES.values()
    }
    write_card(config, results)
    poses = pose_key(identify_content(PROBED), network_key(config, results))
    tracks = tracking_key(poses, config.individuals, config.tracking)
    filtered = filtering_key(tracks if config.individuals.max > 1 else poses, config.filtering)
    return {
        **stages,
        "training": training_key(config, TARGETS),
        "result probe": probing_key("f"),
        "result infer, missing rows": identify_content({**PROBED, "reason": "gap"}),
        "result infer": poses,
        "result track": tracks,
        "result filter": filtered,
        "result export": ExportSources(config, results, "00001").make_key("a", filtered),
    }


def write_project():
    """Write the files of the user on which keys depend."""
    Path("project").mkdir(exist_ok=True)
    Path("project/CollectedData_a.csv").write_text("scorer,a,a\nbodyparts,nose,nose\ncoords,x,y\n")
    Path("cohort.tsv").write_text("video\tpath\tsubject\na\ta.mp4\tm1\n")
    Path("weights.pt").write_bytes(b"weights")
    shard = Results(Path("results")).shard("00001")
    shard.folder.mkdir(parents=True, exist_ok=True)
    cells = {"video": "a", "status": "done", "path": "a.mp4", "width": "96", "height": "64"}
    write_table(shard.probe, PROBE_COLUMNS, [cells])


def write_card(config, results):
    files = results.model(config.training.name)
    files.folder.mkdir(parents=True, exist_ok=True)
    card = ModelCard(
        name="pose",
        key="k",
        backbone="b",
        head_channels=8,
        parameters=1,
        stride=8,
        scale=0.5,
        refinement_scale=7.0,
        skeleton=Skeleton(bodyparts=tuple(BODYPARTS)),
        individuals=tuple(f"animal{n}" for n in range(config.individuals.max)),
        mean=(0.5, 0.5, 0.5),
        std=(0.1, 0.2, 0.3),
        network_sha256="s",
        training=TrainingRecord(
            epochs=1, steps=2, seconds=0.1, seed=0, frames={}, checkpoint="c", settings={}
        ),
        versions={},
    )
    for one in (files, files.locator):
        one.folder.mkdir(exist_ok=True)
        one.card.write_text(format_card(card))


@pytest.mark.parametrize("name", PROJECTS)
def test_the_keys_of_a_project_are_what_they_were(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before, now = json.loads(GOLDEN.read_text())[name], list_keys(name, tmp_path)
    changed = [key for key, value in before.items() if now.get(key) != value]
    assert changed == [], "other keys than before: results of these would be computed again"
    assert now.keys() == before.keys(), "a new stage: write the file again, see above"


def test_another_setting_is_another_key(tmp_path, monkeypatch):
    """The comparison above can fail."""
    monkeypatch.chdir(tmp_path)
    before = list_keys("one animal", tmp_path)
    monkeypatch.setitem(
        PROJECTS, "one animal", {**PROJECTS["one animal"], "filtering": {"window": 3}}
    )
    now = list_keys("one animal", tmp_path)
    changed = {key for key in before if before[key] != now[key]}
    assert changed == {"stage filter", "result filter", "result export"}


def _write_golden():
    with tempfile.TemporaryDirectory() as folder:
        keys = {name: list_keys(name, folder) for name in PROJECTS}
        os.chdir(GOLDEN.parent)
    GOLDEN.write_text(json.dumps(keys, indent=2) + "\n")


if __name__ == "__main__":
    _write_golden()
