"""Test that texts of strangers neither control a terminal nor forge lines of a log."""

import logging
from pathlib import Path

import pytest

from pipeline_lib.core.errors import LabelError, StoreError, describe_error
from pipeline_lib.core.untrusted.unseen import escape_logs, escape_unseen
from pipeline_lib.io.stage_tables import format_table

# Clears the screen; the same with one byte; a second line; text that runs backwards; no text.
HOSTILE = "a\x1b[2Jb\x9b2Jc\nERROR d\r\u202ee\u2028f\udcffg"
SEEN = r"a\x1b[2Jb\x9b2Jc\x0aERROR d\x0d\u202ee\u2028f\udcffg"


def test_what_is_seen_stays():
    names = "Maus 1, früh\u00a0é 老鼠 \\x1b"
    assert escape_unseen(names) == names
    assert escape_unseen(HOSTILE) == SEEN


def test_errors():
    assert describe_error(StoreError(f"{HOSTILE}: gone")) == f"{SEEN}: gone"
    text = describe_error(LabelError(HOSTILE, [HOSTILE, "plain"]))
    assert text == f"{SEEN}: 2 problems\n  - {SEEN}\n  - plain"


def test_reasons_in_tables():
    table = format_table(("video", "reason"), [{"video": "v", "reason": "a\x1b[2Jb\u202ec"}])
    assert table == "video\treason\nv\ta\\x1b[2Jb\\u202ec\n"


@pytest.fixture
def factory():
    before = logging.getLogRecordFactory()
    escape_logs()
    escape_logs()
    yield
    logging.setLogRecordFactory(before)


@pytest.mark.usefixtures("factory")
def test_logs_of_this_package(caplog):
    """Check texts, paths and errors, by position and by name; numbers are formatted as such."""
    error = LabelError("f", [HOSTILE])
    log = logging.getLogger("pipeline_lib.steps.somewhere")
    log.warning("%s: %s, %.1f of %d", Path(HOSTILE), HOSTILE, 0.5, 3)
    log.warning("%(what)s", {"what": HOSTILE})
    log.warning("%s", error)
    log.warning("%s", OSError(HOSTILE))
    logging.getLogger("other").warning("%s", "a\nb")
    assert caplog.messages == [
        f"{SEEN}: {SEEN}, 0.5 of 3",
        SEEN,
        f"f: 1 problem\n  - {SEEN}",
        SEEN,
        "a\nb",
    ]
