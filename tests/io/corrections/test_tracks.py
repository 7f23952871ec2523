"""Test the table of decisions about tracks: what is written is read, and strangers' files."""

import os
from dataclasses import replace
from datetime import UTC, datetime
from multiprocessing import get_context

import pytest

from pipeline_lib.core.errors import LabelError
from pipeline_lib.core.track_decisions import Anchor, DecisionKind, Passage, TrackDecision
from pipeline_lib.io.corrections.tracks import (
    DECISION_COLUMNS,
    hash_tables,
    index_decision_tables,
    read_track_decisions,
    remove_track_decision,
    write_track_decision,
)

NOON = datetime(2026, 3, 1, 12, 0, 0, 250000, tzinfo=UTC)
SWAP = TrackDecision(
    video="mouse-01",
    what=DecisionKind.SWAP,
    first_frame=120,
    last_frame=131,
    individual="mouse1",
    other="mouse2",
    passages=(
        Passage(Anchor(119, 310.25, 48.5), Anchor(120, 312.0, -0.75)),
        Passage(Anchor(119, 330.0, 52.0), None),
    ),
    ends=(Passage(Anchor(131, 1.0, 2.0), Anchor(133, 3.0, 4.0)),),
    author="Anna Müller",
    time=NOON,
)
NEW = replace(SWAP, what=DecisionKind.NEW, last_frame=None, other="", ends=(), first_frame=120)
NEW = replace(NEW, passages=SWAP.passages[:1])


def test_what_is_written_is_read(tmp_path):
    folder = tmp_path / "corrections"
    assert read_track_decisions(folder) == ()
    path = write_track_decision(folder, SWAP)
    assert path == folder / "tracks" / "Anna Müller" / "mouse-01.tsv"
    write_track_decision(folder, replace(NEW, first_frame=9999, passages=(
        Passage(Anchor(9998, 1.0, 1.0), Anchor(9999, 1.0, 1.0)),)))  # fmt: skip
    write_track_decision(folder, NEW)
    # What stands there is not repeated.
    write_track_decision(folder, NEW)
    assert [one.first_frame for one in read_track_decisions(folder)] == [120, 120, 9999]
    assert read_track_decisions(folder)[:2] == (SWAP, NEW)
    assert list(index_decision_tables(folder)) == ["mouse-01"]
    lines = path.read_text().splitlines()
    assert tuple(lines[0].split("\t")) == DECISION_COLUMNS
    assert "119 310.25 48.50\t120 312.00 -0.75\t119 330.00 52.00\t\t131 1.00 2.00" in lines[1]


def test_positions_are_kept_to_a_hundredth_of_a_pixel(tmp_path):
    fine = replace(SWAP, passages=(Passage(Anchor(1, 1 / 3, 2.0), Anchor(120, 5.0, 6.0)),))
    write_track_decision(tmp_path, fine)
    (read,) = read_track_decisions(tmp_path)
    assert read.passages[0].before == Anchor(1, 0.33, 2.0)
    remove_track_decision(tmp_path, fine)
    assert read_track_decisions(tmp_path) == ()


def test_a_decision_that_is_withdrawn_leaves_no_file(tmp_path):
    path = write_track_decision(tmp_path, SWAP)
    write_track_decision(tmp_path, NEW)
    remove_track_decision(tmp_path, SWAP)
    assert read_track_decisions(tmp_path) == (NEW,)
    before = hash_tables([path])
    remove_track_decision(tmp_path, NEW)
    assert not path.exists()
    assert hash_tables([]) == ""
    assert before


def _decide(folder, author, numbers):
    for number in numbers:
        anchors = Passage(Anchor(number - 1, 1.0, 1.0), Anchor(number, 1.0, 1.0))
        write_track_decision(
            folder, replace(NEW, first_frame=number, passages=(anchors,), author=author)
        )


def test_nothing_is_lost_where_several_decide_at_once(tmp_path):
    context = get_context("fork")
    jobs = [("anna", range(1, 20)), ("anna", range(20, 40)), ("ben", range(1, 20))]
    running = [context.Process(target=_decide, args=(tmp_path, *job)) for job in jobs]
    for process in running:
        process.start()
    for process in running:
        process.join()
    decisions = read_track_decisions(tmp_path)
    assert [one.first_frame for one in decisions if one.author == "anna"] == list(range(1, 40))
    assert [one.first_frame for one in decisions if one.author == "ben"] == list(range(1, 20))


@pytest.mark.parametrize(
    ("column", "cell", "said"),
    [
        ("what", "explode", "what 'explode': expected one of swap, new"),
        ("first_frame", "-4", "first_frame '-4': expected a frame number"),
        ("first_frame", "0", "first_frame 0: expected 1 or more"),
        ("first_frame", "9" * 400, "expected a frame number"),
        ("last_frame", "4", "last_frame 4: is before first_frame 120"),
        ("before", "119 nan 4", "before '119 nan 4': expected `FRAME X Y`"),
        ("before", "119 1e400 4", "expected `FRAME X Y`"),
        ("before", "119 99999999 4", "expected px within a frame"),
        ("before", "120 1 4", "before: frame 120: expected one before frame 120"),
        ("after", "5 1 4", "after: frame 5: expected frame 120 or one after it"),
        ("before", "", "before, after: expected the anchors of one animal"),
        ("end_before", "", "end_before, end_after: expected the anchors"),
        ("other", "mouse1", "is the individual itself"),
        ("other", "", "other ''"),
        ("video", "../../etc", "video '../../etc'"),
        ("video", "mouse-02", "stands in a file of another name"),
        ("author", "", "author ''"),
        ("time", "yesterday", "time 'yesterday': expected a time in UTC"),
        ("time", "2026-03-01T12:00:00", "expected a time in UTC"),
    ],
)
def test_a_damaged_row_is_named_with_file_and_line(tmp_path, column, cell, said):
    path = write_track_decision(tmp_path, SWAP)
    write_track_decision(tmp_path, NEW)
    header, first, second = path.read_text().splitlines()
    cells = dict(zip(DECISION_COLUMNS, first.split("\t"), strict=True)) | {column: cell}
    path.write_text("\n".join([header, "\t".join(cells.values()), second, ""]))
    with pytest.raises(LabelError) as error:
        read_track_decisions(tmp_path)
    assert any(said in problem for problem in error.value.problems), error.value.problems
    assert all("Anna Müller/mouse-01.tsv, line 2: " in line for line in error.value.problems)
    # A damaged table is nobody's to overwrite.
    text = path.read_text()
    with pytest.raises(LabelError):
        write_track_decision(tmp_path, replace(SWAP, first_frame=125))
    assert path.read_text() == text


@pytest.mark.parametrize(
    "change",
    [
        {"author": "a\nb"},
        {"video": ".."},
        {"time": datetime(2026, 1, 1)},  # noqa: DTZ001 - refused for that
        {"passages": ()},
        {"what": DecisionKind.JOIN},
        {"what": DecisionKind.CONFIRM},
        {"passages": (Passage(Anchor(119, float("nan"), 1.0), Anchor(120, 1.0, 1.0)),)},
        {"passages": SWAP.passages * 2},
    ],
)
def test_what_could_not_be_read_is_not_written(tmp_path, change):
    with pytest.raises(LabelError):
        write_track_decision(tmp_path, replace(SWAP, **change))
    assert not list(tmp_path.rglob("*.tsv"))


def test_links_and_pipes_are_refused(tmp_path):
    outside = tmp_path / "outside.tsv"
    outside.write_text("secret")
    folder = tmp_path / "corrections" / "tracks" / "eve"
    folder.mkdir(parents=True)
    (folder / "mouse-01.tsv").symlink_to(outside)
    os.mkfifo(folder / "mouse-02.tsv")
    # Neither is opened for a hash, which would wait or follow.
    tables = [folder / "mouse-01.tsv", folder / "mouse-02.tsv"]
    assert hash_tables(tables[:1]) == hash_tables(tables[:1])
    for name in ("mouse-01", "mouse-02"):
        with pytest.raises(LabelError, match=r"link|regular"):
            write_track_decision(tmp_path / "corrections", replace(SWAP, author="eve", video=name))
    with pytest.raises(LabelError, match=r"link|regular"):
        read_track_decisions(tmp_path / "corrections")
    assert outside.read_text() == "secret"
