"""Tell how the brightness and colour of a picture are meant."""

from dataclasses import dataclass
from typing import Any

from av.video.reformatter import ColorRange

UNKNOWN = 2
# Weights of red and blue in brightness, by FFmpeg's number of the matrix: BT.709, FCC, SMPTE 240M,
# BT.2020. FFmpeg takes all others for BT.601.
_WEIGHTS = {1: (0.2126, 0.0722), 4: (0.30, 0.11), 7: (0.212, 0.087), 9: (0.2627, 0.0593)}
_BT601 = 0.299, 0.114


@dataclass(frozen=True)
class ColourTags:
    """Say how planes of brightness and colour are meant.

    Attributes
    ----------
    full_range
        Whether black and white are 0 and 255, not 16 and 235.
    matrix, primaries, transfer
        FFmpeg's numbers; 2: not told.
    """

    full_range: bool = False
    matrix: int = UNKNOWN
    primaries: int = UNKNOWN
    transfer: int = UNKNOWN

    @property
    def weights(self) -> tuple[float, float]:
        """Return the weights of red and blue in brightness."""
        return _WEIGHTS.get(self.matrix, _BT601)

    def label(self, context: Any) -> None:  # noqa: ANN401 - PyAV's
        """Tell an encoder."""
        context.color_range = int(ColorRange.JPEG if self.full_range else ColorRange.MPEG)
        context.colorspace = self.matrix
        context.color_primaries, context.color_trc = self.primaries, self.transfer


def read_tags(picture: Any, context: Any) -> ColourTags:  # noqa: ANN401 - PyAV's
    """Return the tags of the planes of a picture, as `planes.read_planes` gives them.

    Parameters
    ----------
    picture, context
        PyAV's: the picture, and the codec context of its stream.
    """
    pixels = picture.format
    if pixels.name.startswith("gray") and not pixels.name.startswith("grayf"):
        # Gray is taken as it is, whatever range it claims.
        return ColourTags(full_range=True)
    if not pixels.name.startswith("yuv"):
        # Converted by BT.601.
        return ColourTags()
    full = pixels.name.startswith("yuvj") or int(picture.color_range) == ColorRange.JPEG
    primaries, transfer = int(context.color_primaries), int(context.color_trc)
    return ColourTags(full, int(picture.colorspace), primaries, transfer)
