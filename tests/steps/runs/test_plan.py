"""Test planning: append-only, idempotent, and safe when two processes plan at once."""

import os
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pipeline_lib.steps.runs.plan as subject
from pipeline_lib.core.cohort import Video
from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.videos import InferenceSettings
from pipeline_lib.core.tables import MANIFEST_COLUMNS, PLAN_COLUMNS
from pipeline_lib.io.stage_tables import read_table, write_table
from pipeline_lib.steps.runs.plan import keep_planned, make_plan, plan_shards, read_plan


@pytest.fixture
def results(tmp_path):
    return Results(tmp_path / "results")


@pytest.fixture
def films(tmp_path):
    """Make videos of some bytes and return the rows of their sheet."""

    def make(*names, size=10):
        for name in names:
            path = tmp_path / f"{name}.mp4"
            if not path.exists():
                path.write_bytes(b"x" * size)
        return tuple(Video(name, tmp_path / f"{name}.mp4") for name in names)

    return make


def two_per_shard(**limits):
    return InferenceSettings(shard_videos=2, **limits)


def members(results):
    """Return the videos of every shard by its manifest."""
    return {
        path.parent.name: [row["video"] for row in read_table(path, MANIFEST_COLUMNS)]
        for path in sorted(results.shards.glob("*/manifest.tsv"))
    }


def states(results):
    return {row["video"]: row["state"] for row in read_table(results.plan, PLAN_COLUMNS)}


def identities(results):
    return {
        path: (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino)
        for path in results.shards.rglob("*.tsv")
    }


def test_shards_are_full_and_in_the_order_of_the_sheet(results, films):
    videos = films("e", "d", "c", "b", "a")
    assert plan_shards(videos, results, two_per_shard()).shards == ("00001", "00002", "00003")
    assert members(results) == {"00001": ["e", "d"], "00002": ["c", "b"], "00003": ["a"]}
    assert read_plan(results).shards == ("00001", "00002", "00003")
    assert set(states(results).values()) == {"active"}


def test_a_manifest_says_which_file_it_was(results, films, tmp_path):
    plan_shards(films("a", size=123), results, two_per_shard())
    (row,) = read_table(results.shard("00001").manifest, MANIFEST_COLUMNS)
    path = tmp_path / "a.mp4"
    assert row == {
        "video": "a",
        "path": str(path),
        "bytes": "123",
        "modified_ns": str(path.stat().st_mtime_ns),
    }


def test_planning_again_changes_nothing(results, films):
    videos = films("a", "b", "c")
    first = plan_shards(videos, results, two_per_shard()).shards
    before = identities(results)
    assert len(before) == 3
    assert plan_shards(videos, results, two_per_shard()).shards == first
    # Neither the order of the sheet nor other limits move a video that has its shard.
    assert plan_shards(videos[::-1], results, InferenceSettings(shard_videos=50)).shards == first
    assert identities(results) == before


def test_new_videos_open_new_shards(results, films):
    plan_shards(films("a", "b", "c"), results, two_per_shard())
    before = identities(results)
    del before[results.plan]
    # In the middle of the sheet, and though the last shard has room.
    grown = plan_shards(films("n1", "a", "n2", "b", "n3", "c"), results, two_per_shard()).shards
    assert grown == ("00001", "00002", "00003", "00004")
    after = identities(results)
    assert {path: after[path] for path in before} == before
    assert members(results) == {
        "00001": ["a", "b"],
        "00002": ["c"],
        "00003": ["n1", "n2"],
        "00004": ["n3"],
    }


def test_a_removed_video_leaves_a_tombstone(results, films, tmp_path):
    plan_shards(films("a", "b", "c"), results, two_per_shard())
    before = identities(results)
    del before[results.plan]
    (tmp_path / "b.mp4").unlink()
    assert plan_shards(films("a", "c"), results, two_per_shard()).shards == ("00001", "00002")
    assert states(results) == {"a": "active", "b": "removed", "c": "active"}
    # No job has to run: the manifests are what they were.
    after = identities(results)
    assert {path: after[path] for path in before} == before
    rows = read_table(results.shard("00001").manifest, MANIFEST_COLUMNS)
    assert [row["video"] for row in keep_planned(rows, results, "00001")] == ["a"]


def test_a_shard_without_videos_is_no_work(results, films):
    plan_shards(films("a", "b", "c"), results, two_per_shard())
    assert plan_shards(films("c"), results, two_per_shard()).shards == ("00002",)
    assert read_plan(results).shards == ("00002",)
    # Its number is not given to others.
    assert plan_shards(films("c", "d"), results, two_per_shard()).shards == ("00002", "00003")


def test_a_video_that_comes_back_finds_its_shard(results, films):
    plan_shards(films("a", "b", "c"), results, two_per_shard())
    before = identities(results)
    plan_shards(films("a", "c"), results, two_per_shard())
    plan_shards(films("a", "b", "c"), results, two_per_shard())
    assert {path: content for path, (content, *_) in identities(results).items()} == {
        path: content for path, (content, *_) in before.items()
    }


def test_a_video_that_its_shard_went_on_without_is_taken_as_new(results, films):
    """Give it another shard: the probe table that lacks it would never be made again."""
    plan_shards(films("a", "b", "c"), results, two_per_shard())
    plan_shards(films("a", "c"), results, two_per_shard())
    before = identities(results)
    write_table(results.shard("00001").probe, ("video",), [{"video": "a"}])
    again = plan_shards(films("a", "b", "c"), results, two_per_shard()).shards
    assert again == ("00001", "00002", "00003")
    assert members(results) == {"00001": ["a", "b"], "00002": ["c"], "00003": ["b"]}
    rows = read_table(results.plan, PLAN_COLUMNS)
    assert [tuple(row.values()) for row in rows] == [
        ("a", "00001", "active"),
        ("b", "00001", "removed"),
        ("c", "00002", "active"),
        ("b", "00003", "active"),
    ]
    after = identities(results)
    manifest = results.shard("00001").manifest
    assert after[manifest] == before[manifest]
    rows = [{"video": "a"}, {"video": "b"}]
    assert keep_planned(rows, results, "00001") == [{"video": "a"}]
    assert keep_planned(rows[1:], results, "00003") == [{"video": "b"}]
    # From here on it stays there.
    assert plan_shards(films("a", "b", "c"), results, two_per_shard()).shards == again
    assert identities(results) == after


def test_without_a_plan_no_video_is_left_out(results):
    assert keep_planned([{"video": "a"}], results, "00001") == [{"video": "a"}]


def test_a_changed_file_changes_its_manifest_only(results, films, tmp_path):
    videos = films("a", "b", "c")
    plan_shards(videos, results, two_per_shard())
    before = identities(results)
    os.utime(tmp_path / "c.mp4", ns=(1, 1))
    plan_shards(videos, results, two_per_shard())
    after = identities(results)
    changed = {path for path in after if after[path] != before[path]}
    assert changed == {results.shard("00002").manifest}


def test_a_shard_is_limited_by_its_bytes(results, films):
    """Allow 1000 bytes: 400 + 600 fit, and a file above the limit is alone."""
    films("small", size=400)
    films("equal", size=600)
    films("huge", size=5000)
    films("last", "more", size=1)
    videos = films("small", "equal", "huge", "last", "more")
    plan_shards(videos, results, InferenceSettings(shard_gigabytes=1e-6))
    assert list(members(results).values()) == [["small", "equal"], ["huge"], ["last", "more"]]


def test_a_missing_file_is_planned_for_the_probe_to_report(results, tmp_path):
    videos = (Video("gone", tmp_path / "gone.mp4"), Video("bad", tmp_path / ("x" * 400)))
    assert plan_shards(videos, results, two_per_shard()).shards == ("00001",)
    rows = read_table(results.shard("00001").manifest, MANIFEST_COLUMNS)
    assert [(row["video"], row["bytes"], row["modified_ns"]) for row in rows] == [
        ("gone", "0", "0"),
        ("bad", "0", "0"),
    ]


def test_nothing_planned(results):
    with pytest.raises(StoreError, match=r"plan\.tsv: no such file"):
        read_plan(results)


def test_no_permission_says_what_to_do(results, films, monkeypatch):
    def refuse(path, *_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(subject, "write_table", refuse)
    with pytest.raises(StoreError) as error:
        plan_shards(films("a"), results, two_per_shard())
    assert str(results.shard("00001").manifest) in str(error.value)
    assert "set `results` in the config to a folder you may write" in str(error.value)


def test_a_file_where_the_results_folder_should_be(results, films):
    results.root.write_text("not a folder")
    with pytest.raises(StoreError) as error:
        plan_shards(films("a"), results, two_per_shard())
    assert str(error.value).startswith(f"{results.shards}: Not a directory; make room or")


def test_a_plan_never_names_a_shard_without_a_manifest(results, films, monkeypatch):
    """Kill planning between the two, after which it must be able to start again."""
    write = subject.write_table

    def stop(path, *rest):
        if path == results.plan:
            raise KeyboardInterrupt
        write(path, *rest)

    monkeypatch.setattr(subject, "write_table", stop)
    with pytest.raises(KeyboardInterrupt):
        plan_shards(films("a", "b"), results, two_per_shard())
    assert not results.plan.exists()
    monkeypatch.undo()
    assert plan_shards(films("a", "b"), results, two_per_shard()).shards == ("00001",)


@given(
    st.lists(st.lists(st.sampled_from("abcdefgh"), unique=True, min_size=1), min_size=1, max_size=6)
)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_through_any_history_a_video_stays_in_its_shard(tmp_path_factory, history):
    folder = tmp_path_factory.mktemp("plan")
    results = Results(folder / "results")
    seen: dict[str, str] = {}
    for names in history:
        videos = tuple(Video(name, folder / name) for name in names)
        shards = plan_shards(videos, results, two_per_shard()).shards
        planned = {row["video"]: row["shard"] for row in read_table(results.plan, PLAN_COLUMNS)}
        assert seen.items() <= planned.items()
        assert set(planned) == set(seen) | set(names)
        manifests = members(results)
        found = [
            row["video"]
            for shard in shards
            for row in keep_planned([{"video": n} for n in manifests[shard]], results, shard)
        ]
        assert sorted(found) == sorted(names)
        assert max(map(len, manifests.values())) <= 2
        assert read_plan(results).shards == shards
        seen = planned


# A module of its own, because processes started anew cannot import this one.
_PLAN_OFTEN = """
import sys
from pathlib import Path
from pipeline_lib.core.cohort import Video
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.videos import InferenceSettings
from pipeline_lib.steps.runs.plan import plan_shards

folder, side = Path(sys.argv[1]), sys.argv[2]
videos = tuple(Video(f"{side}{n:02d}", folder / "v") for n in range(25))
print("ready", flush=True)
sys.stdin.readline()
for count in range(1, len(videos) + 1):
    plan_shards(videos[:count], Results(folder / "results"), InferenceSettings(shard_videos=2))
"""


def test_two_processes_that_plan_at_once(tmp_path):
    """Lock, since processes would overwrite each other's plan and give one number twice."""
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", _PLAN_OFTEN, tmp_path, side],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for side in "ab"
    ]
    for worker in workers:
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    for worker in workers:
        worker.communicate()
    assert [worker.returncode for worker in workers] == [0, 0]
    rows = read_table(Results(tmp_path / "results").plan, PLAN_COLUMNS)
    expected = [f"{side}{n:02d}" for side in "ab" for n in range(25)]
    assert sorted(row["video"] for row in rows) == expected
    # One video was added at a time: each has a shard of its own, numbered without gaps.
    assert sorted(row["shard"] for row in rows) == [f"{n:05d}" for n in range(1, 51)]


def test_a_plan_that_was_lost_comes_back_from_its_manifests(results, films):
    """Videos stay in their shards although the sheet has grown, shrunk and been sorted since."""
    plan_shards(films("b", "d", "e"), results, two_per_shard())
    plan_shards(films("a", "b", "c", "d"), results, two_per_shard())
    before, rows = members(results), states(results)
    assert before == {"00001": ["b", "d"], "00002": ["e"], "00003": ["a", "c"]}
    results.plan.unlink()
    plan_shards(films("a", "b", "c", "d"), results, two_per_shard())
    assert members(results) == before
    assert states(results) == rows
    assert rows["e"] == "removed"


DAMAGES = {
    "no text": lambda text: b"\xff\xfe" + text,
    "empty": lambda _: b"",
    "no columns": lambda _: b"some\tthing\nelse\there\n",
    "cut in a row": lambda text: text[: text.rindex(b"\t")],
    "too many cells": lambda text: text.replace(b"\n", b"\tmore\n").replace(b"\tmore\n", b"\n", 1),
    "no video": lambda text: text + b"\t\t\t\n",
    "header only": lambda text: text.partition(b"\n")[0] + b"\n",
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_plan_comes_back_from_its_manifests(results, films, damage, caplog):
    cohort = films("a", "b", "c", "d", "e")
    plan = plan_shards(cohort, results, two_per_shard())
    before = members(results)
    results.plan.write_bytes(damage(results.plan.read_bytes()))
    again = make_plan(cohort, results, two_per_shard())
    assert (again.rows, again.manifests, again.new_videos) == (plan.rows, plan.manifests, 0)
    assert not again.is_written(results)
    # Jobs and `status` read it meanwhile.
    assert read_plan(results).shard_of == plan.shard_of
    assert f"{results.plan}: damaged: recovered" in caplog.text
    plan_shards(cohort, results, two_per_shard())
    assert members(results) == before
    assert again.is_written(results)


@pytest.mark.parametrize("shard", ["../../00001", "a/b", "", "\u0661"])
def test_a_plan_with_a_shard_that_is_none(results, films, shard):
    plan = plan_shards(films("a", "b"), results, two_per_shard())
    rows = [{**row, "shard": shard} for row in plan.rows]
    write_table(results.plan, PLAN_COLUMNS, rows)
    assert make_plan(films("a", "b"), results, two_per_shard()).rows == plan.rows


def test_rows_that_a_plan_lacks_come_from_the_manifests(results, films):
    cohort = films("a", "b", "c", "d", "e")
    plan = plan_shards(cohort, results, two_per_shard())
    write_table(results.plan, PLAN_COLUMNS, plan.rows[:1])
    again = make_plan(cohort, results, two_per_shard())
    assert (again.shard_of, again.new_videos) == (plan.shard_of, 0)


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_manifest_is_written_anew(results, films, damage):
    cohort = films("a", "b", "c", "d")
    plan = plan_shards(cohort, results, two_per_shard())
    manifest = results.shard("00001").manifest
    whole = manifest.read_bytes()
    manifest.write_bytes(damage(whole))
    again = make_plan(cohort, results, two_per_shard())
    # The same hash: nothing is made again.
    assert again.hash_manifest("00001") == plan.hash_manifest("00001")
    assert not again.is_written(results)
    plan_shards(cohort, results, two_per_shard())
    assert manifest.read_bytes() == whole


def test_without_plan_and_manifest_the_probe_knows_the_videos(results, films):
    """What nothing is left of is new, in a shard of a number that no folder has."""
    cohort = films("a", "b", "c", "d")
    plan_shards(cohort, results, two_per_shard())
    rows = [{"video": name, "status": "done"} for name in "ab"]
    write_table(results.shard("00001").probe, ("video", "status"), rows)
    for path in (results.plan, *(results.shard(f"0000{n}").manifest for n in (1, 2))):
        path.write_bytes(b"\0\xff")
    plan = make_plan(cohort, results, two_per_shard())
    assert plan.shard_of == {"a": "00001", "b": "00001", "c": "00003", "d": "00003"}
    assert plan.new_videos == 2
