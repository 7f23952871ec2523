"""Define the errors that people read: what is wrong, what was expected, what to do."""

from collections.abc import Iterable

from pipeline_lib.core.untrusted.unseen import escape_unseen

# A sheet of thousands of rows can be wrong in each of them.
_MOST_SHOWN = 20


class CohortposeError(Exception):
    """Report an error without a traceback; the base of all our errors.

    Attributes
    ----------
    exit_status
        With which the command line ends.
    """

    exit_status = 1


class ProblemsError(CohortposeError):
    """Report several problems that one pass found.

    Parameters
    ----------
    where
        What was checked: a file or a section.
    problems
        One line each, all kept, the first 20 shown; empty input is a programming error.
    """

    def __init__(self, where: str, problems: Iterable[str]) -> None:
        self.where = where
        self.problems = tuple(problems)
        count = len(self.problems)
        # Names in messages must neither end a line nor control a terminal.
        shown = [escape_unseen(problem) for problem in self.problems[:_MOST_SHOWN]]
        lines = "\n".join(f"  - {problem}" for problem in shown)
        if count > _MOST_SHOWN:
            lines += f"\n  ... and {count - _MOST_SHOWN} more"
        super().__init__(
            f"{escape_unseen(where)}: {count} problem{'s' if count != 1 else ''}\n{lines}"
        )


def describe_error(error: Exception) -> str:
    """Return the message of an error for a terminal: one line, or one for each problem."""
    return escape_unseen(str(error), keep_breaks=isinstance(error, ProblemsError))


class ConfigError(ProblemsError):
    """Report that the config cannot be used as it is."""


class SheetError(ProblemsError):
    """Report that the cohort sheet cannot be used as it is."""


class LabelError(ProblemsError):
    """Report that label tables or their images cannot be imported."""


class CalibrationError(ProblemsError):
    """Report that a calibration, or the images for one, cannot be used."""


class RefusedCalibrationError(CalibrationError):
    """Tell that what a calibration is made from was seen and judged, and is bad.

    Other errors of calibrations are those of files that are missing or cannot be read.
    """


class VideoError(CohortposeError):
    """Report that one video cannot be used; the rest of the cohort can.

    The message is the reason written in the ledger.
    """


class SessionError(CohortposeError):
    """Report that one session cannot be triangulated; the rest of the cohort can.

    The message is the reason in the table of sessions.
    """


class ModelError(CohortposeError):
    """Report that a network, its weights or its settings cannot be used."""


class PreemptedError(CohortposeError):
    """Report that a training received a signal to stop and has saved its state.

    Its exit status is ``EX_TEMPFAIL`` of sysexits.h, "try again": schedulers can be told to
    start what ended so once more.
    """

    exit_status = 75


class StoreError(CohortposeError):
    """Report that a stored file is missing, of another version, or damaged."""
