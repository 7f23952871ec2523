"""Make the source that a camera's settings name."""

import re
from pathlib import Path

from pipeline_lib.core.settings.outputs.live import CameraSettings
from pipeline_lib.live.sources.frames import LiveError, Source

_DEVICE = re.compile(r"/dev/video[0-9]+")
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
        raise LiveError(f"source {text!r}: expected {_KINDS} and what to open")
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
    raise LiveError(f"source {text!r}: expected {_KINDS}, found {kind!r}")
