"""Test a run from a fresh folder to the report, after which nothing is left to do."""

import pandas as pd
import pytest
import xarray as xr
import yaml

from pipeline_lib.core.settings.run import Config
from tests.workflow.running import identify, list_undescribed, read_tsv

pytestmark = [pytest.mark.workflow]

GOOD = ("mouse-01", "mouse-02")
DAMAGED = "mouse-04-damaged"
SHARD = ("probe", "select_frames", "infer", "postprocess")
ALL_JOBS = {f"{rule} 00001" for rule in SHARD} | {
    "import_labels",
    "make_targets",
    "train",
    "evaluate",
    "status",
    "report",
    "accept",
}


def test_every_verb_ran_once(finished):
    assert finished.first.jobs == ALL_JOBS
    assert "Traceback" not in finished.first.output
    assert finished.first.output.count("2 done   0 pending   0 failed   1 quarantined") == 1


def test_every_video_has_its_row_in_the_ledger(finished):
    ledger = finished.read_ledger()
    assert {video: row["status"] for video, row in ledger.items()} == {
        "mouse-01": "done",
        "mouse-02": "done",
        DAMAGED: "quarantined",
    }
    assert ledger[DAMAGED]["stage"] == "probe"
    assert ledger[DAMAGED]["reason"].startswith("truncated: the container announces 24 frames")
    for video in GOOD:
        row = ledger[video]
        assert (row["stage"], row["frames"], row["width"]) == ("export", "24", "96")
        assert row["key"]
        assert row["undecodable"] == "0"
    assert [row["group"] for row in ledger.values()] == ["control", "treated", "treated"]


def test_the_files_of_the_contract_are_there(finished):
    results, model = finished.results, finished.results.model("pose")
    files = [
        results.ledger,
        results.config,
        results.provenance,
        results.plan,
        results.labels,
        results.metrics("pose"),
        results.predictions("pose"),
        results.report,
        model.network,
        model.weights,
        model.card,
        model.history,
    ]
    files += [results.exported("pose", video, suffix) for video in GOOD for suffix in ("h5", "csv")]
    assert [path for path in files if not path.is_file() or not path.stat().st_size] == []
    assert set(xr.open_zarr(results.targets).variables) >= {"image", "keypoint", "score_map"}
    assert set(yaml.safe_load(results.config.read_text())) == set(Config.model_fields)
    history = pd.read_csv(model.history, sep="\t")
    assert set(history["epoch"]) == {0, 1, 2}
    logs = results.root / "logs"
    assert {
        path.relative_to(logs).parts[0].removesuffix(".log") for path in logs.rglob("*.log")
    } > {
        "probe",
        "select-frames",
        "import-labels",
        "train-pose",
        "infer-pose",
    }


@pytest.mark.parametrize("video", GOOD)
def test_poses_have_a_row_per_true_frame(finished, video):
    bodyparts = yaml.safe_load((finished.folder / "config.yaml").read_text())["skeleton"][
        "bodyparts"
    ]
    raw, filtered = (
        kind("pose", video) for kind in (finished.results.poses, finished.results.filtered)
    )
    for store in (raw, f"zip::{filtered}"):
        with xr.open_zarr(store) as poses:
            assert dict(poses.sizes) == {
                "time": 24,
                "space": 2,
                "keypoint": len(bodyparts),
                "individual": 1,
            }
            assert poses["keypoint"].to_numpy().tolist() == bodyparts
            assert (poses["frame_status"] == 0).all()
            assert poses.attrs["video"] == video
            assert poses.attrs["key"]
    table = pd.read_hdf(finished.results.exported("pose", video, "h5"), "df_with_missing")
    assert table.index.tolist() == list(range(24))
    assert table.columns.names == ["scorer", "bodyparts", "coords"]
    assert table.columns.get_level_values("bodyparts").unique().tolist() == bodyparts
    lines = finished.results.exported("pose", video, "csv").read_text().splitlines()
    assert len(lines) == 3 + 24


def test_the_damaged_video_has_no_poses(finished):
    for kind in ("poses", "filtered", "exports"):
        files = (finished.results.root / kind / "pose").iterdir()
        names = {path.name.partition(".")[0] for path in files}
        assert names == set(GOOD)


def test_frames_to_label_are_selected(finished):
    for video in GOOD:
        folder = finished.results.frames(video)
        listed = [row["image"] for row in read_tsv(folder / "frames.tsv")]
        assert len(listed) == 3
        assert sorted(path.name for path in folder.glob("*.png")) == listed
    assert not finished.results.frames(DAMAGED).exists()


def test_every_column_of_every_table_is_described(finished):
    assert list_undescribed(finished.results) == []
    rows = read_tsv(finished.results.dictionary)
    ledger = {row["column"]: row for row in rows if row["table"] == "ledger.tsv"}
    assert ledger["undecodable"]["unit"] == "frame"
    assert ledger["undecodable"]["empty"] == "the video did not get that far"
    assert ledger["…"]["about"].startswith("columns of the cohort sheet")


def test_the_report_names_every_video(finished):
    page = finished.results.report.read_text()
    assert [video for video in (*GOOD, DAMAGED) if video not in page] == []


def test_nothing_half_written_is_left(finished):
    left = [
        path for path in finished.results.root.rglob("*") if path.name.startswith((".part", ".old"))
    ]
    assert left == []


def test_a_second_run_has_nothing_to_do(finished):
    before = identify(finished.results.root)
    planned = finished.snakemake("--dry-run")
    assert planned.code == 0
    assert planned.jobs == set()
    assert "Nothing to be done" in planned.output
    ended = finished.snakemake()
    assert ended.code == 0
    assert ended.jobs == set()
    assert identify(finished.results.root) == before
