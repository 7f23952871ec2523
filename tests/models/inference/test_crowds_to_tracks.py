"""Test maps of a perfect network up to tracks, with more animals than allowed."""

import itertools

import numpy as np
import pytest

from pipeline_lib.core.settings.individuals import AssemblySettings
from pipeline_lib.core.settings.network import TargetSettings
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.kernels.maps.score_maps import map_shape
from pipeline_lib.kernels.metrics.tracks import measure_tracks
from pipeline_lib.kernels.tracking.detections import Detections
from pipeline_lib.kernels.tracking.tracks import track_individuals
from pipeline_lib.models.card import ModelCard
from pipeline_lib.models.inference.decoding import MapDecoder
from pipeline_lib.models.training.samples.targets import TargetPlan, encode_targets
from tests.kernels.tracking.tracking_scenes import make_rules, walk

STRIDE, KEPT, FRAMES = 4, 3, 100
TARGETS = TargetSettings(stride=STRIDE, sigma=5.0, pos_dist_thresh=11.0, part_affinity_width=6.0)


@pytest.fixture(scope="module")
def truth():
    """Return five animals of the demo that cross, in px of a frame of about 640 x 530."""
    position = walk(FRAMES, 5, 0, (220.0, 180.0))
    return (position - position.min(axis=(0, 1, 2))) * 1.6 + 20.0


def decode(truth, surplus):
    """Return what is found in maps whose heights change from animal to animal and over time."""
    keypoints = truth.shape[2]
    edges = tuple(
        pair for pair in itertools.combinations(range(keypoints), 2) if pair[1] - pair[0] < 4
    )
    card = ModelCard.model_construct(
        stride=STRIDE,
        skeleton=Skeleton(bodyparts=tuple(f"part{number}" for number in range(keypoints))),
        individuals=tuple("abc"),
        edges=edges,
        used_edges=tuple(range(len(edges))),
        identities=(),
    )
    decoder = MapDecoder(card, AssemblySettings(surplus=surplus))
    width, height = (int(most) + 20 for most in truth.max(axis=(0, 1, 2)))
    plan, random = TargetPlan(truth.shape[1], edges, 0), np.random.default_rng(0)
    found = []
    for frame in truth.astype(np.float32):
        drawn = encode_targets(frame[None], map_shape(height, width, STRIDE), TARGETS, plan)
        height_of = random.uniform(0.7, 1.0, drawn.score.shape)
        found.append(
            decoder.decode(
                {
                    "score": (drawn.score * height_of).astype(np.float32),
                    "offset": drawn.offset * TARGETS.location_refinement_scale,
                    "affinity": drawn.affinity,
                }
            )
        )
    return Detections(
        np.concatenate([one.position for one in found]).astype(float),
        np.concatenate([one.confidence for one in found]),
    )


def measure_kept(detections, truth):
    tracks = track_individuals(detections, KEPT, make_rules(), segment_frames=2000)
    far = np.linalg.norm(
        np.nanmean(tracks.position, axis=2)[:, :, None] - truth.mean(axis=2)[:, None], axis=-1
    )
    kept = {int(np.nanmedian(of_place, axis=0).argmin()) for of_place in far.swapaxes(0, 1)}
    return measure_tracks(tracks.position, truth[:, sorted(kept)], max_distance=30.0).idf1


@pytest.mark.filterwarnings("ignore:Mean of empty slice")
def test_the_same_three_of_five_are_kept(truth):
    found = decode(truth, surplus=4)
    assert np.isfinite(found.position).all(-1).any(-1).sum(axis=1).mean() > 4.9
    assert measure_kept(found, truth) >= 0.95


@pytest.mark.filterwarnings("ignore:Mean of empty slice")
def test_without_surplus_who_is_kept_changes(truth):
    assert measure_kept(decode(truth, surplus=0), truth) < 0.6
