"""Fabricate cohorts of any size from the results of one video.

A demo video passes the whole workflow once. Its poses and exports are then copied under every
other name, with the keys that the steps look for, so that each job finds its results. The videos
are files of a few bytes that nothing opens.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import yaml

from pipeline_lib.core import versions
from pipeline_lib.core.cohort import read_cohort
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import hash_settings, read_config, write_resolved_config
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.tables import MANIFEST_COLUMNS, PROBE_COLUMNS
from pipeline_lib.demo.write import DemoSettings, write_demo
from pipeline_lib.io.poses.write import copy_poses
from pipeline_lib.io.publish import publish_text
from pipeline_lib.io.stage_tables import read_table, write_table
from pipeline_lib.steps.export.run import run_export
from pipeline_lib.steps.filter import run_filter
from pipeline_lib.steps.infer.plan import list_tasks
from pipeline_lib.steps.infer.run import run_infer
from pipeline_lib.steps.probe import ProbeRecord
from pipeline_lib.steps.report.page import write_report
from pipeline_lib.steps.runs.plan import plan_shards
from pipeline_lib.steps.runs.stage_cache import store_outcome
from pipeline_lib.steps.runs.start_run import find_run_settings

CHECKOUT = Path(__file__).resolve().parents[2]
TEMPLATE = "mouse-01"
_DEMO = DemoSettings(videos=1, frames=24, width=96, height=96, labelled_frames=8)
_PER_VIDEO = ("shards", "poses", "filtered", "exports", ".snakemake", "logs", "jobs.jsonl")
# The smallest network; it learns nothing, which does not matter here.
_SETTINGS = {
    "targets": {"stride": 8},
    "training": {
        "backbone": "mobilenetv3_small_050",
        "weights": "none",
        "head_channels": 8,
        "epochs": 1,
        "validate_every": 1,
        "batch_size": 4,
    },
    "report": {"sample_frames": 1},
}


@dataclass(frozen=True)
class Cohort:
    """Describe a working directory with a config, a sheet and results."""

    folder: Path

    @property
    def config(self) -> Config:
        """Return the settings."""
        return read_config(self.folder / "config.yaml")

    @property
    def results(self) -> Results:
        """Return the results folder."""
        return Results(self.folder / "results")

    def snakemake(self, *arguments: str, cores: int = 2) -> list[str]:
        """Return the command line of the workflow on this cohort."""
        program = str(Path(sys.executable).parent / "snakemake")
        own = ["--cores", str(cores), "--directory", str(self.folder)]
        own += ["--snakefile", str(CHECKOUT / "Snakefile")]
        own += ["--workflow-profile", str(CHECKOUT / "workflow/profiles/default")]
        return [program, *arguments, *own, "--configfile", str(self.folder / "config.yaml")]


def write_template(folder: Path) -> Cohort:
    """Run the whole workflow on a cohort of one demo video and return the cohort."""
    cohort = Cohort(folder)
    if cohort.results.accepted.exists():
        return cohort
    write_demo(folder, _DEMO)
    path = folder / "config.yaml"
    settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    publish_text(path, yaml.safe_dump(settings | _SETTINGS, sort_keys=False))
    keep_rows(folder / "cohort.tsv", {TEMPLATE})
    subprocess.run(cohort.snakemake(), check=True, cwd=folder, stdout=subprocess.DEVNULL)
    return cohort


def write_cohort(folder: Path, template: Cohort, videos: int) -> Cohort:
    """Write and plan a cohort of N videos without results.

    The network, its evaluation and the targets are those of the template.
    """
    shutil.copytree(template.folder, folder, ignore=shutil.ignore_patterns(*_PER_VIDEO))
    cohort = Cohort(folder)
    add_videos(cohort, videos)
    return cohort


def add_videos(cohort: Cohort, total: int) -> None:
    """Append videos to the sheet up to a total; each is a different file of a few bytes."""
    sheet = cohort.folder / "cohort.tsv"
    lines = sheet.read_text(encoding="utf-8").splitlines()
    there = len(lines) - 1
    names = [f"video-{number:06d}" for number in range(there, total)]
    # Folders of a thousand: some file systems are slow with larger ones.
    paths = [f"videos/{name[:9]}/{name}.mp4" for name in names]
    for path in paths:
        file = cohort.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(path, encoding="utf-8")
    metadata = "\t" * (lines[0].count("\t") - 1)
    rows = [f"{name}\t{path}{metadata}\n" for name, path in zip(names, paths, strict=True)]
    with sheet.open("a", encoding="utf-8") as table:
        table.writelines(rows)


def fill_store(cohort: Cohort, template: Cohort) -> None:
    """Fabricate the results of every video in all stages, under the keys of this cohort."""
    source = template.results.root.resolve()
    with working_in(cohort.folder), mock.patch("os.fsync"):
        config = cohort.config
        results = Results(Path(config.results))
        videos = read_cohort(Path(config.cohort))
        publish_text(find_run_settings(config, results), write_resolved_config(config))
        for shard in plan_shards(videos, results, config.inference).shards:
            _fill_shard(config, results, shard, Results(source))
        # It summarises the poses of each video, once.
        write_report(config, results)


def remove_tables(cohort: Cohort) -> None:
    """Remove the tables of outcomes, as Snakemake does before it runs a job."""
    for path in cohort.results.shards.glob("*/[!.]*.tsv"):
        if path.name != "manifest.tsv" and not path.name.startswith("contents-"):
            path.unlink()
    for path in (cohort.results.accepted, cohort.results.ledger, cohort.results.report):
        path.unlink(missing_ok=True)


def clear_stage_caches(cohort: Cohort) -> None:
    """Remove the caches of finished stages, so that every result is checked."""
    for path in cohort.results.shards.glob("*/.remembered-*.json"):
        path.unlink()


def keep_rows(sheet: Path, names: set[str]) -> None:
    """Keep only these videos in a sheet."""
    rows = [row for row in read_table(sheet, ("video",)) if row["video"] in names]
    write_table(sheet, tuple(rows[0]), rows)


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Change into a folder, since paths of a config are relative to it."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _fill_shard(config: Config, results: Results, shard: str, source: Results) -> None:
    """Copy the results of a shard, then run the steps, which find them and write their tables."""
    model, files = config.training.name, results.shard(shard)

    def store_outcome_of(verb: str) -> None:
        store_outcome(verb, find_run_settings(config, results), config, results, shard)

    manifest = read_table(files.manifest, MANIFEST_COLUMNS)
    (facts,) = read_table(source.shard("00001").probe, PROBE_COLUMNS)
    rows = [facts | _identify(row["video"], row["path"]) for row in manifest]
    write_table(files.probe, PROBE_COLUMNS, rows)
    record = ProbeRecord(files.probe_record)
    for row, found in zip(manifest, rows, strict=True):
        record.add(row, found)
    record.write()
    tasks = list_tasks(config, results, shard, rows)
    for task in tasks:
        own = {"video": task.video, "key": task.key, "fingerprint": task.fingerprint}
        copy_poses(source.poses(model, TEMPLATE), results.poses(model, task.video), own)
    store_outcome_of("probe")
    run_infer(config, results, shard)
    store_outcome_of("infer")
    exported = []
    for task in tasks:
        filtered = hash_settings(task.key, config.filtering, versions.FILTER)
        own = {"video": task.video, "key": filtered, "source_key": task.key}
        _copy_packed(source.filtered(model, TEMPLATE), results.filtered(model, task.video), own)
        sizes = []
        for suffix in config.exports.formats:
            path = results.exported(model, task.video, suffix)
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source.exported(model, TEMPLATE, suffix), path)
            sizes.append(f"{suffix}:{path.stat().st_size}")
        key = hash_settings(filtered, config.exports, versions.EXPORT)
        exported.append({"video": task.video, "key": key, "files": " ".join(sizes)})
    run_filter(config, results, shard)
    store_outcome_of("filter")
    write_table(files.export_record(model), tuple(exported[0]), exported)
    run_export(config, results, shard)
    store_outcome_of("export")


def _copy_packed(source: Path, target: Path, attributes: Mapping[str, str]) -> None:
    """Copy a packed pose file with other attributes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(source) as there, zipfile.ZipFile(target, "w") as here:
        for name in there.namelist():
            content = there.read(name)
            if name == "zarr.json":
                metadata = json.loads(content)
                metadata["attributes"] |= attributes
                content = json.dumps(metadata).encode()
            here.writestr(name, content)


def _identify(video: str, path: str) -> dict[str, str]:
    """Return the values of a video's probe row that differ between videos."""
    fingerprint = hashlib.sha256(path.encode()).hexdigest()
    key = hash_settings(fingerprint, versions.PROBE)
    return {"video": video, "path": path, "fingerprint": fingerprint, "key": key}
