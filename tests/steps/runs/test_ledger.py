import pandas as pd
import polars as pl
import pytest

from pipeline_lib.core.errors import CohortposeError, SheetError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.core.tables import LEDGER_COLUMNS, PROBE_COLUMNS, STAGE_COLUMNS, VideoStatus
from pipeline_lib.io.stage_tables import read_table, write_table
from pipeline_lib.steps.runs.ledger import check_ledger, count_statuses, derive_ledger, write_ledger
from pipeline_lib.steps.runs.result_keys import filtering_key, locate_results

PROBED = {
    "status": "done",
    "seconds": 1.5,
    "frames": 2330,
    "fps": 29.97,
    "width": 640,
    "height": 480,
}


class Run:
    """Return a results folder whose stage tables a test fills in."""

    def __init__(self, folder, videos, columns=(), **settings):
        self.results = Results(folder / "results")
        sheet = folder / "cohort.tsv"
        rows = [
            {"video": video, "path": f"{video}.mp4", **dict(columns)}
            if not isinstance(video, dict)
            else video
            for video in videos
        ]
        write_table(sheet, tuple(rows[0]), rows)
        self.config = parse_config(
            {"cohort": str(sheet), "results": str(self.results.root), **settings}
        )

    def plan(self, **shards):
        rows = [
            {"video": video, "shard": shard, "state": "planned"}
            for shard, videos in shards.items()
            for video in videos
        ]
        write_table(self.results.plan, ("video", "shard", "state"), rows)

    def stage(self, stage, shard="s0", **rows):
        files = self.results.shard(shard)
        path = files.probe if stage == "probe" else getattr(files, stage)("pose")
        columns = PROBE_COLUMNS if stage == "probe" else STAGE_COLUMNS
        if stage == "infer":
            columns = (*STAGE_COLUMNS, "frames", "undecodable")
        write_table(path, columns, [{"video": video, **row} for video, row in rows.items()])

    def ledger(self):
        return {row["video"]: row for row in derive_ledger(self.config, self.results)}


def done(seconds=1.0, key=""):
    return {"status": "done", "seconds": seconds, "key": key}


def bad(status, reason, seconds=1.0):
    return {"status": status, "reason": reason, "seconds": seconds}


def probed(**changes):
    return {**PROBED, **changes}


def test_before_the_first_stage_every_video_waits_for_the_probe(tmp_path):
    run = Run(tmp_path, ["a", "b"])
    assert [row["status"] for row in run.ledger().values()] == [VideoStatus.PENDING] * 2
    assert run.ledger()["a"] == dict.fromkeys(LEDGER_COLUMNS) | {
        "video": "a",
        "status": "pending",
        "stage": "",
        "reason": "waiting for probe",
        "key": "",
    }


def test_a_video_is_done_when_its_last_stage_is(tmp_path):
    run = Run(tmp_path, ["a"])
    run.plan(s0=["a"])
    run.stage("probe", a=probed(key="fingerprint"))
    run.stage("infer", a=done(10.0, key="inferred"))
    run.stage("filter", a=done(2.0, key=filtering_key("inferred", run.config.filtering)))
    assert run.ledger()["a"]["status"] == "pending"
    run.stage("export", a=done(0.25, key="exported"))
    lost = [
        path
        for stage in ("infer", "filter", "export")
        for path in locate_results(run.config, run.results, stage, "a")
    ]
    assert run.ledger()["a"]["reason"] == f"waiting for infer: {lost[0]} is missing"
    for path in lost:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert run.ledger()["a"] == {
        "video": "a",
        "status": "done",
        "stage": "export",
        "reason": "",
        "frames": 2330,
        "undecodable": None,
        "still": None,
        "surplus_frames": None,
        "fps": 29.97,
        "width": 640,
        "height": 480,
        "seconds": 1.5 + 10.0 + 2.0 + 0.25,
        "key": "inferred",
    }


def test_without_export_formats_filtering_is_the_last_stage(tmp_path):
    run = Run(tmp_path, ["a"], exports={"formats": []})
    run.plan(s0=["a"])
    run.stage("probe", a=probed())
    run.stage("infer", a=done())
    run.stage("filter", a=done())
    assert (run.ledger()["a"]["status"], run.ledger()["a"]["stage"]) == ("done", "filter")


def test_a_video_stops_where_it_ended_badly_whatever_later_stages_say(tmp_path):
    run = Run(tmp_path, ["a", "b"])
    run.plan(s0=["a", "b"])
    run.stage("probe", a=bad("quarantined", "no video stream"), b=probed())
    run.stage("infer", a=bad("failed", "no probe"), b=bad("failed", "", 3.0))
    run.stage("filter", a=done(), b=done())
    ledger = run.ledger()
    assert (ledger["a"]["status"], ledger["a"]["stage"]) == ("quarantined", "probe")
    assert ledger["a"]["reason"] == "no video stream"
    assert ledger["a"]["frames"] is None
    # Nothing is silent: an empty reason is said to be one.
    assert (ledger["b"]["status"], ledger["b"]["stage"]) == ("failed", "infer")
    assert ledger["b"]["reason"] == "no reason recorded"
    assert ledger["b"]["seconds"] == 1.5 + 3.0


def test_shards_are_read_apart_and_the_last_plan_of_a_video_holds(tmp_path):
    run = Run(tmp_path, ["a", "b", "c"])
    run.plan(s0=["a", "b"], s1=["b"])
    run.stage("probe", "s0", a=probed(frames=10), b=probed(frames=20))
    run.stage("probe", "s1", b=probed(frames=30))
    ledger = run.ledger()
    assert [ledger[video]["frames"] for video in "abc"] == [10, 30, None]
    assert ledger["c"]["reason"] == "waiting for probe"


def test_undecodable_frames_are_those_that_inference_met(tmp_path):
    run = Run(tmp_path, list("abcd"))
    run.plan(s0=list("abcd"))
    run.stage("probe", a=probed(), b=probed(), c=probed(), d=bad("quarantined", "0 bytes"))
    run.stage(
        "infer",
        a={**done(), "frames": 2330, "undecodable": 17},
        b={**done(), "frames": 2330, "undecodable": 0},
        d=bad("quarantined", "0 bytes"),
    )
    assert [row["undecodable"] for row in run.ledger().values()] == [17, 0, None, None]
    write_ledger(run.config, run.results)
    written = read_table(run.results.ledger, LEDGER_COLUMNS)
    assert [row["undecodable"] for row in written] == ["17", "0", "", ""]
    assert tuple(written[0])[4:7] == ("frames", "undecodable", "surplus_frames")


def test_other_models_do_not_count(tmp_path):
    run = Run(tmp_path, ["a"], training={"name": "second"})
    run.plan(s0=["a"])
    run.stage("probe", a=probed())
    run.stage("infer", a=done())
    assert run.ledger()["a"]["reason"] == "waiting for infer"


def test_metadata_travels_after_the_fixed_columns_and_never_replaces_one(tmp_path):
    sheet = [
        {"video": "a", "path": "a.mp4", "session": "s1", "camera": "", "dose": "3", "status": "x"}
    ]
    run = Run(tmp_path, sheet)
    run.results.root.mkdir()
    write_ledger(run.config, run.results)
    (row,) = read_table(run.results.ledger, LEDGER_COLUMNS)
    assert tuple(row) == (*LEDGER_COLUMNS, "session", "dose", "sheet_status")
    assert (row["session"], row["dose"], row["sheet_status"]) == ("s1", "3", "x")
    assert row["status"] == "pending"


def test_odd_cells_of_the_sheet_are_to_the_character_what_they_were(tmp_path):
    cells = ("=1+1", 'Mü, "l"; ä', "-5", "+49 7071", "@x", "007", " a\tb ", '"quoted"', "鼠")
    sheet = [
        {"video": f"v{place}", "path": "a.mp4", "gröup, 1": cell}
        for place, cell in enumerate(cells)
    ]
    run = Run(tmp_path, sheet)
    run.results.root.mkdir()
    write_ledger(run.config, run.results)
    assert [row["gröup, 1"] for row in read_table(run.results.ledger, LEDGER_COLUMNS)] == list(
        cells
    )
    # So do tools of others read it.
    table = pd.read_csv(run.results.ledger, sep="\t", dtype=str, keep_default_na=False)
    assert table["gröup, 1"].tolist() == list(cells)
    table = pl.read_csv(run.results.ledger, separator="\t", infer_schema=False)
    assert table["gröup, 1"].to_list() == list(cells)


def test_a_ledger_with_too_many_bad_videos_is_written_and_refused(tmp_path):
    run = Run(tmp_path, list("abcd"), inference={"max_failed_fraction": 0.5})
    run.plan(s0=list("abcd"))
    rows = {"a": bad("quarantined", "no such file"), "b": bad("failed", "worker lost")}
    run.stage("probe", **rows, c=probed(), d=probed())
    summary = check_ledger(run.config, run.results)
    assert summary.failed_fraction == 0.5
    assert not run.results.ledger.exists()
    assert summary.counts == {"pending": 2, "done": 0, "failed": 1, "quarantined": 1}
    run.stage("probe", **rows, c=bad("quarantined", "0 bytes"), d=probed())
    assert write_ledger(run.config, run.results).failed_fraction == 0.75
    with pytest.raises(CohortposeError) as caught:
        check_ledger(run.config, run.results)
    # One line: which videos, and why, is listed by `status`.
    assert str(caught.value) == (
        "3 of 4 videos ended badly (1 failed, 2 quarantined): a share of 0.75, and "
        "inference.max_failed_fraction allows 0.5"
    )
    written = read_table(run.results.ledger, LEDGER_COLUMNS)
    assert [row["status"] for row in written] == ["quarantined", "failed", "quarantined", "pending"]


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda data: data.replace(b"done", b"dnoe"), "a row has the status 'dnoe'"),
        (
            lambda data: data.replace(b"0.5", b"soon"),
            "a row has 'soon' as `seconds`, expected a number",
        ),
        (lambda data: data[:-3], "has a row that is cut or too long"),
        (lambda data: data + b"\t" * 20, "has a row that is cut or too long"),
        (lambda data: bytes(len(data)), "lacks the columns video, status"),
        (lambda data: data.replace(b"status", b"state"), "lacks the columns status"),
        (lambda _: b"", "lacks the columns video"),
        (lambda _: b"\xff\xfe", "cannot be read"),
    ],
)
def test_a_damaged_table_counts_as_missing(tmp_path, damage, why, caplog):
    """Its videos wait for the stage; those of other shards are what they were."""
    run = Run(tmp_path, ["a", "b"])
    run.plan(s0=["a"], s1=["b"])
    run.stage("probe", a=done(0.5))
    run.stage("probe", "s1", b=bad("quarantined", "cut"))
    table = run.results.shard("s0").probe
    table.write_bytes(damage(table.read_bytes()))
    first, second = run.ledger().values()
    assert (first["status"], first["reason"]) == ("pending", "waiting for probe")
    assert (second["status"], second["reason"]) == ("quarantined", "cut")
    assert why in caplog.text
    assert "it counts as missing" in caplog.text


def test_a_lost_plan(tmp_path):
    run = Run(tmp_path, ["a"])
    run.plan(s0=["a"])
    run.stage("probe", a=bad("quarantined", ""))
    write_table(run.results.plan, ("video",), [{"video": "a"}])
    run.results.shard("s0").probe.unlink()
    # Nothing else says in which shard it was.
    (row,) = derive_ledger(run.config, run.results)
    assert (row["status"], row["reason"]) == ("pending", "waiting for probe")
    config = parse_config({"cohort": str(tmp_path / "none.tsv")})
    with pytest.raises(SheetError, match="no such file"):
        derive_ledger(config, run.results)


def test_counts_name_every_status():
    assert count_statuses([]) == {"pending": 0, "done": 0, "failed": 0, "quarantined": 0}
