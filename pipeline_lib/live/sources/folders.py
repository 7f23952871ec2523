"""Read a folder that another program fills with images."""

import os
import re
import time
from pathlib import Path

import cv2
import numpy as np

from pipeline_lib.core.untrusted.names import natural_order
from pipeline_lib.live.sources.frames import (
    MOST_BYTES,
    Frame,
    FrameError,
    LiveSource,
    SourceError,
    now,
    to_rgb,
)

_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".pgm", ".ppm")
_POLL = 0.002
# After this time a file that cannot be read is taken for a bad one, not for one being written;
# sooner if newer images wait behind it.
_PATIENCE = 1.0
_BRIEF = 0.1
_TICK_NS = 50_000_000
# A folder that takes longer to list, s, is asked for the next numbers instead, this many.
_COSTLY = 0.004
_AHEAD = 8
_MOST_DIGITS = 18
_LAST_NUMBER = re.compile(r"[0-9]+(?=[^0-9]*$)")

_Named = list[tuple[tuple[tuple[int, str], ...], str]]


class FolderSource(LiveSource):
    """Give the images of a folder in the order of their names, as they appear.

    Parameters
    ----------
    folder
        The folder.
    paced
        Whether only the newest image counts; else each is given in turn, and the source ends when
        a file named ``end`` lies in the folder and all images were given.
    """

    def __init__(self, folder: Path, *, paced: bool = True) -> None:
        self._folder, self._paced = folder, paced
        self._last: tuple[tuple[int, str], ...] | None = None
        self._waiting: _Named = []
        self._name = ""
        self._cost = self._guessed_at = 0.0
        self._number = 0
        self._since: dict[str, float] = {}
        self._changed = 0

    def open(self) -> None:
        """See that the folder is there; what lies in it is old if only the newest count."""
        if not self._folder.is_dir():
            raise SourceError(f"{self._folder}: no such folder")
        if self._paced and self._last is None:
            there = self._list()
            self._last = there[-1][0] if there else ()

    def read(self, timeout: float) -> Frame | None:
        """Return the next image, if one appears in time."""
        end = now() + timeout
        while True:
            frame = self._take()
            if frame is not None or self.ended or now() >= end:
                return frame
            time.sleep(_POLL)

    def rewind(self) -> None:
        """Begin with the first image, if each is given in turn."""
        if not self._paced:
            self._last, self._waiting, self._changed, self._number = None, [], 0, 0
            self._since = {}
            self.ended = False

    def _take(self) -> Frame | None:
        if not self._waiting:
            if not self._folder.is_dir():
                raise SourceError(f"{self._folder}: the folder is gone")
            self._waiting = self._find()
            for _, name in self._waiting:
                self._since.setdefault(name, now())
            if not self._waiting:
                self.ended = not self._paced and (self._folder / "end").exists()
                return None
        key, name = self._waiting[0]
        path = self._folder / name
        image = self._read(path)
        appeared = self._since[name]
        if image is None and now() - appeared < self._be_patient():
            # The next look sees whether more have come meanwhile.
            self._waiting, self._changed = [], 0
            return None
        self._since.pop(name)
        self._waiting.pop(0)
        self._last, self._name = key, name
        self._number += 1
        if image is None:
            raise FrameError(f"{path}: cannot be read as an image")
        try:
            stamp = path.stat().st_mtime
        except OSError:
            stamp = float("nan")
        return Frame(to_rgb(image, bgr=True), self._number, appeared, stamp)

    def _be_patient(self) -> float:
        """Return for how long the next image may be unreadable, in seconds."""
        return _BRIEF if self._paced and len(self._waiting) > 1 else _PATIENCE

    def _find(self) -> _Named:
        """Return the names after the last one that was given, or the first few of them."""
        if self._paced and self._cost > _COSTLY:
            guessed = self._guess()
            if guessed:
                self._guessed_at = now()
                return guessed
            # A camera of which nothing comes may have begun to count anew.
            if now() - self._guessed_at < _PATIENCE:
                return []
        return self._list() if self._has_changed() else []

    def _guess(self) -> _Named:
        """Return the next names that are there, where the last number of a name counts images.

        To list a folder takes longer with each image; after an hour, longer than there is.
        """
        stem, ending = os.path.splitext(self._name)  # noqa: PTH122 - of a name, 500 times a second
        found = _LAST_NUMBER.search(stem)
        if found is None or len(found[0]) > _MOST_DIGITS:
            return []
        names = []
        for number in range(int(found[0]) + 1, int(found[0]) + 1 + _AHEAD):
            digits = str(number).zfill(len(found[0]))
            name = stem[: found.start()] + digits + stem[found.end() :] + ending
            if os.path.exists(os.path.join(self._folder, name)):  # noqa: PTH110, PTH118 - as above
                names.append((natural_order(name), name))
        return names

    def _has_changed(self) -> bool:
        """Tell whether a file may have come since the last look."""
        changed = self._folder.stat().st_mtime_ns
        # The clock of file systems goes by steps.
        if changed == self._changed and time.time_ns() - changed > _TICK_NS:
            return False
        self._changed = changed
        return True

    def _list(self) -> _Named:
        """Return the names after the last one that was given, in order."""
        begin = time.perf_counter()
        names = (
            entry.name
            for entry in os.scandir(self._folder)
            if entry.name.lower().endswith(_ENDINGS) and not entry.name.startswith(".")
        )
        keyed = ((natural_order(name), name) for name in names)
        last = self._last
        found = sorted(one for one in keyed if last is None or one[0] > last)
        self._cost = time.perf_counter() - begin
        return found

    @staticmethod
    def _read(path: Path) -> np.ndarray | None:
        """Return an image as it is; None if it is not whole."""
        try:
            if not path.is_file() or path.stat().st_size > MOST_BYTES:
                return None
            content = np.frombuffer(path.read_bytes(), np.uint8)
        except OSError:
            return None
        if not content.size:
            return None
        try:
            return cv2.imdecode(content, cv2.IMREAD_COLOR)
        except cv2.error:
            return None
