"""Test that new videos are taken once they are whole, once, and by one `watch` at a time."""

import shutil
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

import pipeline_lib.steps.watch.run as subject
from pipeline_lib.core.cohort import read_cohort
from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import hash_settings
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.tables import LEDGER_COLUMNS
from pipeline_lib.io.run_lock import RunLock, describe_run_at_work
from pipeline_lib.io.stage_tables import read_table, write_table
from pipeline_lib.steps.sheet.additions import Naming
from pipeline_lib.steps.sheet.pattern import FilePattern
from pipeline_lib.steps.verify.unknown import _WORKING
from pipeline_lib.steps.watch.run import Watcher, WatchRequest, run_watch
from pipeline_lib.steps.watch.state import ARRIVAL_COLUMNS, StateFile
from pipeline_lib.steps.watch.whole import find_writers
from tests.video_corpus import encode

NAMING = Naming(FilePattern("{animal}_{camera}.mp4"))


class Place:
    """Manage a project with an incoming folder, and a command that counts its calls."""

    def __init__(self, folder: Path) -> None:
        self.incoming = folder / "in"
        self.incoming.mkdir()
        self.sheet, self.calls = folder / "cohort.tsv", folder / "calls"
        self.config = Config(cohort=str(self.sheet), results=str(folder / "results"))
        self.results = Results(folder / "results")

    def request(self, status=0, settle=0.0):
        text = f"open({str(self.calls)!r}, 'a').write('x'); raise SystemExit({status})"
        return WatchRequest(self.incoming, NAMING, settle, (sys.executable, "-c", text))

    def look(self, **options):
        return run_watch(self.config, self.results, self.request(**options), every=None)

    @property
    def rows(self):
        return [video.video for video in read_cohort(self.sheet)] if self.sheet.exists() else []

    @property
    def called(self):
        return len(self.calls.read_text()) if self.calls.exists() else 0


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "v.mp4"
    encode(path, frames=5)
    return path


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def copy(video, place, *names):
    """Copy a video under several names, with different bytes at the end of a comment box."""
    for name in names:
        # A free box of MP4, so that contents differ.
        box = b"\0\0\0\x0cfree" + len(list(place.incoming.iterdir())).to_bytes(4, "big")
        (place.incoming / name).write_bytes(video.read_bytes() + box)


def test_a_video_is_taken_once_and_its_arrival_recorded(place, video):
    copy(video, place, "m1_top.mp4")
    assert place.look()
    assert place.rows == ["m1_top"]
    assert read_cohort(place.sheet)[0].metadata == {"animal": "m1"}
    assert place.called == 1
    (row,) = read_table(place.results.watch / "arrivals.tsv", ARRIVAL_COLUMNS)
    assert (row["video"], row["path"]) == ("m1_top", "in/m1_top.mp4")
    assert 0 <= float(row["seconds"]) < 600
    assert place.look()
    assert place.called == 1
    assert place.results.watch.name in _WORKING


def test_a_video_that_is_being_copied_is_left(place, video, monkeypatch):
    clock = [time.time()]
    monkeypatch.setattr(subject, "time", SimpleNamespace(time=lambda: clock[0]))
    path = place.incoming / "m1_top.mp4"
    data = video.read_bytes()
    # Whole and closed, but too new.
    path.write_bytes(data)
    place.look(settle=40)
    assert place.rows == []
    # It grows: its time starts anew.
    clock[0] += 45
    with path.open("ab") as file:
        file.write(b"\0\0\0\x0cfreexxxx")
        file.flush()
        place.look(settle=40)
        assert place.rows == []
        clock[0] += 45
        # Old enough, but this process has it open for writing.
        assert list(find_writers([path])) == [path]
        place.look(settle=40)
        assert place.rows == []
    assert find_writers([path]) == {}
    place.look(settle=40)
    assert place.rows == ["m1_top"]


def test_a_part_of_a_video_is_left_until_it_is_whole(place, video, caplog):
    path, data = place.incoming / "m1_top.mp4", video.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert place.look()
    assert place.look()
    assert place.rows == []
    assert place.called == 0
    # Said once, and not read again.
    assert sum("not whole yet" in record.message for record in caplog.records) == 1
    path.write_bytes(data)
    place.look()
    assert place.rows == ["m1_top"]


def test_a_file_that_could_not_be_read_is_tried_again(place, video, monkeypatch):
    copy(video, place, "m1_top.mp4")
    real, reason = subject.find_damage, "cannot be read: Stale file handle"
    monkeypatch.setattr(subject, "find_damage", lambda paths, _: dict.fromkeys(paths, reason))
    place.look()
    monkeypatch.setattr(subject, "find_damage", real)
    place.look()
    assert place.rows == []
    file = StateFile(place.results)
    state = file.read()
    (known,) = state.seen.values()
    assert known.problem == reason
    known.checked -= 3600
    file.write(state)
    place.look()
    assert place.rows == ["m1_top"]


def test_misfits_and_copies_are_told_once_and_tried_again_with_another_sheet(place, video, caplog):
    copy(video, place, "m1_top.mp4", "holiday.mp4")
    shutil.copy(place.incoming / "m1_top.mp4", place.incoming / "m2_top.mp4")
    for _ in range(3):
        place.look()
    assert place.rows == ["m1_top"]
    assert place.called == 1
    said = [record.message for record in caplog.records if "left out" in record.message]
    # The first row changed the sheet: told once more.
    assert sum("does not fit" in line for line in said) in (1, 2)
    assert any("same content as" in line for line in said)
    before = len(said)
    place.sheet.write_text("video\tpath\nx\tnone.mp4\n")
    (place.incoming / "m1_top.mp4").unlink()
    place.look()
    assert place.rows == ["x", "m2_top"]
    assert len([one for one in caplog.records if "left out" in one.message]) == before + 1


def test_a_failed_workflow_is_started_again_for_further_videos_only(place, video):
    copy(video, place, "m1_top.mp4")
    assert not place.look(status=3)
    assert place.look(status=3)
    assert place.called == 1
    copy(video, place, "m2_top.mp4")
    assert place.look()
    assert (place.rows, place.called) == (["m1_top", "m2_top"], 2)
    rows = read_table(place.results.watch / "arrivals.tsv", ARRIVAL_COLUMNS)
    assert [row["video"] for row in rows] == ["m1_top", "m2_top"]


def test_a_killed_watch_starts_the_workflow_later(place, video):
    copy(video, place, "m1_top.mp4")
    Watcher(place.config, place.results, place.request())._extend([place.incoming / "m1_top.mp4"])
    assert (place.rows, place.called) == (["m1_top"], 0)
    assert place.look()
    assert place.called == 1
    # A row that someone ran by hand meanwhile needs no run.
    copy(video, place, "m2_top.mp4")
    Watcher(place.config, place.results, place.request())._extend([place.incoming / "m2_top.mp4"])
    row = dict.fromkeys(LEDGER_COLUMNS, "") | {"video": "m2_top", "status": "failed"}
    write_table(place.results.ledger, LEDGER_COLUMNS, [row])
    assert place.look()
    assert place.called == 1


def test_videos_wait_for_a_run_at_work(place, video):
    copy(video, place, "m1_top.mp4")
    assert describe_run_at_work(place.results) == ""
    lock = RunLock(place.results, hash_settings(place.config))
    assert "process" in describe_run_at_work(place.results)
    assert place.look()
    assert (place.rows, place.called) == (["m1_top"], 0)
    lock.release()
    assert place.look()
    assert place.called == 1


def test_never_two_at_once(place, video):
    copy(video, place, "m1_top.mp4")
    with StateFile(place.results).lock() as alone:
        assert alone
        assert place.look()
        assert place.rows == []
        with pytest.raises(StoreError, match="another watch"):
            run_watch(place.config, place.results, place.request(), every=1.0)


def test_damaged_state_and_missing_folder(place, video):
    copy(video, place, "m1_top.mp4")
    place.results.watch.mkdir(parents=True)
    (place.results.watch / "state.json").write_text('{"seen": 3')
    place.look()
    assert place.rows == ["m1_top"]
    shutil.rmtree(place.incoming)
    with pytest.raises(StoreError, match="no such folder to watch"):
        place.look()
