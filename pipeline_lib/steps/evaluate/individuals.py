"""Match predicted with labelled individuals, and measure the errors of several animals."""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline_lib.core.settings.network import EvaluationSettings
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.core.tables import PREDICTION_COLUMNS, UNIQUE_INDIVIDUAL
from pipeline_lib.io.images import read_image
from pipeline_lib.kernels.metrics.average_precision import measure_average_precision
from pipeline_lib.kernels.metrics.keypoints import find_individuals, measure_areas
from pipeline_lib.kernels.metrics.matching import UNMATCHED, match_individuals
from pipeline_lib.models.card import ModelCard
from pipeline_lib.models.inference.predictor import PosePredictor

# Names of false predictions are `false1` and so on in each image.
FALSE_INDIVIDUAL = "false"

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class LabelledIndividuals:
    """Hold the labels of several animals.

    Attributes
    ----------
    images
        As `pipeline_lib.io.labels.table.label_arrays` gives them.
    positions
        Shape (image, individual, keypoint, 2), px; NaN where unlabelled.
    individuals
        Names along the individual axis; `UNIQUE_INDIVIDUAL` has the unique bodyparts.
    """

    images: pd.DataFrame
    positions: NDArray[np.float64]
    individuals: tuple[str, ...]


def predict_individuals(
    predictor: PosePredictor, labels: LabelledIndividuals, settings: EvaluationSettings
) -> pd.DataFrame:
    """Predict images one by one and match the animals found with the labelled ones.

    Animals are matched so that the sum of their OKS is largest, of at least ``match_oks``; those
    of a single bodypart, which have no OKS, by distance, up to the largest of ``pck_thresholds``.

    Parameters
    ----------
    predictor
        What predicts.
    labels
        Keypoints in the predictor's order.
    settings
        ``oks_sigma``, ``match_oks`` and ``pck_thresholds`` are used.

    Returns
    -------
    DataFrame
        Columns `PREDICTION_COLUMNS`, and ``spread`` of an ensemble. Each image has a row for every
        labelled individual and bodypart, with NaN in x, y and confidence where the individual was
        not found; then rows of the predicted animals without a match, named ``false1`` and so on,
        without labels.
    """
    skeleton = predictor.card.skeleton
    position, confidence, spread = _predict_all(predictor, labels.images["image"])
    names = [name for name in labels.individuals if name != UNIQUE_INDIVIDUAL]
    animals = [labels.individuals.index(name) for name in names]
    parts = list(skeleton.animal_indices)
    partners = _match_animals(
        position[:, : predictor.card.animals, parts],
        labels.positions[:, animals][:, :, parts],
        settings,
    )
    tables = [pd.DataFrame(columns=list(PREDICTION_COLUMNS))]
    for row, image in enumerate(labels.images.to_dict("records")):
        truth = dict(zip(labels.individuals, labels.positions[row], strict=True))
        matched = dict(zip(names, partners[row].tolist(), strict=True))
        values = _Found(position[row], confidence[row], None if spread is None else spread[row])
        named = _name_individuals(values, truth, matched, predictor.card)
        tables += [_tabulate(image, one, skeleton) for one in named]
    return pd.concat(tables[1:] or tables, ignore_index=True)


def _predict_all(
    predictor: PosePredictor, images: Iterable[str]
) -> tuple[Floats, Floats, Floats | None]:
    """Return positions (image, individual, keypoint, 2), and confidences and spread without it."""
    keypoints = len(predictor.card.skeleton.bodyparts)
    found = [predictor.predict([read_image(Path(image))]) for image in images]
    if not found:
        return np.empty((0, 1, keypoints, 2)), np.empty((0, 1, keypoints)), None
    spreads = [one.spread for one in found if one.spread is not None]
    return (
        np.concatenate([one.position for one in found]),
        np.concatenate([one.confidence for one in found]),
        np.concatenate(spreads) if spreads else None,
    )


def _match_animals(
    predicted: Floats, truth: Floats, settings: EvaluationSettings
) -> NDArray[np.int64]:
    """Return the slot of the predicted individual matched with each label; (image, animal)."""
    if np.isfinite(measure_areas(truth)).any():
        return match_individuals(
            predicted, truth, sigmas=settings.oks_sigma, min_similarity=settings.match_oks
        )
    # Animals of a single bodypart have no size that a distance could be compared with.
    farthest = max(settings.pck_thresholds or EvaluationSettings().pck_thresholds)
    return match_individuals(predicted, truth, max_distance=farthest, min_similarity=0.5)


class _Found(NamedTuple):
    """Hold positions (..., keypoint, 2), confidences and spreads (..., keypoint) of an image."""

    position: Floats
    confidence: Floats
    spread: Floats | None

    def take(self, slot: int) -> "_Found":
        """Return the arrays of one individual."""
        spread = None if self.spread is None else self.spread[slot]
        return _Found(self.position[slot], self.confidence[slot], spread)


@dataclass(frozen=True)
class _Individual:
    """Hold one individual of an image: what was found of it, and its labels (keypoint, 2)."""

    name: str
    found: _Found
    label: Floats


def _name_individuals(
    found: _Found, truth: Mapping[str, Floats], matched: Mapping[str, int], card: ModelCard
) -> Iterator[_Individual]:
    """Yield the labelled individuals of an image, then the false ones.

    Parameters
    ----------
    found
        Arrays with an individual axis in front.
    truth
        Labels by name, shape (keypoint, 2).
    matched
        Slots of the predicted individuals matched with the labels, by name.
    card
        Says how many animals there are; unique bodyparts have the slot after them.
    """
    nowhere = np.full(found.position.shape[1:], np.nan)
    unknown = nowhere[:, 0]
    nothing = _Found(nowhere, unknown, None if found.spread is None else unknown)
    for name, slot in matched.items():
        yield _Individual(name, nothing if slot == UNMATCHED else found.take(slot), truth[name])
    if card.skeleton.unique_bodyparts:
        label = truth.get(UNIQUE_INDIVIDUAL, nowhere)
        yield _Individual(UNIQUE_INDIVIDUAL, found.take(-1), label)
    there = find_individuals(found.position[: card.animals, list(card.skeleton.animal_indices)])
    false = np.setdiff1d(np.flatnonzero(there), list(matched.values())).tolist()
    for number, slot in enumerate(false, 1):
        yield _Individual(f"{FALSE_INDIVIDUAL}{number}", found.take(slot), nowhere)


def _tabulate(image: Mapping[Hashable, Any], one: _Individual, skeleton: Skeleton) -> pd.DataFrame:
    unique = one.name == UNIQUE_INDIVIDUAL
    rows = list(skeleton.unique_indices if unique else skeleton.animal_indices)
    values = {
        **{name: image[name] for name in ("image", "video", "frame", "split")},
        "individual": one.name,
        "bodypart": [skeleton.bodyparts[row] for row in rows],
        **dict(zip(("x", "y"), one.found.position[rows].T.astype(np.float64), strict=True)),
        "confidence": one.found.confidence[rows].astype(np.float64),
        **dict(zip(("label_x", "label_y"), one.label[rows].T, strict=True)),
    }
    table = pd.DataFrame(values, columns=list(PREDICTION_COLUMNS))
    if one.found.spread is None:
        return table
    return table.assign(spread=one.found.spread[rows].astype(np.float64))


def measure_individuals(
    predictions: pd.DataFrame, settings: EvaluationSettings
) -> dict[str, float]:
    """Measure the detection of whole animals.

    Parameters
    ----------
    predictions
        Columns `PREDICTION_COLUMNS`, as `predict_individuals` gives them, of one split. Unique
        bodyparts do not count.
    settings
        ``oks_sigma`` and ``oks_thresholds`` are used.

    Returns
    -------
    dict
        ``oks_map`` and ``oks_mar``: mean average precision and recall as COCO's, the scale of an
        animal being the area of the box around its labels, the score of a prediction the mean
        confidence of its bodyparts, missing ones counting 0; NaN if no individual is labelled.
        ``individuals_missed``: labelled animals that nothing was matched with;
        ``individuals_false``: predicted ones without a match. ``keypoints_missed``: labelled
        keypoints without a prediction, of which errors, which are distances, do not tell.
    """
    rows = predictions[predictions["individual"] != UNIQUE_INDIVIDUAL]
    predicted = _arrange(rows, ("x", "y"))
    truth = _arrange(rows, ("label_x", "label_y"))
    confidence = np.nan_to_num(_arrange(rows, ("confidence",))[..., 0])
    found = measure_average_precision(
        predicted,
        # All have the same number of bodyparts: the sum orders them as the mean.
        np.where(np.isfinite(predicted).all(-1), confidence, 0.0).sum(-1),
        truth,
        measure_areas(truth),
        settings.oks_sigma,
        thresholds=settings.oks_thresholds,
    )
    there, labelled = find_individuals(predicted), find_individuals(truth)
    missed = np.isfinite(truth).all(-1) & ~np.isfinite(predicted).all(-1)
    return {
        "oks_map": found.mean_precision,
        "oks_mar": found.mean_recall,
        "individuals_missed": float((labelled & ~there).sum()),
        "individuals_false": float((there & ~labelled).sum()),
        "keypoints_missed": float(missed.sum()),
    }


def _arrange(rows: pd.DataFrame, columns: Sequence[str]) -> NDArray[np.float64]:
    """Return columns as an array (image, individual, bodypart, column); NaN where no row is."""
    axes = [pd.factorize(rows[name]) for name in ("image", "individual", "bodypart")]
    arranged = np.full((*(len(names) for _, names in axes), len(columns)), np.nan)
    arranged[tuple(codes for codes, _ in axes)] = rows[list(columns)].to_numpy(np.float64)
    return arranged
