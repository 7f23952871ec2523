"""Test processes on terminals, users and machines other than a laptop's."""

import os
import subprocess
import sys

import pytest

_SCRIPT = """
import os, sys
from pipeline_lib.core.environment import prepare_process
prepare_process()
print(sys.flags.utf8_mode, sys.getfilesystemencoding(), os.environ.get("PYTHONUTF8"), sys.argv[1:])
print("\\u2013 \\u2265 \\xe9")
"""


def run(script=_SCRIPT, *arguments, options=(), **environment):
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("LC_", "LANG", "PYTHON", "OMP_", "GOMP_", "KMP_"))
    }
    changed = {name: value for name, value in {**kept, **environment}.items() if value is not None}
    done = subprocess.run(
        [sys.executable, *options, "-c", script, *arguments],
        env=changed,
        capture_output=True,
        check=True,
    )
    return done.stdout


ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
UTF8_TEXT = "\u2013 \u2265 é".encode()


@pytest.mark.parametrize(
    "environment",
    [
        {"LC_ALL": "C.UTF-8"},
        {"LC_ALL": "C"},
        {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0"},
        ASCII,
        {**ASCII, "LC_ALL": None, "LANG": "C"},
    ],
)
@pytest.mark.parametrize("options", [(), ("-E",), ("-I",)])
def test_names_of_files_are_utf8(environment, options):
    mode, text = run(_SCRIPT, "a b", options=options, **environment).splitlines()
    assert mode.split()[1] == b"utf-8"
    assert mode.endswith(b"['a b']")
    assert text == UTF8_TEXT


def test_a_process_that_cannot_be_started_again_says_what_to_set():
    script = """
import sys
from pipeline_lib.core.environment import require_utf8
from pipeline_lib.core.errors import CohortposeError
try:
    print(require_utf8())
except CohortposeError as error:
    print(error)
"""
    assert b"is ascii, in which" in run(script, **ASCII)
    assert run(script, **ASCII).rstrip().endswith(b"set PYTHONUTF8=1 before the command")
    assert run(script, **{**ASCII, "PYTHONUTF8": "1"}) == b"None\n"
    assert run(script, LC_ALL="C.UTF-8") == b"None\n"


def test_child_processes_are_in_utf8_mode_too():
    assert run(**ASCII).split()[2] == b"1"


def test_an_argument_of_other_bytes_stays_as_it_is():
    script = _SCRIPT + "\nsys.stdout.buffer.write(os.fsencode(sys.argv[1]))"
    assert b"vid\xe9o1 utf-8" in run(script, b"vid\xe9o", **ASCII)


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("ascii", rb"\u2013 \u2265 \xe9"),
        ("ascii:strict", rb"\u2013 \u2265 \xe9"),
        ("latin-1", b"\\u2013 \\u2265 \xe9"),
        ("utf-8:strict", UTF8_TEXT),
    ],
)
def test_characters_unknown_to_the_terminal_are_escaped(encoding, text):
    assert run(**ASCII, PYTHONIOENCODING=encoding).splitlines()[1] == text


def test_a_name_that_is_not_utf8_is_printed_as_it_is():
    script = _SCRIPT + "\nprint(os.fsdecode(b'vid\\xe9o'))"
    assert run(script, LC_ALL="C.UTF-8", PYTHONIOENCODING="utf-8:strict").endswith(b"vid\xe9o\n")


_WAITING = """
import os
from pipeline_lib.core.environment import prepare_process
prepare_process()
print([os.environ.get(n) for n in ("OMP_WAIT_POLICY", "KMP_BLOCKTIME", "GOMP_SPINCOUNT")])
"""


@pytest.mark.parametrize(
    ("by_user", "found"),
    [
        ({}, ["PASSIVE", "0", None]),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, ["ACTIVE", None, None]),
        ({"GOMP_SPINCOUNT": "5"}, [None, None, "5"]),
        ({"KMP_BLOCKTIME": "200"}, [None, "200", None]),
    ],
)
def test_threads_wait_passively_unless_the_user_says_otherwise(by_user, found):
    assert run(_WAITING, **by_user).decode().strip() == str(found)


def test_torch_is_loaded_after_the_threads_are_told_how_to_wait():
    """Set it before the start, since OpenMP reads it once, when it is loaded."""
    script = "import sys, pipeline_lib.start, pipeline_lib.cli; print('torch' in sys.modules)"
    assert run(script).strip() == b"False"


_NAME = """
import getpass, os, pwd
def unknown(_): raise KeyError
pwd.getpwuid = unknown
from pipeline_lib.core.environment import name_user
name_user()
print(getpass.getuser() == (os.environ.get("USER") or f"uid{os.getuid()}"))
"""


@pytest.mark.parametrize("user", [None, "me"])
def test_a_user_without_an_entry_has_a_name(user):
    found = run(_NAME, LOGNAME=None, USER=user, LNAME=None, USERNAME=None)
    assert found.strip() == b"True"


_HOME = """
import os, sys
from pathlib import Path
before = dict(os.environ)
from pipeline_lib.core.environment import find_home
find_home()
changed = {name: value for name, value in os.environ.items() if before.get(name) != value}
for value in set(changed.values()):
    (Path(value) / "cache").mkdir()
    assert os.stat(value).st_mode & 0o777 == 0o700
print(sorted(changed), *set(changed.values()))
"""


@pytest.mark.parametrize("home", [None, "", "/", "/no/such/folder"])
def test_a_user_without_home_gets_a_private_one_for_a_while(home, tmp_path):
    names, folder = run(_HOME, HOME=home, TMPDIR=str(tmp_path)).decode().strip().rsplit(" ", 1)
    assert names == "['HOME']"
    assert folder.startswith(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_home_is_left_as_it_is(tmp_path):
    assert run(_HOME, HOME=str(tmp_path)).decode().strip() == "[]"


def test_only_the_caches_move_from_a_read_only_home(tmp_path):
    script = "import os; os.access = lambda *_: False\n" + _HOME
    home, temporary = tmp_path / "home", tmp_path / "temporary"
    home.mkdir()
    temporary.mkdir()
    settings = {"HOME": str(home), "TMPDIR": str(temporary), "XDG_CACHE_HOME": None}
    found = run(script, **settings, MPLCONFIGDIR=None).decode()
    assert found.startswith("['MPLCONFIGDIR', 'XDG_CACHE_HOME'] ")
    by_user = run(script, **{**settings, "XDG_CACHE_HOME": str(home), "MPLCONFIGDIR": str(home)})
    assert by_user.decode().strip() == "[]"
