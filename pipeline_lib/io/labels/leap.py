"""Read labels of LEAP (MATLAB files) through sleap-io, which needs the package pymatreader."""

import stat
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline_lib.core.errors import LabelError, StoreError
from pipeline_lib.core.untrusted.regular_files import require_regular_file
from pipeline_lib.io.foreign.hdf5 import open_hdf5
from pipeline_lib.io.foreign.json_files import show_text
from pipeline_lib.io.labels.sleap.file import SleapFile, convert_labels
from pipeline_lib.io.labels.sleap.read import write_and_tabulate

if TYPE_CHECKING:
    import sleap_io

    from pipeline_lib.io.labels.points import SourceLabels

_MOST_BYTES = 256 * 2**20
_HDF5 = b"\x89HDF\r\n\x1a\n"
# MATLAB puts this long a text before HDF5.
_BEFORE_HDF5 = 512
_VIDEO = "boxPath"
# Of MATLAB 5 to 7: length of the header, and the kind of a variable that zlib packed.
_MAT_HEADER, _PACKED = 128, 15
_MOST_UNPACKED = 512 * 2**20
_UNPACKED_AT_ONCE = 2**20


def read_leap(path: Path, images: Path) -> "SourceLabels":
    """Read the labels of a file of LEAP, and write its labelled frames as images.

    Positions are those that sleap-io reads: it changes none, and LEAP does not say which point of
    a pixel they count from.

    Parameters
    ----------
    path
        The ``.mat`` file. Its video (``boxPath``, else a video of its name) is looked for as those
        of SLEAP files are.
    images
        Folder for the images of this file alone.

    Returns
    -------
    SourceLabels
        One row per labelled frame and node.

    Raises
    ------
    LabelError
        If pymatreader is not installed, or the file cannot be read; as
        `pipeline_lib.io.labels.sleap.read.read_sleap`.
    """
    return write_and_tabulate(open_leap_file(path), images, "leap")


def open_leap_file(path: Path) -> SleapFile:
    """Read a file of LEAP, but no frame of its video.

    Raises
    ------
    LabelError
        As `read_leap`.
    """
    _check_file(path)
    values = _load(path, "pymatreader")
    _check_video(path, values)
    try:
        labels = _convert(path, values)
    # Files that are none, or damaged, fail inside SciPy, HDF5 or NumPy in many ways.
    except Exception as error:
        raise LabelError(str(path), [_describe(error)]) from error
    if not labels.skeletons[0].nodes:
        raise LabelError(str(path), ["no `skeleton` with names of nodes: is it a file of LEAP?"])
    return convert_labels(path, labels, predicted=False)


def _convert(path: Path, values: Mapping[str, Any]) -> "sleap_io.Labels":
    """Return what `sleap_io.load_leap` does, but open no video.

    That would wait for a FIFO, and follow a playlist, in this process.
    """
    # Its imports take a second, which readers of other formats need not wait for.
    import sleap_io  # noqa: PLC0415
    from sleap_io.io import leap  # noqa: PLC0415

    name = values.get(_VIDEO)
    file = str(path.with_suffix(".mp4")) if name is None else name
    video = sleap_io.Video(filename=file, open_backend=False)
    skeleton = leap._parse_skeleton(dict(values))  # noqa: SLF001
    frames = leap._parse_pose_data(dict(values), video, skeleton)  # noqa: SLF001
    return sleap_io.Labels(labeled_frames=frames, videos=[video], skeletons=[skeleton])


def _check_file(path: Path) -> None:
    try:
        require_regular_file(path)
        with path.open("rb") as file:
            start = file.read(_BEFORE_HDF5 + len(_HDF5))
        large = path.stat().st_size > _MOST_BYTES
    except FileNotFoundError:
        raise LabelError(str(path), ["no such file"]) from None
    except OSError as error:
        raise LabelError(str(path), [f"cannot be read: {error.strerror or error}"]) from None
    if large:
        raise LabelError(str(path), [f"is larger than {_MOST_BYTES // 2**20} MiB"])
    if start[_BEFORE_HDF5:] != _HDF5 and not start.startswith(_HDF5):
        _check_unpacked(path)
        return
    try:
        # It is opened again by the library, which would read other files.
        with open_hdf5(path):
            pass
    except StoreError as error:
        problem = str(error).removeprefix(f"{path}: ")
        raise LabelError(str(path), [f"is not readable: {problem}"]) from None


def _check_unpacked(path: Path) -> None:
    """Refuse a file of MATLAB 5 to 7 whose variables unpack to more than one of LEAP holds."""
    data = path.read_bytes()
    order = "<" if data[126:128] == b"IM" else ">"
    place, left = _MAT_HEADER, _MOST_UNPACKED
    while place + 8 <= len(data):
        kind, length = struct.unpack(f"{order}II", data[place : place + 8])
        place += 8
        packed = data[place : place + length]
        place += length
        if kind != _PACKED:
            continue
        unpacker = zlib.decompressobj()
        try:
            while packed and not unpacker.eof and left >= 0:
                left -= len(unpacker.decompress(packed, _UNPACKED_AT_ONCE))
                packed = unpacker.unconsumed_tail
        except zlib.error as error:
            raise LabelError(str(path), [_describe(error)]) from None
        if left < 0:
            problem = f"unpacks to more than {_MOST_UNPACKED // 2**20} MiB"
            raise LabelError(str(path), [problem])


def _load(path: Path, package: str) -> Mapping[str, Any]:
    try:
        from pymatreader import read_mat  # noqa: PLC0415
    except ImportError:
        problem = f"files of LEAP need the package {package}: install `cohortpose[leap]`"
        raise LabelError(str(path), [problem]) from None
    try:
        values: Mapping[str, Any] = read_mat(str(path))
    except Exception as error:
        raise LabelError(str(path), [_describe(error)]) from error
    return values


def _check_video(path: Path, values: Mapping[str, Any]) -> None:
    """Refuse videos that the library would fetch from elsewhere, or that never end."""
    name = values.get(_VIDEO)
    if name is None:
        return
    shown = show_text(name)
    if not isinstance(name, str) or "\0" in name or "://" in name:
        raise LabelError(str(path), [f"`{_VIDEO}` is {shown}, expected the path of a video"])
    try:
        mode = Path(name).stat().st_mode
    except OSError:
        return
    if not stat.S_ISREG(mode):
        raise LabelError(str(path), [f"`{_VIDEO}` is {shown}, which is no regular file"])


def _describe(error: Exception) -> str:
    reason = " ".join(str(error).split()) or type(error).__name__
    return f"is not readable as a file of LEAP: {show_text(reason)}"
