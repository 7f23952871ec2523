"""Test the sessions of a sheet: names of calibrations, and what is refused."""

from pathlib import Path

import pytest

from pipeline_lib.core.cameras.sessions import (
    find_session_problems,
    list_sessions,
    name_calibration,
)
from pipeline_lib.core.cohort import Video
from pipeline_lib.core.settings.reading import parse_config


def make_config(**sections):
    return parse_config({"cohort": "data/cohort.tsv", **sections})


def make_videos(*cells):
    """Return videos of session, camera and calibration."""
    return tuple(
        Video(f"v{number}", Path("v.mp4"), session, camera, calibration)
        for number, (session, camera, calibration) in enumerate(cells)
    )


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("data/monday.toml", "monday"),
        ("data/day1/cams.yml", "day1-cams"),
        ("data/day1/boards.v2", "day1-boards.v2"),
        ("data/../shared/cams.toml", "shared-cams"),
        ("/lab/rig a/2026/cams.mat", "2026-cams"),
        ("/lab/rig a/cams.mat", "rig-a-cams"),
        ("data/.hidden/x.toml", "hidden-x"),
        ("data", "calibration"),
    ],
)
def test_the_name_of_a_calibration_follows_from_its_path(source, name):
    assert name_calibration(source, Path("data/cohort.tsv")) == name


def test_sessions_have_the_calibration_of_a_cell_or_of_the_config():
    videos = make_videos(
        ("b", "1", ""), ("a", "1", "data/x/../one.toml"), ("", "", "no.toml"), ("b", "2", "")
    )
    sessions = list_sessions(make_config(calibration={"path": "all.toml"}), videos)
    found = [(one.name, [video.video for video in one.videos], one.source) for one in sessions]
    assert found == [("b", ["v0", "v3"], "all.toml"), ("a", ["v1"], "data/one.toml")]
    assert list_sessions(make_config(), videos)[0].source == ""


def test_what_makes_sessions_impossible_is_listed_line_by_line():
    videos = make_videos(
        ("good", "1", "data/a.toml"),
        ("good", "2", "data/./a.toml"),
        ("Good", "1", "data/a.toml"),
        ("../up", "1", "data/a.toml"),
        ("twice", "cam", "data/a.toml"),
        ("twice", "CAM", "data/a.toml"),
        ("none", "", "data/a.toml"),
        ("two", "1", "data/a.toml"),
        ("two", "2", "data/b.toml"),
        ("same", "1", "data/a.yml"),
    )
    settings = {"synchronisation": {"offset_column": "late"}}
    problems = find_session_problems(make_config(triangulation=settings), videos)
    beginnings = (
        "session Good differs from good in case only",
        "session '../up' of v3 must be letters, digits and . _ - only",
        "`triangulation.synchronisation.offset_column`: the sheet has no column 'late'",
        "session twice: videos v4 and v5 are both of camera CAM",
        "video v6: is in session none and has no camera",
        "session two: its videos name different calibrations (data/a.toml, data/b.toml)",
        "calibrations data/a.toml and data/a.yml would both be written as a",
    )
    assert len(problems) == len(beginnings), problems
    for problem, beginning in zip(problems, beginnings, strict=True):
        assert problem.startswith(beginning)
    assert find_session_problems(make_config(), make_videos(("s", "1", ""), ("s", "2", ""))) == []
