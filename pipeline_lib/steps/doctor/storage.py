"""Check disks: room, inodes, clock, permissions, locks and home."""

import fcntl
import os
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from pipeline_lib.core.layout import Results
from pipeline_lib.steps.doctor.check import Check, judge

_GIGABYTE = 1e9
_LEAST_GIGABYTES, _GOOD_GIGABYTES = 1.0, 10.0
_LEAST_INODES, _GOOD_INODES = 10_000, 200_000
# Seconds by which the clock of a file server may differ.
_GOOD_SKEW, _MOST_SKEW = 2.0, 60.0
# Of `pipeline_lib.core.environment.find_home`.
_MADE_HOME = "cohortpose-home-"


def check_storage(results: Results, environment: Mapping[str, str]) -> Iterator[Check]:
    """Yield the checks of the results folder, the folder of temporary files, and home."""
    root = results.root.absolute()
    there = next(path for path in (root, *root.parents) if path.exists())
    yield from check_folder("results", there)
    yield check_permissions(there)
    yield from check_folder("TMPDIR", Path(tempfile.gettempdir()))
    yield judge_home(environment)


def check_folder(name: str, folder: Path) -> Iterator[Check]:
    """Yield the checks of a folder: writable, room, inodes, clock and locks."""
    try:
        facts = os.statvfs(folder)
        yield judge_room(name, folder, facts.f_bavail * facts.f_frsize)
        yield judge_inodes(name, facts.f_files, facts.f_favail)
        before = time.time()
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
            file.flush()
            modified = os.fstat(file.fileno()).st_mtime
            after = time.time()
            yield judge_clock(name, before, modified, after)
            yield judge_locks(name, file.fileno())
    except OSError as error:
        yield judge(
            f"{name}: writable",
            f"{folder}: {error.strerror}",
            fail="give back the permission, make room, or name another folder",
        )


def judge_room(name: str, folder: Path, free: float) -> Check:
    """Judge the free bytes of a disk."""
    gigabytes = free / _GIGABYTE
    mend = "make room (`cohortpose tidy` lists what is not needed), or name another folder"
    return judge(
        f"{name}: disk",
        f"{gigabytes:.1f} GB free in {folder}",
        warn=mend if gigabytes < _GOOD_GIGABYTES else "",
        fail=mend if gigabytes < _LEAST_GIGABYTES else "",
    )


def judge_inodes(name: str, number: int, free: int) -> Check:
    """Judge the free inodes of a disk; some file systems tell of none."""
    if number == 0:
        return judge(f"{name}: inodes", "this file system has no fixed number")
    mend = "no more files can be made soon: remove small files, or ask for more inodes"
    return judge(
        f"{name}: inodes",
        f"{free} free",
        warn=mend if free < _GOOD_INODES else "",
        fail=mend if free < _LEAST_INODES else "",
    )


def judge_clock(name: str, before: float, modified: float, after: float) -> Check:
    """Judge the time that the file server gave a file between two readings of our clock."""
    # File systems round times down to their clock tick.
    skew = max(0.0, before - modified, modified - after)
    mend = (
        "the clock of the file server and that of this machine differ: Snakemake decides by "
        "times what is up to date; let both use NTP"
    )
    return judge(
        f"{name}: clock",
        f"differs by {skew:.1f} s",
        warn=mend if skew > _GOOD_SKEW else "",
        fail=mend if skew > _MOST_SKEW else "",
    )


def judge_locks(name: str, handle: int) -> Check:
    """Try to lock an open file."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return judge(
            f"{name}: locks",
            f"none: {error.strerror}",
            warn="two runs on one results folder are not kept apart here: start one at a time",
        )
    return judge(f"{name}: locks", "work")


def check_permissions(folder: Path) -> Check:
    """Check umask and setgid bit of a folder that others may go on with."""
    umask = os.umask(0)
    os.umask(umask)
    facts = folder.stat()
    return judge_permissions(umask, facts.st_mode, same_group=facts.st_gid == os.getegid())


def judge_permissions(umask: int, mode: int, *, same_group: bool) -> Check:
    """Judge whether people of the folder's group can go on with what is made in it."""
    found = f"umask {umask:03o}, folder {stat.S_IMODE(mode):04o}"
    warns = []
    if not umask & stat.S_IWOTH:
        warns.append("everyone may change new files: `umask 022`")
    shared = bool(mode & stat.S_IWGRP) and bool(mode & stat.S_ISGID or not same_group)
    if shared and umask & stat.S_IWGRP:
        warns.append("the folder is shared, but its group may not change new files: `umask 002`")
    if shared and not mode & stat.S_ISGID:
        warns.append("new files get your own group: `chmod g+s` the folder")
    return judge("permissions", found, warn="; ".join(warns))


def judge_home(environment: Mapping[str, str]) -> Check:
    """Judge whether caches can be kept in the home folder."""
    home, cache = environment.get("HOME", ""), environment.get("XDG_CACHE_HOME", "")
    mend = (
        "caches are made anew by every process: set HOME, or XDG_CACHE_HOME, to a folder that "
        "you may write"
    )
    if _MADE_HOME in home or _MADE_HOME in cache:
        return judge("HOME", "is not writable", warn=mend)
    place = Path(cache or home or "/")
    there = next(path for path in (place, *place.parents) if path.exists())
    writable = os.access(there, os.W_OK | os.X_OK)
    return judge("HOME", str(place), warn="" if writable else mend)
