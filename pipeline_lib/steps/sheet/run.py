"""Make a cohort sheet from the videos of a folder, or extend it (``sheet``)."""

import codecs
import logging
import shutil
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline_lib.core.cohort import Video, read_cohort
from pipeline_lib.core.errors import SheetError
from pipeline_lib.core.untrusted.unseen import escape_unseen
from pipeline_lib.io.publish import publish_file
from pipeline_lib.io.stage_tables import format_table
from pipeline_lib.io.video.containers.formats import VIDEO_SUFFIXES
from pipeline_lib.steps.sheet.additions import (
    Additions,
    LeftOut,
    Naming,
    Places,
    make_additions,
)
from pipeline_lib.steps.sheet.find import NOT_UTF8, Found, search_videos
from pipeline_lib.steps.sheet.text import extend_text

SHEET_NAME = "cohort.tsv"

_ROWS_SHOWN = 20
_DRAWN = "has keypoints drawn on it by another tool, by its name"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Proposal:
    """Hold what a folder adds to a sheet.

    Attributes
    ----------
    sheet
        The sheet, which need not exist.
    before
        Its bytes as they were read; empty for none.
    existing
        Its rows.
    additions
        New rows, and files that get none.
    columns
        Columns of the new rows.
    """

    sheet: Path
    before: bytes
    existing: tuple[Video, ...]
    additions: Additions
    columns: tuple[str, ...]

    def write(self) -> None:
        """Publish the sheet with the new rows, unless there are none.

        Raises
        ------
        SheetError
            If the sheet has changed since it was read.
        """
        if not self.additions.rows:
            return
        # What a link leads to is written, not the link.
        target = self.sheet.resolve()
        if _read_bytes(self.sheet) != self.before:
            raise SheetError(str(self.sheet), ["was changed meanwhile: run the same command again"])
        with publish_file(target) as part:
            part.write_bytes(self._format().encode())
            if self.before:
                shutil.copymode(target, part)

    def _format(self) -> str:
        if not self.before:
            return format_table(self.columns, self.additions.rows)
        mark = "\ufeff" if self.before.startswith(codecs.BOM_UTF8) else ""
        text = self.before.decode("utf-8-sig")
        return mark + extend_text(text, self.columns, self.additions.rows)


def propose_rows(
    folder: Path, sheet: Path, naming: Naming, *, only: Collection[Path] | None = None
) -> Proposal:
    """Return what the videos of a folder add to a sheet; write nothing.

    Parameters
    ----------
    folder
        Folder of videos, searched with its subfolders, or one video.
    sheet
        The sheet; one that is missing is to be made.
    naming
        How cells are made from file names.
    only
        Files that count; None: all.

    Raises
    ------
    SheetError
        If the folder is missing, the sheet cannot be read, or the session names other fields than
        the pattern has.
    """
    naming.check()
    if not folder.exists():
        raise SheetError(str(folder), ["no such file or folder"])
    before = _read_bytes(sheet)
    existing = read_cohort(sheet) if before else ()
    found = search_videos([folder])
    videos = [path for path in found.videos if only is None or path in only]
    made = make_additions(videos, Places(folder, sheet.parent), naming, existing)
    _add_left_out(found, made)
    return Proposal(sheet, before, existing, made, naming.columns)


def describe_proposal(proposal: Proposal, *, written: bool) -> Iterator[str]:
    """Yield the lines of a preview: the new rows, and every file that is left out, and why."""
    made, count = proposal.additions, len(proposal.additions.rows)
    verb = "added" if written else "to add"
    state = f"{len(proposal.existing)} rows as they were" if proposal.before else "new sheet"
    yield f"{proposal.sheet}: {state}, {count} {verb}"
    if count:
        table = format_table(proposal.columns, made.rows[:_ROWS_SHOWN])
        # Names of files may hold what controls a terminal.
        lines = (line.split("\t") for line in table.split("\n")[:-1])
        yield from ("  " + "\t".join(map(escape_unseen, cells)) for cells in lines)
    if count > _ROWS_SHOWN:
        yield f"  ... and {count - _ROWS_SHOWN} more"
    if made.present:
        yield f"{len(made.present)} in the sheet already"
    for what, left_out in (("duplicates", made.duplicates), ("misfits", made.misfits)):
        if left_out:
            yield f"{len(left_out)} {what}, left out:"
            yield from (escape_unseen(f"  {one.path}: {one.reason}") for one in left_out)
    yield from (escape_unseen(f"note: {note}") for note in made.notes)
    if not (count or made.present or made.duplicates or made.misfits):
        known = ", ".join(sorted(suffix[1:] for suffix in VIDEO_SUFFIXES))
        yield f"no videos found there ({known})"
    if count and not written:
        yield "nothing was written: add --write"


def tell_left_out(made: Additions) -> None:
    """Log every file that gets no row, and the notes."""
    for one in (*made.duplicates, *made.misfits):
        _log.warning("%s: %s: left out", one.path, one.reason)
    for note in made.notes:
        _log.warning("%s", note)


def _add_left_out(found: Found, made: Additions) -> None:
    made.duplicates += [LeftOut(path, f"is the same file as {first}") for path, first in found.same]
    made.misfits += _explain(found.drawn, _DRAWN)
    made.misfits += _explain(found.nameless, NOT_UTF8)


def _explain(paths: Iterable[Path], reason: str) -> list[LeftOut]:
    return [LeftOut(path, reason) for path in paths]


def _read_bytes(sheet: Path) -> bytes:
    try:
        return sheet.read_bytes()
    except FileNotFoundError:
        return b""
