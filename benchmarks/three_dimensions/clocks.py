"""Run sessions whose cameras started at different times through the whole workflow.

An animal moves through a circle of cameras. Each camera starts at another time, not a whole number
of frames apart unless ``--whole-frames`` says so, and writes a video with a light that is switched
and a sound that all hear; the second camera drops frames. The sheet names the videos, and the true
keypoints of each frame as poses of another tool. Printed are, for each method, the largest error of
a clock, the distances of points in space from the truth, the animal's speed, and the largest time
between frames that were taken for one moment.
"""

import argparse
import csv
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import yaml
from numpy.typing import NDArray

from benchmarks.three_dimensions.accuracy import SHAPE, make_ring
from pipeline_lib.core.cameras.calibration import Calibration, Camera
from pipeline_lib.io.calibrations.files import write_calibration
from pipeline_lib.io.poses.session import read_session_poses
from pipeline_lib.kernels.geometry.projection import project

Floats = NDArray[np.float64]

REPOSITORY = Path(__file__).resolve().parents[2]
SECONDS, RATE = 8, 8000
# Time in s by which each camera starts after the world's clock.
STARTS = (0.0, 0.3137, 0.1291)
SIZE = (160, 120)
BODYPARTS = tuple(f"part{number}" for number in range(len(SHAPE)))


def move(times: Floats) -> Floats:
    """Return the points (time, bodypart, 3) of a rigid animal in mm at any time in s."""
    angle = 1.1 * times + 0.7 * np.sin(2.3 * times)
    radius = 150 + 60 * np.sin(1.7 * times)
    centre = np.stack([radius * np.cos(angle), radius * np.sin(angle), 0 * angle], axis=-1)
    cosine, sine = np.cos(3 * angle)[:, None], np.sin(3 * angle)[:, None]
    along, across, up = SHAPE.T
    turned = [cosine * along - sine * across, sine * along + cosine * across, up + 0 * cosine]
    return centre[:, None] + np.stack(turned, axis=-1)


def is_on(times: Floats) -> NDArray[np.bool_]:
    """Tell whether the light is on at times of the world's clock."""
    switches = np.sort(np.random.default_rng(3).uniform(0.4, SECONDS - 0.4, 24))
    return np.asarray(np.searchsorted(switches, times) % 2 == 1)


def make_sound(start: float, seconds: float, seed: int) -> Floats:
    """Return claps beside a voice, and the noise of one microphone."""
    stream = np.random.default_rng(7)
    world = stream.normal(0, 1, RATE * (SECONDS + 1))
    loudness = np.full(len(world), 0.004)
    for clap in stream.uniform(0.4, SECONDS - 0.4, 9):
        there = slice(int(RATE * clap), int(RATE * clap) + 800)
        loudness[there] += 0.4 * np.exp(-np.arange(800) / 150)
    first = round(RATE * start)
    part = (world * loudness)[first : first + int(RATE * seconds)]
    return part + 0.003 * np.random.default_rng(seed).normal(0, 1, len(part))


def write_video(path: Path, times: Floats, start: float, fps: int, seed: int) -> None:
    """Write frames at times of the world's clock, and sound from the first one on."""
    with av.open(path, "w") as container:
        video = container.add_stream("libx264", rate=fps)
        video.width, video.height, video.pix_fmt = *SIZE, "yuv420p"
        sound = container.add_stream("pcm_s16le", rate=RATE)
        numbers = np.rint((times - start) * fps).astype(int).tolist()
        for number, bright in zip(numbers, is_on(times).tolist(), strict=True):
            image = np.full((SIZE[1], SIZE[0], 3), 40, np.uint8)
            image[16:24, 16:24] = 220 if bright else 40
            frame = av.VideoFrame.from_ndarray(image)
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        samples = make_sound(start, times[-1] - start, seed)
        piece = av.AudioFrame.from_ndarray(
            (30000 * np.clip(samples, -1, 1)).astype(np.int16)[None], format="s16", layout="mono"
        )
        piece.rate, piece.pts, piece.time_base = RATE, 0, Fraction(1, RATE)
        container.mux(sound.encode(piece))
        container.mux(sound.encode(None))


def write_keypoints(path: Path, pixels: Floats) -> None:
    """Write pixels (frame, bodypart, 2) as DeepLabCut's CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["scorer", *["truth"] * 3 * len(BODYPARTS)])
        table.writerow(["bodyparts", *[name for name in BODYPARTS for _ in range(3)]])
        table.writerow(["coords", *["x", "y", "likelihood"] * len(BODYPARTS)])
        for frame, points in enumerate(pixels):
            table.writerow([frame, *[cell for x, y in points for cell in (x, y, 0.99)]])


def shrink(camera: Camera) -> Camera:
    """Return a camera with images of `SIZE`."""
    matrix = camera.matrix * (np.array(SIZE) / camera.size).mean()
    matrix[2, 2] = 1
    matrix[:2, 2] = np.array(SIZE) / 2
    own = (camera.distortion, camera.model, camera.rotation, camera.translation)
    return Camera(camera.name, SIZE, matrix, *own)


def write_project(
    folder: Path, method: str, fps: int, starts: Sequence[float]
) -> dict[str, Floats]:
    """Write videos, keypoints, sheet and config; return the times of each camera's frames."""
    folder.mkdir()
    cameras = [shrink(one) for one in make_ring(len(starts), 0)]
    write_calibration(folder / "rig.toml", Calibration(tuple(cameras), "mm"), "aniposelib")
    times, rows = {}, ["video\tpath\tposes\tsession\tcamera\tcalibration"]
    for number, (camera, start) in enumerate(zip(cameras, starts, strict=True)):
        own = start + np.arange(round((SECONDS - start) * fps)) / fps
        if number == 1:
            # Rows of frames that a video lacks are empty, and have their times.
            lost = np.r_[60:64, 100]
            kept = np.delete(np.arange(len(own)), lost)
        else:
            kept = np.arange(len(own))
        times[camera.name] = own
        name = f"walk-{camera.name}"
        write_video(folder / f"{name}.mkv", own[kept], start, fps, number)
        write_keypoints(folder / f"{name}.csv", project(camera, move(own[kept])))
        rows.append(f"{name}\t{name}.mkv\t{name}.csv\twalk\t{camera.name}\trig.toml")
    (folder / "cohort.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    light = {"light": {name: [16, 16, 8, 8] for name in times}} if method == "light" else {}
    config = {
        "cohort": "cohort.tsv",
        "exports": {"formats": []},
        "triangulation": {
            "enabled": True,
            "source": "raw",
            "exports": [],
            "synchronisation": {"method": method, **light},
        },
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return times


def run(folder: Path) -> None:
    """Run the workflow in a folder."""
    command = [
        str(Path(sys.executable).parent / "snakemake"), "--cores", "2",
        "--snakefile", str(REPOSITORY / "Snakefile"), "--configfile", "config.yaml",
    ]  # fmt: skip
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise SystemExit(ended.stdout + ended.stderr)


def compare(
    folder: Path, times: dict[str, Floats], method: str, fps: int, starts: Sequence[float]
) -> str:
    """Return a row: errors of clocks and of points."""
    poses = read_session_poses(folder / "results/triangulated/pose/walk.zarr.zip")
    clocks = poses.attributes["synchronisation"]["clocks"]
    begins = dict(zip(times, starts, strict=True))
    first = begins[clocks["reference"]]
    off = [
        abs(clock["later_s"] - (first - begins[camera]))
        for camera, clock in clocks["cameras"].items()
    ]
    frames = poses.camera_frame
    shown = np.stack(
        [
            np.where(frames[:, place] >= 0, times[name][frames[:, place]], np.nan)
            for place, name in enumerate(poses.cameras)
        ],
        axis=1,
    )
    # The moments are the frames of one camera.
    own = shown[:, poses.cameras.index(clocks["reference"])]
    known = np.isfinite(own)
    truth = move(np.where(known, own, 0.0))
    distance = np.linalg.norm(poses.position[:, 0] - truth, axis=-1)[known]
    distance = distance[np.isfinite(distance)]
    step = np.linalg.norm(np.diff(move(np.arange(0, SECONDS, 0.001)), axis=0), axis=-1) / 0.001
    apart = np.nanmax(np.abs(shown - own[:, None])[known])
    cells = (
        method, fps, f"{1000 * max(off):.1f}", f"{np.median(distance):.2f}",
        f"{np.quantile(distance, 0.99):.2f}", f"{distance.max():.2f}", len(distance),
        f"{np.median(step):.0f}", f"{np.quantile(step, 0.99):.0f}", f"{1000 * apart:.1f}",
    )  # fmt: skip
    return "\t".join(str(cell) for cell in cells)


def main() -> None:
    """Print a row for each method and frame rate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fps", type=int, nargs="+", default=[25, 50])
    parser.add_argument(
        "--whole-frames", action="store_true", help="start the cameras whole frames apart"
    )
    options = parser.parse_args()
    print(
        "method\tfps\tclock_ms\tmedian_mm\tp99_mm\tmax_mm\tpoints\tspeed_mm_s\tspeed_p99\tapart_ms"
    )
    for fps in options.fps:
        starts = [round(one * fps) / fps if options.whole_frames else one for one in STARTS]
        for method in ("light", "sound"):
            with tempfile.TemporaryDirectory() as parent:
                folder = Path(parent) / "project"
                times = write_project(folder, method, fps, starts)
                run(folder)
                print(compare(folder, times, method, fps, starts), flush=True)


if __name__ == "__main__":
    main()
