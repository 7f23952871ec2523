"""Test the tables of corrected labels: round trips, the rule for conflicts, damaged rows."""

import math
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline_lib.core.errors import LabelError
from pipeline_lib.core.untrusted.names import find_text_problem
from pipeline_lib.io.corrections import files
from pipeline_lib.io.corrections.labels import (
    CORRECTION_COLUMNS,
    BodypartChange,
    FrameCorrection,
    FrameKey,
    apply_renames,
    list_label_tables,
    read_bodypart_changes,
    read_label_corrections,
    remove_frame_correction,
    settle_corrections,
    write_bodypart_change,
    write_frame_correction,
    write_frame_corrections,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOSE = ("animal", "nose", 10.5, 20.25, "visible")
HEADER = "\t".join(CORRECTION_COLUMNS)
ROW = "m1\t5\t\tanimal\tnose\t1\t2\tvisible\t0\tAnn\t2026-03-01T12:00:00Z"


def correct(frame=5, *, author="Ann", time=NOON, keypoints=(NOSE,), video="m1", image=""):
    return FrameCorrection(video, frame, image, author, time, 1, keypoints)


def write_rows(folder: Path, *rows: str, header: str = HEADER) -> Path:
    path = folder / "labels" / "Ann" / "m1.tsv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows, ""]), encoding="utf-8")
    return path


LETTERS = st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"])
NAMES = (
    st.text(LETTERS, min_size=1, max_size=12)
    .map(lambda name: name.strip() or "a")
    .filter(lambda name: find_text_problem(name) is None)
)
PIXELS = st.floats(-1e6, 1e6)
SEEN = st.tuples(NAMES, NAMES, PIXELS, PIXELS, st.sampled_from(["visible", "hidden"]))
ABSENT = st.tuples(NAMES, NAMES, st.just(math.nan), st.just(math.nan), st.just("absent"))
KEYPOINTS = st.lists(SEEN | ABSENT, max_size=5, unique_by=lambda one: one[:2]).map(tuple)
TIMES = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
CORRECTIONS = st.builds(
    FrameCorrection,
    NAMES,
    st.integers(0, 10**9),
    st.sampled_from(["", "a/img 1.png", "/x/ü.png"]),
    NAMES,
    TIMES,
    st.integers(0, 9),
    KEYPOINTS,
)


@settings(max_examples=60, deadline=None)
@example([FrameCorrection("<<<<<<<", 0, "", "0", datetime(2000, 1, 1, tzinfo=UTC), 0, ())])
@given(st.lists(CORRECTIONS, max_size=4, unique_by=lambda one: (one.author, one.key)))
def test_corrections_are_read_as_they_were_written(tmp_path_factory, corrections):
    folder = tmp_path_factory.mktemp("c")
    for one in corrections:
        write_frame_correction(folder, one)
    read = read_label_corrections(folder)
    assert sorted(read, key=repr) == sorted(corrections, key=repr)


def test_a_table_is_text_that_version_control_can_hold(tmp_path):
    hidden = ("animal", "tail", 3.0, 4.0, "hidden")
    gone = ("animal", "paw", math.nan, math.nan, "absent")
    path = write_frame_correction(tmp_path, correct(7, keypoints=()))
    write_frame_correction(tmp_path, correct(5, keypoints=(NOSE, hidden, gone)))
    assert path == tmp_path / "labels" / "Ann" / "m1.tsv"
    assert path.read_text().splitlines() == [
        HEADER,
        "m1\t5\t\tanimal\tnose\t10.5\t20.25\tvisible\t1\tAnn\t2026-03-01T12:00:00Z",
        "m1\t5\t\tanimal\ttail\t3.0\t4.0\thidden\t1\tAnn\t2026-03-01T12:00:00Z",
        "m1\t5\t\tanimal\tpaw\t\t\tabsent\t1\tAnn\t2026-03-01T12:00:00Z",
        "m1\t7\t\t\t\t\t\tabsent\t1\tAnn\t2026-03-01T12:00:00Z",
    ]
    assert [p.name for p in path.parent.iterdir() if not p.name.startswith(".")] == ["m1.tsv"]
    assert (tmp_path / ".gitignore").read_text().splitlines()[1:] == [".*", "!.gitignore"]


def test_a_frame_is_replaced_as_a_whole_and_only_for_its_author(tmp_path):
    tail = ("animal", "tail", 1.0, 2.0, "visible")
    write_frame_correction(tmp_path, correct(keypoints=(NOSE, tail)))
    write_frame_correction(tmp_path, correct(author="Bob"))
    newer = correct(keypoints=(tail,), time=NOON + timedelta(seconds=1))
    write_frame_correction(tmp_path, newer)
    assert set(read_label_corrections(tmp_path)) == {newer, correct(author="Bob")}
    later = replace(newer, iteration=3)
    write_frame_correction(tmp_path, later)
    assert set(read_label_corrections(tmp_path)) == {newer, correct(author="Bob")}
    write_frame_correction(tmp_path, replace(newer, iteration=0))
    assert {one.iteration for one in read_label_corrections(tmp_path)} == {0, 1}
    remove_frame_correction(tmp_path, "Ann", newer.key)
    assert read_label_corrections(tmp_path) == (correct(author="Bob"),)
    assert list_label_tables(tmp_path) == [tmp_path / "labels/Bob/m1.tsv"]


def test_names_that_paths_cannot_hold_get_files_of_their_own(tmp_path):
    authors = ["A/n", "A-n", "A:n", "..x", "a" * 200]
    paths = {write_frame_correction(tmp_path, correct(author=name)) for name in authors}
    paths |= {write_frame_correction(tmp_path, correct(video="x/é?"))}
    assert len(paths) == 6
    for path in paths:
        assert path.resolve().is_relative_to(tmp_path.resolve() / "labels")
    assert {one.author for one in read_label_corrections(tmp_path)} == {*authors, "Ann"}


def test_the_newest_counts_then_the_first_author():
    old, new = correct(author="Zoe"), correct(author="Bob", time=NOON + timedelta(microseconds=1))
    same = replace(new, author="Ann")
    east = NOON.astimezone(timezone(timedelta(hours=9)))
    chosen, replaced = settle_corrections([old, new, same, correct(6, time=east)])
    assert chosen == {old.key: same, FrameKey("m1", 6, ""): correct(6)}
    assert replaced == [(same, new), (same, old)]
    chosen, _ = settle_corrections([correct(image="a.png"), correct(3, image="a.png", video="x")])
    assert len(chosen) == 1


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (ROW.replace("\t1\t2", "\t\t2"), "line 2: animal nose: is visible, but x or y is missing"),
        (ROW.replace("visible", "absent"), "line 2: animal nose: is absent, so x and y must"),
        (ROW.replace("visible", "seen"), "visibility 'seen': expected visible, hidden, absent"),
        (ROW.replace("\t1\t2", "\tnan\t2"), "line 2: x 'nan': expected a number"),
        (ROW.replace("\t1\t2", "\t1e309\t2"), "line 2: x '1e309': expected a number"),
        (ROW.replace("\t1\t2", "\t1_0\t2"), "line 2: x '1_0': expected a number"),
        (ROW.replace("\t1\t2", "\t" + "9" * 5000 + "\t2"), "x is longer than 4096 characters"),
        (ROW.replace("\t5\t", "\t-1\t"), "line 2: frame -1: expected a frame number"),
        (ROW.replace("\t5\t", "\t\u0665\t"), "line 2: frame '\u0665': expected a whole number"),
        (ROW.replace("\t5\t", "\t5.0\t"), "line 2: frame '5.0': expected a whole number"),
        (ROW.replace("\t0\tAnn", "\t-2\tAnn"), "line 2: iteration -2: expected 0 to"),
        (ROW.replace("12:00:00Z", "12:00:00"), "expected a time in UTC, such as"),
        (ROW.replace("12:00:00Z", "12:00:00+02:00"), "expected a time in UTC, such as"),
        (ROW.replace("2026-03-01T", "2026-13-01T"), "expected a time in UTC, such as"),
        (ROW.replace("animal", "a\x1b[2J"), "a tab, a line end or another character"),
        (ROW.replace("animal", "../x"), "its name is a path to another folder"),
        (ROW.replace("animal", ""), "individual '': its name is empty"),
        (ROW.replace("m1", ""), "video '': its name is empty"),
        (ROW.replace("nose", "n" * 300), "its name is longer than 200 bytes"),
        (ROW + "\n" + ROW, "lines 2 to 3: animal nose: stands there twice"),
        (ROW + "\n" + ROW.replace("nose", "ear").replace("12:0", "13:0"), "line 3: time '2026"),
        ("<<<<<<< HEAD\n" + ROW, "line 2: is the mark of a merge conflict of git"),
        (ROW + "\tmore", "line 2: 12 cells, expected 11"),
        ('"' + ROW, "line 2: cannot be read"),
    ],
)
def test_a_damaged_row_is_one_problem_that_names_file_and_line(tmp_path, row, problem):
    path = write_rows(tmp_path, row)
    before = path.read_bytes()
    with pytest.raises(LabelError) as caught:
        read_label_corrections(tmp_path)
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].startswith("Ann/m1.tsv, line")
    assert problem in str(caught.value)
    with pytest.raises(LabelError):
        write_frame_correction(tmp_path, correct())
    assert path.read_bytes() == before


@pytest.mark.parametrize("end", ["\r\n", "\n\n", "\n" + "\t" * 10 + "\n"])
def test_what_editors_and_spreadsheets_make_of_a_table_is_read(tmp_path, end):
    path = write_rows(tmp_path, ROW)
    columns = [3, 0, *range(4, 11), 1, 2]
    lines = [line.split("\t") for line in (HEADER, ROW)]
    text = end.join("\t".join(cells[number] for number in columns) for cells in lines) + end
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    (one,) = read_label_corrections(tmp_path)
    assert one == replace(correct(keypoints=(("animal", "nose", 1, 2, "visible"),)), iteration=0)


def test_every_damaged_row_of_every_file_is_named(tmp_path):
    path = write_rows(tmp_path, ROW.replace("visible", "v"), ROW.replace("\t5\t", "\tx\t"))
    other = path.with_name("m2.tsv")
    other.write_bytes(b"\xff\xfe" + HEADER.encode("utf-16-le"))
    with pytest.raises(LabelError) as caught:
        read_label_corrections(tmp_path)
    assert [one.split(":")[0] for one in caught.value.problems] == [
        "Ann/m1.tsv, line 3",
        "Ann/m1.tsv, line 2",
        "Ann/m2.tsv, is saved as UTF-16",
    ]


def test_two_writers_of_one_author_lose_nothing(tmp_path):
    def write(first: int) -> None:
        for frame in range(first, 40, 2):
            write_frame_correction(tmp_path, correct(frame))

    threads = [threading.Thread(target=write, args=(first,)) for first in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.frame for one in read_label_corrections(tmp_path)] == list(range(40))


def test_a_lock_that_is_never_released_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_LONGEST_WAIT", 0.02)
    folder = tmp_path / "labels" / "Ann"
    with (
        files.lock_folder(folder, tmp_path),
        pytest.raises(LabelError, match="another process has held this lock"),
    ):
        write_frame_correction(tmp_path, correct())


@pytest.mark.parametrize(
    "wrong",
    [
        {"frame": -1},
        {"author": "a\nb"},
        {"video": " m"},
        {"iteration": -1},
        {"image": "a\nb"},
        {"time": datetime(2026, 1, 1)},  # noqa: DTZ001
        {"keypoints": (NOSE, NOSE)},
        {"keypoints": (("animal", "nose", math.inf, 1.0, "visible"),)},
        {"keypoints": (("", "nose", 1.0, 1.0, "visible"),)},
    ],
)
def test_what_could_not_be_read_again_is_not_made(wrong):
    with pytest.raises(LabelError, match="correction of"):
        replace(correct(), **wrong)


def test_nothing_is_made_by_reading(tmp_path):
    assert read_label_corrections(tmp_path / "none") == ()
    assert read_bodypart_changes(tmp_path / "none") == ()
    assert list_label_tables(tmp_path / "none") == []
    assert not list(tmp_path.iterdir())


def test_bodyparts_are_renamed_in_the_order_of_time(tmp_path):
    def change(seconds, what, bodypart, former=""):
        time = NOON + timedelta(seconds=seconds)
        return BodypartChange(what, bodypart, former, "Ann", time)

    changes = [
        change(3, "rename", "snout", "nose"),
        change(1, "add", "tail"),
        change(5, "rename", "nose", "muzzle"),
        change(7, "rename", "tip", "snout"),
    ]
    for one in changes:
        write_bodypart_change(tmp_path, one)
    read = read_bodypart_changes(tmp_path)
    assert read == tuple(sorted(changes, key=lambda one: one.time))
    assert list_label_tables(tmp_path) == [tmp_path / "bodyparts.tsv"]
    assert apply_renames("nose", read, None) == "tip"
    assert apply_renames("nose", read, NOON + timedelta(seconds=4)) == "nose"
    assert apply_renames("muzzle", read, None) == "nose"
    with pytest.raises(LabelError, match="its former name"):
        change(1, "rename", "a", "a")
    (tmp_path / "bodyparts.tsv").write_text("what\tbodypart\tformer\tauthor\ttime\nfly\t\t\t\t\n")
    with pytest.raises(LabelError, match="line 2: time '': expected a time"):
        read_bodypart_changes(tmp_path)


def test_many_frames_at_once_are_written_as_one_by_one(tmp_path):
    corrections = [
        correct(frame, author=author, video=video, time=NOON + timedelta(seconds=frame))
        for author in ("Ann", "Bob")
        for video in ("m1", "m2")
        for frame in (3, 1, 2)
    ]
    for one in corrections:
        write_frame_correction(tmp_path / "single", one)
    before = replace(correct(1), iteration=0)
    for folder in ("single", "many"):
        write_frame_correction(tmp_path / folder, before)
    written = write_frame_corrections(tmp_path / "many", corrections)
    write_frame_correction(tmp_path / "single", corrections[1])
    assert len(written) == 4
    for path in written:
        same = tmp_path / "single" / path.relative_to(tmp_path / "many")
        assert path.read_text() == same.read_text()
    found = read_label_corrections(tmp_path / "many")
    assert len(found) == 12
    # A frame of an earlier iteration stays one of it.
    assert {one.iteration for one in found if one.key == ("m1", 1, "") and one.author == "Ann"} == {
        0
    }


@pytest.mark.parametrize(("author", "video"), [("Bob", "m1"), ("Ann", "m2")])
def test_a_row_in_the_table_of_another_author_or_video_is_refused(tmp_path, author, video):
    """It could not be withdrawn, and its source would be a file that does not exist."""
    keypoint = ("animal", "nose", 1.0, 2.0, "visible")
    one = FrameCorrection(video, 5, "", author, datetime(2026, 3, 1, tzinfo=UTC), 0, (keypoint,))
    table = write_frame_correction(tmp_path, one)
    wrong = tmp_path / "labels" / "Ann" / "m1.tsv"
    wrong.parent.mkdir(exist_ok=True)
    table.rename(wrong)
    with pytest.raises(LabelError, match="stands in a file of another name"):
        read_label_corrections(tmp_path)
