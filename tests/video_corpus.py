"""Encode a small corpus of videos with PyAV into temporary folders.

Every frame shows its own number as eight black or white squares, so that a test can read off
which frame it got without trusting timestamps or the reader under test.
"""

import struct
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

WIDTH, HEIGHT = 96, 64
_SQUARE = 10
_BITS = 9


def draw_frame(number: int) -> np.ndarray:
    """Draw frame `number`: a ramp, a moving red square and the number in binary."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[...] = np.arange(WIDTH)[None, :, None]
    x = (number * 3) % (WIDTH - 16)
    image[8:24, x : x + 16] = (250, 20, 20)
    for bit in range(_BITS):
        left = bit * _SQUARE
        image[44:64, left : left + _SQUARE] = 255 * ((number >> bit) & 1)
    return image


def read_number(image: np.ndarray) -> int:
    """Read the number off a frame."""
    centres = _SQUARE // 2 + _SQUARE * np.arange(_BITS)
    bits = image[50:58, centres].mean(axis=(0, 2)) > 127
    return int((bits << np.arange(_BITS)).sum())


def encode(
    path: Path,
    codec: str = "libx264",
    frames: int = 60,
    *,
    fps: int = 25,
    options: dict[str, str] | None = None,
    pixel_format: str = "yuv420p",
    gop: int = 12,
    b_frames: int = 0,
    times: Sequence[int] | None = None,
    container_options: dict[str, str] | None = None,
    file_format: str | None = None,
) -> Path:
    """Encode numbered frames; `times` are timestamps in ms, for a variable frame rate."""
    base = Fraction(1, 1000) if times is not None else Fraction(1, fps)
    with av.open(path, "w", format=file_format, options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pixel_format
        stream.codec_context.gop_size = gop
        stream.codec_context.max_b_frames = b_frames
        stream.codec_context.time_base = base
        stream.codec_context.thread_count = 1
        stream.options = options or {}
        for number in range(frames):
            picture = av.VideoFrame.from_ndarray(draw_frame(number))
            picture.pts = number if times is None else times[number]
            picture.time_base = base
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def x264(parameters: str = "", b_frames: int = 3) -> dict[str, str]:
    """Return encoder options for B-frames and a keyframe every 12 frames by default.

    x264's code for AVX-512 does not give the same bytes each time; its plain code does.
    """
    defaults = "keyint=12:min-keyint=12:scenecut=0:b-adapt=0:threads=1:asm=0"
    return {"x264-params": f"{defaults}:bframes={b_frames}:{parameters}".rstrip(":")}


def vary_times(frames: int) -> list[int]:
    """Return timestamps in ms with dropped and late frames."""
    intervals = np.resize([40, 40, 80, 33, 120], frames - 1)
    return [0, *np.cumsum(intervals).tolist()]


def skip_with_edit_list(path: Path, seconds: Fraction) -> None:
    """Move the start of an MP4's only edit, so that players do not show what comes before."""
    data = bytearray(path.read_bytes())
    scale_at = data.index(b"mdhd") + 16
    (scale,) = struct.unpack_from(">I", data, scale_at)
    at = data.index(b"elst") + 12
    duration, start = struct.unpack_from(">Ii", data, at)
    movie_scale = struct.unpack_from(">I", data, data.index(b"mvhd") + 16)[0]
    struct.pack_into(
        ">Ii", data, at, duration - int(seconds * movie_scale), start + int(seconds * scale)
    )
    path.write_bytes(data)


def turn_a_quarter(path: Path) -> None:
    """Write a display matrix into an MP4 that turns its frames by 90 degrees clockwise."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    one = 1 << 16
    struct.pack_into(">9i", data, at, 0, one, 0, -one, 0, 0, HEIGHT * one, 0, 1 << 30)
    path.write_bytes(data)


def damage_packet(path: Path, number: int, *, whole: bool = True) -> None:
    """Overwrite the data of one packet, counted in decoding order; sizes stay as they are."""
    with av.open(path) as container:
        packets = [p for p in container.demux(container.streams.video[0]) if p.size]
        data, content = path.read_bytes(), bytes(packets[number])
        at = data.index(content)
    first = 0 if whole else len(content) // 3
    noise = np.random.default_rng(0).integers(0, 256, len(content) - first, dtype=np.uint8)
    path.write_bytes(data[: at + first] + noise.tobytes() + data[at + len(content) :])


def write_audio(path: Path) -> Path:
    """Write half a second of silence, and no video."""
    with av.open(path, "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        for start in range(0, 8192, 1024):
            frame = av.AudioFrame.from_ndarray(
                np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
            )
            frame.sample_rate, frame.pts = 16000, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def encode_variable(path: Path, frames: int = 60) -> Path:
    """Encode H.264 with B-frames at a variable frame rate."""
    return encode(path, frames=frames, options=x264(), times=vary_times(frames))


def encode_edited(path: Path) -> Path:
    """Encode 65 frames of which an edit list hides the first 5 (not a whole GOP)."""
    encode(path, frames=65, options=x264())
    skip_with_edit_list(path, Fraction(5, 25))
    return path


def encode_negative(path: Path) -> Path:
    """Encode a variable frame rate whose first five timestamps are negative."""
    return encode(path, options=x264(), times=[time - 240 for time in vary_times(60)])


def miscount(path: Path) -> Path:
    """Encode an AVI whose headers announce 999 frames."""
    encode(path, "mjpeg", pixel_format="yuvj420p")
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, data.index(b"avih") + 8 + 16, 999)
    struct.pack_into("<I", data, data.index(b"strh") + 8 + 32, 999)
    path.write_bytes(data)
    return path


def encode_turned(path: Path) -> Path:
    """Encode frames that players turn by 90 degrees."""
    encode(path, options=x264())
    turn_a_quarter(path)
    return path


_HEVC = {"x265-params": "keyint=12:min-keyint=12:log-level=none:pools=none:frame-threads=1"}
_HEVC_OPEN = "keyint=12:open-gop=1:b-adapt=0:bframes=3:log-level=none:pools=none:frame-threads=1"
_VP9 = {"deadline": "realtime", "cpu-used": "8"}

# Name of the file, how to write it, and the number drawn on its first shown frame.
RECIPES: dict[str, tuple[str, Callable[[Path], Path], int]] = {
    "h264-b-frames": ("a.mp4", lambda p: encode(p, options=x264()), 0),
    "h264-open-gop": ("b.mp4", lambda p: encode(p, options=x264("open-gop=1")), 0),
    "h264-open-gop-mkv": ("c.mkv", lambda p: encode(p, options=x264("open-gop=1")), 0),
    "h264-open-gop-ts": ("d.ts", lambda p: encode(p, options=x264("open-gop=1")), 0),
    "h264-intra-refresh": (
        "e.mp4",
        lambda p: encode(p, options=x264("intra-refresh=1:keyint=10", b_frames=0)),
        0,
    ),
    "h264-long-gop": (
        "f.mp4",
        lambda p: encode(p, frames=300, options=x264("keyint=250:min-keyint=250")),
        0,
    ),
    "h264-tiny-gop": ("g.mp4", lambda p: encode(p, options=x264("keyint=2:min-keyint=1")), 0),
    "h264-b-frames-avi": ("h.avi", lambda p: encode(p, options=x264()), 0),
    "h264-bare": ("i.h264", lambda p: encode(p, options=x264(), file_format="h264"), 0),
    "h264-fragments": (
        "j.mp4",
        lambda p: encode(
            p, options=x264(), container_options={"movflags": "frag_keyframe+empty_moov"}
        ),
        0,
    ),
    "hevc": ("k.mp4", lambda p: encode(p, "libx265", options=_HEVC), 0),
    "hevc-open-gop-mkv": (
        "l.mkv",
        lambda p: encode(p, "libx265", options={"x265-params": _HEVC_OPEN}),
        0,
    ),
    "vp9": ("m.webm", lambda p: encode(p, "libvpx-vp9", options=_VP9), 0),
    "mjpeg-avi": ("n.avi", lambda p: encode(p, "mjpeg", pixel_format="yuvj420p"), 0),
    "mpeg4-avi": ("o.avi", lambda p: encode(p, "mpeg4"), 0),
    "mpeg4-b-frames-avi": ("p.avi", lambda p: encode(p, "mpeg4", b_frames=2), 0),
    "variable-rate": ("q.mp4", encode_variable, 0),
    "edit-list": ("r.mp4", encode_edited, 5),
    "gray-ffv1": ("s.mkv", lambda p: encode(p, "ffv1", pixel_format="gray"), 0),
}

# As above, of frames whose numbers need not be read; compared with FFmpeg's own reading.
MORE_RECIPES: dict[str, Callable[[Path], Path]] = {
    "h264-mkv.mkv": lambda p: encode(p, options=x264()),
    "h264-one-keyframe.mp4": lambda p: encode(
        p, frames=300, options=x264("keyint=infinite:min-keyint=300")
    ),
    "h264-444.mp4": lambda p: encode(p, options=x264(), pixel_format="yuv444p"),
    "h264-negative.mkv": encode_negative,
    "h264-negative.mp4": encode_negative,
    "h264-turned.mp4": encode_turned,
    "h264-pyramid.mp4": lambda p: encode(p, options=x264("open-gop=1:b-pyramid=normal", 7)),
    "hevc-long-gop.mkv": lambda p: encode(
        p, "libx265", 300, options={"x265-params": _HEVC_OPEN.replace("keyint=12", "keyint=250")}
    ),
    "mpeg4-b-frames.mp4": lambda p: encode(p, "mpeg4", b_frames=2),
    "mpeg4-one-keyframe.avi": lambda p: encode(p, "mpeg4", gop=600),
    "mpeg2.ts": lambda p: encode(p, "mpeg2video", b_frames=2),
    "vp8.webm": lambda p: encode(p, "libvpx", options=_VP9),
    "vp9-variable.webm": lambda p: encode(p, "libvpx-vp9", options=_VP9, times=vary_times(60)),
    "mjpeg-miscounted.avi": miscount,
    "mjpeg-422.mov": lambda p: encode(p, "mjpeg", pixel_format="yuvj422p"),
}
