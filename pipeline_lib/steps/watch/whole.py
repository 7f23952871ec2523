"""Tell whether video files are whole: nobody writes to them, and their index is complete."""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from pipeline_lib.core.errors import VideoError
from pipeline_lib.steps.apart import Limits, Lost, examine_apart

_PROCESSES = Path("/proc")
# Reading files from end to end: more processes only fight for the disk.
_MOST_READERS = 2


def find_writers(paths: Iterable[Path]) -> dict[Path, int]:
    """Return the process that has a file open for writing, by file.

    Only processes of this machine that this user may look at are seen: of others, size and time
    of the file must tell.
    """
    files = {}
    for path in paths:
        with suppress(OSError):
            facts = path.stat()
            files[facts.st_dev, facts.st_ino] = path
    if not files or not _PROCESSES.is_dir():
        return {}
    return {files[file]: process for process, file in _list_written(_PROCESSES) if file in files}


def _list_written(processes: Path) -> Iterator[tuple[int, tuple[int, int]]]:
    """Yield process, and device and inode, of each regular file that is open for writing."""
    for process in processes.iterdir():
        if not process.name.isdecimal():
            continue
        # It may end meanwhile, or be of another user.
        with suppress(OSError):
            for handle in (process / "fd").iterdir():
                with suppress(OSError, ValueError, IndexError):
                    if _is_written(process / "fdinfo" / handle.name):
                        facts = handle.stat()
                        yield int(process.name), (facts.st_dev, facts.st_ino)


def _is_written(facts: Path) -> bool:
    flags = facts.read_text().partition("flags:")[2].split()[0]
    return bool(int(flags, 8) & os.O_ACCMODE)


def find_damage(paths: Iterable[Path], limits: Limits) -> dict[Path, str]:
    """Return why a video does not open with a complete index, by file; empty text if it does.

    Parameters
    ----------
    paths
        Files; each is read in a process of its own.
    limits
        Time and memory of one file.
    """
    paths = list(paths)
    examined = examine_apart(
        [str(path) for path in paths], _examine, processes=_MOST_READERS, limits=limits
    )
    return {
        path: found.reason if isinstance(found, Lost) else found
        for path, found in zip(paths, examined, strict=True)
    }


def _examine(path: str) -> str:
    # FFmpeg takes long to load: only in the processes that need it.
    from pipeline_lib.io.video.reader import check_video  # noqa: PLC0415

    try:
        check_video(Path(path))
    except VideoError as error:
        return str(error)
    except MemoryError:
        return "reading it takes more memory than `reading.gigabytes` allows"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except Exception as error:  # noqa: BLE001 - one odd file must not end the others
        return f"unexpected {type(error).__name__}: {error}"
    return ""
