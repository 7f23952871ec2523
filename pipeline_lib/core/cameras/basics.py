"""Define what settings, tables and cameras share: lens models, units, names that mean a camera.

No array library is imported, for `status`.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Literal

from pipeline_lib.core.untrusted.names import fold_name

Model = Literal["pinhole", "fisheye"]
MODELS: tuple[Model, ...] = ("pinhole", "fisheye")
# Length of one unit in metres.
UNITS: Mapping[str, float] = MappingProxyType(
    {"um": 1e-6, "mm": 1e-3, "cm": 1e-2, "m": 1.0, "inch": 0.0254}
)
# Recorders pad sides to multiples of 16 px.
PADDING = 16


def find_alike(name: str, cameras: Iterable[str]) -> str | None:
    """Return the camera that a name means: the same, or the one that people write differently.

    `cam_01` and `Cam01` are one camera. None if there is none, or more than one.
    """
    known = list(cameras)
    if name in known:
        return name
    alike = [other for other in known if _simplify(other) == _simplify(name)]
    return alike[0] if len(alike) == 1 else None


def _simplify(name: str) -> str:
    """Return a camera's name without what people write differently."""
    return "".join(letter for letter in fold_name(name) if letter.isalnum())
