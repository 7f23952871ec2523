"""Test the record of the installed software."""

import importlib.metadata
import json
from types import SimpleNamespace

import pytest

from pipeline_lib import __version__
from pipeline_lib.core.layout import Results
from pipeline_lib.steps.provenance import software
from pipeline_lib.steps.provenance.software import (
    describe_git,
    describe_software,
    list_packages,
    list_required,
    write_environment,
)


@pytest.fixture
def installed(monkeypatch):
    """Create distributions, by name: version, requirements."""
    known = {
        "root": ("1", ["Middle_One[fast]>=2", "absent", "tests; extra == 'dev'"]),
        "Middle_One": ("2.5", ["leaf", "quick; extra == 'fast'", "slow; extra == 'other'"]),
        "leaf": ("3", ["root", "windows; sys_platform == 'win32'"]),
        "quick": ("4", None),
        **{name: ("9", []) for name in ("tests", "slow", "windows")},
    }

    def find(name):
        if name not in known:
            raise importlib.metadata.PackageNotFoundError(name)
        version, requires = known[name]
        return SimpleNamespace(version=version, requires=requires)

    monkeypatch.setattr(software.importlib.metadata, "distribution", find)


@pytest.mark.usefixtures("installed")
def test_packages_that_a_package_needs_here():
    """Follow requested extras only, end in circles, and leave out what is not installed."""
    assert list_packages("root") == {"leaf": "3", "middle-one": "2.5", "quick": "4"}
    assert list_packages("nowhere") == {}


def test_the_running_software_is_described():
    found = describe_software()
    assert found["cohortpose"] == __version__
    # Asked for by cohortpose itself, and by torch only.
    assert {"torch", "sympy"} <= set(found["packages"])
    assert found["packages"]["numpy"] == importlib.metadata.version("numpy")
    assert "sympy" not in list_required()
    assert "opencv-python" in list_required()
    assert found["ffmpeg"]["libavcodec"].count(".") == 2


def test_an_environment_is_written_once(tmp_path):
    results = Results(tmp_path)
    name = write_environment(results)
    path = results.environments / f"{name}.json"
    assert json.loads(path.read_text()) == describe_software()
    before = path.stat()
    assert write_environment(results) == name
    assert path.stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("0123abc\n", {"commit": "0123abc", "dirty": False}),
        ("0123abc-dirty\n", {"commit": "0123abc", "dirty": True}),
    ],
)
def test_the_commit_and_whether_something_was_changed_since(monkeypatch, said, expected):
    monkeypatch.setattr(software.subprocess, "run", lambda *_, **__: SimpleNamespace(stdout=said))
    assert describe_git() == expected


@pytest.mark.parametrize("error", [FileNotFoundError, OSError])
def test_without_git_the_commit_is_what_pip_or_an_image_says(monkeypatch, error):
    def fail(*_, **__):
        raise error

    origin = {"vcs_info": {"commit_id": "4567def"}}
    text = SimpleNamespace(read_text=lambda _: json.dumps(origin))
    monkeypatch.delenv("COHORTPOSE_COMMIT", raising=False)
    monkeypatch.setattr(software.subprocess, "run", fail)
    monkeypatch.setattr(software.importlib.metadata, "distribution", lambda _: text)
    assert describe_git() == {"commit": "4567def", "dirty": None}
    origin.clear()
    assert describe_git() is None
    monkeypatch.setenv("COHORTPOSE_COMMIT", "89ab")
    assert describe_git() == {"commit": "89ab", "dirty": None}
