"""Test the decisions about a cohort: measures, rules, people, groups, and bad input."""

import io
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from rich.console import Console

from pipeline_lib.core.errors import ConfigError, LabelError, StoreError
from pipeline_lib.core.formats.checks import CHECKS
from pipeline_lib.core.layout import Results
from pipeline_lib.core.poses import Poses
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.core.tables import (
    PLAN_COLUMNS,
    PROBE_COLUMNS,
    QUALITY_COLUMNS,
    STAGE_COLUMNS,
)
from pipeline_lib.demo.video import write_video
from pipeline_lib.io.poses.write import write_poses
from pipeline_lib.io.quality_records import QualityRecord, read_record
from pipeline_lib.io.stage_tables import read_table, write_table
from pipeline_lib.steps.multiqc.run import write_multiqc
from pipeline_lib.steps.quality.decide import JudgedVideo, decide
from pipeline_lib.steps.quality.judge import MEASURE_COLUMNS, run_judge
from pipeline_lib.steps.quality.rerun import (
    RerunRequest,
    apply_plan,
    describe_plan,
    plan_rerun,
)
from pipeline_lib.steps.quality.run import run_quality
from pipeline_lib.steps.report.cohort.quality import read_quality
from pipeline_lib.steps.report.page import write_report
from pipeline_lib.steps.report.privacy import Redactor
from pipeline_lib.steps.runs.ledger import derive_ledger, metadata_columns
from pipeline_lib.steps.runs.plan import read_plan
from pipeline_lib.steps.runs.preflight import check_run
from pipeline_lib.steps.runs.stage_keys import find_result_keys
from pipeline_lib.steps.status import show_status

SHARD, FPS, FRAMES = "0001", 10, 40
TIMES = "\N{MULTIPLICATION SIGN}"
HOSTILE = "=1+1, \u00fc"
NAMES = [f"v{n}" for n in range(10)]
DECIDED = "video\tdecision\tname\tdate\treason\n"


def make_poses(name, **faults):
    """Return an animal of four points that walks; faults change single things."""
    rng = np.random.default_rng(sum(name.encode()))
    x = 20 + np.arange(FRAMES)[:, None] * 1.0 + np.array([0.0, 8, 16, 24])
    position = np.stack([x, np.full_like(x, 30)], axis=-1)[:, None] + rng.normal(
        0, 0.2, (FRAMES, 1, 4, 2)
    )
    if "wide" in faults:
        position[..., 1] += np.array([0, 30, 0, 0])
    if "frozen" in faults:
        position[15:] = position[15]
    confidence = np.full((FRAMES, 1, 4), 0.9, np.float32)
    if "lost" in faults:
        confidence[10:30] = 0.05
    return Poses(
        position.astype(np.float32),
        confidence,
        np.zeros(FRAMES, np.uint8),
        np.arange(FRAMES) / FPS,
        ("a", "b", "c", "d"),
        ("animal",),
        {"key": f"key-{name}-{sorted(faults)}"},
    )


def configure(**quality):
    skeleton = {"bodyparts": list("abcd"), "edges": [["a", "b"], ["b", "c"], ["c", "d"]]}
    return parse_config(
        {
            "cohort": "cohort.tsv",
            "labels": [{"path": "p"}],
            "skeleton": skeleton,
            "quality": {"enabled": True, **quality},
        }
    )


@pytest.fixture
def cohort(tmp_path, monkeypatch):
    """Return a function that writes a cohort of videos with faults, measured and judged."""
    monkeypatch.chdir(tmp_path)
    results = Results(Path("results"))

    def make(faults=None, names=NAMES, failed=(), config=None, extra=""):
        faults = faults or {}
        rows = [f"{name}\t{name}.mp4\t{HOSTILE}\n" for name in names]
        Path("cohort.tsv").write_text("video\tpath\tgroup\n" + "".join(rows) + extra)
        write_table(
            results.plan,
            PLAN_COLUMNS,
            [{"video": name, "shard": SHARD, "state": "active"} for name in names],
        )
        files = results.shard(SHARD)
        done = [
            {"video": name, "status": "failed", "reason": "disk, \u201efull\u201d"}
            if name in failed
            else {"video": name, "status": "done", "key": f"key-{name}"}
            for name in names
        ]
        write_table(files.infer("pose"), STAGE_COLUMNS, done)
        facts = []
        for name in names:
            fault = faults.get(name, {})
            width = 32 if "size" in fault else 64
            facts.append({"video": name, "status": "done", "width": width, "height": 48,
                          "path": f"{name}.mp4", "fingerprint": "f"})  # fmt: skip
            write_poses(results.poses("pose", name), make_poses(name, **fault))
            if "pixels" in fault or "video" in faults:
                write_video(Path(f"{name}.mp4"), paint(**fault), FPS)
        write_table(files.probe, PROBE_COLUMNS, facts)
        config = config or configure()
        run_quality(config, results, SHARD)
        run_judge(config, results)
        return results

    return make


def paint(**fault):
    rng = np.random.default_rng(5)
    wide = cv2.resize(rng.integers(60, 200, (12, 16, 3), np.uint8), (96, 72))
    scene = wide[12:60, 16:80]
    if fault.get("pixels") == "dark":
        scene = scene // 5
    if fault.get("pixels") == "moved":
        return [scene] * (FRAMES // 2) + [wide[12:60, 6:70]] * (FRAMES // 2)
    if fault.get("pixels") == "shifted":
        scene = wide[12:60, 6:70]
    return [scene] * FRAMES


def read(results):
    """Return the rows of qc.tsv by video."""
    found = {}
    for row in read_table(results.quality, QUALITY_COLUMNS):
        found.setdefault(row["video"], []).append(row)
    return found


def test_each_fault_has_its_reason_seconds_and_number(cohort):
    results = cohort(
        {
            "v1": {"lost": True},
            "v2": {"frozen": True},
            "v3": {"wide": True},
            "v4": {"size": True},
        },
        failed=["v5"],
    )
    found = read(results)
    assert list(found) == NAMES
    for name in ("v0", "v6", "v7", "v8", "v9"):
        (row,) = found[name]
        assert (row["decision"], row["decided_by"]) == ("pass", "rules")
        assert not any(row[name] for name in QUALITY_COLUMNS[3:])
    lost = {row["check"]: row for row in found["v1"]}
    assert lost["detection"]["decision"] == "warn"
    assert lost["detection"]["seconds"] == "1.0-3.0"
    assert float(lost["detection"]["value"]) == 0.5
    assert lost["detection"]["reason"].startswith("50 % of the keypoints are found, less than ")
    assert lost["detection"]["remedy"] == "refine"
    frozen = found["v2"][0]
    assert (frozen["check"], frozen["decision"], frozen["limit"]) == ("frozen", "fail", "0.5")
    assert (frozen["value"], frozen["seconds"]) == ("0.625", "2.0-4.0")
    assert "proportions" in {row["check"] for row in found["v3"]}
    (size,) = found["v4"]
    assert (
        size["reason"] == f"frames have 32{TIMES}48 px, and 90 % of the cohort have 64{TIMES}48 px"
    )
    (failed,) = found["v5"]
    assert (failed["check"], failed["reason"]) == ("processed", "disk, \u201efull\u201d")
    measures = read_table(results.quality_measures, MEASURE_COLUMNS)
    assert [row["decision"] for row in measures][:6] == [
        "pass",
        "warn",
        "fail",
        "warn",
        "warn",
        "fail",
    ]
    assert measures[0]["brightness"] == ""  # there is no video
    # The ledger tells the decision in force, the sheet's columns are the user's.
    config = configure()
    rows = derive_ledger(config, results)
    assert [row["quality"] for row in rows][:3] == ["pass", "warn", "fail"]
    assert rows[5]["quality_reason"] == "disk, \u201efull\u201d"
    assert metadata_columns(rows) == ("group",)
    assert rows[0]["group"] == HOSTILE
    console = Console(file=io.StringIO(), width=200)
    show_status(config, results, failed=False, console=console, spell=str)
    assert "quality: 2 fail, 3 warn (v2, v5); why is in qc.tsv" in console.file.getvalue()
    shown = read_quality(results.quality, ["v0", "v2"], Redactor(results), [])
    assert shown.decisions == {"v0": "pass", "v2": "fail"}
    assert shown.findings["v2"][0][3] == frozen["reason"]


def test_light_and_view_are_seen_in_sampled_frames(cohort, caplog):
    faults = {"video": {}, "v1": {"pixels": "dark"}, "v2": {"pixels": "shifted"}}
    results = cohort({**faults, "v3": {"pixels": "moved"}})
    found = read(results)
    assert [row["check"] for row in found["v1"]] == ["brightness"]
    assert found["v1"][0]["seconds"] == "0.0-4.0"
    (view,), (moved,) = found["v2"], found["v3"]
    assert (view["check"], view["seconds"]) == ("view", "0.0-4.0")
    # The camera was moved in the middle of the video.
    assert (moved["check"], moved["seconds"]) == ("view", "2.0-4.0")
    assert moved["reason"].endswith("; it is shifted by about 10, 0 px")
    assert view["reason"].endswith("; it is shifted by about 10, 0 px")
    good = [rows[0]["decision"] for name, rows in found.items() if name not in ("v1", "v2", "v3")]
    assert good == ["pass"] * 7
    record = read_record(results.video_quality("pose", "v0"))
    assert len(record.samples["time"]) == 12
    # What is there is not measured again; a lost or damaged record is.
    path = results.video_quality("pose", "v0")
    before = path.stat().st_mtime_ns
    run_quality(configure(), results, SHARD)
    assert path.stat().st_mtime_ns == before
    path.write_text("{}")
    with pytest.raises(StoreError, match="damaged"):
        read_record(path)
    whole = read_record(results.video_quality("pose", "v1"))
    results.video_quality("pose", "v1").unlink()
    run_judge(configure(), results)
    assert read(results) == found
    assert read_record(path).key == record.key
    assert read_record(results.video_quality("pose", "v1")).values == whole.values
    assert f"{path}: damaged ('format'); it is measured anew" in caplog.text
    # Nothing is left to measure.
    results.video_quality("pose", "v4").write_bytes(b"[" * 100000)
    shutil.rmtree(results.poses("pose", "v4"))
    run_judge(configure(), results)
    again = read(results)
    assert (again["v4"][0]["check"], again["v4"][0]["decision"]) == ("processed", "fail")
    assert "v4.zarr" in again["v4"][0]["reason"]


def test_faults_of_one_kind_do_not_hide_those_of_another():
    # Of 80 videos 32 are dark, and their sharpness is anything; 6 others are blurred.
    def describe(number):
        rng = np.random.default_rng(number)
        dark, blurred = number < 32, 32 <= number < 38
        sharp = 0.2 if blurred else np.exp(rng.normal(0, 2 if dark else 0.2))
        light = np.full(12, (0.1 if dark else 0.5) * np.exp(rng.normal(0, 0.02)))
        samples = {"time": np.arange(12.0), "brightness": light, "focus": np.full(12, sharp)}
        return JudgedVideo(
            str(number), record=QualityRecord("k", {}, {}, 1.0, {}, np.empty((0, 2)), samples)
        )

    judged = decide([describe(number) for number in range(80)], configure().quality)
    found = {name: {one.check for one in all_} for name, all_ in judged.findings.items()}
    assert all("brightness" in found[str(number)] for number in range(32))
    assert [found[str(number)] for number in range(32, 38)] == [{"focus"}] * 6
    assert not any(found[str(number)] for number in range(38, 80))


def test_a_record_that_was_damaged_is_wanted_and_measured_anew(cohort):
    results, config = cohort(names=NAMES[:2]), configure()
    plan = read_plan(results)

    def find_number():
        return find_result_keys(config, results, plan, "postprocess")[SHARD].name

    path = results.video_quality("pose", "v1")
    whole = path.read_bytes()
    before = find_number()
    # A copy has another time, and is no other file.
    os.utime(path, ns=(1, 1))
    assert find_number() == before
    for damage in (whole[:50], whole.replace(b"0.9", b"0.8"), b""):
        assert damage != whole
        path.write_bytes(damage)
        assert find_number() != before
        run_quality(config, results, SHARD)
        assert path.read_bytes() == whole
        assert find_number() == before


def test_people_override_and_survive_reruns(cohort):
    results = cohort({"v1": {"lost": True}, "v2": {"frozen": True}})
    decided = Path("quality_decisions.tsv")
    decided.write_text(
        DECIDED
        + "v1\tfail\tsomebody\t2026-01-30\tearlier\n"
        + f'v1\tpass\t=cmd|A1 \u00e9\t2026-01-31\t"seen, ""all"" good {HOSTILE}"\n'
        + "v2\tdrop\tme\t\t\nv0\twarn\tme\t\tlook\nghost\tpass\tme\t\t\n"
    )
    for _ in range(2):
        run_judge(configure(), results)
        found = read(results)
        first, *rest = found["v1"]
        assert (first["decision"], first["decided_by"]) == ("pass", "=cmd|A1 \u00e9")
        assert first["reason"] == f'seen, "all" good {HOSTILE} (2026-01-31)'
        assert {row["decided_by"] for row in rest} == {"rules"}
        assert (found["v2"][0]["decision"], found["v2"][0]["remedy"]) == ("fail", "drop")
        assert found["v0"][0]["decision"] == "warn"
        assert "ghost" not in found
    assert derive_ledger(configure(), results)[1]["quality_by"] == "=cmd|A1 \u00e9"


def test_bad_tables_of_decisions_are_one_clear_error(cohort):
    cohort(names=NAMES[:1])
    path = Path("quality_decisions.tsv")
    problems = {
        DECIDED + "v0\tmaybe\tme\t\t\nv0\tpass\t\t\t\nv0\tpass\tme\tyesterday\t\n": (
            "line 2: expected pass, warn, fail, drop as decision, found 'maybe'",
            "line 3: names nobody",
            "line 4: expected a date such as 2026-01-31, found 'yesterday'",
        ),
        "video\tname\n": ("missing column `decision`",),
        DECIDED + "v0\tpass\tme\t\t\tmore\n": ("line 2: has more cells",),
    }
    for text, expected in problems.items():
        path.write_text(text)
        with pytest.raises(LabelError) as error:
            run_judge(configure(), Results(Path("results")))
        assert all(one in str(error.value) for one in expected)
        with pytest.raises(ConfigError) as error:
            check_run(configure().model_dump(mode="json"), "config")
        assert all(one in str(error.value) for one in expected)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(LabelError, match="UTF-16"):
        run_judge(configure(), Results(Path("results")))
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(LabelError, match="no regular file"):
        run_judge(configure(), Results(Path("results")))
    path.unlink()
    path.mkdir()
    with pytest.raises(LabelError, match="directory"):
        run_judge(configure(), Results(Path("results")))


def test_small_cohorts_and_groups_have_absolute_limits_alone(cohort):
    wide, lost = {"wide": True}, {"lost": True}
    results = cohort({"v0": wide}, names=["v0"])
    assert read(results)["v0"][0]["decision"] == "pass"
    results = cohort(dict.fromkeys(NAMES, lost))
    # No good video at all: half of the keypoints is no fault by itself.
    assert {rows[0]["decision"] for rows in read(results).values()} == {"pass"}
    strict = configure(limits={"detection": {"fail_below": 0.6, "warn_below": None}})
    run_judge(strict, results)
    assert {rows[0]["decision"] for rows in read(results).values()} == {"fail"}
    results = cohort({"v0": wide, "v1": {"frozen": True}})
    Path("cohort.tsv").write_text(
        "video\tpath\tarena\n" + "".join(f"{n}\t{n}.mp4\t{n == 'v0'}\n" for n in NAMES)
    )
    run_judge(configure(group="arena"), results)
    found = read(results)
    assert found["v0"][0]["decision"] == "pass"  # nobody to compare it with
    assert found["v1"][0]["check"] == "frozen"
    run_judge(configure(limits={"frozen": None, "detection": {}}), results)
    assert "frozen" not in {row["check"] for row in read(results)["v1"]}
    with pytest.raises(ConfigError, match="no column 'cage'; there are session, camera, arena"):
        check_run(configure(group="cage").model_dump(mode="json"), "config")


def test_a_cohort_without_a_good_video_has_decisions_and_reports(cohort):
    results = cohort(failed=NAMES)
    found = read(results)
    assert list(found) == NAMES
    for (row,) in found.values():
        assert (row["decision"], row["check"]) == ("fail", "processed")
        assert row["reason"] == "disk, \u201efull\u201d"
    config = configure()
    page = write_report(config, results).read_text(encoding="utf-8")
    assert "v9" in page
    write_multiqc(config, results)
    general = yaml.safe_load((results.multiqc / "cohortpose_general_mqc.yaml").read_text())
    assert [one["decision"] for one in general["data"].values()] == ["fail"] * len(NAMES)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"sharpness": {}}, "'sharpness' is no check; there are detection, "),
        ({"focus": {"warn": 3}}, "warn"),
        ({"focus": {"warn_z": 0}}, "greater than 0"),
        ({"focus": {"warn_z": 6, "fail_z": 5}}, r"fail_z \(5\) is below warn_z \(6\)"),
        ({"duration": {"warn_below": 9, "warn_above": 8}}, r"warn_below \(9\) is above"),
        ({"duration": {"warn_below": ".nan"}}, "expected a number"),
    ],
)
def test_limits_that_are_none(limits, message):
    with pytest.raises(ConfigError, match=message):
        configure(limits=limits)


def test_stated_limits_stand_over_the_usual_ones():
    limits = configure(limits={"detection": {"warn_below": 0.8}}).quality.limits
    assert limits["detection"].warn_below == 0.8
    assert limits["detection"].fail_below == CHECKS["detection"].limits["fail_below"]
    assert limits["frozen"].fail_above == CHECKS["frozen"].limits["fail_above"]


def test_rerun_turns_findings_into_work(cohort):
    results = cohort({"v1": {"lost": True}, "v2": {"frozen": True}, "v3": {"wide": True}})
    config = configure()
    usual = plan_rerun(config, results, RerunRequest(name="me"))
    assert {(action, row["video"], row["check"]) for action, row in usual.findings} >= {
        ("refine", "v1", "detection"),
        ("drop", "v2", "frozen"),
        ("look", "v3", "proportions"),
    }
    assert [one.video for one in usual.decisions] == ["v2"]
    lines = describe_plan(usual, [], Path("config.yaml"))
    assert lines[-1] == "nothing is written; with --apply it is"
    assert not Path("quality_decisions.tsv").exists()
    # The seconds that offend become frames to label.
    asked = RerunRequest(checks=("detection",), action="relabel", frames=4)
    plan = plan_rerun(config, results, asked)
    assert [row["frame"] for row in plan.frames] == [12, 17, 22, 27]
    written = apply_plan(config, plan, Path())
    assert yaml.safe_load(Path("rerun.yaml").read_text()) == {
        "refinement": {"enabled": True, "frames": 4, "frame_list": "rerun_frames.tsv"}
    }
    assert describe_plan(plan, written, Path("c.yaml"))[-1].endswith("c.yaml rerun.yaml")
    # Other settings of single videos, beside those that there are.
    asked = RerunRequest(videos=("v1",), action="settings", settings=("filtering.pcutoff=0.1",))
    other = parse_config(
        {
            **config.model_dump(mode="json"),
            "overrides": [{"videos": ["v1", "v9"], "filtering": {"window": 7}}],
        }
    )
    apply_plan(other, plan_rerun(other, results, asked), Path())
    assert yaml.safe_load(Path("rerun.yaml").read_text())["overrides"] == [
        {"videos": ["v9"], "filtering": {"window": 7}},
        {"videos": ["v1"], "filtering": {"window": 7, "pcutoff": 0.1}},
    ]
    # A person decides; the rows of others stay.
    Path("quality_decisions.tsv").write_text(
        DECIDED.replace("\n", "\tmine\n") + "v9\tpass\tx\t\t\t1"
    )
    apply_plan(config, usual, Path())
    run_judge(config, results)
    found = read(results)
    assert (found["v2"][0]["decided_by"], found["v2"][0]["remedy"]) == ("me", "drop")
    assert "frozen: in " in found["v2"][0]["reason"]
    assert found["v9"][0]["decided_by"] == "x"
    again = plan_rerun(config, results, RerunRequest(name="me"))
    assert "v2" not in {row["video"] for _, row in again.findings}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (RerunRequest(checks=("blur",)), "--check blur: there is no such check"),
        (RerunRequest(videos=("x",)), "--video x: cohort.tsv has no such video"),
        (RerunRequest(action="settings"), "--as settings needs --set"),
        (RerunRequest(settings=("a=1",)), "expected inference.KEY=VALUE or filtering.KEY=VALUE"),
        (RerunRequest(settings=("filtering.window=4",)), r"window \(4\) must be odd"),
        (RerunRequest(settings=("filtering.colour=4",)), "colour: Extra inputs"),
        (RerunRequest(settings=("filtering.pcutoff={",)), "is no value"),
        (RerunRequest(action="drop", settings=("filtering.window=5",)), "--set is for"),
    ],
)
def test_requests_that_cannot_be_followed(cohort, asked, message):
    results = cohort(names=NAMES[:1])
    with pytest.raises(ConfigError, match=message):
        plan_rerun(configure(), results, asked)
    results.quality.unlink()
    with pytest.raises(StoreError, match=r"quality\.enabled: true"):
        plan_rerun(configure(), results, RerunRequest())


def test_overrides_that_cannot_be_used(cohort):
    cohort(names=NAMES[:1])
    values = configure().model_dump(mode="json")
    for overrides, message in (
        ([{"videos": [], "filtering": {"window": 3}}], "names no video"),
        ([{"videos": ["v0"]}], "changes nothing"),
        ([{"videos": ["v0"], "filtering": {"window": 4}}], r"overrides.0.filtering.*must be odd"),
        ([{"videos": ["v0"], "tracking": {"x": 4}}], r"overrides.0.tracking.*x: Extra"),
        (
            [{"videos": ["v0"], "inference": {"runtime": "onnx"}}],
            r"overrides.0.inference.*runtime: holds for all videos; crop may differ",
        ),
        ([{"videos": ["v0"], "inference": {"crop": [9, 3, 0, 4]}}], r"overrides.0.inference.*x1"),
        (
            [{"videos": ["v0"], "filtering": {"window": 3}}] * 2,
            "two of them change `filtering` of v0",
        ),
    ):
        with pytest.raises(ConfigError, match=message):
            parse_config({**values, "overrides": overrides})
    strange = {**values, "overrides": [{"videos": ["x"], "filtering": {"window": 3}}]}
    with pytest.raises(ConfigError, match=r"`overrides`: cohort\.tsv has no video 'x'"):
        check_run(strange, "config")
