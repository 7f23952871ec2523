"""Run the verb `refine`: choose the frames of a cohort that are worth labelling, and write them."""

import logging
import math
import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from pipeline_lib.core.cohort import read_cohort
from pipeline_lib.core.errors import SheetError, StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.stages import STAGES
from pipeline_lib.core.tables import PROBE_COLUMNS, STAGE_COLUMNS, VideoStatus
from pipeline_lib.io.labels.table import Labels, read_labels
from pipeline_lib.io.publish import publish_folder
from pipeline_lib.io.stage_tables import read_table, write_table
from pipeline_lib.kernels.refinement.choice import choose_different
from pipeline_lib.steps.filter import locate_unfiltered
from pipeline_lib.steps.refine.frame_list import read_frame_list
from pipeline_lib.steps.refine.images import WrittenFrame, write_frames
from pipeline_lib.steps.refine.ranking import LISTED, Choice, rank_candidates
from pipeline_lib.steps.refine.scoring import CohortScores, Scoring, fit_criteria, score_cohort
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
_OWN_FILE = re.compile(r"frame-\d+\.png|frames\.tsv")
# Candidates for each frame to choose, among which those that look different are chosen.
_POOL = 2
# Fewest candidates of a video and criterion.
_FEWEST_CANDIDATES = 10
_FEW_CONFIDENT = 0.5


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

    ``refine/NAME/frames.tsv`` lists them with the reason of each, ``refine/NAME/frames`` has a
    folder of images for each video, as `pipeline_lib.steps.select_frames` writes it. Frames that
    are labelled are left out; videos without poses are, too. The choice depends on nothing but
    poses, labels, videos and settings.

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
        If the list of frames names what is not there.
    SheetError
        If the sheet lacks the column of the groups.
    """
    settings, model = config.refinement, config.training.name
    _check_own(results.refined(model))
    videos = _list_videos(config, results)
    labels = read_labels(results.labels)
    labelled = _list_labelled(labels, videos)
    listed = _choose_listed(config, videos, labelled)
    ranked = _rank(config, videos, labels, labelled, listed)
    with publish_folder(results.refined(model)) as part:
        folder = part / results.refined_frames(model).name
        pool = listed + ranked
        written = _write_pool(pool, videos, folder, config.reading.seconds_per_frame)
        chosen = _choose(pool, written, settings.frames, settings.seed)
        _publish(part / results.refined_table(model).name, folder, chosen, written)
    if len(chosen) < settings.frames:
        _log.warning(
            "%d frames chosen, not `refinement.frames` (%d): the cohort has no more candidates "
            "that are at least %g s apart, readable and not labelled",
            *(len(chosen), settings.frames, settings.min_gap),
        )
    _log.info("%d frames of %d videos chosen", len(chosen), len({one.video for one in chosen}))


def _list_videos(config: Config, results: Results) -> dict[str, _Video]:
    """Return the videos of the plan, in its order."""
    groups = _read_groups(config)
    before = STAGES[STAGES["refine"].reads(config)[-1]]
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
                done=row["status"] == VideoStatus.DONE,
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


def _list_labelled(labels: Labels, videos: Mapping[str, _Video]) -> Mapping[str, frozenset[int]]:
    """Return the labelled frames of each video, those labelled as empty included."""
    frames = labels.table.groupby("video")["frame"]
    by_name = {str(video): frozenset(map(int, some)) for video, some in frames}
    # Label tables know videos by the names of their files.
    return {
        name: by_name.get(name, frozenset()) | by_name.get(video.path.stem, frozenset())
        for name, video in videos.items()
    }


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
        _log.warning("%s: %d frames are labelled already", path, len(named) - len(free))
    if len(free) > config.refinement.frames:
        _log.warning(
            "%s: %d frames, but `refinement.frames` is %d: the first ones are taken",
            *(path, len(free), config.refinement.frames),
        )
    return [
        Choice(video, frame, math.inf, math.inf, LISTED, "named in `refinement.frame_list`")
        for video, frame in free[: config.refinement.frames]
    ]


def _rank(
    config: Config,
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
    if wanted < 1 or not settings.criteria:
        return []
    paths = [video.poses for video in good]
    fitted = fit_criteria(
        settings.criteria,
        paths,
        labels.skeleton.edges,
        pcutoff=settings.pcutoff,
        seed=settings.seed,
    )
    if fitted is None:
        return []
    usual, names, confident = fitted
    if confident < _FEW_CONFIDENT:
        _log.warning(
            "%.0f %% of the keypoints have confidences below `refinement.pcutoff` (%g): what is "
            "usual is bad, and the worst frames tell little; label frames of `select-frames` first",
            *(100 * (1 - confident), settings.pcutoff),
        )
    number = max(_FEWEST_CANDIDATES, math.ceil(2 * _POOL * wanted / len(good)))
    scoring = Scoring(settings.criteria, usual, names, settings.pcutoff, settings.min_gap, number)
    left_out = [labelled[video.name] for video in good]
    scores = score_cohort(scoring, paths, left_out)
    _warn(good, scores)
    return rank_candidates(
        [video.name for video in good],
        [video.group for video in good],
        scores,
        settings.criteria,
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


def _write_pool(
    pool: Sequence[Choice], videos: Mapping[str, _Video], folder: Path, patience: float
) -> dict[tuple[str, int], WrittenFrame]:
    """Write the images of all candidates; decoding them once is worth more than the space."""
    written = {}
    ordered = sorted(pool, key=lambda one: (one.video, one.frame))
    for name, some in groupby(ordered, key=lambda one: one.video):
        found = write_frames(
            videos[name].path, [one.frame for one in some], folder / name, patience
        )
        written.update({(name, frame): image for frame, image in found.items()})
    return written


def _choose(
    pool: Sequence[Choice],
    written: Mapping[tuple[str, int], WrittenFrame],
    number: int,
    seed: int,
) -> list[Choice]:
    """Choose among the frames with an image; the user's come first, then the worst.

    Frames that are no outliers only fill what outliers leave.
    """
    there = [one for one in pool if (one.video, one.frame) in written]
    listed = [one for one in there if one.criterion == LISTED]
    others = [one for one in there if one.criterion != LISTED]
    wanted = number - len(listed)
    if not others or wanted < 1:
        return listed
    others.sort(key=lambda one: -one.value)
    # Looks decide within a group, not over how many frames it gets.
    shares = Counter(one.group for one in others[:wanted])
    others = others[: max(wanted, sum(one.score > 0 for one in others))]
    chosen = []
    for group, share in shares.items():
        own = [one for one in others if one.group == group]
        images = np.stack([written[one.video, one.frame].small for one in own])
        places = choose_different(np.array([one.value for one in own]), images, share, seed)
        chosen += [own[place] for place in places.tolist()]
    return listed + sorted(chosen, key=lambda one: -one.score)


def _publish(
    table: Path,
    folder: Path,
    chosen: Sequence[Choice],
    written: Mapping[tuple[str, int], WrittenFrame],
) -> None:
    """Write the tables, and remove the images of what was not chosen."""
    for place in written.keys() - {(one.video, one.frame) for one in chosen}:
        written[place].path.unlink()
    rows = [
        {
            "rank": rank,
            "video": one.video,
            "frame": one.frame,
            "time": f"{written[one.video, one.frame].time:.6f}",
            "score": "" if math.isinf(one.score) else f"{one.score:.3f}",
            "criterion": one.criterion,
            "reason": one.reason,
            "image": f"{folder.name}/{one.video}/{written[one.video, one.frame].path.name}",
        }
        for rank, one in enumerate(chosen, start=1)
    ]
    write_table(table, REFINEMENT_COLUMNS, rows)
    of_video: dict[str, list[Mapping[str, object]]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: int(str(row["frame"]))):
        image = Path(str(row["image"])).name
        of_video[str(row["video"])].append(
            {"frame": row["frame"], "time": row["time"], "image": image}
        )
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name in of_video:
            write_table(path / "frames.tsv", FRAME_COLUMNS, of_video[path.name])
        else:
            shutil.rmtree(path)


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
