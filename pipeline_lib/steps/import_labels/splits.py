"""Divide labelled images into those to train on, to validate and to test."""

import logging
from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline_lib.core.errors import LabelError
from pipeline_lib.core.settings.network import LabelSource, SplitSettings
from pipeline_lib.core.tables import UNUSED_SPLIT
from pipeline_lib.kernels.splits import (
    find_beside,
    folds_blocks,
    folds_random,
    split_blocks,
    split_random,
)
from pipeline_lib.steps.import_labels.conflicts import LEFT_OUT
from pipeline_lib.steps.import_labels.corrections import SOURCE_NUMBER

_log = logging.getLogger(__name__)


def sort_images(images: pd.DataFrame, sources: tuple[LabelSource, ...]) -> pd.DataFrame:
    """Return images in an order that does not depend on the paths of sources, with their group.

    Groups are videos of a source: blocks of frames are cut in each. The sources of the first
    iteration come first, so that later ones do not change their order; corrected frames come last,
    in the group of a source that has labels of the same video.
    """
    ordered = sorted(range(len(sources)), key=lambda number: sources[number].iteration)
    rank = {number: place for place, number in enumerate(ordered)}
    place = images["source_number"].map(lambda number: rank.get(number, SOURCE_NUMBER))
    own = place.astype(str) + "/" + images["video"]
    images = images.assign(place=place, group=own)
    known = images[(images["cohort_video"] != "") & (place < SOURCE_NUMBER)]
    known = known.sort_values(["place", "video"]).drop_duplicates("cohort_video")
    group_of = dict(zip(known["cohort_video"], known["group"], strict=True))
    images["group"] = [
        one if of_source else group_of.get(video, one)
        for one, of_source, video in zip(
            own, place < SOURCE_NUMBER, images["cohort_video"], strict=True
        )
    ]
    return images.sort_values(["video", "place", "frame", "image"], ignore_index=True)


def divide_images(
    images: pd.DataFrame, settings: SplitSettings, validation_fraction: float
) -> NDArray[np.object_]:
    """Return ``train``, ``validation``, ``test`` or ``unused`` for each image.

    The images of the first iteration are divided as if there were no others, so that their split is
    the same in every iteration. Those of later iterations are trained on, unless that would make
    the test easier: an image of a test frame, or with ``method: block`` a frame beside a test block
    of its video, is ``unused``.

    Parameters
    ----------
    images
        Columns group, cohort_video, frame and iteration, in the same order in every run.
    settings
        How to divide.
    validation_fraction
        As in `assign_splits`.
    """
    first = (images["iteration"] == images["iteration"].min()).to_numpy()
    frames = images["frame"].to_numpy(np.int64)
    split = np.full(len(images), "train", dtype=object)
    split[first] = assign_splits(
        images.loc[first, "group"], frames[first], settings, validation_fraction
    )
    recording = images["cohort_video"].where(images["cohort_video"] != "", images["group"])
    beside = find_beside(
        recording.to_numpy(dtype=str),
        frames,
        first,
        split == "test",
        settings.block_frames if settings.method == "block" else None,
    )
    split[beside] = UNUSED_SPLIT
    return split


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


def describe_unused(images: pd.DataFrame) -> Iterator[Mapping[str, object]]:
    """Yield a row per image that is used neither for training nor for the test, and warn."""
    unused = images[images["split"] == UNUSED_SPLIT]
    if len(unused):
        _log.warning(
            "%d labelled frames of later iterations are not trained on, as they are beside test "
            "frames of the first iteration: see labels/conflicts.tsv",
            len(unused),
        )
    for row in unused.to_dict("records"):
        yield {
            "what": LEFT_OUT,
            "video": row["video"],
            "frame": row["frame"],
            "image": row["image"],
            "replaced_source": row["source"],
            "reason": "beside test frames of the first iteration: training on it would make the "
            "test easier",
        }
