"""Which images FFmpeg's conversion to colour planes does not write to their right edge.

FFmpeg 8 converts some pixel formats 16 columns at a time, and leaves a rest of up to 8 columns as
it finds the memory: the right edge shows what was there before, another one each time.
"""

_BLOCK_COLUMNS, _MOST_LEFT_COLUMNS = 16, 8
_FORMATS = ("yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuva420p")


def leaves_edge_unwritten(pixel_format: str, width: int) -> bool:
    """Tell whether the conversion to planes leaves the right edge of an image unwritten.

    Parameters
    ----------
    pixel_format
        FFmpeg's name.
    width
        Of the picture as it is stored, in px; it is not scaled.
    """
    return pixel_format in _FORMATS and 0 < width % _BLOCK_COLUMNS <= _MOST_LEFT_COLUMNS
