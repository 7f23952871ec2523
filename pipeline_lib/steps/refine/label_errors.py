"""List labels of the cohort that are probably wrong, worst first."""

import logging
import math
import os
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline_lib.core.errors import CohortposeError, StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.core.tables import PREDICTION_COLUMNS
from pipeline_lib.io.labels.image_paths import BASE_COLUMN, resolve_images
from pipeline_lib.io.labels.table import Labels, label_arrays
from pipeline_lib.kernels.refinement.blocks import PoseNames
from pipeline_lib.kernels.refinement.label_errors import (
    EXCHANGED,
    FAR,
    IMPLAUSIBLE,
    MISSING,
    SWAPPED,
    Doubt,
    LabelledPoses,
    find_exchanged_frames,
    find_label_errors,
)
from pipeline_lib.steps.evaluate.evaluated import find_mismatch

_log = logging.getLogger(__name__)

LABEL_ERROR_COLUMNS = (
    "rank",
    "image",
    "video",
    "frame",
    "individual",
    "bodypart",
    "what",
    "amount",
    "severity",
    "suggestion",
    "x",
    "y",
    "seen",
    "network",
)
# Whether the network whose prediction a label is compared with was trained with its image.
SEEN, UNSEEN, NO_NETWORK = "yes", "no", ""
_KEYS = ["image", "individual", "bodypart"]
_EXPLICIT = ("hidden", "absent")


def list_label_errors(config: Config, results: Results, labels: Labels) -> list[dict[str, object]]:
    """Return the rows of the table of label errors, worst first.

    Labels are compared with what a network predicts that was trained without their image, wherever
    there is one: networks of other folds of a cross-validation in the same results count, too. Else
    the configured network predicts them, which has seen them (`seen` is ``yes``) and may have
    learned their errors. Where nothing was evaluated, labels are compared with each other only.

    Parameters
    ----------
    config
        The run.
    results
        Has the predictions of `evaluate`.
    labels
        Labels as they are now.
    """
    images, labelled = label_arrays(labels)
    if images.empty:
        return []
    compared = _read_predictions(config, results)
    poses, networks = _arrange(images, labelled, labels, compared)
    names = _name_axes(labels)
    found = find_label_errors(poses, names, _find_pairs(labels.skeleton), config.refinement.pcutoff)
    frames = images["frame"].to_numpy(np.int64)
    found += find_exchanged_frames(labelled, images["video"].astype(str).tolist(), frames)
    found.sort(key=lambda one: -one.severity)
    rows = images.to_dict("records")
    return [
        _describe(rank, one, rows[one.image], labels, networks[one.image], seen=poses.seen)
        for rank, one in enumerate(found, start=1)
    ]


def _read_predictions(config: Config, results: Results) -> pd.DataFrame:
    """Return one prediction of each labelled keypoint, of a network that has not seen it if any.

    Columns `PREDICTION_COLUMNS` and ``network``.
    """
    model = config.training.name
    folder = results.predictions(model).parent.parent
    others = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    tables = []
    for name in [model, *(other for other in others if other != model)]:
        path = results.predictions(name)
        if not path.is_file():
            continue
        try:
            if mismatch := find_mismatch(config, results, name):
                raise StoreError(mismatch)
            table = pd.read_parquet(path)
            missing = [column for column in PREDICTION_COLUMNS if column not in table.columns]
            if missing:
                raise StoreError(
                    f"{path}: lacks the columns {', '.join(missing)}: run `cohortpose refine`"
                )
        except (CohortposeError, OSError, ValueError) as error:
            _log.warning("labels are not compared with predictions of %s: %s", name, error)
            continue
        if BASE_COLUMN in table.columns:
            table = resolve_images(table, results.root)
        table = table.assign(network=name)
        # Of other networks only what they have not seen.
        tables.append(table if name == model else table[table["split"] == "test"])
    if not tables:
        _log.info("labels are compared with each other only: no network was evaluated")
        return pd.DataFrame(columns=[*PREDICTION_COLUMNS, "network"])
    whole = pd.concat(tables, ignore_index=True)
    # Unseen ones first; of equals, those of the configured network.
    order = np.argsort((whole["split"] != "test").to_numpy(), kind="stable")
    first = whole.iloc[order].drop_duplicates("image")[["image", "network"]]
    return whole.merge(first, on=["image", "network"])


def _arrange(
    images: pd.DataFrame, labelled: NDArray[np.float64], labels: Labels, compared: pd.DataFrame
) -> tuple[LabelledPoses, list[str]]:
    """Arrange predictions as the labels are; return the network of each image, too."""
    image = pd.Index(images["image"]).get_indexer(pd.Index(compared["image"]))
    owner = pd.Index(labels.slots).get_indexer(pd.Index(compared["individual"]))
    part = pd.Index(labels.bodyparts).get_indexer(pd.Index(compared["bodypart"]))
    known = (image >= 0) & (owner >= 0) & (part >= 0)
    places = (image[known], owner[known], part[known])
    predicted = np.full(labelled.shape, np.nan)
    confidence = np.full(labelled.shape[:3], np.nan)
    predicted[places] = compared.loc[known, ["x", "y"]].to_numpy(np.float64)
    confidence[places] = compared.loc[known, "confidence"].to_numpy(np.float64)
    seen = np.ones(len(images), np.bool_)
    seen[image[known & (compared["split"] == "test").to_numpy()]] = False
    networks = np.full(len(images), NO_NETWORK, dtype=object)
    networks[image[known]] = compared.loc[known, "network"].to_numpy()
    poses = LabelledPoses(labelled, predicted, confidence, seen, _find_open(images, labels))
    return poses, networks.tolist()


def _find_open(images: pd.DataFrame, labels: Labels) -> NDArray[np.bool_]:
    """Tell of which keypoints nobody said that they are hidden or absent."""
    shape = (len(images), len(labels.slots), len(labels.bodyparts))
    free = np.ones(shape, np.bool_)
    if "visibility" in labels.table.columns:
        said = labels.table[labels.table["visibility"].isin(_EXPLICIT)]
        image = pd.Index(images["image"]).get_indexer(pd.Index(said["image"]))
        owner = pd.Index(labels.slots).get_indexer(pd.Index(said["individual"]))
        part = pd.Index(labels.bodyparts).get_indexer(pd.Index(said["bodypart"]))
        there = (image >= 0) & (owner >= 0) & (part >= 0)
        free[image[there], owner[there], part[there]] = False
    return free


def _name_axes(labels: Labels) -> PoseNames:
    return PoseNames(
        labels.bodyparts, labels.slots, tuple(_find_places(labels.skeleton.edges, labels.bodyparts))
    )


def _find_pairs(skeleton: Skeleton) -> list[tuple[int, int]]:
    return list(_find_places(skeleton.symmetries, skeleton.bodyparts))


def _find_places(
    pairs: Sequence[tuple[str, str]], bodyparts: Sequence[str]
) -> Iterator[tuple[int, int]]:
    for first, second in pairs:
        if first in bodyparts and second in bodyparts:
            yield bodyparts.index(first), bodyparts.index(second)


def _describe(  # noqa: PLR0913 - a doubt, and all the names that it needs
    rank: int,
    doubt: Doubt,
    image: Mapping[Hashable, object],
    labels: Labels,
    network: str,
    *,
    seen: NDArray[np.bool_],
) -> dict[str, object]:
    owners, parts = labels.slots, labels.bodyparts
    bodypart = parts[doubt.keypoint] if doubt.keypoint >= 0 else ""
    x, y = doubt.suggestion
    known = math.isfinite(x) and math.isfinite(y)
    return {
        "rank": rank,
        "image": _shorten(str(image["image"])),
        "video": image["video"],
        "frame": image["frame"],
        "individual": owners[doubt.individual] if len(labels.individuals) > 1 else "",
        "bodypart": bodypart,
        "what": doubt.what,
        "amount": f"{doubt.amount:.4g}",
        "severity": f"{doubt.severity:.4g}",
        "suggestion": _suggest(doubt, owners, parts),
        "x": f"{x:.2f}" if known else "",
        "y": f"{y:.2f}" if known else "",
        "seen": (SEEN if seen[doubt.image] else UNSEEN) if network else NO_NETWORK,
        "network": network,
    }


def _suggest(doubt: Doubt, owners: Sequence[str], parts: Sequence[str]) -> str:
    """Return what to do about a doubt in words."""
    place = " at x, y" if math.isfinite(doubt.suggestion[0]) else ""
    match doubt.what:
        case what if what == SWAPPED:
            return f"exchange {parts[doubt.keypoint]} and {parts[doubt.other]}"
        case what if what == EXCHANGED:
            of = f"{parts[doubt.keypoint]} of " if doubt.keypoint >= 0 else ""
            return f"exchange {of}{owners[doubt.individual]} and {owners[doubt.other]}"
        case what if what == FAR:
            return f"the network finds it{place}, {doubt.amount:.1f} px away"
        case what if what == IMPLAUSIBLE:
            return "look at it: no other labelled pose is like this one"
        case what if what == MISSING:
            return f"the network finds it{place}"
    raise ValueError(f"{doubt.what!r} is no kind of label error")


def _shorten(image: str) -> str:
    """Return the path of an image relative to the project, where it lies in it."""
    for base in (Path.cwd(), Path(os.path.realpath(Path.cwd()))):
        if Path(image).is_relative_to(base):
            return Path(image).relative_to(base).as_posix()
    return image
