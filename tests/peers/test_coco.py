"""Average precision against pycocotools' own keypoint evaluation."""

import contextlib
import io

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from pipeline_lib.kernels.metrics.average_precision import (
    COCO_THRESHOLDS,
    measure_average_precision,
)
from pipeline_lib.kernels.metrics.keypoints import measure_areas

KEYPOINTS = 5
# COCO has no missing predictions: one that is far from everything.
FAR = 1e7


def evaluate_with_coco(predicted, score, truth, area, sigmas):
    """Return pycocotools' mean precision and recall, and both by threshold."""
    with contextlib.redirect_stdout(io.StringIO()):
        ground = COCO()
        ground.dataset = {
            "images": [{"id": frame} for frame in range(len(truth))],
            "categories": [{"id": 1, "name": "animal"}],
            "annotations": [
                annotate(pose, frame, area[frame, place])
                for frame, poses in enumerate(truth)
                for place, pose in enumerate(poses)
            ],
        }
        for number, annotation in enumerate(ground.dataset["annotations"], 1):
            annotation["id"] = number
        ground.createIndex()
        results = [
            {
                "image_id": frame,
                "category_id": 1,
                "keypoints": flatten(pose, FAR),
                "score": float(score[frame, place]),
            }
            for frame, poses in enumerate(predicted)
            for place, pose in enumerate(poses)
            if np.isfinite(pose).any()
        ]
        found = ground.loadRes(results)
        evaluation = COCOeval(ground, found, "keypoints")
        evaluation.params.kpt_oks_sigmas = sigmas
        # COCO's upper limit would leave out those with a keypoint far away.
        evaluation.params.areaRng = [[0, np.inf]]
        evaluation.params.areaRngLbl = ["all"]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, 0, 0, 0].mean(1)
    return precision, evaluation.eval["recall"][:, 0, 0, 0]


def annotate(pose, frame, area):
    visible = np.isfinite(pose).all(-1)
    return {
        "image_id": frame,
        "category_id": 1,
        "keypoints": flatten(pose, 0.0),
        "num_keypoints": int(visible.sum()),
        "area": float(np.nan_to_num(area)),
        "bbox": [0.0, 0.0, 0.0, 0.0],
        "iscrowd": 0,
    }


def flatten(pose, missing):
    """Return x, y and visibility of each keypoint in one list."""
    visible = np.isfinite(pose).all(-1)
    points = np.where(visible[:, None], pose, missing)
    return np.concatenate([points, 2.0 * visible[:, None]], -1).ravel().tolist()


def draw(seed, frames=12, truths=4, predictions=6, steps=None):
    """Draw individuals, some displaced, some missed, some false; keypoints missing on both sides.

    With `steps`, scores and places are so coarse that many are equal.
    """
    stream = np.random.default_rng(seed)
    centre = stream.uniform(0, 300, (frames, truths, 1, 2))
    truth = centre + stream.uniform(-20, 20, (frames, truths, KEYPOINTS, 2))
    spread = stream.choice([0.0, 1.0, 4.0, 15.0], (frames, truths, 1, 1))
    predicted = stream.uniform(0, 300, (frames, predictions, KEYPOINTS, 2))
    predicted[:, :truths] = truth + spread * stream.normal(size=truth.shape)
    score = stream.uniform(0, 1, (frames, predictions))
    if steps:
        predicted, truth = (np.round(points / steps) * steps for points in (predicted, truth))
        score = np.round(score, 1)
    truth[stream.random(truth.shape[:3]) < 0.2] = np.nan
    predicted[stream.random(predicted.shape[:3]) < 0.15] = np.nan
    truth[stream.random(truth.shape[:2]) < 0.2] = np.nan
    predicted[stream.random(predicted.shape[:2]) < 0.3] = np.nan
    return predicted, score, truth


@pytest.mark.parametrize("steps", [None, 10.0])
@pytest.mark.parametrize("seed", range(15))
def test_agrees_with_pycocotools(seed, steps):
    predicted, score, truth = draw(seed, steps=steps)
    sigmas = np.random.default_rng(seed).uniform(0.02, 0.2, KEYPOINTS)
    area = measure_areas(truth)
    found = measure_average_precision(predicted, score, truth, area, sigmas)
    precision, recall = evaluate_with_coco(predicted, score, truth, area, sigmas)
    assert 0 < found.mean_precision < 1
    np.testing.assert_allclose(found.thresholds, COCO_THRESHOLDS)
    np.testing.assert_allclose(found.precision, precision, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.recall, recall, rtol=0, atol=1e-9)
    assert found.mean_precision == pytest.approx(precision.mean(), abs=1e-9)
    assert found.mean_recall == pytest.approx(recall.mean(), abs=1e-9)


def test_agrees_where_predictions_are_more_than_individuals_or_perfect():
    sigmas = np.full(KEYPOINTS, 0.1)
    for truths, predictions in ((1, 12), (5, 5), (3, 3)):
        predicted, score, truth = draw(7, truths=truths, predictions=predictions)
        if truths == 3:
            predicted = truth.copy()
        area = measure_areas(truth)
        found = measure_average_precision(predicted, score, truth, area, sigmas)
        precision, recall = evaluate_with_coco(predicted, score, truth, area, sigmas)
        np.testing.assert_allclose(found.precision, precision, rtol=0, atol=1e-9)
        np.testing.assert_allclose(found.recall, recall, rtol=0, atol=1e-9)
