"""Compare the assembly of crowds, with more animals than allowed, with DeepLabCut's Assembler.

Animals of known pose are drawn as part affinity fields, with displaced, hidden, false and doubled
peaks. Affinities are read from the fields between all peaks, so that touching animals are hard to
separate. The detections are written in DeepLabCut's format with its three decimals, and both
methods assemble them. A frame is equal if all its individuals consist of the same peaks, in any
order.
"""

import argparse
import pickle
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.several_animals.assembly import compare_assemblies, list_individuals, load_peer
from pipeline_lib.demo.render.motion import Ground, simulate_walks
from pipeline_lib.io.detections.deeplabcut import read_detections
from pipeline_lib.kernels.assembly.deeplabcut import DeepLabCutRules, assemble_as_deeplabcut
from pipeline_lib.kernels.maps.part_affinity import encode_part_affinity, measure_affinity
from pipeline_lib.kernels.maps.score_maps import map_shape

Array = NDArray[Any]
Edges = list[tuple[int, int]]

STRIDE, WIDTH = 4, 6.0  # px
JITTER = 1.5  # px
TARGET = 0.995  # share of the frames that are equal
BODY = np.array(
    [[0, 0], [14, 6], [14, -6], [26, 0], [40, 9], [40, -9], [54, 0], [66, 7], [66, -7], [80, 0]],
    float,
)
CHAIN = [(number, number + 1) for number in range(9)]
WEB = [*CHAIN, (0, 3), (3, 6), (6, 9), (0, 6), (3, 9), (9, 1), (6, 2), (5, 7), (0, 4)]


class Crowd(NamedTuple):
    """Hold animals of known pose (frame, individual, keypoint, 2), px, and rates of bad peaks."""

    name: str
    position: Array
    edges: Edges
    hidden: float = 0.15
    false: float = 0.3
    unique: bool = True


class Setting(NamedTuple):
    """Set the parameters of both methods."""

    individuals: int
    pcutoff: float = 0.1
    min_affinity: float = 0.05
    min_links: int = 2
    max_overlap: float = 0.8


def make_crowds(frames: int, flies: Path | None = None) -> Iterator[Crowd]:
    """Make crowds of walking animals, and of labelled flies if their folder is given."""
    for name, animals, size, edges, changes in (
        ("8 birds, chain", 8, (260.0, 200.0), CHAIN, {}),
        ("8 birds, web", 8, (260.0, 200.0), WEB, {}),
        ("12 in a heap, web", 12, (180.0, 140.0), WEB, {"hidden": 0.3}),
        ("10, many false peaks", 10, (300.0, 220.0), WEB, {"false": 1.0}),
        ("5, nothing hidden", 5, (220.0, 180.0), CHAIN, {"hidden": 0.0, "unique": False}),
    ):
        yield Crowd(name, _walk(frames, animals, size), edges, **changes)
    if flies is not None:
        import sleap_io  # noqa: PLC0415 - slow to import

        for clip in ("two_flies", "three_flies"):
            labels = sleap_io.load_slp(str(flies / f"{clip}.slp"), open_videos=False)
            edges = [tuple(map(int, edge)) for edge in labels.skeletons[0].edge_inds]
            position = np.tile(labels.numpy(), (-(-frames // len(labels)), 1, 1, 1)) / 2
            yield Crowd(clip, position[:frames], edges, unique=False)


def _walk(frames: int, animals: int, size: tuple[float, float]) -> Array:
    nodes = simulate_walks(
        np.random.default_rng(animals), frames, 1 / 10, [1.0] * animals, Ground(*size)
    ).nodes[..., :2]
    front, back = nodes[:, :, 0], nodes[:, :, -1]
    angle = np.arctan2(*np.moveaxis(back - front, -1, 0)[::-1])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    placed: Array = front[:, :, None] + np.einsum("ijfa,kj->faki", turn, BODY) + 60.0
    return placed


def write_crowd(crowd: Crowd, path: Path, seed: int = 0) -> None:
    """Write detections of a crowd in the format of DeepLabCut's ``analyze_videos``."""
    random = np.random.default_rng(seed)
    names = [f"part{number}" for number in range(crowd.position.shape[2])]
    content: dict[str, Any] = {
        "metadata": {
            "all_joints_names": [*names, *(["corner"] if crowd.unique else [])],
            "PAFgraph": [list(edge) for edge in crowd.edges],
            "PAFinds": np.arange(len(crowd.edges)),
            "nframes": len(crowd.position),
        }
    }
    for number, animals in enumerate(crowd.position):
        content[f"frame{number:04d}"] = _detect(animals, crowd, random)
    path.write_bytes(pickle.dumps(content))


def _detect(animals: Array, crowd: Crowd, random: np.random.Generator) -> dict[str, Any]:
    points, values = [], []
    for part in range(animals.shape[1]):
        there = np.isfinite(animals[:, part]).all(axis=-1)
        shown = animals[there & (random.random(len(animals)) >= crowd.hidden), part]
        shown = shown + random.normal(0, JITTER, shown.shape)
        false = random.poisson(crowd.false)
        near = animals[there, part]
        stray = near[random.integers(0, len(near), false)] if len(near) else np.empty((0, 2))
        stray = stray + random.normal(0, 15, stray.shape)
        point = np.concatenate([shown, stray])
        value = np.concatenate([random.beta(5, 2, len(shown)), random.beta(2, 4, len(stray))])
        order = np.lexsort((point[:, 0], point[:, 1]))  # as maps are read
        points.append(np.round(point[order], 3).astype(np.float32))
        values.append(np.round(value[order], 3).astype(np.float32))
    costs = _measure(animals, points, crowd.edges, random)
    if crowd.unique:
        points.append(np.round(random.uniform(0, 300, (2, 2)), 3).astype(np.float32))
        values.append(np.round(random.uniform(0, 1, 2), 3).astype(np.float32))
    return {
        "coordinates": (points,),
        "confidence": [value[:, None] for value in values],
        "costs": costs,
    }


def _measure(
    animals: Array, points: list[Array], edges: Edges, random: np.random.Generator
) -> dict[int, dict[str, Array]]:
    low = min((point.min(initial=0) for point in points), default=0)
    most = max(map(len, points))
    peaks = np.full((len(points), most, 2), np.nan, np.float32)
    for part, point in enumerate(points):
        peaks[part, : len(point)] = point - low
    side = int(np.nan_to_num(peaks).max()) + STRIDE
    shape = map_shape(side, side, STRIDE)
    field, _ = encode_part_affinity((animals - low).astype(np.float32), edges, shape, WIDTH)
    affinity = np.abs(measure_affinity(field, peaks, edges, STRIDE))
    costs = {}
    for number, (a, b) in enumerate(edges):
        rows, columns = len(points[a]), len(points[b])
        if not rows or not columns:
            continue
        value = affinity[number, :rows, :columns]
        value = np.abs(value + random.normal(0, 0.05, value.shape))
        way = points[a][:, None] - points[b][None]
        costs[number] = {
            "m1": np.round(value, 3).astype(np.float32),
            "distance": np.round(np.linalg.norm(way, axis=-1), 3).astype(np.float32),
        }
    return costs


SETTINGS = [
    Setting(individuals, **changes)
    for individuals in (2, 3)
    for changes in (
        {},
        {"min_affinity": 0.1},
        {"min_affinity": 0.4},
        {"pcutoff": 0.5},
        {"max_overlap": 0.5},
        {"max_overlap": 1.0},
        {"min_links": 4},
    )
] + [Setting(1), Setting(20)]


def compare(path: Path, setting: Setting, peer: Any) -> tuple[int, int]:  # noqa: ANN401
    """Return the number of frames with the same individuals on both sides, and of all frames."""
    found = read_detections(path, most_peaks=32)
    assembled = assemble_as_deeplabcut(
        found.position,
        found.confidence,
        found.affinity,
        found.edges,
        DeepLabCutRules(**setting._asdict()),
        unique=found.unique,
        number=found.number,
    )
    content = pickle.loads(path.read_bytes())  # noqa: S301 - written by this file
    assembler = peer.Assembler(
        content,
        max_n_individuals=setting.individuals,
        n_multibodyparts=len(found.bodyparts) - len(found.unique),
        pcutoff=setting.pcutoff,
        min_affinity=setting.min_affinity,
        min_n_links=setting.min_links,
        max_overlap=setting.max_overlap,
    )
    frames = len(assembler.metadata["imnames"])
    theirs = [assembler._assemble(assembler[frame], frame)[0] or () for frame in range(frames)]  # noqa: SLF001
    poses = [[one.data[:, :2] for one in some] for some in theirs]
    return compare_assemblies(list_individuals(assembled.position), poses)[0], frames


def main() -> None:
    """Print the number of equal frames for each crowd and setting."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--assembler", type=Path, required=True, help="DeepLabCut's inferenceutils")
    parser.add_argument("--flies", type=Path, help="the folder of the flies' .slp files")
    parser.add_argument("--frames", type=int, default=200)
    given = parser.parse_args()
    peer = load_peer(given.assembler)
    missed = []
    for crowd in make_crowds(given.frames, given.flies):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "crowd_full.pickle"
            write_crowd(crowd, path)
            counts = [compare(path, setting, peer) for setting in SETTINGS]
        same, frames = map(sum, zip(*counts, strict=True))
        print(f"{crowd.name}: {same} of {frames} frames in {len(SETTINGS)} settings", flush=True)
        for setting, (equal, of) in zip(SETTINGS, counts, strict=True):
            if equal < of:
                print(f"  {equal} of {of} with {setting._asdict()}", flush=True)
        if same < TARGET * frames:
            missed.append(f"{crowd.name}: less than {TARGET:.1%} of the frames")
    if missed:
        raise SystemExit("\n" + "\n".join(missed))


if __name__ == "__main__":
    main()
