"""Escape characters that nobody sees, in texts that reach a terminal or a log.

Names and messages of foreign files may hold escape sequences that control a terminal, line breaks
that forge lines of a log, and marks that turn the direction of writing, so that people read another
name. This is the only place that decides which characters these are.
"""

import logging
import os
from typing import Any

# Control characters, line separators, marks of direction, and halves of characters, which is how
# Python holds bytes of a file name that are no text.
_CODES = (
    *range(32),
    *range(127, 160),
    *(0x061C, 0x200E, 0x200F, 0x2028, 0x2029, 0xFEFF),
    *range(0x202A, 0x202F),
    *range(0x2066, 0x206A),
    *range(0xD800, 0xE000),
)
_UNSEEN = {code: f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" for code in _CODES}
_UNSEEN_BUT_BREAKS = {code: text for code, text in _UNSEEN.items() if code != ord("\n")}


def escape_unseen(text: str, *, keep_breaks: bool = False) -> str:
    r"""Return a text with every character that nobody sees written as its code, such as ``\x1b``.

    Parameters
    ----------
    text
        Any text.
    keep_breaks
        Leave line breaks, of a message of several lines of which each was escaped before.
    """
    return text.translate(_UNSEEN_BUT_BREAKS if keep_breaks else _UNSEEN)


def escape_logs() -> None:
    """Escape what messages of this package are filled with, whoever shows them; once."""
    make = logging.getLogRecordFactory()
    if getattr(make, "escapes_unseen", False):
        return

    def make_escaped(*args: Any, **values: Any) -> logging.LogRecord:  # noqa: ANN401
        record = make(*args, **values)
        if record.name.partition(".")[0] == __name__.partition(".")[0]:
            _escape_record(record)
        return record

    make_escaped.escapes_unseen = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(make_escaped)


def _escape_record(record: logging.LogRecord) -> None:
    if isinstance(record.args, tuple):
        record.args = tuple(map(_escape_argument, record.args))
    elif record.args:
        record.args = {name: _escape_argument(value) for name, value in record.args.items()}


def _escape_argument(value: Any) -> Any:  # noqa: ANN401 - numbers are formatted as such
    if isinstance(value, BaseException):
        # Messages of several problems have a line for each.
        return escape_unseen(str(value), keep_breaks=hasattr(value, "problems"))
    return escape_unseen(str(value)) if isinstance(value, str | os.PathLike) else value
