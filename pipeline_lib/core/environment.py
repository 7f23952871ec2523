"""Prepare a process for the terminal, user and machine that it runs on.

Nothing heavy is imported here: it is called before anything else is.
"""

import os
import pwd
import sys
from pathlib import Path

from pipeline_lib.core.errors import CohortposeError

# The OpenMP runtime reads the waiting policy of idle threads when it is loaded.
_WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}
_WAITING_BY_USER = {*_WAITING, "GOMP_SPINCOUNT", "KMP_LIBRARY"}


# Python asks only whether it is set; the value tells who set it.
_SAFE_PATH, _BY_US = "PYTHONSAFEPATH", "cohortpose"


def prepare_process() -> None:
    """Prepare a process of the command line, and all that it starts."""
    use_utf8()
    print_anything()
    name_user()
    find_home()
    wait_passively()
    import_nothing_here()


def use_utf8() -> None:
    """Start this process again in Python's UTF-8 mode, if the locale has another encoding.

    Names of files are bytes; sheets and configs, in UTF-8, say which. In another encoding the same
    name would be other bytes, or could not be said at all.
    """
    if _names_are_utf8() or not sys.executable:
        return
    # The variable is for processes that this one starts.
    os.environ["PYTHONUTF8"] = "1"
    # An option as well, for where variables are ignored: the restart happens only once.
    os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606


def require_utf8() -> None:
    """Refuse to continue if file names are not UTF-8, in a process that we cannot restart.

    Raises
    ------
    CohortposeError
        If the locale has another encoding and Python is not in its UTF-8 mode.
    """
    if not _names_are_utf8():
        raise CohortposeError(
            f"the encoding of this locale is {sys.getfilesystemencoding()}, in which the names of "
            "files would be others than in the sheet: set PYTHONUTF8=1 before the command"
        )


def _names_are_utf8() -> bool:
    return bool(sys.flags.utf8_mode) or sys.getfilesystemencoding().lower() == "utf-8"


def print_anything() -> None:
    """Escape characters that the terminal lacks, so that any text can be printed."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is None:
            continue
        # File names that are not UTF-8 are printed as their bytes.
        utf8 = str(stream.encoding).lower().replace("-", "") == "utf8"
        reconfigure(errors="surrogateescape" if utf8 else "backslashreplace")


def name_user() -> None:
    """Name a user who is not in the list of users, since some libraries ask for a name."""
    if any(os.environ.get(name) for name in ("LOGNAME", "USER", "LNAME", "USERNAME")):
        return
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        os.environ["LOGNAME"] = f"uid{os.getuid()}"


def find_home() -> None:
    """Let libraries keep their caches in a folder of this process where the user has no home.

    Some of them fail otherwise. The folder is private, since caches hold code, and goes with the
    process. A home that may not be written to stays where configuration is read from.
    """
    home = Path(os.environ.get("HOME") or "/")
    if home != Path("/") and os.access(home, os.W_OK | os.X_OK):
        return
    known = home != Path("/") and home.is_dir()
    wanted = ("XDG_CACHE_HOME", "MPLCONFIGDIR") if known else ("HOME",)
    missing = [name for name in wanted if name == "HOME" or not os.environ.get(name)]
    if not missing:
        return
    # Imported here: it would take part of the time of a job that finds nothing to do.
    import atexit  # noqa: PLC0415
    import shutil  # noqa: PLC0415
    import tempfile  # noqa: PLC0415

    folder = tempfile.mkdtemp(prefix="cohortpose-home-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ.update(dict.fromkeys(missing, folder))


def wait_passively() -> None:
    """Let OpenMP threads sleep while they wait for each other, unless the user decided otherwise.

    By default they spin: on a machine with other busy processes they keep those cores from doing
    what they wait for (`benchmarks/training/busy_machine.py`).
    """
    if _WAITING_BY_USER.isdisjoint(os.environ):
        os.environ.update(_WAITING)


def import_nothing_here() -> None:
    """Let processes that this one starts import nothing from the folder in which they start.

    Python's own modules come after those of the folder in processes of `multiprocessing`: a file
    ``socket.py`` in the project of a stranger would be run.
    """
    os.environ.setdefault(_SAFE_PATH, _BY_US)


def copy_environment() -> dict[str, str]:
    """Return the environment for a command of the user, which may import from its folder."""
    values = dict(os.environ)
    if values.get(_SAFE_PATH) == _BY_US:
        del values[_SAFE_PATH]
    return values
