"""A stage that somebody adds: its record, settings, step and verb, and no other file.

The checkout is copied and four of its files are edited, as CONTRIBUTING would have it; a finished
run then goes on with the new stage.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline_lib.core.layout import Results
from tests.workflow.running import REPOSITORY, Ended, identify, read_tsv

pytestmark = [pytest.mark.workflow]

# At most six files, this test among them.
MOST_FILES = 6

SETTINGS = """
class CountingSettings(Settings):
    \"\"\"Count the keypoints of each video.\"\"\"

    above: float = Field(0.0, description="Confidence above which a keypoint counts.")


class Config(Settings):
"""

FIELD = "    counting: CountingSettings = CountingSettings()\n"

RECORD = """        Stage(
            "count",
            1,
            lambda config: select_sections(config, "counting"),
            step="count:run_count",
            table="count",
            videos=VideoResults(
                "numbers of keypoints",
                "postprocess",
                lambda config, results, video: {
                    "count": results.of_video("counts", config.training.name, f"{video}.zarr.zip")
                },
                source=lambda _: "filter",
                key=lambda config, source: hash_settings(source, config.counting, "count 1"),
            ),
        ),
        Stage(
            "status",
"""

STEP = """
from pipeline_lib.core.stages import STAGES
from pipeline_lib.core.tables import STAGE_COLUMNS
from pipeline_lib.io.poses.read import require_pose_key
from pipeline_lib.io.stage_tables import read_table, write_table
from pipeline_lib.steps.filter import filter_file
from pipeline_lib.steps.runs.outcomes import end_videos, record_poses


def run_count(config, results, shard):
    stage, before = STAGES["count"], STAGES["filter"]

    def locate(one, video):
        return one.list_results(config, results, video)[0]

    def count(video):
        source, target = locate(before, video), locate(stage, video)
        key = stage.videos.key(config, require_pose_key(source))
        filter_file(source, target, config.filtering)
        return {"key": write_key(target, key)}

    rows = read_table(before.find_table(config, results, shard), STAGE_COLUMNS)
    ended = end_videos(f"count {shard}", rows, count)
    model = config.training.name
    record_poses(
        results.shard(shard).checksums("count", model),
        results,
        ended,
        ("filtered", lambda video: locate(before, video)),
        ("count", lambda video: locate(stage, video)),
    )
    write_table(stage.find_table(config, results, shard), STAGE_COLUMNS, ended)


def write_key(target, key):
    # What a step of its own would count matters as little here as how it writes.
    import json
    import zipfile

    with zipfile.ZipFile(target) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    head = json.loads(files["zarr.json"])
    head["attributes"]["key"] = key
    files["zarr.json"] = json.dumps(head).encode()
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return key
"""

VERB = """
@app.command(rich_help_panel=VIDEOS)
def count(
    config: ConfigOption = DEFAULT_CONFIG, shard: ShardOption = None, cores: CoresOption = None
) -> None:
    \"\"\"Count the keypoints of each video.\"\"\"
    keep_cores(cores)
    run_shards(config, shard, "count")


@app.command(rich_help_panel=VIDEOS)
def report("""


def edit(folder):
    """Add the stage to a copy of the checkout; return the files that were touched."""

    def replace(name, *pairs):
        path = folder / "pipeline_lib" / name
        text = path.read_text()
        for old, new in pairs:
            assert text.count(old) == 1, (name, old)
            text = text.replace(old, new)
        path.write_text(text)
        return path

    step = folder / "pipeline_lib" / "steps" / "count.py"
    step.write_text(STEP)
    return [
        replace(
            "core/settings/run.py",
            ("\nclass Config(Settings):\n", SETTINGS),
            (
                "    exports: ExportSettings = ExportSettings()\n",
                FIELD + "    exports: ExportSettings = ExportSettings()\n",
            ),
        ),
        replace("core/stages.py", ('        Stage(\n            "status",\n', RECORD)),
        replace("cli.py", ("\n@app.command(rich_help_panel=VIDEOS)\ndef report(", VERB)),
        step,
    ]


def test_a_stage_is_its_record_settings_step_and_verb(again, tmp_path):
    checkout = tmp_path / "checkout"
    anywhere = shutil.ignore_patterns("__pycache__", ".*_cache")
    on_top = shutil.ignore_patterns(".venv*", ".git", "build", "demo*", "openfield", "results")

    def ignore(folder, names):
        # Rooms of the package have names such as `demo`, too.
        left_out = anywhere(folder, names)
        return left_out | on_top(folder, names) if Path(folder) == REPOSITORY else left_out

    shutil.copytree(REPOSITORY, checkout, symlinks=True, ignore=ignore)
    touched = edit(checkout)
    assert len({*touched, Path(__file__)}) <= MOST_FILES
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}

    def call(program, *arguments):
        done = subprocess.run(
            [str(Path(sys.executable).parent / program), *arguments],
            cwd=checkout,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return Ended(done.returncode, done.stdout)

    folder = str(again.folder)
    run = ("--cores", "2", "--directory", folder, "--configfile", f"{folder}/config.yaml")
    poses = identify(again.results.root / "poses")
    ended = call("snakemake", *run)
    assert ended.code == 0, ended.output
    assert ended.jobs == {"postprocess 00001", "status", "report", "accept"}
    assert identify(again.results.root / "poses") == poses

    # The ledger, status, verify, the cache, provenance and the crate know it.
    status = call(
        "cohortpose", "-d", folder, "status", "--config", "config.yaml", "--format", "json"
    )
    counts = json.loads(status.output)["counts"]
    assert counts == {"pending": 0, "done": 2, "failed": 0, "quarantined": 1}
    verified = call(
        "cohortpose", "-d", folder, "verify", "--config", "config.yaml", "--format", "json"
    )
    assert verified.code == 0, verified.output
    assert json.loads(verified.output)["checked"]["count"] == 2
    files = again.results.shard("00001")
    assert files.cached_outcome("count").is_file()
    assert [row["status"] for row in read_tsv(files.table("count", "pose"))].count("done") == 2
    record = json.loads(again.results.provenance.read_text())
    assert (record["stages"]["count"]["jobs"], record["steps"]["count"]) == (1, 1)
    assert "numbers of keypoints" in again.results.crate.read_text()

    # Its settings are part of its key; a result that is lost is made again.
    sections = again.folder / "config.yaml"
    sections.write_text(sections.read_text() + "\ncounting: {above: 0.5}\n")
    planned = call("snakemake", "--dry-run", *run)
    assert planned.jobs == ended.jobs
    assert "counting.above: 0.5" in planned.output
    status = call(
        "cohortpose", "-d", folder, "status", "--config", "config.yaml", "--format", "tsv"
    )
    assert "waiting for count" in status.output
    assert call("snakemake", *run).code == 0
    lost = Results(again.folder / "results").of_video("counts", "pose", "mouse-01.zarr.zip")
    lost.unlink()
    assert "postprocess 00001" in call("snakemake", "--dry-run", *run).jobs
