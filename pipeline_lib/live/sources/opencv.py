"""Read a camera of this machine with OpenCV (V4L2 on Linux)."""

from typing import Any

import cv2

from pipeline_lib.core.settings.outputs.live import CameraSettings
from pipeline_lib.live.sources.frames import (
    Frame,
    FrameError,
    LiveSource,
    SourceError,
    now,
    to_rgb,
)

# V4L2 counts exposures in 100 microseconds; 1 means by hand.
_EXPOSURE_UNIT = 100.0
_MANUAL = 1


class OpenCvSource(LiveSource):
    """Give the frames of a camera; the oldest ones that wait in the driver are few.

    Parameters
    ----------
    device
        Number or path of the device.
    settings
        What is asked of the camera; it may give something else.
    """

    def __init__(self, device: int | str, settings: CameraSettings) -> None:
        self._device, self._settings = device, settings
        self._capture: Any = None
        self._number = 0

    def open(self) -> None:
        """Open the camera."""
        capture = cv2.VideoCapture(self._device)
        if not capture.isOpened():
            capture.release()
            raise SourceError(
                f"camera {self._device}: cannot be opened: is it plugged in, and "
                "does nothing else use it?"
            )
        # A frame that waits is older than the next one.
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        asked = self._settings
        if asked.width and asked.height:
            capture.set(cv2.CAP_PROP_FRAME_WIDTH, asked.width)
            capture.set(cv2.CAP_PROP_FRAME_HEIGHT, asked.height)
        if asked.fps:
            capture.set(cv2.CAP_PROP_FPS, asked.fps)
        if asked.exposure_us:
            capture.set(cv2.CAP_PROP_AUTO_EXPOSURE, _MANUAL)
            capture.set(cv2.CAP_PROP_EXPOSURE, asked.exposure_us / _EXPOSURE_UNIT)
        self._capture = capture

    def read(self, timeout: float) -> Frame | None:
        """Return the next frame; the driver waits for it."""
        del timeout
        if not self._capture.grab():
            raise SourceError(f"camera {self._device}: gives no more frames")
        captured = now()
        good, image = self._capture.retrieve()
        if not good or image is None:
            raise FrameError(f"camera {self._device}: gave a frame that cannot be decoded")
        self._number += 1
        return Frame(to_rgb(image, bgr=True), self._number, captured)

    def close(self) -> None:
        """Release the camera."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None
