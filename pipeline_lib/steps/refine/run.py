"""Run the verb `refine`: choose the frames of a cohort that are worth labelling, and write them."""

import logging
import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from pipeline_lib.core.cohort import read_cohort
from pipeline_lib.core.errors import SheetError, StoreError
from pipeline_lib.core.formats.criteria import find_criterion
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.stages import STAGES
from pipeline_lib.core.tables import PROBE_COLUMNS, STAGE_COLUMNS, VideoStatus
from pipeline_lib.io.labels.table import Labels, read_labels
from pipeline_lib.io.publish import publish_folder
from pipeline_lib.io.stage_tables import read_table, write_table
from pipeline_lib.steps.filter import locate_unfiltered
from pipeline_lib.steps.refine.appearance import (
    Look,
    Place,
    load_viewer,
    look_at_frames,
    look_at_images,
)
from pipeline_lib.steps.refine.choice import choose
from pipeline_lib.steps.refine.corrected import CorrectedFrames, read_corrected_frames
from pipeline_lib.steps.refine.frame_list import read_frame_list
from pipeline_lib.steps.refine.images import write_frames
from pipeline_lib.steps.refine.label_errors import LABEL_ERROR_COLUMNS, list_label_errors
from pipeline_lib.steps.refine.ranking import (
    DRAWN,
    LISTED,
    NEAR,
    PEAKS,
    Choice,
    add_peaks,
    rank_candidates,
)
from pipeline_lib.steps.refine.scoring import CohortScores, Scoring, fit_criteria, score_cohort
from pipeline_lib.steps.refine.views import VIEWS, ViewJudge
from pipeline_lib.steps.runs.plan import keep_planned, read_plan
from pipeline_lib.steps.select_frames import FRAME_COLUMNS

_log = logging.getLogger(__name__)

REFINEMENT_COLUMNS = (
    "rank",
    "video",
    "frame",
    "time",
    "score",
    "criterion",
    "reason",
    "image",
)
_OWN_FILE = re.compile(r"frame-\d+\.png|frames\.tsv|label_errors\.tsv")
# Candidates for each frame to choose, among which those that look different are chosen.
_POOL = 4
# Frames that are drawn at random to see which score maps are usual.
_FEWEST_DRAWN, _MOST_DRAWN = 50, 200
# Fewest candidates of a video and criterion.
_FEWEST_CANDIDATES = 10


@dataclass(frozen=True)
class _Video:
    name: str
    path: Path
    poses: Path
    group: str
    frames: int | None
    fps: float
    done: bool


def run_refine(config: Config, results: Results) -> None:
    """Choose the worst frames of all videos together, within one budget, and write them.

    ``refine/NAME/label_errors.tsv`` lists labels that are probably wrong, worst first.
    ``refine/NAME/frames.tsv`` lists them with the reason of each, ``refine/NAME/frames`` has a
    folder of images for each video, as `pipeline_lib.steps.select_frames` writes it. Frames that
    are labelled, or corrected by anybody since the labels were imported, are left out; videos
    without poses are, too. The choice depends on nothing but poses, labels, corrections, videos
    and settings.

    Parameters
    ----------
    config
        The run; ``config.refinement`` says how to choose.
    results
        Has the poses and receives the frames.

    Raises
    ------
    StoreError
        If an earlier stage has not run, or the folder of an earlier choice holds foreign files.
    LabelError
        If the list of frames names what is not there, or a table of corrections is damaged.
    SheetError
        If the sheet lacks the column of the groups.
    """
    settings, model = config.refinement, config.training.name
    _check_own(results.refined(model))
    videos = _list_videos(config, results)
    labels = read_labels(results.labels)
    corrected = read_corrected_frames(config)
    labelled = _list_labelled(labels, corrected.frames, videos)
    listed = _choose_listed(config, videos, labelled)
    ranked = _rank(config, results, videos, labels, labelled, listed)
    viewer = load_viewer(results.model(model))
    drawn = _draw_sample(config, videos, labelled, [*listed, *ranked])
    paths = {name: video.path for name, video in videos.items()}
    patience = config.reading.seconds_per_frame
    pool = [*listed, *ranked, *drawn]
    looks = look_at_frames([(one.video, one.frame) for one in pool], paths, viewer, patience)
    ranked = add_peaks(ranked, drawn, looks, viewer.bodyparts)
    images = [Path(image) for image in labels.table["image"].unique()]
    known = look_at_images(images, viewer) if ranked else np.empty((0, 0), np.float32)
    chosen = choose([*listed, *ranked], looks, known, settings.frames)
    with publish_folder(results.refined(model)) as part:
        folder = part / results.refined_frames(model).name
        written = _write_images(chosen, paths, folder, patience)
        chosen = [one for one in chosen if (one.video, one.frame) in written]
        _publish(part / results.refined_table(model).name, chosen, looks, written)
        errors = _list_errors(config, results, labels, corrected, videos)
        write_table(part / results.label_errors(model).name, LABEL_ERROR_COLUMNS, errors)
    if len(chosen) < settings.frames:
        _log.warning(
            "%d frames chosen, not `refinement.frames` (%d): the cohort has no more candidates "
            "that are at least %g s apart, readable and not labelled",
            *(len(chosen), settings.frames, settings.min_gap),
        )
    if errors:
        _log.info("%d labels are probably wrong: %s", len(errors), results.label_errors(model))
    _log.info("%d frames of %d videos chosen", len(chosen), len({one.video for one in chosen}))


def _list_videos(config: Config, results: Results) -> dict[str, _Video]:
    """Return the videos of the plan, in its order."""
    groups = _read_groups(config)
    before = STAGES[STAGES["refine"].reads(config)[1]]
    videos = {}
    for shard in read_plan(results).shards:
        probed = {
            row["video"]: row for row in read_table(results.shard(shard).probe, PROBE_COLUMNS)
        }
        table = read_table(before.find_table(config, results, shard), STAGE_COLUMNS)
        for row in keep_planned(table, results, shard):
            name = row["video"]
            facts = probed.get(name, {})
            videos[name] = _Video(
                name,
                Path(facts.get("path") or ""),
                locate_unfiltered(config, results, name),
                groups.get(name, ""),
                int(facts["frames"]) if facts.get("frames", "").isdecimal() else None,
                float(facts.get("fps") or 0) or math.nan,
                # Of poses without a video no frame can be shown.
                done=row["status"] == VideoStatus.DONE
                and not (facts.get("poses") and not facts.get("fingerprint")),
            )
    return videos


def _read_groups(config: Config) -> dict[str, str]:
    """Return the group of each video of the sheet."""
    column = config.refinement.group
    if column is None:
        return {}
    groups = {}
    for video in read_cohort(Path(config.cohort)):
        known = {"session": video.session, "camera": video.camera, **video.metadata}
        if column not in known:
            raise SheetError(
                config.cohort,
                [f"`refinement.group`: no column {column!r}; there are {', '.join(known)}"],
            )
        groups[video.video] = known[column]
    return groups


def _list_labelled(
    labels: Labels, corrected: Mapping[str, frozenset[int]], videos: Mapping[str, _Video]
) -> Mapping[str, frozenset[int]]:
    """Return the frames of each video that have a label, also an empty one, or a correction."""
    frames = labels.table.groupby("video")["frame"]
    by_name = {str(video): frozenset(map(int, some)) for video, some in frames}
    # Label tables know videos by the names of their files.
    return {
        name: frozenset().union(
            *(
                known.get(one, ())
                for known in (by_name, corrected)
                for one in (name, video.path.stem)
            )
        )
        for name, video in videos.items()
    }


def _list_errors(
    config: Config,
    results: Results,
    labels: Labels,
    corrected: CorrectedFrames,
    videos: Mapping[str, _Video],
) -> list[dict[str, object]]:
    """Return the rows of the label errors, without labels that somebody has corrected since."""
    by_stem = {video.path.stem: name for name, video in videos.items()}
    rows = [
        row
        for row in list_label_errors(config, results, labels)
        if not corrected.is_outdated(
            str(row["image"]),
            (str(row["video"]), by_stem.get(str(row["video"]), "")),
            int(str(row["frame"])),
        )
    ]
    return [{**row, "rank": rank} for rank, row in enumerate(rows, start=1)]


def _choose_listed(
    config: Config, videos: Mapping[str, _Video], labelled: Mapping[str, frozenset[int]]
) -> list[Choice]:
    """Return the frames that the user named, as many as the budget has."""
    path = config.refinement.frame_list
    if path is None:
        return []
    named = read_frame_list(Path(path), {name: one.frames for name, one in videos.items()})
    free = [one for one in named if one[1] not in labelled[one[0]]]
    if len(free) < len(named):
        _log.warning(
            "%s: %d frames are labelled or corrected already", path, len(named) - len(free)
        )
    if len(free) > config.refinement.frames:
        _log.warning(
            "%s: %d frames, but `refinement.frames` is %d: the first ones are taken",
            *(path, len(free), config.refinement.frames),
        )
    return [
        Choice(video, frame, math.inf, math.inf, LISTED, "named in `refinement.frame_list`")
        for video, frame in free[: config.refinement.frames]
    ]


def _rank(  # noqa: PLR0913, PLR0917 - what a ranking depends on
    config: Config,
    results: Results,
    videos: Mapping[str, _Video],
    labels: Labels,
    labelled: Mapping[str, frozenset[int]],
    listed: Sequence[Choice],
) -> list[Choice]:
    """Return the worst frames of all videos that have poses."""
    settings = config.refinement
    good = [video for video in videos.values() if video.done]
    wanted = settings.frames - len(listed)
    if len(good) < len(videos):
        _log.warning("%d of %d videos have no poses", len(videos) - len(good), len(videos))
    criteria = tuple(name for name in settings.criteria if find_criterion(name).judges == "poses")
    judge = ViewJudge.find(config, results, {video.name: video.poses for video in good})
    if wanted < 1 or not (criteria or judge):
        return []
    paths = [video.poses for video in good]
    fitted = fit_criteria(
        criteria,
        paths,
        labels.skeleton.edges,
        pcutoff=settings.pcutoff,
        seed=settings.seed,
        weak=config.assembly.pcutoff if config.individuals.max > 1 else 0.0,
    )
    if fitted is None:
        return []
    names = fitted.names
    if fitted.pcutoff < settings.pcutoff:
        _log.warning(
            "%.0f %% of the keypoints have confidences below `refinement.pcutoff` (%g), which is "
            "lowered to %.2g here: the network is bad throughout; a better network would choose "
            "more useful frames",
            *(100 * (1 - fitted.share), settings.pcutoff, fitted.pcutoff),
        )
    elif not fitted.share:
        _log.warning(
            "the network found no keypoint in the frames that were sampled: all frames are equally "
            "bad, and they are chosen by their pictures alone"
        )
    number = max(_FEWEST_CANDIDATES, math.ceil(_POOL * wanted / len(good)))
    left_out = [labelled[video.name] for video in good]
    with ExitStack() as stack:
        views: Sequence[Path | None] = [None] * len(good)
        usual = fitted.usual
        if judge is not None:
            folder = Path(stack.enter_context(TemporaryDirectory()))
            distances = judge.fit(names, settings.seed)
            written = judge.score(distances, folder)
            views = [written.get(video.name) for video in good]
            criteria, usual = (*criteria, VIEWS), (*usual, distances)
        scoring = Scoring(criteria, usual, names, fitted.pcutoff, settings.min_gap, number)
        scores = score_cohort(scoring, paths, left_out, views)
    _warn(good, scores)
    return rank_candidates(
        [video.name for video in good],
        [video.group for video in good],
        scores,
        criteria,
        names,
        taken=_find_times(listed, videos),
        gap=settings.min_gap,
        number=_POOL * wanted,
    )


def _warn(videos: Sequence[_Video], scores: CohortScores) -> None:
    for video, found in zip(videos, scores.candidates, strict=True):
        if isinstance(found, str):
            _log.warning("%s is left out: %s", video.name, found)
        elif not len(found.frame):
            _log.warning("%s has no candidate: no frame with a pose to judge", video.name)


def _find_times(
    listed: Sequence[Choice], videos: Mapping[str, _Video]
) -> Mapping[str, np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """Return about when the frames are that the user named."""
    times: dict[str, list[float]] = defaultdict(list)
    for one in listed:
        times[one.video].append(one.frame / videos[one.video].fps)
    return {video: np.array(some) for video, some in times.items()}


def _draw_sample(
    config: Config,
    videos: Mapping[str, _Video],
    labelled: Mapping[str, frozenset[int]],
    others: Sequence[Choice],
) -> list[Choice]:
    """Draw frames of the cohort at random for the criteria that judge score maps.

    Labelled frames are left out; those near a candidate in time have the reason `NEAR`.
    """
    settings = config.refinement
    good = [video for video in videos.values() if video.done and video.frames]
    total = sum(video.frames or 0 for video in good)
    if PEAKS not in settings.criteria or not total:
        return []
    number = min(total, _MOST_DRAWN, max(_FEWEST_DRAWN, settings.frames))
    random = np.random.default_rng(settings.seed)
    places = np.sort(random.choice(total, number, replace=False))
    ends = np.cumsum([video.frames for video in good])
    taken: dict[str, list[float]] = defaultdict(list)
    for one in others:
        taken[one.video].append(one.frame / videos[one.video].fps)
    drawn = []
    for place, owner in zip(
        places.tolist(), np.searchsorted(ends, places, side="right").tolist(), strict=True
    ):
        video = good[owner]
        frame = place - int(ends[owner]) + (video.frames or 0)
        time = frame / video.fps
        # Half a frame at least: no frame comes twice.
        gap = max(settings.min_gap, 0.5 / video.fps)
        near = any(abs(time - other) < gap for other in taken[video.name])
        if frame in labelled[video.name]:
            continue
        if not near:
            taken[video.name].append(time)
        reason = NEAR if near else DRAWN
        drawn.append(Choice(video.name, frame, -math.inf, -math.inf, PEAKS, reason, video.group))
    return drawn


def _write_images(
    chosen: Sequence[Choice], paths: Mapping[str, Path], folder: Path, patience: float
) -> dict[Place, Path]:
    """Write the images of the chosen frames, a folder for each video."""
    written = {}
    ordered = sorted(chosen, key=lambda one: one.video)
    for name, some in groupby(ordered, key=lambda one: one.video):
        found = write_frames(paths[name], [one.frame for one in some], folder / name, patience)
        written.update({(name, frame): image for frame, image in found.items()})
    return written


def _publish(
    table: Path,
    chosen: Sequence[Choice],
    looks: Mapping[Place, Look],
    written: Mapping[Place, Path],
) -> None:
    """Write the table of the cohort and that of each video."""
    rows = [
        {
            "rank": rank,
            "video": one.video,
            "frame": one.frame,
            "time": f"{looks[one.video, one.frame].time:.6f}",
            "score": "" if math.isinf(one.score) else f"{one.score:.3f}",
            "criterion": one.criterion,
            "reason": one.reason,
            "image": written[one.video, one.frame].relative_to(table.parent).as_posix(),
        }
        for rank, one in enumerate(chosen, start=1)
    ]
    write_table(table, REFINEMENT_COLUMNS, rows)
    of_video: dict[Path, list[Mapping[str, object]]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: int(str(row["frame"]))):
        image = table.parent / str(row["image"])
        of_video[image.parent].append(
            {"frame": row["frame"], "time": row["time"], "image": image.name}
        )
    for folder, own in of_video.items():
        write_table(folder / "frames.tsv", FRAME_COLUMNS, own)


def _check_own(folder: Path) -> None:
    """Refuse to replace a folder that somebody has put files in, such as labels."""
    foreign = [
        path for path in sorted(folder.rglob("*")) if not path.is_dir() and not _is_own(path)
    ]
    if foreign:
        shown = ", ".join(str(path.relative_to(folder)) for path in foreign[:3])
        raise StoreError(
            f"{folder} holds files of yours ({shown}): move them away, or give the next network "
            "a new `training.name`, whose frames have a folder of their own"
        )


def _is_own(path: Path) -> bool:
    return _OWN_FILE.fullmatch(path.name) is not None
