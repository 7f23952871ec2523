"""Test that time, energy and storage are shared, summed and priced."""

import json

import pytest

from pipeline_lib.core.cohort import read_cohort
from pipeline_lib.core.errors import ConfigError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.outputs.costs import CostSettings
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.core.stages import STAGES
from pipeline_lib.core.tables import COST_COLUMNS, PLAN_COLUMNS, PROBE_COLUMNS, STAGE_COLUMNS
from pipeline_lib.io.stage_tables import read_table, write_table
from pipeline_lib.steps.costs.groups import find_unknown_group
from pipeline_lib.steps.costs.jobs import Job, measure_wall, parse_jobs, share_energy
from pipeline_lib.steps.costs.panel import describe_costs
from pipeline_lib.steps.costs.run import derive_costs, write_costs
from pipeline_lib.steps.provenance.machine import count_visible_devices

PRICES = {"currency": "EUR", "cpu_hour": 2, "gpu_hour": 10, "kwh": 0.5, "gb_month": 1000}


def record(verb, shard, seconds, cpu, start="10:00:00", *, joules=None, gpus=0):
    return {
        "verb": verb, "shard": shard, "model": "pose", "ended": "done",
        "started": f"2026-01-01T{start}+00:00", "seconds": seconds, "cpu_seconds": cpu,
        "energy": {"joules": joules}, "gpus": gpus, "machine": {"host": "h", "devices": []},
    }  # fmt: skip


@pytest.fixture
def project(tmp_path):
    """Return config values and results of three videos in a shard, one of which was removed."""
    sheet = tmp_path / "cohort.tsv"
    sheet.write_text('video\tpath\tlab\na\ta.mp4\t=1+1\nb\tb.mp4\t"Mü,""l"""\nc\tc.mp4\t\n')
    results = Results(tmp_path / "results")
    rows = [{"video": name, "shard": "00001", "state": "active"} for name in "abcx"]
    write_table(results.plan, PLAN_COLUMNS, rows)
    shard = results.shard("00001")
    probe = [
        {"video": name, "status": "done", "frames": 99, "duration": duration}
        for name, duration in (("a", 1800), ("b", 3600), ("c", 0), ("x", 7200))
    ]
    write_table(shard.probe, PROBE_COLUMNS, probe)
    infer = [
        {"video": name, "status": "done", "seconds": seconds}
        for name, seconds in (("a", 10), ("b", 30), ("x", 60))
    ]
    write_table(shard.infer("pose"), STAGE_COLUMNS, infer)
    lines = [
        record("probe", "00001", 360, 400, gpus=8),
        record("infer", "00001", 3600, 7200, "11:00:00", joules=3.6e6, gpus=2),
    ]
    shard.jobs.write_text("".join(json.dumps(line) + "\n" for line in lines) + "{}\nodd\n")
    train = record("train", None, 1800, 1800, "10:30:00", gpus=1)
    results.jobs.write_text(json.dumps(train) + "\n")
    pose = results.filtered("pose", "b")
    pose.parent.mkdir(parents=True)
    pose.write_bytes(bytes(2_000_000))
    model = results.model("pose").weights
    model.parent.mkdir(parents=True)
    model.write_bytes(bytes(1_000_000))
    return {"cohort": str(sheet), "results": str(results.root)}, results


def by_name(rows):
    return {row["name"] or row["group"] or row["kind"]: row for row in rows}


def test_videos_groups_and_run(project):
    values, results = project
    config = parse_config({**values, "costs": {**PRICES, "group": "lab"}})
    rows = by_name(derive_costs(config, results))
    a, b = rows["a"], rows["b"]
    # A quarter of the probe each, by frames; 10, 30 and 60 % of the inference.
    assert float(a["cpu_hours"]) == pytest.approx((400 / 4 + 720) / 3600, rel=1e-4)
    assert float(b["gpu_hours"]) == pytest.approx(0.3 * 2)
    assert float(b["job_hours"]) == pytest.approx(0.3 + 0.025)
    assert float(b["kwh"]) == pytest.approx(0.3)
    assert float(rows["removed"]["gpu_hours"]) == pytest.approx(1.2)
    assert (a["video_hours"], b["video_hours"], rows["c"]["video_hours"]) == ("0.5", "1", "0")
    assert (b["stored_gb"], b["stored_gb_per_video_hour"]) == ("0.002", "0.002")
    assert (b["storage_per_month"], a["storage_per_month"]) == ("2", "0")
    cpu = (100 + 0.3 * 7200) / 3600
    assert float(b["cost"]) == pytest.approx(2 * cpu + 10 * 0.6 + 0.5 * 0.3, rel=1e-4)
    assert float(b["cost_per_video_hour"]) == pytest.approx(float(b["cost"]))
    assert float(a["cost_per_video_hour"]) == pytest.approx(2 * float(a["cost"]), rel=1e-4)
    assert rows["c"]["cost_per_video_hour"] == ""
    shared, run = rows["shared"], rows["run"]
    assert (shared["gpu_hours"], shared["kwh"], shared["stored_gb"]) == ("0.5", "", "0.001")
    assert float(shared["cost"]) == pytest.approx(2 * 0.5 + 10 * 0.5)
    assert float(run["wall_hours"]) == pytest.approx(1.6)
    parts = [rows[name] for name in ("a", "b", "c", "removed", "shared")]
    for name in ("cpu_hours", "gpu_hours", "job_hours", "kwh", "stored_gb", "cost"):
        total = sum(float(row[name] or 0) for row in parts)
        assert float(run[name]) == pytest.approx(total, rel=1e-4), name
    # Groups named oddly, and the one without a name.
    assert rows["=1+1"]["cost"] == a["cost"]
    assert rows['Mü,"l"']["cost"] == b["cost"]
    assert rows["(none)"]["cost"] == rows["c"]["cost"]
    write_costs(config, results)
    assert read_table(results.costs, COST_COLUMNS) == derive_costs(config, results)
    panel = describe_costs(config, results)
    assert panel["rows"][-1][0] == "all"
    assert "cost (EUR)" in panel["head"]
    assert panel["video_head"] == ["CPU hours", "GPU hours", "cost (EUR)"]
    assert panel["videos"]["b"] == [float(b[name]) for name in ("cpu_hours", "gpu_hours", "cost")]


def test_without_a_price_list(project):
    values, results = project
    config = parse_config(values)
    rows = derive_costs(config, results)
    assert {row["cost"] for row in rows} == {""}
    assert not [row for row in rows if row["kind"] == "group"]
    assert float(by_name(rows)["run"]["cpu_hours"]) == pytest.approx((400 + 7200 + 1800) / 3600)
    assert describe_costs(config, results) is None
    assert derive_costs(config, Results(results.root / "new")) == []
    # A price of energy alone costs nothing where none was measured.
    kwh = parse_config({**values, "costs": {"currency": "EUR", "kwh": 1}})
    found = by_name(derive_costs(kwh, results))
    assert (found["shared"]["cost"], found["a"]["cost"]) == ("", "0.1")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"currency": "EUR", "cpu_minute": 1}, "costs.cpu_minute"),
        ({"currency": "EUR", "cpu_hours": 1}, "cpu_hour"),
        ({"currency": "EUR", "cpu_hour": "0.02 EUR"}, "expected a number"),
        ({"currency": "EUR", "cpu_hour": {"EUR": 1}}, "expected a number"),
        ({"currency": "EUR", "kwh": -1}, "kwh"),
        ({"cpu_hour": 1}, "has no currency"),
        ({"currency": "EUR"}, "nothing has a price"),
    ],
)
def test_bad_price_lists(given, said):
    with pytest.raises(ConfigError, match=said):
        parse_config({"cohort": "c.tsv", "costs": given})


def test_unknown_group(project):
    values, _ = project
    config = parse_config({**values, "costs": {"group": "grant"}})
    (problem,) = find_unknown_group(config, read_cohort(project[1].root.parent / "cohort.tsv"))
    assert "no column 'grant'" in problem
    assert "session, camera, lab" in problem


def test_energy_is_not_counted_twice():
    def job(start, seconds, joules, host="h"):
        return Job("infer", "1", "pose", host, start, seconds, 0, 0, joules)

    # 10 W throughout; two jobs side by side both measured all of it.
    jobs = [job(0, 100, 1000.0), job(50, 100, 1000.0), job(0, 100, 500.0, "other"), job(0, 9, None)]
    assert share_energy(jobs) == [pytest.approx(750), pytest.approx(750), 500, None]
    assert measure_wall([job(0, 10, None), job(5, 10, None), job(30, 5, None)]) == 20
    assert share_energy([job(0, 0, 5.0)]) == [0.0]


def test_jobs_of_earlier_versions(monkeypatch):
    old = record("train", None, 10, 5)
    del old["gpus"]
    old["machine"]["devices"] = ["A", "B"]
    (job,) = parse_jobs(
        [old, {"verb": "x"}, {**old, "seconds": "many"}, {**old, "seconds": float("nan")}]
    )
    assert job.gpu_seconds == 20
    devices = {"devices": ["A", "B", "C"]}
    monkeypatch.setattr("pipeline_lib.steps.provenance.machine._describe_devices", lambda: devices)
    counts = {None: 3, "": 0, "-1": 0, "1": 1, "0,2": 2, "0,-1,2": 1, "0,1,2,3": 3}
    for listed, number in counts.items():
        environment = {} if listed is None else {"CUDA_VISIBLE_DEVICES": listed}
        assert count_visible_devices(environment) == number, listed


def test_the_report_depends_on_a_price_list_only_if_there_is_one():
    plain = STAGES["report"].select(parse_config({"cohort": "c.tsv"}))
    assert "costs" not in plain
    priced = STAGES["report"].select(parse_config({"cohort": "c.tsv", "costs": PRICES}))
    assert priced["costs"]["cpu_hour"] == CostSettings(**PRICES).cpu_hour
