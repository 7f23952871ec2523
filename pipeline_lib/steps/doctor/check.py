"""Hold the outcome of one check."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """Name how bad a finding is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Check:
    """Hold what one check found.

    Attributes
    ----------
    name
        What was checked.
    level
        How bad it is.
    found
        What is there.
    mend
        What to do; empty if nothing is.
    """

    name: str
    level: Level
    found: str
    mend: str = ""


def judge(name: str, found: str, *, warn: str = "", fail: str = "") -> Check:
    """Return a check that is bad if there is something to repair; `fail` comes before `warn`."""
    level = Level.FAIL if fail else Level.WARN if warn else Level.OK
    return Check(name, level, found, fail or warn)
