"""Tell the images whose right edge FFmpeg's conversion to colour planes leaves unwritten.

FFmpeg 8 converts some pixel formats 16 columns at a time and skips a rest of up to 8 columns. The
right edge then shows old memory, which differs from read to read.
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
