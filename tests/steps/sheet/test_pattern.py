"""Test that fields are read from file names, or the reason is told."""

from pathlib import PurePosixPath

import pytest

from pipeline_lib.core.errors import SheetError
from pipeline_lib.steps.sheet.pattern import FilePattern, PatternError, fill_template


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("{animal}_{date}_{camera}.mp4", "m1_2024-01-02_top.MP4", ["m1", "2024-01-02", "top"]),
        ("{animal}_{date}", "deep/in/m1_2024.avi", ["m1", "2024"]),
        ("{group}/{animal}-*.mp4", "x/ctrl/Mäuse 1-.mp4", ["ctrl", "Mäuse 1"]),
        ("{group}/*/{animal}.mp4", "ctrl/day 1/m1.mp4", ["ctrl", "m1"]),
        ("{animal};{dose}.mp4", '=1+1;a"b,0.5.mp4', ["=1+1", 'a"b,0.5']),
    ],
)
def test_fields(pattern, path, expected):
    assert list(FilePattern(pattern).read(PurePosixPath(path)).values()) == expected


def test_a_name_that_fits_in_two_ways():
    with pytest.raises(PatternError, match="'m', camera '1_top'; or animal 'm_1', camera 'top'"):
        FilePattern("{animal}_{camera}.mp4").read(PurePosixPath("m_1_top.mp4"))
    # What is dropped may be so in many ways.
    with pytest.raises(PatternError, match="more than one way"):
        FilePattern("{animal}-*.mp4").read(PurePosixPath("a-b-c.mp4"))
    assert FilePattern("{animal}_*_*_x.mp4").read(PurePosixPath("m_a_b_x.mp4")) == {"animal": "m"}


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("m1_top.avi", "does not end with .mp4"),
        ("m1.mp4", "does not fit"),
        ("_top.mp4", "does not fit"),
        ("m1_.mp4", "does not fit"),
    ],
)
def test_misfits(path, reason):
    with pytest.raises(PatternError, match=reason):
        FilePattern("{animal}_{camera}.mp4").read(PurePosixPath(path))
    with pytest.raises(PatternError, match="fewer folders"):
        FilePattern("{group}/{animal}.mp4").read(PurePosixPath("m1.mp4"))


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("x.mp4", "has no field"),
        ("{a}{b}.mp4", "side by side"),
        ("{a}*.mp4", "side by side"),
        ("{a.mp4", "brace"),
        ("{path}.mp4", "holds a path"),
        ("{a}_{a}.mp4", "more than once"),
        ("{}.mp4", "is empty"),
        ("{a\tb}.mp4", "tab"),
    ],
)
def test_bad_patterns(pattern, reason):
    with pytest.raises(SheetError, match=reason):
        FilePattern(pattern)


def test_a_hostile_name_takes_no_exponential_time():
    pattern = FilePattern("_".join(f"{{f{number}}}" for number in range(20)) + "!.mp4")
    with pytest.raises(PatternError):
        pattern.read(PurePosixPath("_" * 240 + ".mp4"))


def test_template():
    assert fill_template("{animal}-{date}", {"animal": "m1", "date": "{animal}"}) == "m1-{animal}"
    with pytest.raises(SheetError, match="no field 'day'"):
        fill_template("{day}", {"animal": "m1"})
