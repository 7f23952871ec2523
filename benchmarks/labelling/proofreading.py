"""Measure how much work it takes to proofread tracks with known mistakes.

The exact tracks of demo cohorts are exchanged at the closest approaches of two animals. A scripted
proofreader then follows the doubts as the page lists them, worst first, sees in the truth what a
person would see in the clip, and presses one key: "swap from here" or "fine as it is", and the
arrow keys where the exchange is not at the frame that is proposed. Decisions are written, read and
applied as in a run. Printed are the swaps that were listed and corrected, IDF1 before and after,
decisions and keystrokes per hour of video, and how often tracks without any mistake are doubted.

Cohorts: `demo-multi` itself, rendered, with its hidden bodyparts missing; longer recordings of the
same animals without pixels; and these with noise, missing bodyparts and animals that are lost for
some frames. Last, our own tracker follows noisy detections of animals that are lost whenever they
meet: there the swaps are those that it makes by itself. ``--run FOLDER`` proofreads the tracks of a
demo that was run with a trained network instead; its swaps are the identity switches of MOTA.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.corrections import CorrectionSettings
from pipeline_lib.core.settings.individuals import TrackingSettings
from pipeline_lib.core.tables import TrackStatus
from pipeline_lib.core.track_decisions import DecisionKind
from pipeline_lib.demo.cohort import DemoSettings
from pipeline_lib.demo.encounters import list_approaches
from pipeline_lib.demo.recording import STEPS_PER_FRAME, walk_animals
from pipeline_lib.demo.render.animal import BODYPARTS, build_body
from pipeline_lib.demo.render.cones import project_body
from pipeline_lib.demo.scene import generate_scene
from pipeline_lib.demo.truth import list_truths, read_truth
from pipeline_lib.demo.write import write_demo
from pipeline_lib.io.poses.read import read_poses
from pipeline_lib.io.poses.write import create_poses
from pipeline_lib.kernels.metrics.keypoints import find_individuals
from pipeline_lib.kernels.metrics.tracks import measure_tracks
from pipeline_lib.kernels.proofreading.doubts import TrackDoubt
from pipeline_lib.kernels.tracking.detections import Detections
from pipeline_lib.kernels.tracking.tracks import track_individuals
from pipeline_lib.steps.correct.proofreading import (
    NEAR,
    Proofreader,
    ProofreadState,
    make_doubt_rules,
)
from pipeline_lib.steps.correct.run import correct_file
from pipeline_lib.steps.track.run import make_track_rules

Array = NDArray[np.float64]

# As `make demo-multi` has it.
DEMO_MULTI = DemoSettings(videos=5, individuals=3, labelled_frames=80, damaged=False)
RULES = make_doubt_rules(CorrectionSettings(), TrackingSettings())
SWAPS = 4  # per video
MOST_DECISIONS = 100_000
TARGET = 0.95  # share of the swaps that are listed
# Two exchanges of one pair nearer than this would be one place to a person.
APART = 2 * NEAR
CLIP = 15  # frames of a clip before and after a doubt
SEEN = 10  # frames at which a person looks before and after a doubt of a real run
LOST_NEAR = 15.0  # px between centres at which the simulated network loses animals


@dataclass
class Count:
    """Count what a proofreader did, over videos.

    Attributes
    ----------
    frames
        Frames of all videos.
    swaps, flagged, corrected
        Exchanges made, listed as doubts, and undone by the proofreader.
    doubts
        Doubts about the tracks without any mistake.
    decisions, keystrokes, needless
        Of the proofreader about the tracks with mistakes; needless decisions are those that the
        tracks are fine as they are.
    right_before, right_after, total
        Detections of the right identity before and after, and all of them: IDF1 is their ratio.
    """

    frames: int = 0
    swaps: int = 0
    flagged: int = 0
    corrected: int = 0
    doubts: int = 0
    decisions: int = 0
    keystrokes: int = 0
    needless: int = 0
    right_before: float = 0.0
    right_after: float = 0.0
    total: float = 0.0

    def __add__(self, other: "Count") -> "Count":
        names = [one.name for one in fields(self)]
        return Count(**{name: getattr(self, name) + getattr(other, name) for name in names})


def render_demo(folder: Path, settings: DemoSettings = DEMO_MULTI) -> Iterator[Array]:
    """Render a demo and yield the exact tracks of each video, hidden bodyparts missing."""
    write_demo(folder, settings)
    for path in list_truths(folder):
        truth = read_truth(path)
        yield np.where(truth.visible[..., None], truth.position, np.nan)


def simulate(settings: DemoSettings) -> Iterator[Array]:
    """Yield the exact tracks of each video of a demo without rendering it."""
    for recording in range(settings.videos):
        seed = (settings.seed, recording)
        scene = generate_scene(seed, settings.individuals, 1, (settings.width, settings.height))
        rng = np.random.default_rng([*seed, 1])
        walks = walk_animals(scene, rng, settings.frames, settings.fps)
        middle = slice(1, None, STEPS_PER_FRAME)
        bodies = [
            project_body(
                build_body(walks.nodes[middle, index], walks.gait[middle, index], scale),
                scene.cameras[0],
            )
            for index, scale in enumerate(scene.scales)
        ]
        yield np.stack([body.bodyparts[..., :2] for body in bodies], axis=1)


def spoil(position: Array, rng: np.random.Generator) -> Array:
    """Return tracks with noise of 1 px, a tenth of the bodyparts and some animals missing."""
    noisy = position + rng.normal(0.0, 1.0, position.shape)
    noisy[rng.random(position.shape[:3]) < 0.1] = np.nan
    for _ in range(len(position) // 100):
        frame, animal = rng.integers(len(position)), rng.integers(position.shape[1])
        noisy[frame : frame + rng.integers(1, 12), animal] = np.nan
    return noisy


def inject(tracks: Array, truth: Array, swaps: int) -> tuple[Array, list[tuple[int, int, int]]]:
    """Exchange two animals from each of the closest approaches on; return where."""
    filled = np.where(np.isfinite(truth), truth, np.nanmean(truth, axis=2, keepdims=True))
    there = np.asarray(np.isfinite(filled).all((1, 2, 3)))
    chosen: list[tuple[int, int, int]] = []
    for place in list_approaches(np.nan_to_num(filled), NEAR):
        if there[place[0]] and all(abs(place[0] - other[0]) > APART for other in chosen):
            chosen.append(place)
        if len(chosen) == swaps:
            break
    wrong = tracks.copy()
    for frame, one, other in sorted(chosen):
        wrong[frame:, [one, other]] = wrong[frame:, [other, one]]
    return wrong, sorted(chosen)


def track(truth: Array, rng: np.random.Generator) -> tuple[Array, NDArray[np.uint8]]:
    """Track noisy detections in random order; where animals meet, one or both are lost a while."""
    noisy = spoil(truth, rng)
    middle = truth.mean(axis=2)
    for frame, one, other in list_approaches(truth, NEAR):
        if np.linalg.norm(middle[frame, one] - middle[frame, other]) < LOST_NEAR:
            around = int(rng.integers(1, 6))
            lost = [one, other] if rng.random() < 0.5 else [int(rng.choice([one, other]))]
            noisy[max(0, frame - around) : frame + around + 1, lost] = np.nan
    order = np.argsort(rng.random(noisy.shape[:2]), axis=1)
    position = np.take_along_axis(noisy, order[..., None, None], axis=1)
    seen = np.isfinite(position[..., 0]).astype(np.float64)
    rules, animals = make_track_rules(TrackingSettings()), truth.shape[1]
    tracks = track_individuals(Detections(position, seen), animals, rules, segment_frames=2000)
    return tracks.position.astype(np.float64), tracks.status


def write_tracks(
    path: Path, position: Array, fps: float, known: NDArray[np.uint8] | None = None
) -> None:
    """Write tracks as the stage `track` does, with the status that the tracker gave."""
    found = find_individuals(position)
    since = np.logical_or.accumulate(found, axis=0)
    until = np.logical_or.accumulate(found[::-1], axis=0)[::-1]
    status = np.where(since & until, TrackStatus.GAP, TrackStatus.ABSENT).astype(np.uint8)
    status[found] = TrackStatus.FOLLOWED
    status = status if known is None else known
    seen = np.isfinite(position[..., 0])
    names = [f"mouse{number + 1}" for number in range(position.shape[1])]
    time = np.arange(len(position)) / fps
    with create_poses(path, time, BODYPARTS, names, {"key": path.name}, tracked=True) as writer:
        writer.write(
            0,
            position.astype(np.float32),
            seen.astype(np.float32),
            np.zeros(len(position), np.uint8),
            status,
        )


@dataclass
class Work:
    """Count what a proofreader does about a video, and keep the doubts that were looked at."""

    decisions: int = 0
    keystrokes: int = 1  # a key to open the video
    needless: int = 0
    looked: list[TrackDoubt] = field(default_factory=list)


Judge = Callable[[ProofreadState, Array, TrackDoubt], list[tuple[int, int]]]


def follow_doubts(reader: Proofreader, truth: Array, judge: Judge | None = None) -> Work:
    """Decide about every doubt.

    Parameters
    ----------
    reader
        What the page asks.
    truth
        What a person would see.
    judge
        Returns where animals were exchanged in a doubt; None: `find_exchanges`.
    """
    work = Work()
    swapped: set[tuple[int, tuple[int, ...]]] = set()
    while (state := reader.read()).doubts and work.decisions < MOST_DECISIONS:
        doubt = state.doubts[0]
        work.looked.append(doubt)
        flips = (judge or find_exchanges)(state, truth, doubt)
        if flips and len(doubt.slots) > 1:
            # From any frame in which neither animal is seen, the exchange is the same.
            near = (min(max(doubt.frame, first), last) for first, last in flips)
            frame = min(near, key=lambda one: abs(one - doubt.frame))
            # Where truth is unclear, such as false detections, nobody swaps to and fro.
            flips = [] if (frame, doubt.slots) in swapped else flips
        if flips and len(doubt.slots) > 1:
            swapped.add((frame, doubt.slots))
            reader.decide(DecisionKind.SWAP, frame, None, doubt.slots, state.version)
            work.keystrokes += abs(frame - doubt.frame)
        else:
            frames = (max(1, doubt.first + 1), min(doubt.last, len(truth) - 1))
            reader.decide(DecisionKind.CONFIRM, *frames, doubt.slots, state.version)
            work.needless += 1
        work.decisions += 1
        work.keystrokes += 1
    return work


def find_exchanges(state: ProofreadState, truth: Array, doubt: TrackDoubt) -> list[tuple[int, int]]:
    """Return where in a doubt a slot shows another animal than before.

    Each is the first and the last frame from which the exchange may be undone: those after the
    animals were last seen right, up to the first one in which one is seen wrong. As on the page,
    the clip shows `CLIP` frames more on both sides, in which a lost animal may be seen.
    """
    start, stop = max(0, doubt.first - CLIP), min(len(truth), doubt.last + CLIP + 1)
    tracks = state.position[start:stop, list(doubt.slots)].astype(np.float64)
    shown = _name_animals(tracks, truth[start:stop])
    flips = []
    last, seen = shown[0].copy(), np.zeros(len(doubt.slots), np.int64)
    for row in range(1, len(shown)):
        known = (shown[row] >= 0) & (last >= 0)
        wrong = known & (shown[row] != last)
        if wrong.any():
            # The other one is exchanged at the same time, even if it is seen anew later.
            others = seen[seen < row]
            flips.append((start + int(others.max(initial=0)) + 1, start + row))
        there = shown[row] >= 0
        last, seen = np.where(there, shown[row], last), np.where(there, row, seen)
    return [flip for flip in flips if flip[0] <= doubt.last and doubt.first < flip[1]]


def compare_sides(state: ProofreadState, truth: Array, doubt: TrackDoubt) -> list[tuple[int, int]]:
    """Return the frame of a doubt if its animals are exchanged after it, as a person sees them.

    Poses of a weak network mix animals for some frames: what a slot mostly shows for `SEEN` frames
    before and after the doubt decides.
    """
    if len(doubt.slots) < len("ab"):
        return []
    sides = []
    for start, stop in ((doubt.first - SEEN, doubt.first + 1), (doubt.last, doubt.last + SEEN)):
        part = slice(max(0, start), max(0, stop))
        tracks = state.position[part, list(doubt.slots)].astype(np.float64)
        shown = _name_animals(tracks, truth[part])
        sides.append([_most_frequent(column) for column in shown.T])
    before, after = sides
    exchanged = after[0] == before[1] or after[1] == before[0]
    kept = after[0] == before[0] or after[1] == before[1]
    return [(doubt.frame, doubt.frame)] if exchanged and not kept else []


def _most_frequent(names: NDArray[np.int64]) -> int | None:
    known = names[names >= 0]
    return int(np.bincount(known).argmax()) if len(known) else None


def proofread(folder: Path, tracks: Array, truth: Array, swaps: int, fps: float) -> Count:
    """Exchange animals of a video, follow the doubts, apply the decisions, and compare."""
    name = "video"
    wrong, places = inject(tracks, truth, swaps)
    corrections, path = folder / "corrections", folder / f"{name}.zarr.zip"
    clean = folder / f"{name}-clean.zarr.zip"
    write_tracks(clean, tracks, fps)
    write_tracks(path, wrong, fps)
    doubts = Proofreader(corrections, f"{name}-clean", clean, "script", RULES).read().doubts
    reader = Proofreader(corrections, name, path, "script", RULES)
    work = follow_doubts(reader, truth)
    target = folder / f"{name}-corrected.zarr.zip"
    correct_file(path, target, reader.read().decisions)
    corrected = read_poses(target if target.exists() else path).position.astype(np.float64)
    flagged = [place for place in places if _is_listed(place, work.looked)]
    left = _count_wrong(corrected, tracks, places)
    # Of what can be seen: noisy and missing detections are no mistakes of identity.
    before, after = (_count_right(one, tracks) for one in (wrong, corrected))
    return Count(
        frames=len(tracks),
        swaps=len(places),
        flagged=len(flagged),
        corrected=len(places) - left,
        doubts=len(doubts),
        decisions=work.decisions,
        keystrokes=work.keystrokes,
        needless=work.needless,
        right_before=before,
        right_after=after,
        total=2.0 * find_individuals(tracks).sum(),
    )


def proofread_tracker(folder: Path, truth: Array, rng: np.random.Generator, fps: float) -> Count:
    """Track a video, follow the doubts, apply the decisions, and compare with the truth."""
    tracks, status = track(truth, rng)
    corrections, path = folder / "corrections", folder / "video.zarr.zip"
    write_tracks(path, tracks, fps, status)
    reader = Proofreader(corrections, "video", path, "script", RULES)
    doubts = len(reader.read().doubts)
    switches = list_switches(tracks, truth)
    work = follow_doubts(reader, truth)
    target = folder / "corrected.zarr.zip"
    correct_file(path, target, reader.read().decisions)
    corrected = read_poses(target if target.exists() else path).position.astype(np.float64)
    flagged = [
        one
        for one in switches
        if any(doubt.first <= one[1] and one[0] <= doubt.last for doubt in work.looked)
    ]
    near = LOST_NEAR / 2
    return Count(
        frames=len(tracks),
        swaps=len(switches),
        flagged=len(flagged),
        corrected=len(switches) - len(list_switches(corrected, truth)),
        doubts=doubts,
        decisions=work.decisions,
        keystrokes=work.keystrokes,
        needless=work.needless,
        right_before=_count_right(tracks, truth, near),
        right_after=_count_right(corrected, truth, near),
        total=float(find_individuals(tracks).sum() + find_individuals(truth).sum()),
    )


def proofread_run(folder: Path, results: Results) -> Count:
    """Proofread the tracks of a run of a demo: what a trained network and the tracker made."""
    total = Count()
    for path in list_truths(folder):
        truth = read_truth(path)
        exact = np.where(truth.visible[..., None], truth.position, np.nan)
        tracked = results.tracked("pose", path.stem)
        poses = read_poses(tracked)
        order = [truth.bodyparts.index(name) for name in poses.bodyparts]
        exact = exact[:, :, order]
        with tempfile.TemporaryDirectory() as scratch:
            reader = Proofreader(Path(scratch), path.stem, tracked, "script", RULES)
            doubts = len(reader.read().doubts)
            work = follow_doubts(reader, exact, compare_sides)
            target = Path(scratch) / "corrected.zarr.zip"
            correct_file(tracked, target, reader.read().decisions)
            corrected = read_poses(target if target.exists() else tracked)
        before, after = (
            measure_tracks(one.position.astype(np.float64), exact, max_distance=LOST_NEAR / 2)
            for one in (poses, corrected)
        )
        found = before.truths + before.predictions
        swaps = before.identity_switches
        total += Count(
            frames=len(exact),
            swaps=swaps,
            corrected=swaps - after.identity_switches,
            doubts=doubts,
            decisions=work.decisions,
            keystrokes=work.keystrokes,
            needless=work.needless,
            right_before=before.idf1 * found,
            right_after=after.idf1 * found,
            total=found,
        )
        print(
            f"{path.stem}: IDF1 {before.idf1:.3f} and {after.idf1:.3f}, {work.decisions} decisions"
        )
    return total


def list_switches(tracks: Array, truth: Array) -> list[tuple[int, int]]:
    """List where a slot goes on with another animal: last frame before and first one after it."""
    shown = _name_animals(tracks, truth)
    switches = []
    for slot in range(shown.shape[1]):
        frames = np.flatnonzero(shown[:, slot] >= 0)
        for before, after in pairwise(frames.tolist()):
            if shown[before, slot] != shown[after, slot]:
                switches.append((before, after))
    return switches


def _name_animals(tracks: Array, truth: Array) -> NDArray[np.int64]:
    """Return the true animal nearest to each slot in each frame; -1 where it holds none."""
    apart = np.linalg.norm(tracks[:, :, None] - truth[:, None], axis=-1)
    likely = np.ma.masked_invalid(apart).mean(axis=-1).filled(np.inf)
    return np.where(find_individuals(tracks), likely.argmin(axis=2), -1)


def _is_listed(place: tuple[int, int, int], doubts: Sequence[TrackDoubt]) -> bool:
    return any(doubt.first <= place[0] <= doubt.last for doubt in doubts)


def _count_right(position: Array, truth: Array, near: float = 1.0) -> float:
    metrics = measure_tracks(position, truth, max_distance=near)
    return metrics.idf1 * (metrics.truths + metrics.predictions)


def _count_wrong(corrected: Array, truth: Array, places: Sequence[tuple[int, int, int]]) -> int:
    """Count the places on whose two sides a slot holds different animals."""
    same = np.array(
        [
            [np.isclose(corrected[:, slot], truth[:, animal], atol=0.01, equal_nan=True).all((1, 2))
             for animal in range(truth.shape[1])]
            for slot in range(corrected.shape[1])
        ]
    )  # fmt: skip
    found = find_individuals(truth)
    # The slot of each animal in each frame; -1 where it is not seen.
    slot = np.where(found, same.argmax(axis=0).T, -1)
    wrong = 0
    for frame, one, other in places:
        for animal in (one, other):
            before = [value for value in slot[:frame, animal][::-1] if value >= 0]
            after = [value for value in slot[frame:, animal] if value >= 0]
            if before and after and before[0] != after[0]:
                wrong += 1
                break
    return wrong


def report(name: str, count: Count, fps: float) -> str:
    """Return the results of a cohort as a row of a table."""
    hours = count.frames / fps / 3600
    cells = (
        name,
        f"{60 * hours:.1f}",
        f"{count.flagged} of {count.swaps}",
        f"{count.corrected} of {count.flagged}",
        f"{count.right_before / count.total:.3f}",
        f"{count.right_after / count.total:.3f}",
        str(count.decisions),
        f"{count.keystrokes}",
        f"{count.decisions / hours:.0f}",
        f"{count.keystrokes / hours:.0f}",
        f"{count.needless / hours:.0f}",
        f"{count.doubts / hours:.0f}",
    )
    return "| " + " | ".join(cells) + " |"


COLUMNS = (
    "tracks",
    "minutes",
    "swaps listed",
    "corrected",
    "IDF1 before",
    "IDF1 after",
    "decisions",
    "keystrokes",
    "decisions per hour",
    "keystrokes per hour",
    "needless decisions per hour",
    "doubts per hour without swaps",
)


def measure(videos: Iterator[tuple[Array, Array]], swaps: int, fps: float) -> Count:
    """Proofread every video of a cohort: pairs of tracks and truth."""
    total = Count()
    for tracks, truth in videos:
        with tempfile.TemporaryDirectory() as folder:
            total += proofread(Path(folder), tracks, truth, swaps, fps)
    return total


def main() -> None:
    """Measure all cohorts, print a table, and fail if `demo-multi` misses its target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=4000, help="frames of longer recordings")
    parser.add_argument("--run", type=Path, help="proofread the run of a demo in this folder alone")
    options = parser.parse_args()
    frames = options.frames
    longer = DEMO_MULTI.model_copy(update={"frames": frames})
    fps = float(DEMO_MULTI.fps)
    if options.run is not None:
        own = proofread_run(options.run, Results(options.run / "results"))
        print(
            f"{own.frames} frames, {own.swaps} identity switches, {own.corrected} fewer after "
            f"{own.decisions} decisions with {own.keystrokes} keystrokes, {own.needless} of them "
            f"needless; IDF1 {own.right_before / own.total:.3f} before and "
            f"{own.right_after / own.total:.3f} after"
        )
        return
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    with tempfile.TemporaryDirectory() as folder:
        found = list(render_demo(Path(folder) / "demo-multi"))
    demo = measure(((one, one) for one in found), SWAPS, fps)
    print(report("demo-multi", demo, fps))
    exact = measure(((one, one) for one in simulate(longer)), SWAPS, fps)
    print(report("longer", exact, fps))
    rng = np.random.default_rng(0)
    noisy = measure(((spoil(one, rng), one) for one in simulate(longer)), SWAPS, fps)
    print(report("longer, with noise and gaps", noisy, fps))
    own, rng = Count(), np.random.default_rng(0)
    for truth in simulate(longer):
        with tempfile.TemporaryDirectory() as folder:
            own += proofread_tracker(Path(folder), truth, rng, fps)
    print(report("longer, tracked, animals lost where they meet", own, fps))
    if demo.flagged < TARGET * demo.swaps or demo.corrected < demo.flagged:
        raise SystemExit(f"{demo.flagged} of {demo.swaps} listed, {demo.corrected} corrected")


if __name__ == "__main__":
    main()
