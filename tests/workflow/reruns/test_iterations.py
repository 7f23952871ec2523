"""Test what runs again after a correction, and an iteration that builds on another."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import yaml

from pipeline_lib.io.corrections.labels import FrameCorrection, write_frame_correction
from pipeline_lib.io.labels.table import read_labels
from tests.workflow.running import identify, read_tsv

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
FROM_LABELS = {"import_labels", "make_targets", "train", "evaluate"}


def correct(run, frame, *, iteration, video="", author="Ann", image="", x=20.0):
    names = yaml.safe_load((run.folder / "config.yaml").read_text())["skeleton"]["bodyparts"]
    points = tuple(("animal", name, x, 30.0, "visible") for name in names)
    video = video or run.read_sheet()[0]["video"]
    one = FrameCorrection(video, frame, image, author, NOON, iteration, points)
    write_frame_correction(run.folder / "corrections", one)


def divide(run):
    table = read_labels(run.results.labels).table.drop_duplicates("image")
    return dict(zip(zip(table["video"], table["frame"], strict=True), table["split"], strict=True))


def test_iterations_build_on_each_other(finished, tmp_path):
    run = finished.copy(tmp_path / "a cohort")
    before = divide(run)
    tested = {frame for frame, split in before.items() if split == "test"}
    assert tested
    first = identify(run.results.model("pose").folder)

    # Labelling for the next iteration leaves this one as it is.
    correct(run, 1, iteration=1)
    known = identify(run.results.root)
    assert run.snakemake("-n").jobs == set()
    # What is gone is named, and the rest goes on.
    correct(run, 2, iteration=1, video="left")
    video, frame = min(tested)
    image = read_labels(run.results.labels).table.set_index(["video", "frame"])["image"]
    name = str(Path(image.loc[(video, frame)].iloc[0]).relative_to(run.folder))
    correct(run, frame, iteration=1, video=video, image=name, author="Bob")
    run.edit_config(training={"name": "pose-1", "iteration": 1, "start_from": "pose"})
    planned = run.snakemake("-n")
    assert planned.jobs >= FROM_LABELS
    # A dry run writes nothing.
    assert identify(run.results.root) == known
    ended = run.snakemake()
    assert ended.code == 0, ended.output
    assert "correction of left, frame 2 by Ann is left out: the cohort sheet has no" in ended.output
    assert run.snakemake("-n").jobs == set()

    now = divide(run)
    assert {one: now[one] for one in before} == before
    assert set(now) - set(before) == {(run.read_sheet()[0]["video"], 1)}
    conflicts = read_tsv(run.results.label_conflicts)
    assert [(row["what"], row["image"]) for row in conflicts] == [("replaced", name), ("gone", "")]
    # The network of the first iteration is what it was, and the second one began with it.
    assert identify(run.results.model("pose").folder) == first
    card = json.loads(run.results.model("pose-1").card.read_text())["training"]
    assert (card["iteration"], card["start_from"]) == (1, "pose")
    predictions = pd.read_parquet(run.results.predictions("pose-1"))
    rows = predictions[predictions["split"] == "test"][["video", "frame"]]
    assert {tuple(row) for row in rows.to_numpy()} == tested
    provenance = json.loads(run.results.provenance.read_text())["hashes"]["corrections"]
    assert sorted(provenance) == [
        f"corrections/labels/{name}.tsv"
        for name in sorted([f"Ann/{run.read_sheet()[0]['video']}", "Ann/left", f"Bob/{video}"])
    ]
    page = run.results.report.read_text()
    assert "Labelling iterations" in page

    # A correction of this iteration: exactly what depends on it, and why.
    correct(run, 1, iteration=1, x=21.0)
    again = run.snakemake("-n")
    assert again.jobs >= FROM_LABELS
    assert not {job for job in again.jobs if job.startswith(("probe", "select_frames"))}
    assert "as Ann labelled it: 1 frames" in again.output


def test_a_project_labelled_in_our_page_alone_is_trained(fresh, tmp_path):
    run = fresh.copy(tmp_path / "a cohort")
    values = yaml.safe_load((run.folder / "config.yaml").read_text())
    values.pop("labels")
    (run.folder / "config.yaml").write_text(yaml.safe_dump(values))
    assert not FROM_LABELS & run.snakemake("-n").jobs
    for frame in range(4):
        correct(run, frame, iteration=0)
    assert run.snakemake("-n").jobs >= {*FROM_LABELS, "infer 00001", "report"}
    ended = run.snakemake("make_targets")
    assert ended.code == 0, ended.output
    table = read_labels(run.results.labels).table
    assert table["frame"].unique().tolist() == [0, 1, 2, 3]
    assert run.results.targets.is_dir()
