"""Open HDF5 files of unknown origin: no external files, no data that unpack to too much.

HDF5 can name other files: by external links, by datasets whose bytes lie elsewhere, by virtual
datasets. Such a file, once opened, reads what its author chose. It can also declare datasets of
any size, and bytes that unpack to any size. All of that is refused before anything is read.
"""

import math
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline_lib.core.errors import StoreError

if TYPE_CHECKING:
    import h5py

# h5py is imported where it is used: it takes longer to load than most verbs take to start.

_MOST_OBJECTS = 100_000
# A dataset may declare as much as this, or so many times what is stored of it.
_ALWAYS_READ = 64 * 2**20
_MOST_PACKED = 100
# What DEFLATE packs at most by 1032, so that this little needs no closer look.
_SURELY_SMALL = 2**20
# Filters of HDF5 itself, and LZF of h5py: others are plug-ins that a file could ask for.
_DEFLATE = 1
_FILTERS = {_DEFLATE: "gzip", 2: "shuffle", 3: "fletcher32", 4: "szip", 5: "nbit", 6: "scaleoffset"}
_FILTERS[32000] = "lzf"


class _RefusedError(Exception):
    """Report a part of a file that is not read."""


@contextmanager
def open_hdf5(path: Path) -> Iterator["h5py.File"]:
    """Open an HDF5 file for reading, after `check_hdf5`.

    Raises
    ------
    StoreError
        If the file is missing, is no HDF5, is damaged, or reaches outside of itself.
    """
    import h5py  # noqa: PLC0415

    # Not `Path.is_file`, which raises for names that no file can have.
    if not os.path.isfile(path):  # noqa: PTH113
        raise StoreError(f"{path}: no such file")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        reason = " ".join(str(error).split())
        raise StoreError(f"{path}: is not readable as HDF5: {reason}") from None
    with file:
        check_hdf5(file, path)
        yield file


def check_hdf5(file: "h5py.File", path: Path) -> None:
    """Refuse a file that reads other files, or that unpacks to far more than it holds.

    Every reachable object is checked, and none is read. Soft links lead to
    objects of the same file: a way out of it leads through an external link, which is refused.

    Parameters
    ----------
    file
        Open for reading.
    path
        For messages.

    Raises
    ------
    StoreError
        At the first external link, dataset with bytes in other files, virtual dataset, unknown
        filter, or dataset that declares more than 64 MiB and 100 times what is stored of it; or
        if the file is damaged.
    """
    try:
        _walk(file)
    except _RefusedError as error:
        raise StoreError(f"{path}: {error}") from None
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, zlib.error) as error:
        reason = " ".join(str(error).split())
        raise StoreError(f"{path}: is damaged: {reason}") from None


def _walk(file: "h5py.File") -> None:
    from h5py import h5d, h5g, h5l, h5o  # noqa: PLC0415

    waiting: list[tuple[str, Any]] = [("", h5o.open(file.id, b"/"))]
    seen: set[int] = set()
    while waiting:
        place, group = waiting.pop()
        links: list[tuple[bytes, int]] = []
        group.links.iterate(lambda name, info, to=links: to.append((name, info.type)), info=True)
        for name, kind in links:
            where = f"{place}/{name.decode('utf-8', 'replace')}"
            if kind == h5l.TYPE_SOFT:
                continue
            if kind != h5l.TYPE_HARD:
                raise _RefusedError(
                    f"{where} is a link to another file, which is not followed; copy what it "
                    "leads to into this file (h5repack, h5copy)"
                )
            found = h5o.open(group, name)
            address = h5o.get_info(found).addr
            if address in seen:
                continue
            seen.add(address)
            if len(seen) > _MOST_OBJECTS:
                raise _RefusedError(f"holds more than {_MOST_OBJECTS} objects")
            if isinstance(found, h5g.GroupID):
                waiting.append((where, found))
            elif isinstance(found, h5d.DatasetID):
                _check_dataset(where, found)


def _check_dataset(where: str, dataset: Any) -> None:  # noqa: ANN401 - h5py has no types
    from h5py import h5d  # noqa: PLC0415

    plan = dataset.get_create_plist()
    if plan.get_external_count() or plan.get_layout() == h5d.VIRTUAL:
        raise _RefusedError(
            f"dataset {where} has its values in other files, which are not read; write them "
            "into this file (h5repack)"
        )
    item = dataset.get_type().get_size()
    # Not by HDF5 itself, whose product of lengths may overflow.
    declared = math.prod(dataset.shape or ()) * item
    stored = dataset.get_storage_size()
    if declared > max(_ALWAYS_READ, _MOST_PACKED * stored):
        raise _RefusedError(
            f"dataset {where} declares {declared:,} bytes, of which {stored:,} are stored: it is "
            "not read"
        )
    filters = [plan.get_filter(number)[0] for number in range(plan.get_nfilters())]
    unknown = [str(code) for code in filters if code not in _FILTERS]
    if unknown:
        raise _RefusedError(
            f"dataset {where} is packed by HDF5 filter {', '.join(unknown)}, which is not read; "
            f"write it with gzip or without (h5repack -f NONE)"
        )
    if len(set(filters)) < len(filters):
        raise _RefusedError(f"dataset {where} is packed twice by one filter: it is not read")
    if filters and stored > _SURELY_SMALL:
        _check_chunks(where, dataset, plan, filters, item)


def _check_chunks(where: str, dataset: Any, plan: Any, filters: list[int], item: int) -> None:  # noqa: ANN401
    """Refuse chunks that unpack to more than a chunk: HDF5 would unpack them whole."""
    # Checksums and the like may add some bytes to what is packed.
    most = math.prod(plan.get_chunk()) * item + 4096
    offsets: list[Any] = []
    dataset.chunk_iter(lambda info: offsets.append(info) if info.size > _SURELY_SMALL else None)
    for info in offsets:
        mask, data = dataset.read_direct_chunk(info.chunk_offset)
        used = [code for number, code in enumerate(filters) if not mask >> number & 1]
        if _DEFLATE not in used:
            continue
        # Filters after DEFLATE are undone before it; only a checksum is added at the end.
        later = set(used[used.index(_DEFLATE) + 1 :]) - {3}
        unpacked = 0 if later else len(zlib.decompressobj().decompress(data, most + 1))
        if later or unpacked > most:
            raise _RefusedError(f"dataset {where} unpacks to more than it declares: it is not read")
