"""Read industrial cameras (GenICam: GigE Vision, USB3 Vision) through `harvesters`.

Producers, the libraries of the makers, are found where the standard says: in the folders that the
variable GENICAM_GENTL64_PATH lists.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np

from pipeline_lib.core.settings.outputs.live import CameraSettings
from pipeline_lib.live.sources.frames import (
    Frame,
    FrameError,
    LiveError,
    LiveSource,
    SourceError,
    now,
    to_rgb,
)

_VARIABLE = "GENICAM_GENTL64_PATH"
_COLOURS = {"BGR8": True, "RGB8": False, "RGB8Packed": False, "BGR8Packed": True}
_GREYS = ("Mono8", "Mono16")


def find_producers() -> list[str]:
    """Return the paths of all producers (``*.cti``) of this machine.

    Raises
    ------
    LiveError
        If there are none.
    """
    folders = [part for part in os.environ.get(_VARIABLE, "").split(os.pathsep) if part]
    found = [str(path) for folder in folders for path in sorted(Path(folder).glob("*.cti"))]
    if not found:
        raise LiveError(
            f"{_VARIABLE} names no folder with a producer (*.cti): install the camera maker's "
            "software, which sets it"
        )
    return found


class GenICamSource(LiveSource):
    """Give the frames of a GenICam camera.

    Parameters
    ----------
    serial
        Serial number of the camera; empty: the first one.
    settings
        Rate, size and exposure asked of it.
    """

    def __init__(self, serial: str, settings: CameraSettings) -> None:
        try:
            from harvesters.core import Harvester  # noqa: PLC0415 - of the extra `live`
        except ImportError as error:
            raise LiveError(
                f"`genicam:` needs harvesters ({error}): pip install 'cohortpose[live]'"
            ) from None
        self._make, self._serial, self._settings = Harvester, serial, settings
        self._harvester: Any = None
        self._acquirer: Any = None

    def open(self) -> None:
        """Find the camera, set it and start it."""
        self._harvester = self._make()
        for path in find_producers():
            self._harvester.add_file(path)
        try:
            self._harvester.update()
            search = {"serial_number": self._serial} if self._serial else 0
            self._acquirer = self._harvester.create(search)
            self._set(self._acquirer.remote_device.node_map)
            # The oldest of few buffers is written over: newest frame wins.
            self._acquirer.num_buffers = 2
            self._acquirer.start()
        except Exception as error:  # noqa: BLE001 - harvesters and GenTL have no common base class
            self.close()
            raise SourceError(f"genicam:{self._serial}: cannot be opened ({error})") from None

    def _set(self, nodes: Any) -> None:  # noqa: ANN401 - a node map is what the camera has
        asked = self._settings
        wanted: dict[str, Any] = {}
        if asked.width and asked.height:
            wanted |= {"Width": asked.width, "Height": asked.height}
        if asked.exposure_us:
            wanted |= {"ExposureAuto": "Off", "ExposureTime": asked.exposure_us}
        if asked.fps:
            wanted |= {"AcquisitionFrameRateEnable": True, "AcquisitionFrameRate": asked.fps}
        for name, value in wanted.items():
            # Cameras lack some of these.
            if hasattr(nodes, name):
                getattr(nodes, name).value = value

    def read(self, timeout: float) -> Frame | None:
        """Return the next frame, if it comes in time."""
        try:
            buffer = self._acquirer.try_fetch(timeout=timeout)
        except Exception as error:  # noqa: BLE001 - as above
            raise SourceError(f"genicam:{self._serial}: {error}") from None
        if buffer is None:
            if not self._acquirer.is_acquiring():
                raise SourceError(f"genicam:{self._serial}: has stopped")
            return None
        try:
            captured = now()
            image = self._convert(buffer.payload.components[0])
            return Frame(image, int(buffer.frame_id), captured, int(buffer.timestamp_ns) / 1e9)
        except FrameError:
            raise
        except Exception as error:  # noqa: BLE001 - as above; a payload that is not whole
            raise FrameError(
                f"genicam:{self._serial}: gave a frame that is not whole ({error!r})"
            ) from None
        finally:
            buffer.queue()

    def _convert(self, component: Any) -> np.ndarray:  # noqa: ANN401 - a component of the payload
        height, width, form = component.height, component.width, component.data_format
        data = np.asarray(component.data)
        if form in _COLOURS:
            return to_rgb(data.reshape(height, width, 3), bgr=_COLOURS[form]).copy()
        if form in _GREYS:
            return to_rgb(data.reshape(height, width))
        raise FrameError(
            f"genicam:{self._serial}: sends {form}; set its pixel format to Mono8, RGB8 or BGR8"
        )

    def close(self) -> None:
        """Stop and release the camera."""
        for one, name in ((self._acquirer, "destroy"), (self._harvester, "reset")):
            if one is not None:
                getattr(one, name)()
        self._acquirer = self._harvester = None
