"""``import-labels``: the labels of every source as one table, checked and divided for training."""

import logging
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline_lib.core.errors import LabelError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings import Config, LabelSource, SplitSettings
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.core.tables import LABEL_COLUMNS, SINGLE_INDIVIDUAL
from pipeline_lib.io.labels import Labels, import_labels, write_labels
from pipeline_lib.kernels.splits import folds_blocks, folds_random, split_blocks, split_random

_log = logging.getLogger(__name__)


def run_import_labels(config: Config, results: Results) -> None:
    """Import every source of labels and publish ``labels/labels.parquet``.

    Parameters
    ----------
    config
        Its ``labels``, ``skeleton``, ``individuals`` and ``training`` are used; paths are
        relative to the working directory.
    results
        Receives the labels.

    Raises
    ------
    LabelError
        With everything that cannot be mapped.
    """
    labels = collect_labels(config)
    write_labels(results.labels, labels)
    images = labels.table.drop_duplicates("image")
    parts = ", ".join(f"{n} {name}" for name, n in images["split"].value_counts().items())
    points = labels.table.groupby("image")["visible"].sum()
    _log.info("%d images (%s), %d labelled points", len(images), parts, points.sum())
    if (points == 0).any():
        _log.info("%d images have no labelled point", (points == 0).sum())


def collect_labels(config: Config) -> Labels:
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
            "a Lightning Pose data folder or a label table"
        )
        raise LabelError("config", [problem])
    points = _read_sources(config.labels)
    _check_images_disjoint(points)
    points = _keep_single_individual(points)
    bodyparts = choose_bodyparts(config.skeleton, points["bodypart"].unique())
    images = _sort_images(points)
    if not points.loc[points["bodypart"].isin(bodyparts), "visible"].any():
        raise LabelError("labels", ["no bodypart is labelled in any image"])
    images["split"] = assign_splits(
        images["source_number"].astype(str) + "/" + images["video"],
        images["frame"].to_numpy(),
        config.training.split,
        config.training.validation_fraction,
    )
    return Labels(_complete_rows(points, images, bodyparts), bodyparts)


def choose_bodyparts(skeleton: Skeleton, labelled: Iterable[str]) -> tuple[str, ...]:
    """Return the bodyparts to use: the skeleton's, else those of the labels.

    Parameters
    ----------
    skeleton
        Of the config; bodyparts may be empty.
    labelled
        Bodyparts of the label tables in order of first appearance.

    Raises
    ------
    LabelError
        If the skeleton names bodyparts that no table has.
    """
    labelled = tuple(labelled)
    has = f"the label tables have {', '.join(labelled)}"
    wanted = {
        "bodyparts": skeleton.bodyparts,
        "edges": tuple(name for pair in skeleton.edges for name in pair),
        "symmetries": tuple(name for pair in skeleton.symmetries for name in pair),
    }
    problems = [
        f"skeleton.{key} names {name}, but {has}"
        for key, names in wanted.items()
        for name in dict.fromkeys(names)
        if name not in labelled
    ]
    if problems:
        raise LabelError("config", problems)
    left_out = [name for name in labelled if skeleton.bodyparts and name not in skeleton.bodyparts]
    if left_out:
        _log.info("labelled but not in skeleton.bodyparts, so left out: %s", ", ".join(left_out))
    return skeleton.bodyparts or labelled


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


def _read_sources(sources: tuple[LabelSource, ...]) -> pd.DataFrame:
    """Read every source, numbered in the config's order; report the problems of all together."""
    tables, problems = [], []
    for number, source in enumerate(sources):
        try:
            table = import_labels(Path(source.path), source.format)
            tables.append(table.assign(source_number=number))
        except LabelError as error:
            if len(sources) == 1:
                raise
            problems += [f"{error.where}: {problem}" for problem in error.problems]
    if problems:
        raise LabelError("labels", problems)
    return pd.concat(tables, ignore_index=True)


def _check_images_disjoint(points: pd.DataFrame) -> None:
    images = points[["image", "source", "source_number"]].drop_duplicates()
    # Two paths may lead to one file through links.
    real = images["image"].map(os.path.realpath)
    problems = []
    for image, rows in images.groupby(real, sort=False):
        if len(set(rows["source_number"])) > 1:
            sources = " and ".join(rows["source"])
            problems.append(f"{image}: labelled in {sources}; leave one of them out of `labels`")
    if problems:
        raise LabelError("labels", problems)


def _keep_single_individual(points: pd.DataFrame) -> pd.DataFrame:
    """Drop individuals that are nowhere labelled and give the one that is its common name."""
    problems, kept = [], []
    for _, rows in points.groupby("source_number", sort=True):
        individuals = rows["individual"].unique()
        labelled = rows.loc[rows["visible"], "individual"].unique()
        if len(labelled) > 1:
            problems.append(
                f"{rows['source'].iloc[0]}: {len(labelled)} individuals are labelled "
                f"({', '.join(labelled)}), but this version finds one"
            )
            continue
        chosen = labelled[0] if len(labelled) else individuals[0]
        if len(individuals) > 1:
            _log.info("only individual %s is labelled: the others are left out", chosen)
        kept.append(rows[rows["individual"] == chosen].assign(individual=SINGLE_INDIVIDUAL))
    if problems:
        raise LabelError("labels", problems)
    joined: pd.DataFrame = pd.concat(kept, ignore_index=True)
    return joined


def _sort_images(points: pd.DataFrame) -> pd.DataFrame:
    """Return one row per image in an order that does not depend on where the sources lie."""
    columns = ["video", "source_number", "frame", "image", "source"]
    images: pd.DataFrame = points[columns].drop_duplicates("image")
    return images.sort_values(columns[:4], ignore_index=True)


def _complete_rows(
    points: pd.DataFrame, images: pd.DataFrame, bodyparts: tuple[str, ...]
) -> pd.DataFrame:
    """Give every image a row per bodypart: some sources may not have them all."""
    wanted = pd.MultiIndex.from_product([images["image"], bodyparts], names=["image", "bodypart"])
    found = points.set_index(["image", "bodypart"])[["x", "y"]].reindex(wanted).reset_index()
    table = found.merge(images, on="image", how="left", validate="many_to_one").assign(
        individual=SINGLE_INDIVIDUAL, visible=found["x"].notna()
    )
    completed: pd.DataFrame = table.reindex(columns=list(LABEL_COLUMNS))
    return completed
