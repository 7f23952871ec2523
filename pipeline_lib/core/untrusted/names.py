"""Check and order names, some of which become parts of paths.

There is one rule for every name that becomes a file or folder: `find_part_problem`. Ids that
people type (of videos, models, individuals in the config, shards) are ASCII besides
(`find_name_problem`). Names that are only shown (bodyparts, individuals of labels) follow
`find_text_problem`.
"""

import re
import unicodedata

# Ours are longer: `.part-NAME.xxxxxxxx.zarr.zip`; file systems take 255 bytes.
LONGEST_NAME = 200
# The form of an id. It can be neither hidden, as all of our unfinished files are, nor an option.
NAME_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9._-]*$"

_NAME = re.compile(NAME_PATTERN)
# Controls of the direction of text (Unicode UAX 9): a name that holds one is shown as another.
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
# Unfinished files of many tools, which people and their scripts remove.
_RESERVED_ENDINGS = (".part", ".tmp")
# Our files beside folders with names from users.
_RESERVED = frozenset({"images.json", "plan.tsv"})


def natural_order(name: str) -> tuple[tuple[int, str], ...]:
    """Return a sort key that treats digits as numbers: fly2 before fly10."""
    parts = re.split(r"(\d+)", name)
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in parts)


def fold_name(name: str) -> str:
    """Return the same text for all names that mean one file on some system.

    Those of macOS and Windows, and shares of these, take no notice of case, nor of how an accent
    is encoded (Unicode normalisation).
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def find_text_problem(name: str) -> str | None:
    """Explain why a name cannot be shown and stored in tables; None if it can.

    It may hold blanks and letters of any alphabet, but no character that is not seen: tabs and
    line ends would divide it in two. Controls that turn the direction of text are refused, because
    they let a name look like another one. ``..`` is no name: some tool would make a path of it.
    """
    if not name.strip():
        return "is empty"
    if any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in name):
        return "holds a tab, a line end or another character that is not seen"
    if not _BIDI.isdisjoint(name):
        return "holds a character that turns the direction of text and makes it look like another"
    if len(name.encode("utf-8")) > LONGEST_NAME:
        return f"is longer than {LONGEST_NAME} bytes"
    if any(part.strip() in (".", "..") for part in re.split(r"[/\\]", name)):
        return "is a path to another folder"
    return None


def find_part_problem(name: str) -> str | None:
    """Explain why a name cannot be that of a file or folder of ours; None if it can.

    What holds for `find_text_problem`, and besides: no separator of any system, nothing hidden
    (so neither ``..`` nor our own unfinished files, ``.part-…``), no name that the results folder
    uses itself, no ending of unfinished files.
    """
    problem = find_text_problem(name)
    if problem:
        return problem
    if name != name.strip():
        return "begins or ends with a blank"
    if any(letter in '/\\:*?"<>|' for letter in name):
        return "holds a character that paths cannot hold"
    if name.startswith((".", "-")):
        return f"begins with {name[0]!r}"
    folded = name.casefold()
    if folded in _RESERVED:
        return "is a name that the results folder uses itself"
    ending = next((one for one in _RESERVED_ENDINGS if folded.endswith(one)), None)
    return f"ends with {ending}, as unfinished files do" if ending else None


def find_name_problem(name: str) -> str | None:
    """Explain why a text cannot be an id, which becomes part of paths; None if it can.

    What holds for `find_part_problem`, and besides: only letters and digits of ASCII and ``. _ -``.
    """
    if not _NAME.fullmatch(name):
        return "must be letters, digits and . _ - only, and begin with neither . nor -"
    return find_part_problem(name)


def check_name(name: str) -> str:
    """Return an id as it is.

    Raises
    ------
    ValueError
        If it cannot be one: see `find_name_problem`.
    """
    problem = find_name_problem(name)
    if problem:
        raise ValueError(f"a name {problem}")
    return name


def clean_part(text: str, default: str) -> str:
    """Return a text as a folder name: unchanged, or the nearest name that is allowed.

    Parameters
    ----------
    text
        What others named: part of a path that stands in their file.
    default
        Taken where nothing of it is left.
    """
    if find_part_problem(text) is None:
        return text
    shown = "".join(
        "-" if letter in '/\\:*?"<>|' or unicodedata.category(letter)[0] in "CZ" else letter
        for letter in text
    )
    shown = shown.encode("utf-8")[:LONGEST_NAME].decode("utf-8", "ignore").strip("-. ")
    if find_part_problem(shown or default) is None:
        return shown or default
    return f"{shown.replace('.', '-')}"[:LONGEST_NAME].strip("-") or default
