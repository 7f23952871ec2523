"""Import labels: join those of all sources in one table, check them, and split them."""

import logging
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline_lib.core.errors import LabelError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.names import clean_part
from pipeline_lib.core.settings.network import LabelSource, SplitSettings
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.core.tables import LABEL_COLUMNS, SINGLE_INDIVIDUAL, UNIQUE_INDIVIDUAL
from pipeline_lib.io.labels.points import SourceLabels
from pipeline_lib.io.labels.table import Labels, import_labels, write_labels
from pipeline_lib.kernels.splits import folds_blocks, folds_random, split_blocks, split_random
from pipeline_lib.steps.import_labels.individuals import keep_single_individual, place_individuals
from pipeline_lib.steps.import_labels.skeleton import (
    choose_bodyparts,
    choose_unique,
    find_missing_edges,
    resolve_skeleton,
)

_log = logging.getLogger(__name__)


def run_import_labels(config: Config, results: Results) -> None:
    """Import every source of labels and publish ``labels/labels.parquet``.

    Labelled frames of SLEAP files, which lie in videos, are written to ``labels/images`` first.

    Parameters
    ----------
    config
        Its ``labels``, ``skeleton``, ``individuals``, ``assembly.graph`` and ``training`` are
        used; paths are relative to the working directory.
    results
        Receives the labels.

    Raises
    ------
    LabelError
        With everything that cannot be mapped.
    """
    labels = collect_labels(config, results)
    write_labels(results.labels, labels)
    images = labels.table.drop_duplicates("image")
    parts = ", ".join(f"{n} {name}" for name, n in images["split"].value_counts().items())
    points = labels.table.groupby("image")["visible"].sum()
    _log.info("%d images (%s), %d labelled points", len(images), parts, points.sum())
    if (points == 0).any():
        _log.info("%d images have no labelled point", (points == 0).sum())


def collect_labels(config: Config, results: Results) -> Labels:
    """Read, join, check and divide the labels that a config names.

    Returns
    -------
    Labels
        Sorted by video, source, frame, image, individual and bodypart; each image has a row for
        every individual and bodypart.

    Raises
    ------
    LabelError
        As in `run_import_labels`.
    """
    if not config.labels:
        problem = (
            "no labels: add under `labels:` an entry `- path: PROJECT`, a DeepLabCut project, "
            "a SLEAP file, COCO keypoints, a Lightning Pose data folder or a label table"
        )
        raise LabelError("config", [problem])
    sources = _read_sources(config.labels, results.label_images)
    points = _join_sources(sources)
    _check_images_disjoint(points, sources)
    images = _sort_images(points)
    points, skeleton, individuals = _settle_individuals(points, sources, config)
    if not points.loc[points["bodypart"].isin(skeleton.bodyparts), "visible"].any():
        raise LabelError("labels", ["no bodypart is labelled in any image"])
    images["split"] = assign_splits(
        images["source_number"].astype(str) + "/" + images["video"],
        images["frame"].to_numpy(),
        config.training.split,
        config.training.validation_fraction,
    )
    table = _complete_rows(points, images, list_keypoints(skeleton, individuals))
    return Labels(table, skeleton.bodyparts, individuals, skeleton)


def list_keypoints(skeleton: Skeleton, individuals: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return individual and bodypart of each row of an image, in order."""
    unique = skeleton.unique_bodyparts
    animal = [name for name in skeleton.bodyparts if name not in unique]
    rows = [(individual, bodypart) for individual in individuals for bodypart in animal]
    return rows + [(UNIQUE_INDIVIDUAL, bodypart) for bodypart in unique]


def _settle_individuals(
    points: pd.DataFrame, sources: list[SourceLabels], config: Config
) -> tuple[pd.DataFrame, Skeleton, tuple[str, ...]]:
    """Return points with their final individuals, the skeleton in force, and the names."""
    skeletons = [source.skeleton for source in sources]
    single = set(points.loc[points["individual"] == UNIQUE_INDIVIDUAL, "bodypart"])
    if config.individuals.max == 1:
        # The one animal has all bodyparts, unique ones too.
        points = keep_single_individual(points)
        bodyparts = choose_bodyparts(config.skeleton, points["bodypart"].unique())
        skeleton = resolve_skeleton(config.skeleton, bodyparts, (), skeletons)
        return points, skeleton, (SINGLE_INDIVIDUAL,)
    bodyparts = choose_bodyparts(config.skeleton, points["bodypart"].unique())
    unique = choose_unique(config.skeleton, bodyparts, single)
    skeleton = resolve_skeleton(config.skeleton, bodyparts, unique, skeletons)
    problem = find_missing_edges(skeleton, config)
    if problem:
        raise LabelError("config", [problem])
    points, individuals = place_individuals(points, config.individuals, bodyparts, unique)
    return points, skeleton, individuals


def assign_splits(
    videos: pd.Series,
    frames: NDArray[np.int64],
    settings: SplitSettings,
    validation_fraction: float,
) -> NDArray[np.object_]:
    """Return ``train``, ``validation`` or ``test`` for each image.

    Parameters
    ----------
    videos, frames
        Video and frame number of each image, in an order that is the same in every run.
    settings
        How to divide.
    validation_fraction
        Share of the frames that do not test, held out in the same way.

    Raises
    ------
    LabelError
        If there are too few images for the folds asked for.
    """
    codes = videos.to_numpy(dtype=object)
    count = len(codes)
    blocks = settings.block_frames if settings.method == "block" else None
    if settings.folds is None:
        test = _hold_out(codes, frames, settings.test_fraction, blocks, settings.seed)
    else:
        if blocks is None:
            folds = folds_random(count, settings.folds, settings.seed)
        else:
            folds = folds_blocks(codes, frames, blocks, settings.folds, settings.seed)
        test = folds == settings.fold
        if not test.any() or test.all():
            problem = f"training.split.folds ({settings.folds}) is more than {count} images allow"
            raise LabelError("config", [problem])
    split = np.where(test, "test", "train").astype(object)
    train = np.flatnonzero(~test)
    held_out = _hold_out(codes[train], frames[train], validation_fraction, blocks, settings.seed)
    split[train[held_out]] = "validation"
    return split


def _hold_out(
    videos: NDArray[np.object_],
    frames: NDArray[np.int64],
    fraction: float,
    block_frames: int | None,
    seed: int,
) -> NDArray[np.bool_]:
    if block_frames is None:
        return split_random(len(videos), fraction, seed)
    return split_blocks(videos, frames, block_frames, fraction, seed)


def _read_sources(sources: tuple[LabelSource, ...], images: Path) -> list[SourceLabels]:
    """Read the sources in the config's order and report the problems of all together."""
    read, problems = [], []
    folders = [_image_folder(images, number, source) for number, source in enumerate(sources)]
    for source, folder in zip(sources, folders, strict=True):
        try:
            read.append(import_labels(source, folder))
        except LabelError as error:
            if len(sources) == 1:
                raise
            problems += [f"{error.where}: {problem}" for problem in error.problems]
    if problems:
        raise LabelError("labels", problems)
    _remove_others(images, folders)
    return read


def _image_folder(images: Path, number: int, source: LabelSource) -> Path:
    """Return the folder of a source's images: numbered, as two files may share a name."""
    name = f"{number:02d}-{Path(source.path).name.removesuffix('.slp')}"
    return images / clean_part(name, f"{number:02d}")


def _remove_others(images: Path, folders: list[Path]) -> None:
    """Remove the images of sources that the config no longer names."""
    for folder in images.glob("*"):
        if folder not in folders and folder.is_dir():
            shutil.rmtree(folder)


def _join_sources(sources: list[SourceLabels]) -> pd.DataFrame:
    joined: pd.DataFrame = pd.concat(
        [
            source.points.assign(source_number=number, identified=source.identified)
            for number, source in enumerate(sources)
        ],
        ignore_index=True,
    )
    return joined


def _check_images_disjoint(points: pd.DataFrame, sources: list[SourceLabels]) -> None:
    images = points[["image", "source", "source_number"]].drop_duplicates()
    origins = {image: origin for one in sources for image, origin in one.origins.items()}
    shown = images["image"].map(lambda image: origins.get(image) or os.path.realpath(image))
    # Two paths may lead to one file, through links of either kind.
    real = images["image"].map(lambda image: origins.get(image) or _identify(image))
    problems = []
    for _, rows in images.groupby(real, sort=False):
        image = shown[rows.index[0]]
        if len(set(rows["source_number"])) > 1:
            labelled = " and ".join(rows["source"])
            problems.append(f"{image}: labelled in {labelled}; leave one of them out of `labels`")
        elif len(rows) > 1:
            names = " and ".join(rows["image"])
            problems.append(f"{names} are one image, through links: keep the labels of one")
    if problems:
        raise LabelError("labels", problems)


def _identify(image: str) -> str:
    stat = os.stat(image)  # noqa: PTH116
    return f"{stat.st_dev}:{stat.st_ino}"


def _sort_images(points: pd.DataFrame) -> pd.DataFrame:
    """Return one row per image in an order that does not depend on the paths of sources."""
    columns = ["video", "source_number", "frame", "image", "source"]
    images: pd.DataFrame = points[columns].drop_duplicates("image")
    return images.sort_values(columns[:4], ignore_index=True)


def _complete_rows(
    points: pd.DataFrame, images: pd.DataFrame, keypoints: list[tuple[str, str]]
) -> pd.DataFrame:
    """Give every image a row per individual and bodypart, also those that its source lacks."""
    count = len(keypoints)
    wanted = images.loc[images.index.repeat(count)].reset_index(drop=True)
    for column, name in enumerate(("individual", "bodypart")):
        wanted[name] = [keypoint[column] for keypoint in keypoints] * len(images)
    key = ["image", "individual", "bodypart"]
    # Without labelled points a row is only its name, which may be there twice.
    found = points.loc[points["visible"], [*key, "x", "y"]]
    table = wanted.merge(found, on=key, how="left", validate="one_to_one")
    completed: pd.DataFrame = table.assign(visible=table["x"].notna()).reindex(
        columns=list(LABEL_COLUMNS)
    )
    return completed
