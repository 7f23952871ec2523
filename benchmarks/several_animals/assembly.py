"""Measure the assembly of individuals from peaks and affinities, in frames per second of one core.

Detections are synthetic: animals of known pose, with missing, false and displaced peaks and noisy
affinities. The individuals are compared with the animals. No frame may take long, even if every
point of the maps is a peak, and twice the frames may take twice the time.
"""

import argparse
import importlib.util
import itertools
import pickle
import statistics
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from pipeline_lib.io.detections.deeplabcut import read_detections
from pipeline_lib.kernels.assembly.assemble import Assemblies, assemble_individuals
from pipeline_lib.kernels.assembly.deeplabcut import DeepLabCutRules, assemble_as_deeplabcut
from pipeline_lib.kernels.assembly.selection import AssemblyRules
from pipeline_lib.kernels.maps.peaks import find_peaks
from pipeline_lib.kernels.maps.score_maps import (
    MapShape,
    encode_gaussian,
    encode_location_refinement,
)
from pipeline_lib.steps.track.deeplabcut_detections import deeplabcut_rules

Array = NDArray[Any]

BODYPARTS = 12
DROPOUT, FALSE_POINTS = 0.1, 0.05
FIELD, BODY = 640.0, 60.0  # px
TARGET_WORST = 0.050  # seconds, for any frame
TARGET_LINEAR = 1.15  # time of twice the frames, over twice the time
COMPLETE = list(itertools.combinations(range(BODYPARTS), 2))
CHAIN = [(bodypart, bodypart + 1) for bodypart in range(BODYPARTS - 1)]


class Case(NamedTuple):
    """Set the number of animals, their edges, and the frames per second to reach."""

    name: str
    individuals: int
    edges: list[tuple[int, int]]
    target: float


CASES = (
    Case("3 animals x 12 points x 66 edges", 3, COMPLETE, 1000.0),
    Case("10 animals x 12 points x 11 edges", 10, CHAIN, 500.0),
)


class Detections(NamedTuple):
    """Hold peaks, affinities, and the animal of each peak (frame, bodypart, peak); -1 for none."""

    position: Array
    confidence: Array
    affinity: Array
    owner: Array


def make_detections(case: Case, frames: int, seed: int = 0) -> Detections:
    """Make detections of animals at random positions, which may overlap."""
    generator = np.random.default_rng(seed)
    animals = case.individuals
    body = generator.normal(0, 0.2, (BODYPARTS, 2))
    body[:, 0] += np.linspace(-1, 1, BODYPARTS)
    angle = generator.uniform(0, 2 * np.pi, (frames, animals))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    pose = np.einsum("ijfa,kj->fkai", turn, body * BODY)
    pose += generator.uniform(0, FIELD, (frames, 1, animals, 2))
    pose += generator.normal(0, 1.5, pose.shape)
    false = generator.uniform(0, FIELD, pose.shape)
    position = np.concatenate([pose, false], axis=2)
    owner = np.concatenate([np.arange(animals), np.full(animals, -1)])
    owner = np.tile(owner, (frames, BODYPARTS, 1))
    confidence = np.where(
        owner >= 0, generator.beta(8, 2, owner.shape), generator.beta(3, 3, owner.shape)
    )
    chance = generator.random(owner.shape)
    missing = np.where(owner >= 0, chance < DROPOUT, chance >= FALSE_POINTS) | (confidence < 0.1)
    position[missing], confidence[missing] = np.nan, np.nan
    affinity = _make_affinities(owner, missing, case.edges, generator)
    return Detections(position.astype(np.float32), confidence.astype(np.float32), affinity, owner)


def _make_affinities(
    owner: Array, missing: Array, edges: list[tuple[int, int]], generator: np.random.Generator
) -> Array:
    first, second = (np.array([edge[side] for edge in edges]) for side in (0, 1))
    ends = owner[:, first, :, None], owner[:, second, None, :]
    same = (ends[0] == ends[1]) & (ends[0] >= 0)
    shape = same.shape
    affinity = np.where(
        same, generator.normal(0.7, 0.15, shape), np.abs(generator.normal(0, 0.15, shape))
    ).astype(np.float32)
    affinity[missing[:, first, :, None] | missing[:, second, None, :]] = np.nan
    return affinity


def make_worst(case: Case, peaks: int = 100, seed: int = 0) -> Detections:
    """Make one frame with N false peaks of every bodypart and no animal."""
    generator = np.random.default_rng(seed)
    shape = (1, BODYPARTS, peaks)
    return Detections(
        generator.uniform(0, FIELD, (*shape, 2)).astype(np.float32),
        generator.uniform(0.1, 1, shape).astype(np.float32),
        generator.uniform(0, 1, (1, len(case.edges), peaks, peaks)).astype(np.float32),
        np.full(shape, -1),
    )


def assemble(found: Detections, case: Case) -> Assemblies:
    """Assemble with the default settings."""
    return assemble_individuals(
        found.position,
        found.confidence,
        found.affinity,
        case.edges,
        AssemblyRules(
            case.individuals, min_affinity=0.1, min_keypoints=3, pcutoff=0.0, max_overlap=1.0
        ),
    )


def assemble_by_links(found: Detections, case: Case) -> Assemblies:
    """Assemble as DeepLabCut does, with the same lowest affinity."""
    return assemble_as_deeplabcut(
        found.position,
        found.confidence,
        found.affinity,
        case.edges,
        DeepLabCutRules(
            case.individuals, pcutoff=0.0, min_affinity=0.1, min_links=2, max_overlap=1.0
        ),
    )


def measure_grouping(found: Detections, assembled: Assemblies) -> tuple[float, float]:
    """Return the share of detected keypoints in one individual, and the share of wrong ones.

    Both are shares of the detected keypoints of animals. An individual belongs to the animal of
    most of its keypoints; the individual of an animal is the one with most of its keypoints.
    """
    frame, individual, bodypart = np.nonzero(assembled.confidence > 0)
    point = assembled.position[frame, individual, bodypart]
    peak = (found.position[frame, bodypart] == point[:, None]).all(axis=-1).argmax(axis=-1)
    owner = found.owner[frame, bodypart, peak]
    animals = int(found.owner.max()) + 1
    shape = (*assembled.score.shape, animals)
    count = np.zeros(shape, np.int64)
    of_animal = owner >= 0
    np.add.at(count, (frame[of_animal], individual[of_animal], owner[of_animal]), 1)
    is_best = count == count.max(axis=2, keepdims=True)
    right = np.where(is_best, count, 0).max(axis=1).sum()
    there = np.isfinite(found.confidence) & (found.owner >= 0)
    return right / there.sum(), (len(owner) - right) / there.sum()


def time_frames(found: Detections, case: Case, repeats: int) -> float:
    """Return the median CPU seconds of an assembly of all frames."""
    seconds = []
    for _ in range(repeats):
        begin = time.process_time()
        assemble(found, case)
        seconds.append(time.process_time() - begin)
    return statistics.median(seconds)


def time_peaks(repeats: int) -> float:
    """Return the median CPU seconds of finding peaks: 13 keypoints, maps of 256 x 256 cells."""
    generator = np.random.default_rng(0)
    shape = MapShape(256, 256, 4)
    position = generator.uniform(0, 1024, (3, 13, 2)).astype(np.float32)
    score = encode_gaussian(position, shape, 8.0)
    score += generator.uniform(0, 0.05, score.shape).astype(np.float32)
    offset, _ = encode_location_refinement(position, shape, 16.0)
    seconds = []
    for _ in range(repeats):
        begin = time.process_time()
        find_peaks(score, offset, shape.stride, threshold=0.1, most=6)
        seconds.append(time.process_time() - begin)
    return statistics.median(seconds)


def run_case(case: Case, frames: int, repeats: int) -> list[str]:
    """Print the figures of a case; return those that miss their target."""
    found = make_detections(case, 2 * frames)
    half = Detections(*(values[:frames] for values in found))
    assemble(half, case)
    seconds, twice = (time_frames(part, case, repeats) for part in (half, found))
    worst = max(
        time_frames(make_worst(case, seed=seed), case, repeats=3) for seed in range(repeats)
    )
    right, wrong = measure_grouping(half, assemble(half, case))
    by_links = measure_grouping(half, assemble_by_links(half, case))
    print(
        f"{case.name}: {frames / seconds:.0f} frames/s; twice the frames in "
        f"{twice / seconds:.2f} times the time; worst frame, 100 peaks of each bodypart, "
        f"{worst * 1000:.1f} ms; {right:.1%} of the keypoints put together, {wrong:.1%} wrong "
        f"(by the strongest links alone, as in DeepLabCut: {by_links[0]:.1%}, {by_links[1]:.1%})"
    )
    missed = []
    if frames / seconds < case.target:
        missed.append(f"{case.name}: less than {case.target:g} frames/s")
    if worst > TARGET_WORST:
        missed.append(f"{case.name}: a frame of more than {TARGET_WORST * 1000:g} ms")
    if twice / seconds > 2 * TARGET_LINEAR:
        missed.append(f"{case.name}: not linear in frames")
    return missed


def run_file(path: Path, individuals: int, repeats: int, peer: Path | None) -> None:
    """Print the frames per second of the assembly of detections that DeepLabCut wrote.

    With DeepLabCut's own module, also print the number of frames with the same individuals.
    """
    found = read_detections(path, most_peaks=max(16, individuals))
    rules = deeplabcut_rules(individuals)
    seconds = []
    for _ in range(repeats):
        begin = time.process_time()
        assembled = assemble_as_deeplabcut(
            found.position,
            found.confidence,
            found.affinity,
            found.edges,
            rules,
            unique=found.unique,
            number=found.number,
        )
        seconds.append(time.process_time() - begin)
    animals = int(np.isfinite(assembled.score).sum())
    rate = len(found.frame) / statistics.median(seconds)
    print(f"{path.name}: {len(found.frame)} frames, {animals} individuals, {rate:.0f} frames/s")
    if peer is not None:
        bodyparts = len(found.bodyparts) - len(found.unique)
        theirs, taken = assemble_by_peer(peer, path, individuals, bodyparts)
        rate = len(found.frame) / taken
        same, keypoints, of = compare_assemblies(list_individuals(assembled.position), theirs)
        print(
            f"{peer.name}: {rate:.0f} frames/s; the same individuals in {same} "
            f"of {len(theirs)} frames, {keypoints} of its {of} keypoints in the same individual"
        )


def load_peer(module: Path) -> Any:  # noqa: ANN401
    """Load DeepLabCut's assembly module alone, without the package."""
    spec = importlib.util.spec_from_file_location(module.stem, module)
    if spec is None or spec.loader is None:
        raise SystemExit(f"error: {module}: no Python module")
    code = importlib.util.module_from_spec(spec)
    sys.modules[module.stem] = code
    spec.loader.exec_module(code)
    return code


def assemble_by_peer(
    module: Path, detections: Path, individuals: int, bodyparts: int
) -> tuple[list[list[Array]], float]:
    """Return the individuals of each frame from DeepLabCut's Assembler, and the seconds it takes.

    Individuals have the shape (bodypart, 2).
    """
    code = load_peer(module)
    with detections.open("rb") as file:
        content = pickle.load(file)  # noqa: S301 - as DeepLabCut reads it: of one's own files only
    assembler = code.Assembler(content, max_n_individuals=individuals, n_multibodyparts=bodyparts)
    frames = len(assembler.metadata["imnames"])
    begin = time.process_time()
    made = [assembler._assemble(assembler[frame], frame)[0] for frame in range(frames)]  # noqa: SLF001
    seconds = time.process_time() - begin
    return [[one.data[:, :2] for one in some or ()] for some in made], seconds


def list_individuals(position: Array) -> list[list[Array]]:
    """Return the individuals of each frame, without empty slots."""
    return [[pose for pose in frame if np.isfinite(pose).any()] for frame in position]


def compare_assemblies(ours: list[list[Array]], theirs: list[list[Array]]) -> tuple[int, int, int]:
    """Return the number of frames with the same individuals, and of keypoints grouped the same way.

    The third number counts all their keypoints.
    """
    same = keypoints = number = 0
    for own, other in zip(ours, theirs, strict=True):
        sets = [[_name_keypoints(pose) for pose in poses] for poses in (own, other)]
        same += set(sets[0]) == set(sets[1])
        number += sum(map(len, sets[1]))
        common = np.array([[len(a & b) for b in sets[1]] for a in sets[0]])
        if common.size:
            keypoints += int(common[linear_sum_assignment(common, maximize=True)].sum())
    return same, keypoints, number


def _name_keypoints(pose: Array) -> frozenset[tuple[int, float, float]]:
    """Return names of the keypoints of a pose; keypoints of equal position are the same peak."""
    return frozenset(
        (bodypart, round(float(x), 2), round(float(y), 2))
        for bodypart, (x, y) in enumerate(np.asarray(pose, np.float32))
        if np.isfinite(x)
    )


def main() -> None:
    """Print the figures; fail if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--detections", type=Path, help="a *_full.pickle of DeepLabCut instead")
    parser.add_argument("--individuals", type=int, default=3, help="with --detections")
    parser.add_argument(
        "--assembler", type=Path, help="DeepLabCut's inferenceutils.py, to be run beside"
    )
    given = parser.parse_args()
    if given.detections:
        run_file(given.detections, given.individuals, given.repeats, given.assembler)
        return
    missed = []
    for case in CASES:
        missed += run_case(case, given.frames, given.repeats)
    print(f"peaks of 13 maps of 256 x 256 cells: {time_peaks(given.repeats) * 1000:.1f} ms")
    if missed:
        raise SystemExit("\n" + "\n".join(missed))


if __name__ == "__main__":
    main()
