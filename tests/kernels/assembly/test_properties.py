"""Test properties of the assembly for any detections, and on drawn maps."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.kernels.assembly.assemble import Assemblies, assemble_individuals
from pipeline_lib.kernels.assembly.exchange import exchange_keypoints
from pipeline_lib.kernels.assembly.links import link_peaks, make_graph, sort_peaks
from pipeline_lib.kernels.maps.part_affinity import encode_part_affinity, measure_affinity
from pipeline_lib.kernels.maps.peaks import find_peaks
from pipeline_lib.kernels.maps.score_maps import (
    MapShape,
    encode_gaussian,
    encode_location_refinement,
)
from tests.kernels.assembly.assembly_examples import Detections, as_set, make_rules, poses_as_set

GRAPHS = {
    "chain": [(0, 1), (1, 2), (2, 3)],
    "complete": list(itertools.combinations(range(4), 2)),
    "two parts": [(0, 1), (2, 3)],
    "star": [(3, 0), (3, 1), (2, 3)],
}


@st.composite
def detections(draw):
    """Draw peaks without animals: three frames, four keypoints, up to five peaks."""
    edges = GRAPHS[draw(st.sampled_from(sorted(GRAPHS)))]
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    peaks = draw(st.integers(1, 5))
    position = generator.uniform(-20, 120, (3, 4, peaks, 2)).astype(np.float32)
    # Coarse values make equal confidences and affinities frequent.
    confidence = (generator.integers(1, 9, (3, 4, peaks)) / 8).astype(np.float32)
    missing = generator.random((3, 4, peaks)) < draw(st.sampled_from([0, 0.2, 0.7]))
    position[missing], confidence[missing] = np.nan, np.nan
    affinity = (generator.integers(-4, 17, (3, len(edges), peaks, peaks)) / 16).astype(np.float32)
    for edge, (a, b) in enumerate(edges):
        affinity[:, edge][missing[:, a]] = np.nan
        affinity[:, edge].swapaxes(1, 2)[missing[:, b]] = np.nan
    return Detections(position, confidence, affinity, edges)


def assemble(found: Detections, **options) -> Assemblies:
    settings = {"individuals": 3, "min_keypoints": 2} | options
    return assemble_individuals(*found, make_rules(**settings))


def assert_equal(found: Assemblies, expected: Assemblies) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@given(found=detections(), individuals=st.integers(1, 4))
def test_individuals_are_made_of_peaks_each_used_once(found, individuals):
    assembled = assemble(found, individuals=individuals, min_keypoints=3)
    shown = np.isfinite(assembled.position).all(axis=-1)
    np.testing.assert_array_equal(assembled.confidence > 0, shown)
    np.testing.assert_array_equal(shown.any(axis=-1), np.isfinite(assembled.score))
    assert (shown.sum(axis=-1)[shown.any(axis=-1)] >= 3).all()
    for frame, individual, keypoint in np.argwhere(shown):
        point = assembled.position[frame, individual, keypoint]
        (peak,) = np.flatnonzero((found.position[frame, keypoint] == point).all(axis=-1))
        assert (
            assembled.confidence[frame, individual, keypoint]
            == found.confidence[frame, keypoint, peak]
        )
        again = (assembled.position[frame, :, keypoint] == point).all(axis=-1)
        assert again.sum() == 1
    score = np.nan_to_num(assembled.score, nan=-1)
    assert (np.diff(score, axis=1) <= 0).all()


@given(found=detections(), data=st.data())
def test_the_order_of_peaks_plays_no_part(found, data):
    peaks = found.confidence.shape[2]
    orders = [data.draw(st.permutations(range(peaks))) for _ in range(4)]
    position, confidence = found.position.copy(), found.confidence.copy()
    affinity = found.affinity.copy()
    for keypoint, order in enumerate(orders):
        position[:, keypoint] = found.position[:, keypoint, order]
        confidence[:, keypoint] = found.confidence[:, keypoint, order]
    for edge, (a, b) in enumerate(found.edges):
        affinity[:, edge] = found.affinity[:, edge][:, orders[a]][:, :, orders[b]]
    other = Detections(position, confidence, affinity, found.edges)
    assert_equal(assemble(other), assemble(found))


@given(found=detections(), data=st.data())
def test_the_order_and_the_direction_of_edges_play_no_part(found, data):
    count = len(found.edges)
    order = data.draw(st.permutations(range(count)))
    flipped = data.draw(st.lists(st.booleans(), min_size=count, max_size=count))
    affinity = found.affinity[:, order].copy()
    edges = [found.edges[edge] for edge in order]
    for edge in range(count):
        if flipped[edge]:
            affinity[:, edge] = affinity[:, edge].swapaxes(1, 2)
            edges[edge] = edges[edge][::-1]
    other = found._replace(affinity=affinity, edges=edges)
    assert_equal(assemble(other), assemble(found))


@given(found=detections())
def test_frames_do_not_know_each_other(found):
    together = assemble(found)
    for frame in range(3):
        part = slice(frame, frame + 1)
        alone = Detections(*(values[part] for values in found[:3]), found.edges)
        assert_equal(assemble(alone), Assemblies(*(values[part] for values in together)))


@given(found=detections(), scale=st.sampled_from([0.25, 2.0, 8.0]), shift=st.integers(-64, 64))
def test_moved_and_scaled_points_give_moved_and_scaled_animals(found, scale, shift):
    expected = assemble(found)
    # On a coarse grid, and with these factors, nothing is rounded.
    grid = found._replace(position=np.round(found.position * 4) / 4)
    expected = assemble(grid)
    moved = assemble(grid._replace(position=grid.position * np.float32(scale) + shift))
    np.testing.assert_array_equal(moved.position, expected.position * np.float32(scale) + shift)
    np.testing.assert_array_equal(moved.score, expected.score)


def add_up(member, affinity, edges):
    """Sum over the edges within individuals of one frame: affinities, or -0.1 below 0.1."""
    total = 0.0
    for peaks in member:
        for edge, (a, b) in enumerate(edges):
            if peaks[a] >= 0 and peaks[b] >= 0:
                value = affinity[edge, peaks[a], peaks[b]]
                total += value if value >= 0.1 else -0.1
    return total


@given(found=detections(), seed=st.integers(0, 2**32 - 1))
def test_an_exchange_of_keypoints_is_never_for_the_worse(found, seed):
    """Start from any individuals: peaks in any order, some of them unassigned."""
    count = found.confidence.shape[2]
    graph = make_graph(found.edges, range(4))
    confidence = np.where(np.isnan(found.confidence), -np.inf, found.confidence)
    peaks = sort_peaks(found.position, confidence, found.affinity, graph, count)
    generator = np.random.default_rng(seed)
    member = generator.permuted(np.tile(np.arange(count), (3, 4, 1)), axis=2).swapaxes(1, 2)
    there = np.isfinite(peaks.confidence)[np.arange(3)[:, None, None], np.arange(4), member]
    member[~there | (generator.random(member.shape) < 0.2)] = -1
    better = exchange_keypoints(member, link_peaks(peaks, count, 0.1), peaks, graph, 0.1)
    edges = list(zip(graph.first, graph.second, strict=True))
    for before, after, affinity in zip(member, better, peaks.affinity, strict=True):
        assert add_up(after, affinity, edges) >= add_up(before, affinity, edges) - 1e-5


def partitions(nodes):
    """Yield all ways to put nodes (bodypart, peak) into groups of different bodyparts."""
    if not nodes:
        yield []
        return
    first, *rest = nodes
    for groups in partitions(rest):
        yield [[first], *groups]
        for place, group in enumerate(groups):
            if all(node[0] != first[0] for node in group):
                yield [*groups[:place], [first, *group], *groups[place + 1 :]]


@pytest.mark.parametrize("graph", ["chain", "complete", "star"])
def test_animals_are_the_best_of_all_ways_to_group_peaks(graph):
    """Give true pairs affinities of at least 0.35, false ones at most 0.3: no ambiguity.

    Two animals of four bodyparts: of all 1,000 and more groupings the one with the greatest sum
    of affinities less 0.32 each.
    """
    edges = GRAPHS[graph]
    nodes = list(itertools.product(range(4), range(2)))
    for seed in range(8):
        generator = np.random.default_rng(seed)
        true = generator.uniform(0.35, 1.0, (1, len(edges), 2, 2))
        false = generator.uniform(-0.2, 0.3, (1, len(edges), 2, 2))
        affinity = np.where(np.eye(2), true, false).astype(np.float32)
        position = generator.uniform(0, 100, (1, 4, 2, 2)).astype(np.float32)
        found = Detections(position, np.ones((1, 4, 2), np.float32), affinity, edges)

        def value(groups, affinity=affinity):
            total = 0.0
            for group in groups:
                peaks = dict(group)
                for edge, (a, b) in enumerate(edges):
                    if a in peaks and b in peaks:
                        total += affinity[0, edge, peaks[a], peaks[b]] - 0.32
            return total

        best = max(partitions(nodes), key=value)
        expected = np.full((1, 2, 4, 2), np.nan, np.float32)
        for animal, group in enumerate(best):
            for bodypart, peak in group:
                expected[0, animal, bodypart] = position[0, bodypart, peak]
        assert as_set(assemble(found, individuals=2, min_keypoints=4)) == poses_as_set(expected)


STRIDE = 4
SHAPE = MapShape(40, 48, STRIDE)
SKELETON = np.float32([[-24, 0], [-8, 6], [8, -6], [24, 0]])


@st.composite
def animals(draw):
    """Draw up to three animals, rotated and bent, at any position, alone or crossing others."""
    count = draw(st.integers(1, 3))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    angle = generator.uniform(0, 2 * np.pi, count)
    turn = np.stack(
        [np.stack([np.cos(angle), -np.sin(angle)]), np.stack([np.sin(angle), np.cos(angle)])]
    )
    poses = np.einsum("ijn,kj->nki", turn, SKELETON + generator.normal(0, 2, SKELETON.shape))
    poses += generator.uniform((26, 26), (192 - 26, 160 - 26), (count, 1, 2))
    return poses.astype(np.float32)


def distance_of_equal_bodyparts(poses):
    difference = np.linalg.norm(poses[:, None] - poses[None], axis=-1)
    return difference[~np.eye(len(poses), dtype=bool)].min(initial=np.inf)


@given(poses=animals(), graph=st.sampled_from(["complete", "chain"]))
def test_animals_that_are_drawn_are_found_again(poses, graph):
    """Draw maps of the animals, find peaks and assemble them: within half a stride."""
    edges = GRAPHS[graph]
    # Peaks less than three cells apart are one; chains that lie on each other are ambiguous.
    if distance_of_equal_bodyparts(poses) < (18 if graph == "complete" else 30):
        return
    score = encode_gaussian(poses, SHAPE, 4.0)
    offset, _ = encode_location_refinement(poses, SHAPE, 8.0)
    field, _ = encode_part_affinity(poses, edges, SHAPE, 4.0)
    position, confidence = find_peaks(score, offset, STRIDE, threshold=0.2, most=6)
    affinity = measure_affinity(field, position, edges, STRIDE)
    found = Detections(position[None], confidence[None], affinity[None], edges)
    assembled = assemble(found, individuals=4, min_keypoints=4)
    assert np.isfinite(assembled.score[0]).sum() == len(poses)
    error = np.linalg.norm(assembled.position[0, : len(poses), None] - poses, axis=-1).max(axis=-1)
    assert (error.min(axis=0) <= STRIDE / 2).all()
    assert sorted(error.argmin(axis=1)) == list(range(len(poses)))
