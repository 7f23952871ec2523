"""Provide the frames of `labels_saved.py`: a rendered cohort with rare videos, and the open field.

The rendered cohort has many videos of dark animals in one arena. A few were made elsewhere, with
other floors, lamps and coats, or show an animal that curls up or rears for a while. Truth is exact.
Pixels are stored losslessly.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from benchmarks.projects import PROJECTS, locate_project
from pipeline_lib.core.settings.network import LabelSource
from pipeline_lib.demo.recording import STEPS_PER_FRAME, film, walk_animals
from pipeline_lib.demo.render.animal import BODYPARTS, EDGES, SYMMETRIES
from pipeline_lib.demo.render.motion import Walks
from pipeline_lib.demo.scene import generate_scene
from pipeline_lib.io.images import read_image
from pipeline_lib.io.labels.table import import_labels
from pipeline_lib.io.publish import publish_file, publish_folder
from pipeline_lib.io.video.reader import VideoReader
from pipeline_lib.kernels.splits import split_blocks

SIDE, FPS = 64, 10  # px; frames per second
POOL, TEST = 16, (22, 28, 34, 40)  # frames of a video to choose from, and to test on
USUAL_STYLE, OTHER_STYLES = 0, (1, 2, 3, 4, 5)  # of floor and coat
USUAL, UNUSUAL_FLOORS, UNUSUAL_POSTURES = 60, 10, 10  # videos
# A larger animal, so that its bodyparts are some px apart in small frames.
SCALE = 1.6
_BEND = 0.52  # radians between two links of an animal that has curled up
_REAR = math.radians(68)
_HIP = 5  # node around which an animal rears


@dataclass(frozen=True)
class Clip:
    """Hold the frames of one video that may be labelled, with their truth.

    Attributes
    ----------
    name, path
        Name and file.
    kind
        What is unusual about it; ``usual`` if nothing.
    position
        Shape (frame, bodypart, 2), px; NaN: hidden.
    """

    name: str
    path: Path
    kind: str
    position: NDArray[np.float64]

    def read(self) -> list[NDArray[np.uint8]]:
        """Return its frames."""
        with VideoReader(self.path) as reader:
            return [image for _, image in reader.read() if image is not None]


@dataclass(frozen=True)
class Material:
    """Hold what a simulation needs.

    Attributes
    ----------
    clips
        Videos to choose from.
    test
        Frames to test on, each with its kind and truth of shape (bodypart, 2).
    bodyparts, edges
        The skeleton.
    settings
        Sections of the config that differ from the defaults.
    fps
        Frames per second.
    """

    clips: tuple[Clip, ...]
    test: tuple[tuple[NDArray[np.uint8], str, NDArray[np.float64]], ...]
    bodyparts: tuple[str, ...]
    edges: tuple[tuple[str, str], ...]
    settings: dict[str, Any]
    fps: float


def prepare_rendered(folder: Path) -> Material:
    """Return the rendered cohort; render it first if it is not there."""
    source = folder / "rendered"
    if not source.is_dir():
        with publish_folder(source) as part:
            for number, (style, posture) in enumerate(_list_videos()):
                _render(part, number, style, posture)
    clips, test = [], []
    for number, (style, posture) in enumerate(_list_videos()):
        with np.load(source / f"mouse-{number:02d}.npz") as stored:
            truth, pixels, unusual = (stored[key] for key in ("position", "test", "unusual"))
        kind = posture or ("usual" if style == USUAL_STYLE else f"style {style}")
        name = f"mouse-{number:02d}"
        clips.append(Clip(name, source / f"{name}.mp4", kind, truth[:POOL]))
        kinds = [kind if style != USUAL_STYLE or is_so else "usual" for is_so in unusual[POOL:]]
        test += list(zip(pixels, kinds, truth[POOL:], strict=True))
    settings = {
        "skeleton": {"symmetries": [list(pair) for pair in SYMMETRIES]},
        "targets": {"stride": 4, "sigma": 3.0, "pos_dist_thresh": 5.0},
        # Little else than turns: the trainings are short.
        "training": {
            "augmentation": {
                "rotation": 180,
                "mirror": True,
                "scale": [0.95, 1.05],
                "translation": 0.05,
                "noise": 0.0,
                "blur": 0.0,
                "erase": 0.0,
            }
        },
        "refinement": {"min_gap": 0.5},
    }
    return Material(tuple(clips), tuple(test), BODYPARTS, EDGES, settings, FPS)


def prepare_openfield(folder: Path, seed: int = 0) -> Material:
    """Return the open field's labelled images as one video, without the blocks to test on."""
    project = locate_project(PROJECTS["openfield"])
    table = import_labels(LabelSource(path=str(project)), folder).points
    names = list(dict.fromkeys(table["image"]))
    bodyparts = tuple(map(str, table["bodypart"].unique()))
    position = np.stack(
        [
            table[table["image"] == name].set_index("bodypart").loc[list(bodyparts), ["x", "y"]]
            for name in names
        ]
    ).astype(np.float64)
    images = [read_image(Path(name)) for name in names]
    tested = split_blocks([0] * len(names), range(len(names)), 10, 0.3, seed)
    path = folder / "openfield" / f"m4s1-{seed}.mp4"
    path.parent.mkdir(parents=True, exist_ok=True)
    pool = np.flatnonzero(~tested).tolist()
    write_lossless(path, (images[place] for place in pool), 1)
    clip = Clip("m4s1", path, "usual", position[pool])
    test = tuple((images[place], "usual", position[place]) for place in np.flatnonzero(tested))
    settings = {
        "skeleton": {"symmetries": [["leftear", "rightear"]]},
        "targets": {"scale": 0.4, "stride": 4, "sigma": 3.0, "pos_dist_thresh": 5.0},
        "training": {
            "crop": 64,
            "augmentation": {
                "rotation": 180,
                "mirror": True,
                "scale": [0.95, 1.05],
                "translation": 0.2,
                "noise": 0.0,
                "blur": 0.0,
                "erase": 0.0,
            },
        },
        "refinement": {"min_gap": 0.0},
    }
    edges = (("snout", "leftear"), ("snout", "rightear"))
    edges += (("leftear", "tailbase"), ("rightear", "tailbase"))
    return Material((clip,), test, bodyparts, edges, settings, 1.0)


def write_lossless(path: Path, frames: Iterable[NDArray[np.uint8]], fps: int) -> None:
    """Publish frames as an MP4 file from which they are decoded unchanged."""
    with publish_file(path) as part, av.open(str(part), "w", format="mp4") as container:
        stream: Any = None
        for pixels in frames:
            if stream is None:
                options = {"qp": "0", "threads": "1"}
                stream = container.add_stream("libx264rgb", rate=Fraction(fps), options=options)
                stream.height, stream.width = pixels.shape[:2]
                stream.pix_fmt = "rgb24"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))


def _list_videos() -> Sequence[tuple[int, str]]:
    """Return style and posture of each video."""
    floors = [(OTHER_STYLES[n % len(OTHER_STYLES)], "") for n in range(UNUSUAL_FLOORS)]
    postures = [(USUAL_STYLE, ("curled", "rearing")[n % 2]) for n in range(UNUSUAL_POSTURES)]
    return [(USUAL_STYLE, "")] * USUAL + floors + postures


def _render(folder: Path, number: int, style: int, posture: str) -> None:
    # The usual videos come from one arena, each of the others from its own.
    arena = 0 if style == USUAL_STYLE else number
    scene = generate_scene((7, arena, style), 1, 1, (SIDE, SIDE))
    scene = type(scene)(**{**vars(scene), "scales": (SCALE,)})
    random = np.random.default_rng([7, number])
    walks = walk_animals(scene, random, max(TEST) + 1, FPS)
    share = np.zeros(max(TEST) + 1)
    if posture:
        share[6:14] = share[TEST[1] - 2 : TEST[2] + 3] = 1.0
    smooth = np.convolve(np.repeat(share, STEPS_PER_FRAME), np.full(8, 1 / 8), mode="same")
    nodes = _pose(walks.nodes, smooth, posture)
    wanted = [*range(POOL), *TEST]
    steps = np.concatenate([np.arange(STEPS_PER_FRAME) + STEPS_PER_FRAME * at for at in wanted])
    filmed = list(film(scene, Walks(nodes[steps], walks.gait[steps]), 0, FPS, random))
    position = np.stack(
        [np.where(one.visible[0, :, None], one.position[0], np.nan) for one in filmed]
    )
    write_lossless(folder / f"mouse-{number:02d}.mp4", (one.pixels for one in filmed[:POOL]), FPS)
    np.savez(
        folder / f"mouse-{number:02d}.npz",
        position=position,
        test=np.stack([one.pixels for one in filmed[POOL:]]),
        unusual=share[wanted] > 0,
    )


def _pose(
    nodes: NDArray[np.float64], share: NDArray[np.float64], posture: str
) -> NDArray[np.float64]:
    """Bend or raise the bodies of a walk, by a share of each step."""
    if not posture:
        return nodes
    posed = nodes.copy()
    if posture == "curled":
        flat = nodes[..., 0] + 1j * nodes[..., 1]
        links = np.diff(flat, axis=-1)
        turn = (np.arange(links.shape[-1]) - _HIP) * _BEND * share[:, None, None]
        chain = np.concatenate([flat[..., :1], links * np.exp(1j * turn)], axis=-1).cumsum(axis=-1)
        chain += (flat[..., _HIP] - chain[..., _HIP])[..., None]
        posed[..., 0], posed[..., 1] = chain.real, chain.imag
        return posed
    angle = _REAR * share[:, None, None]
    offset = nodes[:, :, : _HIP + 1] - nodes[:, :, _HIP : _HIP + 1]
    length = np.hypot(offset[..., 0], offset[..., 1])
    posed[:, :, : _HIP + 1, :2] -= offset[..., :2] * (1 - np.cos(angle))[..., None]
    posed[:, :, : _HIP + 1, 2] += length * np.sin(angle)
    return posed
