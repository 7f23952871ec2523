"""Test that maps of several animals are decoded to the keypoints that were drawn."""

import numpy as np
import pytest
import torch

from pipeline_lib.core.settings.individuals import AssemblySettings
from pipeline_lib.core.settings.network import TargetSettings
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.kernels.maps.score_maps import MapShape
from pipeline_lib.models.card import ModelCard
from pipeline_lib.models.inference.decoding import MapDecoder, name_slots
from pipeline_lib.models.inference.torch_runtime import _fetch
from pipeline_lib.models.training.samples.targets import TargetPlan, encode_targets

STRIDE = 4
SHAPE = MapShape(40, 60, STRIDE)
TARGETS = TargetSettings(stride=4, sigma=5.0, pos_dist_thresh=11.0, part_affinity_width=6.0)
EDGES = ((0, 1), (1, 2))
# Two animals (individual, keypoint, 2), 40 px apart.
ANIMALS = np.array(
    [
        [[30.0, 20.0], [50.0, 20.0], [70.0, 24.0]],
        [[100.0, 90.0], [100.0, 70.0], [104.0, 50.0]],
    ],
    np.float32,
)


def make_card(*, animals=2, unique=(), identities=(), edges=EDGES, used=(0, 1)):
    names = tuple(f"individual{number + 1}" for number in range(animals))
    return ModelCard.model_construct(
        stride=STRIDE,
        skeleton=Skeleton(
            bodyparts=("nose", "back", "tail", *unique), unique_bodyparts=tuple(unique)
        ),
        individuals=(*names, "single") if unique else names,
        edges=edges,
        used_edges=used,
        identities=identities,
    )


def draw(position, *, edges=EDGES, identities=0):
    """Return the maps that a perfect network would draw of frames (frame, individual, ...)."""
    drawn = encode_targets(
        position, SHAPE, TARGETS, TargetPlan(len(position[0]), edges, identities)
    )
    maps = {
        "score": drawn.score,
        "offset": drawn.offset * TARGETS.location_refinement_scale,
    }
    if drawn.affinity is not None:
        maps["affinity"] = drawn.affinity
    if drawn.identity is not None:
        maps["identity"] = drawn.identity
    return maps


def sort_animals(position):
    """Order the animals of each frame by where their first keypoint is."""
    order = np.argsort(position[:, :, 0, 0], axis=1)
    return np.take_along_axis(position, order[:, :, None, None], axis=1)


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_drawn_keypoints_are_decoded(library):
    truth = np.stack([ANIMALS, ANIMALS + np.array([10, -7])]).astype(np.float32)
    maps, fetch = draw(truth), list
    if library == "torch":
        maps, fetch = {name: torch.from_numpy(array) for name, array in maps.items()}, _fetch
    found = MapDecoder(make_card()).decode(maps, fetch)
    assert found.position.shape == (2, 2, 3, 2)
    np.testing.assert_allclose(sort_animals(found.position), truth, atol=0.01)
    assert found.confidence.min() > 0.8
    assert found.identity is None


def test_one_animal_where_two_are_looked_for():
    found = MapDecoder(make_card()).decode(draw(ANIMALS[None, :1]))
    np.testing.assert_allclose(found.position[0, 0], ANIMALS[0], atol=0.01)
    assert np.isnan(found.position[0, 1]).all()
    assert (found.confidence[0, 1] == 0).all()


def test_a_frame_without_animals_has_none():
    found = MapDecoder(make_card()).decode(draw(np.full((1, 2, 3, 2), np.nan, np.float32)))
    assert np.isnan(found.position).all()
    assert (found.confidence == 0).all()


def test_a_missing_keypoint_stays_missing():
    truth = ANIMALS[None].copy()
    truth[0, 0, 2] = np.nan
    settings = AssemblySettings(min_keypoints=2, surplus=0)
    found = MapDecoder(make_card(), settings).decode(draw(truth))
    np.testing.assert_allclose(sort_animals(found.position), truth, atol=0.01)
    assert (np.sort(found.confidence.ravel())[0]) == 0


def test_frames_do_not_depend_on_each_other():
    truth = np.stack([ANIMALS, ANIMALS[::-1] + np.array([3, 5]), ANIMALS - 4]).astype(np.float32)
    decoder = MapDecoder(make_card())
    together = decoder.decode(draw(truth))
    for number in range(3):
        alone = decoder.decode(draw(truth[number : number + 1]))
        np.testing.assert_array_equal(alone.position[0], together.position[number])
        np.testing.assert_array_equal(alone.confidence[0], together.confidence[number])


def test_unique_bodyparts_belong_to_nobody():
    """Make the last keypoint unique: it belongs to the last individual, which has no other."""
    truth = np.full((1, 3, 4, 2), np.nan, np.float32)
    truth[0, :2, :3] = ANIMALS
    truth[0, 2, 3] = 200.0, 30.0
    found = MapDecoder(make_card(unique=("corner",))).decode(draw(truth))
    assert found.position.shape == (1, 3, 4, 2)
    np.testing.assert_allclose(sort_animals(found.position[:, :2]), truth[:, :2], atol=0.01)
    np.testing.assert_allclose(found.position[0, 2, 3], [200.0, 30.0], atol=0.01)
    assert np.isnan(found.position[0, 2, :3]).all()
    assert (found.confidence[0, 2, :3] == 0).all()


def test_a_skeleton_of_one_bodypart_needs_no_edges():
    card = make_card(edges=(), used=())
    card = card.model_copy(update={"skeleton": Skeleton(bodyparts=("centre",))})
    truth = ANIMALS[None, :, :1]
    found = MapDecoder(card).decode(draw(truth, edges=()))
    np.testing.assert_allclose(sort_animals(found.position), truth, atol=0.01)


def test_edges_that_are_not_used_do_not_matter():
    card = make_card(edges=((0, 2), *EDGES), used=(1, 2))
    maps = draw(ANIMALS[None], edges=((0, 2), *EDGES))
    maps["affinity"][:, 0] = -1.0
    found = MapDecoder(card).decode(maps)
    np.testing.assert_allclose(sort_animals(found.position), ANIMALS[None], atol=0.01)


def test_the_identity_of_an_individual_is_decoded():
    card = make_card(identities=("anna", "bella"))
    found = MapDecoder(card).decode(draw(ANIMALS[None], identities=2))
    assert found.identity.shape == (1, 2, 2)
    first_is_anna = found.position[0, 0, 0, 0] < 60
    expected = np.eye(2) if first_is_anna else np.eye(2)[::-1]
    np.testing.assert_allclose(found.identity[0], expected, atol=1e-6)


def test_an_equal_identity_map_gives_no_identity():
    card = make_card(identities=("anna", "bella"))
    found = MapDecoder(card).decode(
        draw(ANIMALS[None, :1], identities=1) | {"identity": np.ones((1, 2, 40, 60), np.float32)}
    )
    assert np.isnan(found.identity[0, 1]).all()


def test_a_crowd_has_more_places_and_other_frames_are_as_without():
    """Show three animals with two slots, then two; the corner stays the last individual."""
    third = ANIMALS[0] + np.array([120.0, 100.0], np.float32)
    crowd = np.stack([*ANIMALS, third])
    two = np.stack([*ANIMALS, np.full_like(third, np.nan)])
    corner = np.full((2, 3, 1, 2), np.nan, np.float32)
    corner[:, 0, 0] = (200.0, 10.0)
    maps = draw(np.concatenate([np.stack([crowd, two]), corner], axis=2))
    maps = {name: array.astype(np.float32) for name, array in maps.items()}
    card = make_card(unique=("corner",))
    found = MapDecoder(card, AssemblySettings(surplus=2)).decode(maps)
    without = MapDecoder(card, AssemblySettings(surplus=0)).decode(maps)
    assert found.position.shape == (2, 5, 4, 2)
    assert without.position.shape == (2, 3, 4, 2)
    np.testing.assert_allclose(
        sort_animals(found.position[:1, :3, :3])[0], sort_animals(crowd[None])[0], atol=0.5
    )
    for values, others in zip(found[:2], without[:2], strict=True):
        np.testing.assert_array_equal(values[1, [0, 1, 4]], others[1])
        np.testing.assert_array_equal(values[:, 4], others[:, 2])
    assert np.isnan(found.position[1, 2:4]).all()
    assert (found.confidence[1, 2:4] == 0).all()
    assert np.isfinite(found.position[:, 4, 3]).all()
    names = ("individual1", "individual2", "surplus1", "surplus2", "single")
    assert name_slots(card, 2) == names
    assert name_slots(card, 0) == card.individuals


def test_windows_have_the_peaks_of_each_keypoint_best_first():
    """Two animals in a window: the slots hold the peaks of both, not poses."""
    maps = draw(ANIMALS[None])
    maps = {name: np.asarray(maps[name], np.float32).copy() for name in ("score", "offset")}
    maps["score"][:, 0, :, : maps["score"].shape[3] // 2] *= 0.5
    card = make_card(animals=1, edges=(), used=()).model_copy(update={"window": 256})
    decoder = MapDecoder(card)
    found = decoder.decode(maps)
    assert found.position.shape == (1, 1 + decoder.surplus, 3, 2)
    assert decoder.surplus >= 1
    assert (np.diff(found.confidence[0], axis=0) <= 0).all()
    for keypoint in range(3):
        seen = sorted(found.position[0, :2, keypoint].tolist())
        np.testing.assert_allclose(seen, sorted(ANIMALS[:, keypoint].tolist()), atol=0.5)
    assert np.isnan(found.position[0, 2:]).all()
    assert (found.confidence[0, 2:] == 0).all()


def test_a_single_animal_has_no_surplus():
    assert MapDecoder(make_card(animals=1), AssemblySettings(surplus=4)).surplus == 0
