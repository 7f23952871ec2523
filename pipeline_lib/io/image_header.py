"""Read the header of an image file: size as stored and upright, and whether it is complete.

No pixel is decoded. This is the one place that knows formats and orientations, so that sizes that
labels are checked against are those of the pixels that `pipeline_lib.io.images.read_image` gives.
"""

import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from pipeline_lib.core.errors import StoreError

# Where Pillow, too, takes an image for an attack.
MOST_PIXELS = 178_956_970
_MOST_BYTES = 2 * 2**30
# More pages and chunks than these are no photograph's; looking at each takes its time.
_MOST_PAGES = 20
_MOST_CHUNKS = 1_000_000

_ORIENTATION = 0x0112
_TURNED = frozenset({5, 6, 7, 8})  # EXIF orientations that exchange width and height

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_OTHERS = ("BMP", "GIF", "WEBP", "PPM", "JPEG2000")
_TAIL = 2**16
_KNOWN = "PNG, JPEG, TIFF, BMP, WebP, GIF, PPM or JPEG 2000"

# TIFF tags, and what of them OpenCV turns into the colours that people see.
_WIDTH, _HEIGHT, _BITS, _COLOURS, _FORMAT, _SUBFILE = 256, 257, 258, 262, 339, 254
_PLACES = ((273, 279), (324, 325))  # offsets and lengths of strips, and of tiles
_TIFF_BITS = frozenset({1, 4, 8, 10, 12, 14, 16})
_WHITE_IS_ZERO = 0
_TIFF_COLOURS = frozenset({_WHITE_IS_ZERO, 1, 2, 3, 5, 6})
_SIGNED, _FLOAT = 2, 3


@dataclass(frozen=True)
class ImageHeader:
    """Hold the header of an image file.

    Attributes
    ----------
    format
        ``PNG``, ``JPEG``, ``TIFF`` or Pillow's name of another one.
    stored
        Width and height of the stored pixels, px.
    orientation
        EXIF orientation, 1 to 8: how the stored pixels are turned to be upright.
    """

    format: str
    stored: tuple[int, int]
    orientation: int = 1

    @property
    def upright(self) -> tuple[int, int]:
        """Width and height of the image as people and labelling tools see it, px."""
        width, height = self.stored
        return (height, width) if self.orientation in _TURNED else (width, height)


def describe_stored(header: ImageHeader) -> str:
    """Explain that labels refer to the stored image, and what to do."""
    stored, upright = (f"{width} x {height}" for width, height in (header.stored, header.upright))
    return (
        f"its labels are on the stored image of {stored} px, but its EXIF orientation "
        f"({header.orientation}) turns it to {upright} px, which people see and labels must refer "
        "to: write the image anew without the orientation, or label it turned"
    )


class _UnusableError(Exception):
    """Report why an image is not used."""


def read_header(path: Path) -> ImageHeader:
    """Read the header of an image file.

    Raises
    ------
    StoreError
        In one line, if the file is missing, not a regular file, none of PNG, JPEG, TIFF, BMP,
        WebP, GIF, PPM or JPEG 2000, cut short, of several images, larger than 179 megapixels,
        or of values that are not 1 to 16 bits without a sign.
    """
    # Not `Path.is_file`, which raises for names that no file can have.
    if not os.path.isfile(path):  # noqa: PTH113
        if not os.path.lexists(path):
            raise StoreError(f"{path}: no such image")
        raise StoreError(f"{path}: cannot be read as an image: no regular file, or a dead link")
    try:
        with path.open("rb") as file:
            return _read(file)
    except _UnusableError as error:
        raise StoreError(f"{path}: {error}") from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise StoreError(f"{path}: cannot be read as an image: {reason}") from None
    # Damaged files fail inside Pillow in many ways.
    except Exception as error:  # noqa: BLE001
        reason = " ".join(str(error).split()) or type(error).__name__
        raise StoreError(f"{path}: is a damaged image ({reason}); write it again") from None


def _read(file: IO[bytes]) -> ImageHeader:
    start = file.read(16)
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if not size:
        raise _UnusableError(_describe_none(0))
    if size > _MOST_BYTES:
        raise _UnusableError(f"is larger than {_MOST_BYTES // 2**30} GiB")
    if start.startswith(_PNG):
        header = _read_png(file)
    elif start.startswith(_JPEG):
        header = _read_by_pillow(file, ("JPEG", "MPO"))
        _check_jpeg_end(file, size)
    elif start.startswith(_TIFF):
        header = _read_tiff(file, size)
    else:
        header = _read_by_pillow(file, _OTHERS)
    width, height = header.stored
    if not width or not height:
        raise _UnusableError(f"has {width} x {height} px")
    if width * height > MOST_PIXELS:
        raise _UnusableError(
            f"has {width} x {height} px, {width * height // 10**6} megapixels; at most "
            f"{MOST_PIXELS // 10**6} are read: cut out the part with the animals, or shrink it, "
            "and label that"
        )
    return header


def _read_png(file: IO[bytes]) -> ImageHeader:
    stored, orientation = (0, 0), 1
    for name, read in _png_chunks(file):
        if name == b"IHDR":
            data = read()
            stored = (int.from_bytes(data[:4], "big"), int.from_bytes(data[4:8], "big"))
        elif name == b"eXIf":
            orientation = _parse_orientation(read())
        elif name == b"acTL" and int.from_bytes(read()[:4], "big") > 1:
            raise _UnusableError(_describe_several())
        elif name == b"IEND":
            return ImageHeader("PNG", stored, orientation)
    raise _UnusableError(_describe_cut())


def _png_chunks(file: IO[bytes]) -> Iterator[tuple[bytes, Callable[[], bytes]]]:
    """Yield name and reader of each whole chunk."""
    end = file.seek(0, os.SEEK_END)
    place = len(_PNG)
    for _ in range(_MOST_CHUNKS):
        if place + 12 > end:
            return
        file.seek(place)
        head = file.read(8)
        length = int.from_bytes(head[:4], "big")
        if place + 12 + length > end:
            return
        yield head[4:], partial(file.read, min(length, 2**20))
        place += 12 + length


def _read_by_pillow(file: IO[bytes], formats: tuple[str, ...]) -> ImageHeader:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(file, formats=formats)
    except Image.DecompressionBombError:
        raise _UnusableError(
            f"has more than {MOST_PIXELS // 10**6} megapixels: cut out the part with the animals, "
            "or shrink it, and label that"
        ) from None
    except UnidentifiedImageError:
        raise _UnusableError(_describe_none(file.seek(0, os.SEEK_END))) from None
    # JPEGs of phones may have a preview or another exposure behind the image.
    if "JPEG" not in formats and getattr(image, "is_animated", False):
        raise _UnusableError(_describe_several())
    orientation = _parse_orientation(image.info.get("exif", b""))
    kind = "JPEG" if "JPEG" in formats else str(image.format)
    return ImageHeader(kind, image.size, orientation)


def _check_jpeg_end(file: IO[bytes], size: int) -> None:
    file.seek(max(0, size - _TAIL))
    if b"\xff\xd9" not in file.read():
        raise _UnusableError(_describe_cut())


def _parse_orientation(exif: bytes) -> int:
    if not exif:
        return 1
    tags = Image.Exif()
    try:
        tags.load(exif)
        return _clean_orientation(tags.get(_ORIENTATION))
    # As viewers do: what cannot be read says nothing.
    except Exception:  # noqa: BLE001 - damaged tags fail in many ways
        return 1


def _clean_orientation(value: Any) -> int:  # noqa: ANN401
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _read_tiff(file: IO[bytes], size: int) -> ImageHeader:
    # Small copies of an image may follow it.
    pages = (page for page in _tiff_pages(file) if not int(page.get(_SUBFILE, 0)) & 1)
    page = next(pages, None)
    if page is None:
        raise _UnusableError(_describe_cut())
    if next(pages, None) is not None:
        raise _UnusableError(_describe_several())
    _check_tiff_values(page)
    for offsets, lengths in _PLACES:
        starts, counts = _as_tuple(page.get(offsets)), _as_tuple(page.get(lengths))
        if any(start + count > size for start, count in zip(starts, counts, strict=False)):
            raise _UnusableError(_describe_cut())
    stored = (int(page[_WIDTH]), int(page[_HEIGHT]))
    return ImageHeader("TIFF", stored, _clean_orientation(page.get(_ORIENTATION)))


def _tiff_pages(file: IO[bytes]) -> Iterator[ImageFileDirectory_v2]:
    """Yield the directory of each page, from which Pillow knows fewer images than OpenCV."""
    start = file.read(16)
    pages = ImageFileDirectory_v2(start if start[2:4] in (b"+\0", b"\0+") else start[:8])
    seen: set[int] = set()
    place = pages.next
    while place and place not in seen and len(seen) < _MOST_PAGES:
        seen.add(place)
        file.seek(place)
        page = ImageFileDirectory_v2(start if start[2:4] in (b"+\0", b"\0+") else start[:8])
        page.load(file)
        yield page
        place = page.next


def _check_tiff_values(page: ImageFileDirectory_v2) -> None:
    bits = set(_as_tuple(page.get(_BITS, 1)))
    kinds = set(_as_tuple(page.get(_FORMAT, 1)))
    colours = int(page.get(_COLOURS, 1))
    found = None
    if _FLOAT in kinds:
        found = f"{max(bits)}-bit floating-point numbers"
    elif _SIGNED in kinds:
        found = f"{max(bits)}-bit numbers with a sign"
    elif not bits <= _TIFF_BITS:
        found = f"{max(bits)}-bit numbers"
    elif colours not in _TIFF_COLOURS or (colours == _WHITE_IS_ZERO and max(bits) > 8):
        found = f"colours of a kind that is not read (TIFF photometric {colours})"
    if found:
        raise _UnusableError(
            f"holds {found}, expected gray or RGB of 8 or 16 bits without a sign: convert it "
            "(ImageJ: Image > Type > 8-bit)"
        )


def _as_tuple(value: Any) -> tuple[int, ...]:  # noqa: ANN401
    if value is None:
        return ()
    return tuple(int(one) for one in value) if isinstance(value, tuple) else (int(value),)


def _describe_none(size: int) -> str:
    return f"expected an image ({_KNOWN}), found {size} bytes that are none; write it again"


def _describe_several() -> str:
    return (
        "holds several images (pages or frames of an animation), expected one: which one is "
        "labelled is not known; save that one as a file of its own"
    )


def _describe_cut() -> str:
    return "is cut short: its end is missing; copy or write it again"
