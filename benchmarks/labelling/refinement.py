"""Measure how long it takes to score a cohort of synthetic poses and to choose frames from it.

Animals walk at random; a known share of the frames has a keypoint put elsewhere, low confidences
or a bone stretched. The command prints seconds and peak memory of scoring and choosing (without
the decoding of images, which depends on the videos), and the share of chosen frames that were
spoilt. The target is 1,000 videos x 10,000 frames, 200 chosen, in under 2 minutes and 4 GB on two
cores.
"""

import argparse
import itertools
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from pipeline_lib.core.formats.criteria import CRITERIA
from pipeline_lib.core.process import count_cores
from pipeline_lib.io.poses.write import create_poses
from pipeline_lib.kernels.refinement.choice import choose_different, reduce_embeddings
from pipeline_lib.steps.refine.ranking import rank_candidates
from pipeline_lib.steps.refine.scoring import Scoring, fit_criteria, score_cohort

BODYPARTS = ("nose", "left", "right", "neck", "spine", "hip", "base", "tip")
EDGES = tuple(itertools.pairwise(BODYPARTS))
SPOILT = 1e-3  # share of the frames
TARGET_SECONDS, TARGET_GIGABYTES = 120.0, 4.0
FULL_FRAMES = 10_000_000
FPS = 30.0


def write_video(path: Path, frames: int, seed: int) -> frozenset[int]:
    """Write a pose file of one walking animal and return its spoilt frames."""
    random = np.random.default_rng(seed)
    angle = np.cumsum(random.normal(0, 0.03, frames))
    centre = np.cumsum(np.stack([np.cos(angle), np.sin(angle)], axis=1) * 1.5, axis=0)
    body = np.linspace(40, -40, len(BODYPARTS)) * np.exp(1j * angle)[:, None]
    position = np.stack([body.real, body.imag], axis=-1) + centre[:, None] + 500.0
    position += random.normal(0, 0.7, position.shape)
    confidence = random.beta(40, 2, position.shape[:2])
    spoilt = random.choice(frames, max(1, int(SPOILT * frames)), replace=False)
    for kind, frame in enumerate(spoilt.tolist()):
        keypoint = random.integers(len(BODYPARTS))
        if kind % 2:
            confidence[frame] *= 0.3
        else:
            position[frame, keypoint] += random.normal(0, 60, 2)
    with create_poses(
        path, np.arange(frames) / FPS, BODYPARTS, ("animal",), {"key": f"k{seed}"}
    ) as writer:
        writer.write(
            0,
            position[:, None].astype(np.float32),
            confidence[:, None].astype(np.float32),
            np.zeros(frames, np.uint8),
        )
    return frozenset(spoilt.tolist())


def measure(folder: Path, videos: int, frames: int, number: int) -> None:
    """Print what scoring and choosing take."""
    paths = [folder / f"v{place:05d}.zarr" for place in range(videos)]
    spoilt = [write_video(path, frames, place) for place, path in enumerate(paths)]
    began, spent = time.perf_counter(), time.process_time()
    criteria = tuple(name for name, one in CRITERIA.items() if one.judges == "poses")
    fitted = fit_criteria(criteria, paths, EDGES, pcutoff=0.4, seed=0)
    if fitted is None:
        raise SystemExit("no poses")
    names = fitted.names
    learned = time.perf_counter() - began
    most = max(10, 4 * number // videos)
    scoring = Scoring(criteria, fitted.usual, names, fitted.pcutoff, 1.0, most)
    scores = score_cohort(scoring, paths, [frozenset()] * videos)
    labels = [path.stem for path in paths]
    pool = rank_candidates(
        *(labels, [""] * videos, scores, scoring.criteria, names),
        taken={},
        gap=1.0,
        number=4 * number,
    )
    random = np.random.default_rng(0)
    # As many channels as an encoder has, and labelled frames.
    looks = random.normal(size=(len(pool) + 500, 448)).astype(np.float32)
    seen = reduce_embeddings(looks)
    value = np.array([one.value for one in pool])
    places = choose_different(value, seen[: len(pool)], number, seen[len(pool) :])
    seconds = time.perf_counter() - began
    own = time.process_time() - spent
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    peaks = [resource.getrusage(kind).ru_maxrss / 1e6 for kind in kinds]
    # Every process of the pool may be as large as the largest.
    gigabytes = peaks[0] + count_cores() * peaks[1]
    chosen = [pool[place] for place in places.tolist()]
    hits = sum(one.frame in spoilt[int(one.video[1:])] for one in chosen)
    print(f"{videos} videos x {frames} frames, {count_cores()} cores")
    print(f"learning {learned:.1f} s, all {seconds:.1f} s (own process {own:.1f} s of CPU)")
    print(f"at most {gigabytes:.2f} GB")
    print(f"{len(chosen)} frames of {len({one.video for one in chosen})} videos, {hits} spoilt")
    share = videos * frames / FULL_FRAMES
    if share >= 1 and (seconds > TARGET_SECONDS or gigabytes > TARGET_GIGABYTES):
        raise SystemExit(f"target: {TARGET_SECONDS:.0f} s and {TARGET_GIGABYTES:.0f} GB")


def main() -> None:
    """Measure a cohort of the given size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=1000)
    parser.add_argument("--frames", type=int, default=10_000, help="per video")
    parser.add_argument("--number", type=int, default=200, help="frames to choose")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), given.videos, given.frames, given.number)


if __name__ == "__main__":
    main()
