"""Hold regions of interest."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Region:
    """Hold a region of interest.

    Attributes
    ----------
    name
        Name, which becomes part of names of columns.
    rings
        Polygons of shape (corner, 2), x and y of each corner; those within others are holes.
    video, camera
        Video or camera of the sheet whose region it is; empty: of all.
    """

    name: str
    rings: tuple[NDArray[np.float64], ...]
    video: str = ""
    camera: str = ""

    def concerns(self, video: str, camera: str) -> bool:
        """Tell whether it is a region of a video of a camera."""
        return self.video in ("", video) and self.camera in ("", camera)
