"""Test that the record of a project is read as it was written, and refused if it was changed."""

import json

import pytest

from pipeline_lib.core.errors import LabelError
from pipeline_lib.io.label_projects import manifest as module
from pipeline_lib.io.label_projects.manifest import read_manifest

FRAME = {"file": "images/a.png", "video": "v", "frame": 3, "image": "", "labelled": []}
GOOD = {"version": 2, "format": "coco", "scorer": "Ada", "bodyparts": ["nose"], "frames": [FRAME]}
POINT = {"individual": "m", "points": {"nose": [1.5, 2]}}


def write(folder, **changes):
    path = folder / "cohortpose.json"
    path.write_text(json.dumps({**GOOD, **changes}))
    return path


def test_a_record_is_read(tmp_path):
    predicted = {**FRAME, "predicted": [POINT], "labelled": None}
    labelled = {**FRAME, "file": "b.png", "frame": 4, "labelled": [{**POINT, "hidden": ["nose"]}]}
    found = read_manifest(write(tmp_path, frames=[predicted, labelled]))
    frame, other = found.frames
    assert frame.predicted[0].points == {"nose": (1.5, 2.0)}
    assert frame.recording == ""
    assert other.labelled[0].hidden == ["nose"]
    assert read_manifest(tmp_path / "none.json") is None


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"version": 1}, "is of version 1, expected 2"),
        ({"more": 1}, "more: Extra inputs"),
        ({"frames": [{**FRAME, "frame": -2}]}, "frames.0.frame"),
        ({"frames": [{**FRAME, "frame": 1e300}]}, "frames.0.frame"),
        ({"frames": [{**FRAME, "frame": "3"}]}, "frames.0.frame"),
        ({"frames": [FRAME, FRAME]}, "frame 3 of v .images/a.png. stands twice"),
        ({"frames": [FRAME, {**FRAME, "file": "b.png"}]}, "stands twice"),
        ({"frames": [{**FRAME, "file": "../a.png"}]}, "expected a path in the project"),
        ({"frames": [{**FRAME, "file": "/etc/passwd"}]}, "expected a path in the project"),
        ({"frames": [{**FRAME, "file": "a\0b"}]}, "expected a path in the project"),
        ({"frames": [{**FRAME, "file": "x" * 5000}]}, "at most 4096"),
        ({"frames": [{**FRAME, "predicted": [{**POINT, "points": {"nose": [1]}}]}]}, "points"),
    ],
)
def test_a_changed_record_is_refused(tmp_path, changes, problem):
    with pytest.raises(LabelError, match=problem):
        read_manifest(write(tmp_path, **changes))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000, '{"frames": NaN}', "\xff"])
def test_what_is_no_record(tmp_path, text):
    path = tmp_path / "cohortpose.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(LabelError):
        read_manifest(path)


def test_infinite_positions_and_large_files(tmp_path, monkeypatch):
    path = write(tmp_path, frames=[{**FRAME, "predicted": [POINT]}])
    path.write_text(path.read_text().replace("1.5", "1e999"))
    with pytest.raises(LabelError, match="finite number"):
        read_manifest(path)
    monkeypatch.setattr(module, "_MOST_BYTES", 20)
    with pytest.raises(LabelError, match="is larger than"):
        read_manifest(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(LabelError, match="cannot be read"):
        read_manifest(path)
