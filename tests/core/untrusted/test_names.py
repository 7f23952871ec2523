"""Test the natural order of names, and which names may become part of a path."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from pipeline_lib.core.settings.base import Name
from pipeline_lib.core.untrusted.names import (
    LONGEST_NAME,
    check_name,
    clean_part,
    find_name_problem,
    find_part_problem,
    find_text_problem,
    fold_name,
    natural_order,
)

# Hidden, other folders, options, our own unfinished files, endings that mean something.
NO_NAMES = [
    "", " ", ".", "..", "...", ".hidden", ".part-x", ".old-x.abcdefgh", "-rf", "--shard", "a/b",
    "../a", "a\\b", "a b", "a\n", "\na", "a\tb", "a\0b", "ä", "a:b", "a*", "x.part", "x.TMP",
    "plan.tsv", "images.json", "IMAGES.JSON", "x" * (LONGEST_NAME + 1),
    "a\u202eb", "a\u2028b",
]  # fmt: skip
NAMES = ["a", "A.b-c_1", "_a", "2024-01-01", "x.partial", "x.analysis", "a..b", "x" * LONGEST_NAME]
# Not ids, but fine as a folder's name, or at least as one that is shown.
PARTS = ["mouse 1", "Mäuse", "视频", "a,b", "(1)"]
TEXTS = [" a", "a ", "L/R ear", "tail: tip", ".hidden", "-x", "<eye>"]
NO_TEXTS = [
    "..",
    ".",
    "../a",
    "a/..",
    "a\\..\\b",
    "",
    "  ",
    "a\tb",
    "a\nb",
    "a\r\nb",
    "a\0b",
    "a\u2028b",
    "\ud800",
]


@pytest.mark.parametrize(
    "names",
    [["fly1", "fly2", "fly10"], ["", "1", "2", "10", "a"], ["a", "a1", "a1b", "a2", "b"]],
)
def test_numbers_are_ordered_as_numbers(names):
    turned = names[::-1]
    assert sorted(turned, key=natural_order) == names


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Mouse1", "mouse1"),
        ("M\u00e4use", "Ma\u0308use"),
        ("\u00c4", "a\u0308"),
        ("stra\u00dfe", "STRASSE"),
    ],
)
def test_names_that_are_one_file_on_some_system(first, second):
    assert fold_name(first) == fold_name(second)
    assert fold_name(first) != fold_name(second + "2")


@pytest.mark.parametrize("name", NO_NAMES)
def test_no_ids(name):
    assert find_name_problem(name)
    with pytest.raises(ValueError, match="a name "):
        check_name(name)
    with pytest.raises(ValidationError):
        TypeAdapter(Name).validate_python(name)


@pytest.mark.parametrize("name", NAMES)
def test_ids(name):
    assert check_name(name) == TypeAdapter(Name).validate_python(name) == name
    assert find_part_problem(name) is find_text_problem(name) is None


@pytest.mark.parametrize("name", PARTS)
def test_names_of_folders_that_are_no_ids(name):
    assert find_name_problem(name)
    assert find_part_problem(name) is None
    assert clean_part(name, "x") == name


@pytest.mark.parametrize("name", TEXTS)
def test_names_that_are_only_shown(name):
    assert find_part_problem(name)
    assert find_text_problem(name) is None


@pytest.mark.parametrize("name", NO_TEXTS)
def test_names_that_cannot_be_shown(name):
    assert find_text_problem(name)


@given(
    st.text(st.characters(codec="utf-8")), st.sampled_from(["", "..", "/", ".part", ".tmp", " "])
)
def test_any_text_becomes_a_part(text, ending):
    name = clean_part(text + ending, "video0")
    assert find_part_problem(name) is None
    assert not re.search(r"[/\\\x00]", name)
    assert clean_part(name, "video0") == name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("..", "v"), ("a/b", "a-b"), (".part-x", "part-x"), ("x.part", "x-part"),
        ("images.json", "images-json"), ("C:\\x", "C--x"), ("é" * 150, "é" * 100),
    ],
)  # fmt: skip
def test_the_nearest_name(text, name):
    assert clean_part(text, "v") == name


@pytest.mark.parametrize("control", "\u202e\u2066\u200f\u061c")
def test_names_that_look_like_others_are_refused(control):
    """What stands after a control of direction may be shown before it."""
    name = f"mouse{control}1-2"
    assert "direction of text" in find_text_problem(name)
    assert find_part_problem(name)
    assert find_name_problem(name)
    assert clean_part(name, "x") == "mouse-1-2"
    # Letters that are written from right to left need no such control.
    assert find_text_problem("\u05d0\u05e3 1") is None
