"""Test session and subject from a sheet's cells, under common names and in common forms."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from pipeline_lib.core.cohort import Video
from pipeline_lib.io.exports.session import Session, Subject, hash_sessions, read_session

FULL = {
    "subject": "m1",
    "species": "Mus musculus",
    "sex": "F",
    "age": "P90D",
    "start": "2024-05-17T09:30:00+02:00",
}
START = datetime(2024, 5, 17, 9, 30, tzinfo=timezone(timedelta(hours=2)))


def test_everything_that_archives_ask_for_is_read():
    session, problems = read_session(FULL, "day 1")
    assert problems == []
    assert session == Session(
        start=START,
        session_id="day 1",
        subject=Subject(subject_id="m1", species="Mus musculus", sex="F", age="P90D"),
    )


def test_an_empty_sheet_says_nothing_and_what_is_missing_is_said():
    session, problems = read_session({"group": "control", "subject": "n/a", "sex": " "})
    assert session == Session()
    assert len(problems) == 2
    assert "1970-01-01" in problems[0]
    assert "no `subject`, `species`, `sex`, `age`" in problems[1]


@pytest.mark.parametrize(
    "column", ["Session Start", "session_start", "START", "start-time", " Session_Start_Time "]
)
def test_columns_are_found_however_they_are_written(column):
    assert read_session({column: "2024-05-17T09:30+02:00"})[0].start == START


@pytest.mark.parametrize("column", ["Subject", "subject_id", "Animal ID", "animal"])
def test_subjects_have_several_names(column):
    assert read_session({column: "m/1"})[0].subject.subject_id == "m-1"


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("2024-05-17", datetime(2024, 5, 17, tzinfo=UTC)),
        ("2024-05-17 09:30", datetime(2024, 5, 17, 9, 30, tzinfo=UTC)),
        ("2024-05-17T09:30:00+00:00:30", datetime(2024, 5, 17, 9, 29, 30, tzinfo=UTC)),
        ("20240517T093000Z", datetime(2024, 5, 17, 9, 30, tzinfo=UTC)),
        ("2024-05-17T09:30:00.25Z", datetime(2024, 5, 17, 9, 30, 0, 250000, tzinfo=UTC)),
    ],
)
def test_times_are_those_of_iso_8601_and_of_utc_if_they_name_no_zone(text, start):
    found = read_session({"start": text})[0].start
    assert found == start
    assert found.utcoffset().total_seconds() % 60 == 0


@pytest.mark.parametrize(
    ("text", "sex"),
    [("male", "M"), ("Female", "F"), ("f", "F"), ("unknown", "U"), ("other", "O"), ("XX", "XX")],
)
def test_sexes_are_letters(text, sex):
    assert read_session({"sex": text})[0].subject.sex == sex


@pytest.mark.parametrize(
    ("column", "text", "age"),
    [
        ("age", "P90D", "P90D"),
        ("age", "P1D/P3D", "P1D/P3D"),
        ("age", "P90Y/", "P90Y/"),
        ("age", "P2Y6M", "P2Y6M"),
        ("age", "90 days", "P90D"),
        ("age", "12w", "P12W"),
        ("Age (weeks)", "12.5", "P12.5W"),
        ("age_days", "90", "P90D"),
        ("age_months", "3", "P3M"),
    ],
)
def test_ages_are_durations(column, text, age):
    session, problems = read_session({column: text})
    assert session.subject.age == age
    assert not any("left out" in problem for problem in problems)


def test_common_names_of_species_become_latin_and_birth_is_midnight():
    subject = read_session({"species": "Mouse", "DOB": "2024-02-29"})[0].subject
    assert subject.species == "Mus musculus"
    assert subject.date_of_birth == datetime(2024, 2, 29, tzinfo=UTC)


@pytest.mark.parametrize(
    ("column", "text", "said"),
    [
        ("start", "17.5.2024", "is not a time of ISO 8601"),
        ("sex", "banana", "is none of M, F, U"),
        ("age", "90", "is neither a duration"),
        ("age", "P", "is neither a duration"),
        ("age", "old", "is neither a duration"),
        ("species", "unicorn", "is not a Latin name"),
        ("date_of_birth", "2023-02-29", "is not a date"),
    ],
)
def test_cells_that_cannot_be_parsed_are_reported(column, text, said):
    session, problems = read_session({**FULL, column: text})
    (problem,) = [line for line in problems if "left out" in line]
    assert problem.startswith(f"column `{column}`: {text!r} {said}")
    cells = {name: cell for name, cell in FULL.items() if name != column}
    assert session == read_session(cells)[0]


def test_the_hash_depends_on_what_files_tell_and_on_nothing_else():
    def make(video="v", session="", **changes):
        return Video(video, Path("v.mp4"), session=session, metadata={**FULL, **changes})

    same = hash_sessions([make()])
    assert hash_sessions([make(group="control")]) == same
    assert hash_sessions([make(sex="female")]) == same
    assert hash_sessions([make("w"), make()]) == hash_sessions([make(), make("w")])
    others = [
        [make(sex="M")],
        [make(session="day1")],
        [make(start="2024-05-17T09:30:00Z")],
        [make(), make("w")],
        [],
    ]
    assert len({same, *map(hash_sessions, others)}) == 6


def test_people_and_keywords_may_be_several():
    session, _ = read_session({"Experimenter": "Doe, Jane; Roe, Ann", "keywords": "a;b ; "})
    assert session.experimenter == ("Doe, Jane", "Roe, Ann")
    assert session.keywords == ("a", "b")
