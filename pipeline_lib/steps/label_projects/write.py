"""Run the verb `write-label-project`: hand frames over to people who correct in another tool."""

import logging
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline_lib.core.errors import LabelError, StoreError
from pipeline_lib.core.formats.label_projects import find_format
from pipeline_lib.core.layout import Results
from pipeline_lib.core.poses import Poses
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.untrusted.names import (
    clean_part,
    find_name_problem,
    find_part_problem,
    fold_name,
)
from pipeline_lib.io.corrections.labels import FrameKey
from pipeline_lib.io.image_header import read_header
from pipeline_lib.io.label_projects.project import Animal, LabelProject, ProjectFrame, Recording
from pipeline_lib.io.label_projects.registry import write_label_project
from pipeline_lib.io.poses.read import read_poses
from pipeline_lib.steps.filter import locate_unfiltered
from pipeline_lib.steps.label_projects.cohort import (
    Cohort,
    CohortVideo,
    LabelledImage,
    arrange_points,
    read_chosen_frames,
)
from pipeline_lib.steps.refine.images import write_frames

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ProjectOptions:
    """Hold the options of a labelling project.

    Attributes
    ----------
    format
        As in `pipeline_lib.core.formats.label_projects.FORMATS`.
    scorer
        Who will correct.
    frames
        Frames chosen to label: ``auto``, ``refined``, ``selected``, or ``none``.
    labels
        Whether the existing labels are written, too.
    linked
        Whether SLEAP's file refers to the videos.
    network
        Network whose chosen frames and predictions are written; empty: ``training.name``.
    """

    format: str
    scorer: str
    frames: str = "auto"
    labels: bool = True
    linked: bool = False
    network: str = ""


def run_write_label_project(
    config: Config, results: Results, folder: Path, options: ProjectOptions
) -> None:
    """Write chosen frames, their predictions and the labels as a project of another tool.

    Parameters
    ----------
    config
        The run. Keypoints with confidences from ``refinement.pcutoff`` on are predictions to
        start from.
    results
        Has the chosen frames, the poses and the labels.
    folder
        The project, which must not exist.
    options
        What to write.

    Raises
    ------
    LabelError
        If there is nothing to write, or the format cannot hold it.
    StoreError
        If the folder exists, or a result is missing or damaged.
    """
    find_format(options.format)
    if problem := find_part_problem(options.scorer):
        raise LabelError("--scorer", [f"{options.scorer!r}: a name {problem}"])
    if folder.exists() or folder.is_symlink():
        raise StoreError(
            f"{folder} exists, and may hold somebody's corrections: give another folder, or merge "
            "and remove it"
        )
    if options.network:
        config = _choose_network(config, results, options.network)
    cohort = Cohort(config, results)
    with ExitStack() as stack:
        frames = _collect(cohort, options, stack)
        if not frames:
            problem = (
                "nothing to write: there are no chosen frames and no labels; run `cohortpose "
                "refine` or `cohortpose select-frames`"
            )
            raise LabelError(str(folder), [problem])
        project = LabelProject(
            name=clean_part(folder.name, "cohortpose"),
            scorer=options.scorer,
            model=config.training.name,
            iteration=config.training.iteration,
            skeleton=cohort.skeleton,
            individuals=cohort.individuals,
            frames=tuple(frames),
            linked=options.linked,
        )
        write_label_project(options.format, folder, project)
    labelled = sum(frame.labels is not None for frame in frames)
    predicted = sum(bool(frame.predictions) for frame in frames)
    _log.info(
        "%s: %d frames: %d labelled, %d with predictions, %d with neither",
        *(folder, len(frames), labelled, predicted, len(frames) - labelled - predicted),
    )


def _choose_network(config: Config, results: Results, name: str) -> Config:
    """Return the settings with another network of the same results."""
    if problem := find_name_problem(name):
        raise LabelError("--network", [f"{name!r}: a name {problem}"])
    model = results.model(name)
    if not (model.card.is_file() or results.refined_table(name).is_file()):
        folder = model.card.parent.parent
        known = sorted(path.parent.name for path in folder.glob("*/model.json"))
        raise LabelError(
            "--network", [f"{name}: no such network; {folder} has {', '.join(known) or 'none'}"]
        )
    training = config.training.model_copy(update={"name": name})
    return config.model_copy(update={"training": training})


def _collect(cohort: Cohort, options: ProjectOptions, stack: ExitStack) -> list[ProjectFrame]:
    labelled = list(cohort.labelled)
    folders = _Folders(cohort.videos)
    frames = []
    if options.frames != "none":
        frames = list(_collect_chosen(cohort, options, stack))
    if options.labels:
        frames += [_describe_labelled(one, cohort, folders, options) for one in labelled]
    return frames


def _collect_chosen(
    cohort: Cohort, options: ProjectOptions, stack: ExitStack
) -> Iterator[ProjectFrame]:
    """Yield the chosen frames that nobody has labelled, worst first as `refine` has them."""
    known = {cohort.find_frame(one.key) for one in cohort.labelled}
    chosen = [
        (video, frame, image)
        for video, frame, image in read_chosen_frames(cohort, options.frames)
        if FrameKey(video, frame, "") not in known
    ]
    gone = sorted({video for video, _, _ in chosen} - set(cohort.videos))
    for video in gone:
        _log.warning("%s is no longer a video of the cohort: its frames are left out", video)
    chosen = [one for one in chosen if one[0] in cohort.videos]
    images = _find_images(cohort, chosen, stack)
    predictions = _predict(cohort, [(video, frame) for video, frame, _ in chosen])
    for video, frame, _ in chosen:
        image = images.get((video, frame))
        if image is None:
            _log.warning("%s, frame %d: its image is gone: left out", video, frame)
            continue
        yield ProjectFrame(
            video=video,
            frame=frame,
            image="",
            file=image,
            size=read_header(image).upright,
            folder=video,
            name=f"frame-{frame:07d}.png",
            recording=_describe_recording(cohort.videos[video], linked=options.linked),
            predictions=tuple(predictions.get((video, frame), ())),
        )


def _find_images(
    cohort: Cohort, chosen: Sequence[tuple[str, int, Path]], stack: ExitStack
) -> Mapping[tuple[str, int], Path]:
    """Return the whole image of each frame; a frame of which a region was written is read again."""
    found = {(video, frame): image for video, frame, image in chosen if image.is_file()}
    cut: dict[str, list[int]] = defaultdict(list)
    for (video, frame), image in found.items():
        size = cohort.videos[video].width, cohort.videos[video].height
        if all(size) and read_header(image).upright != size:
            cut[video].append(frame)
    if cut:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        patience = cohort.config.reading.seconds_per_frame
        for video, frames in cut.items():
            path = cohort.videos[video].path
            written = write_frames(path, frames, folder / video, patience)
            found |= {(video, frame): written[frame] for frame in frames if frame in written}
            for frame in frames:
                if frame not in written:
                    del found[video, frame]
    return found


def _describe_recording(video: CohortVideo, *, linked: bool) -> Recording:
    path = video.path.absolute()
    name = path.as_posix() if linked else f"{video.name}{video.path.suffix}"
    return Recording(path, name, video.frames, video.fps)


def _predict(
    cohort: Cohort, chosen: Iterable[tuple[str, int]]
) -> Mapping[tuple[str, int], list[Animal]]:
    """Return the predicted individuals of each frame; none where there are no poses."""
    found = {}
    for video, frame in chosen:
        path = locate_unfiltered(cohort.config, cohort.results, video)
        if not path.exists():
            continue
        poses = read_poses(path, frame, frame + 1)
        if len(poses.time):
            found[video, frame] = list(_list_animals(poses, cohort))
    return found


def _list_animals(poses: Poses, cohort: Cohort) -> Iterator[Animal]:
    """Yield the individuals of poses of a single frame, with the names of the labels."""
    bodyparts = cohort.skeleton.bodyparts
    shared = [name for name in bodyparts if name in poses.bodyparts]
    into = [bodyparts.index(name) for name in shared]
    out = [poses.bodyparts.index(name) for name in shared]
    for number, name in enumerate(_name_slots(poses.individuals, cohort)):
        confidence = np.full(len(bodyparts), np.nan)
        position = np.full((len(bodyparts), 2), np.nan)
        confidence[into] = poses.confidence[0, number, out]
        position[into] = poses.position[0, number, out]
        # Also positions without a confidence.
        position[~(confidence >= cohort.config.refinement.pcutoff)] = np.nan
        if name and not np.isnan(position).all():
            yield Animal(name, position, np.zeros(len(bodyparts), bool), confidence)


def _name_slots(names: Sequence[str], cohort: Cohort) -> list[str]:
    """Return each slot's name among the labels; empty if no name is left."""
    unique = bool(cohort.skeleton.unique_bodyparts)
    slots = [*cohort.individuals, *(["single"] if unique else [])]
    free = iter([name for name in slots if name not in names])
    return [name if name in slots else next(free, "") for name in names]


class _Folders:
    """Give the images of each folder of labels a folder of their own in the project."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = {fold_name(name) for name in taken}
        self._known: dict[tuple[str, Path], str] = {}

    def name(self, video: str, folder: Path) -> str:
        """Return the folder in the project of images of a video that lie in a folder."""
        key = (video, folder)
        if key not in self._known:
            base = clean_part(video, "images")
            name, number = base, 1
            while fold_name(name) in self._taken:
                number += 1
                name = f"{base}-{number}"
            self._taken.add(fold_name(name))
            self._known[key] = name
        return self._known[key]


def _describe_labelled(
    one: LabelledImage, cohort: Cohort, folders: _Folders, options: ProjectOptions
) -> ProjectFrame:
    bodyparts = cohort.skeleton.bodyparts
    animals = [
        Animal(name, position, hidden, np.full(len(bodyparts), np.nan))
        for name, (position, hidden) in arrange_points(one.points, bodyparts).items()
    ]
    # A corrected frame of the cohort goes into the folder of its video, beside the chosen frames.
    video = None if one.key.image else cohort.videos.get(one.key.video)
    return ProjectFrame(
        *one.key,
        file=one.file,
        size=read_header(one.file).upright,
        folder=video.name if video else folders.name(one.key.video, one.file.parent),
        name=one.file.name,
        recording=_describe_recording(video, linked=options.linked) if video else None,
        labels=tuple(animals),
    )
