"""Film a small cage with a camera's noise: an animal of few pixels that mostly rests."""

from pathlib import Path

import av
import numpy as np

WIDTH, HEIGHT = 160, 96


def draw_cage(x=60, y=40, light=0.0, lamp=0):
    """Draw bedding, an animal of 7 x 5 px at x, y, and a lamp in the corner."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    bedding = 120 + 14 * np.sin(columns / 2.3) * np.cos(rows / 3.1) + 0.2 * columns
    bedding[y : y + 5, x : x + 7] = 60
    bedding[2:8, 2:10] = 40 + lamp
    return bedding + light


def film(path: Path, scenes, *, noise=2.0, codec="libx264", gop=40, options=None):
    """Encode scenes (from `draw_cage`) with noise; `noise` is one value or one per frame."""
    random = np.random.default_rng(3)
    options = {"crf": "23", "preset": "veryfast", "threads": "1"} if options is None else options
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=30, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.gop_size = gop
        for number, scene in enumerate(scenes):
            spread = noise if np.isscalar(noise) else noise[number]
            gray = scene + spread * random.standard_normal(scene.shape)
            image = np.repeat(np.clip(gray + 0.5, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return path
