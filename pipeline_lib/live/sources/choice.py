"""Make the source that a camera's settings name."""

import logging
import re
from pathlib import Path

from pipeline_lib.core.settings.outputs.live import CameraSettings
from pipeline_lib.core.untrusted.credentials import show_address
from pipeline_lib.live.sources.frames import LiveError, Source

logger = logging.getLogger("pipeline_lib.live")

_DEVICE = re.compile(r"/dev/video[0-9]+")
# What the kinds of sources can be asked for; others give what they give.
_ASKED = {
    "camera": ("fps", "width", "height", "exposure_us"),
    "genicam": ("fps", "width", "height", "exposure_us"),
    "video": ("fps",),
}
_KINDS = "camera:, rtsp://, video:, folder:, shm:, zmq: or genicam:"


def make_source(settings: CameraSettings) -> Source:  # noqa: C901, PLR0911 - one for each kind
    """Return the source of a camera; it is not opened yet.

    Parameters
    ----------
    settings
        Settings of the camera.

    Raises
    ------
    LiveError
        If the address names none, or its package is not installed.
    """
    text = settings.source
    kind, _, rest = text.partition(":")
    if _DEVICE.fullmatch(text) or text.isdecimal():
        kind, rest = "camera", text
    elif Path(text).is_file():
        kind, rest = "video", text
    if not rest and kind != "genicam":
        raise LiveError(f"source {show_address(text)!r}: expected {_KINDS} and what to open")
    _tell_ignored(settings, kind)
    # Each imports what it needs: OpenCV's and others' libraries are large.
    if kind == "camera":
        from pipeline_lib.live.sources.opencv import OpenCvSource  # noqa: PLC0415

        return OpenCvSource(int(rest) if rest.isdecimal() else rest, settings)
    if kind in ("rtsp", "rtsps"):
        from pipeline_lib.live.sources.streams import StreamSource  # noqa: PLC0415

        return StreamSource(text)
    if kind == "video":
        from pipeline_lib.live.sources.videos import VideoSource  # noqa: PLC0415

        path = Path(rest).expanduser()
        return VideoSource(path, settings.fps, paced=not settings.every_frame)
    if kind == "folder":
        from pipeline_lib.live.sources.folders import FolderSource  # noqa: PLC0415

        return FolderSource(Path(rest).expanduser(), paced=not settings.every_frame)
    if kind == "shm":
        from pipeline_lib.live.sources.shared_memory import SharedMemorySource  # noqa: PLC0415

        return SharedMemorySource(rest)
    if kind == "zmq":
        from pipeline_lib.live.sources.zeromq import ZeroMqSource  # noqa: PLC0415

        return ZeroMqSource(rest)
    if kind == "genicam":
        from pipeline_lib.live.sources.genicam import GenICamSource  # noqa: PLC0415

        return GenICamSource(rest, settings)
    raise LiveError(f"source {show_address(text)!r}: expected {_KINDS}, found {kind!r}")


def _tell_ignored(settings: CameraSettings, kind: str) -> None:
    """Tell which settings of a camera do nothing, as its source cannot be asked for them."""
    asked = _ASKED["genicam"]
    ignored = [name for name in asked if getattr(settings, name) is not None]
    ignored = [name for name in ignored if name not in _ASKED.get(kind, ())]
    if ignored:
        logger.warning(
            "%s: %s of %s cannot be set here: set it where the frames come from",
            *(settings.name, ", ".join(ignored), settings.source.partition("://")[0]),
        )
