"""Track metrics against py-motmetrics and TrackEval on the same similarities."""

import motmetrics
import numpy as np
import pytest
import sleap_io
from trackeval.metrics import HOTA, Identity

from pipeline_lib.kernels.metrics.keypoints import compare_individuals, find_individuals
from pipeline_lib.kernels.metrics.tracks import measure_tracks

SETTINGS = [
    {"sigmas": 0.1, "min_similarity": 0.5},
    {"sigmas": 0.05, "min_similarity": 0.3},
    {"max_distance": 6.0, "min_similarity": 0.5},
]


def draw_tracks(seed, frames=60, truths=3, predictions=5):
    """Draw animals that come and go, followed with noise, exchanges, gaps and false tracks."""
    stream = np.random.default_rng(seed)
    steps = stream.normal(0, 2, (frames, truths, 1, 2)).cumsum(0)
    body = stream.uniform(-15, 15, (1, truths, 4, 2))
    truth = stream.uniform(0, 60, (1, truths, 1, 2)) + steps + body
    predicted = stream.uniform(0, 60, (1, predictions, 1, 2)) + stream.normal(
        0, 12, (frames, predictions, 4, 2)
    )
    order = np.arange(predictions)
    for frame in range(frames):
        if stream.random() < 0.1:
            order = stream.permutation(predictions)
        predicted[frame, order[:truths]] = truth[frame] + stream.normal(0, 2, (truths, 4, 2))
    truth[stream.random((frames, truths)) < 0.1] = np.nan
    predicted[stream.random((frames, predictions)) < 0.25] = np.nan
    truth[stream.random(truth.shape[:3]) < 0.05] = np.nan
    predicted[stream.random(predicted.shape[:3]) < 0.1] = np.nan
    return predicted, truth


def present(predicted, truth, settings):
    """Yield, by frame, who is there on both sides and their similarities (truth, prediction)."""
    compared = {name: value for name, value in settings.items() if name != "min_similarity"}
    similarity = compare_individuals(predicted, truth, **compared)
    for frame in range(len(truth)):
        objects = np.flatnonzero(find_individuals(truth[frame]))
        tracks = np.flatnonzero(find_individuals(predicted[frame]))
        yield objects, tracks, similarity[frame][np.ix_(tracks, objects)].T


def evaluate_with_motmetrics(predicted, truth, settings):
    accumulator = motmetrics.MOTAccumulator(auto_id=True)
    for objects, tracks, similarity in present(predicted, truth, settings):
        distance = np.where(similarity >= settings["min_similarity"], 1.0 - similarity, np.nan)
        accumulator.update(objects, tracks, distance)
    names = ["mota", "idf1", "idp", "idr", "num_switches", "num_misses", "num_false_positives"]
    table = motmetrics.metrics.create().compute(accumulator, metrics=names, name="all")
    return table.loc["all"].to_dict()


def as_trackeval(predicted, truth, settings):
    """Return the input of TrackEval; its identities are counted from 0 without gaps."""
    rows = list(present(predicted, truth, settings))
    known = [np.unique(np.concatenate([row[side] for row in rows])) for side in (0, 1)]
    numbered = [[np.searchsorted(ids, row[side]) for row in rows] for side, ids in enumerate(known)]
    return {
        "gt_ids": numbered[0],
        "tracker_ids": numbered[1],
        "similarity_scores": [row[2] for row in rows],
        "num_gt_ids": len(known[0]),
        "num_tracker_ids": len(known[1]),
        "num_gt_dets": sum(len(row[0]) for row in rows),
        "num_tracker_dets": sum(len(row[1]) for row in rows),
        "num_timesteps": len(rows),
    }


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_motmetrics(seed, settings):
    predicted, truth = draw_tracks(seed)
    found = measure_tracks(predicted, truth, **settings)
    expected = evaluate_with_motmetrics(predicted, truth, settings)
    assert found.identity_switches == expected["num_switches"] > 0
    assert found.misses == expected["num_misses"] > 0
    assert found.false_positives == expected["num_false_positives"] > 0
    assert found.mota == pytest.approx(expected["mota"], abs=1e-12)
    assert found.idf1 == pytest.approx(expected["idf1"], abs=1e-12)
    assert found.id_precision == pytest.approx(expected["idp"], abs=1e-12)
    assert found.id_recall == pytest.approx(expected["idr"], abs=1e-12)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_trackeval(seed, settings):
    predicted, truth = draw_tracks(seed)
    found = measure_tracks(predicted, truth, **settings)
    data = as_trackeval(predicted, truth, settings)
    hota = HOTA().eval_sequence(data)
    assert 0 < found.hota < 1
    assert found.hota == pytest.approx(hota["HOTA"].mean(), abs=1e-12)
    assert found.detection_accuracy == pytest.approx(hota["DetA"].mean(), abs=1e-12)
    assert found.association_accuracy == pytest.approx(hota["AssA"].mean(), abs=1e-12)
    assert found.localisation_accuracy == pytest.approx(hota["LocA"].mean(), abs=1e-12)
    options = {"THRESHOLD": settings["min_similarity"], "PRINT_CONFIG": False}
    identity = Identity(options).eval_sequence(data)
    assert found.idf1 == pytest.approx(identity["IDF1"], abs=1e-12)


@pytest.mark.parametrize("side", ["predicted", "truth"])
def test_agrees_with_trackeval_where_one_side_is_empty(side):
    predicted, truth = draw_tracks(0)
    (predicted if side == "predicted" else truth)[:] = np.nan
    found = measure_tracks(predicted, truth)
    hota = HOTA().eval_sequence(as_trackeval(predicted, truth, {"min_similarity": 0.5}))
    assert found.hota == hota["HOTA"].mean() == 0.0
    assert found.localisation_accuracy == hota["LocA"].mean() == 1.0


@pytest.mark.real
def test_agrees_on_real_flies(data_folder):
    file = data_folder / "flies-dreem" / "three_flies.slp"
    truth = sleap_io.load_slp(str(file), open_videos=False).numpy()
    assert truth.shape == (128, 3, 13, 2)
    exact = measure_tracks(truth, truth)
    assert (exact.mota, exact.idf1, exact.hota, exact.identity_switches) == (1.0, 1.0, 1.0, 0)
    predicted = truth + np.random.default_rng(0).normal(0, 4, truth.shape)
    predicted[50:, :2] = predicted[50:, 1::-1]
    predicted[90:100, 2] = np.nan
    settings = {"sigmas": 0.1, "min_similarity": 0.5}
    found = measure_tracks(predicted, truth)
    expected = evaluate_with_motmetrics(predicted, truth, settings)
    assert found.identity_switches == expected["num_switches"] == 2
    assert found.mota == pytest.approx(expected["mota"], abs=1e-12)
    assert found.idf1 == pytest.approx(expected["idf1"], abs=1e-12)
    hota = HOTA().eval_sequence(as_trackeval(predicted, truth, settings))
    assert found.hota == pytest.approx(hota["HOTA"].mean(), abs=1e-12)
