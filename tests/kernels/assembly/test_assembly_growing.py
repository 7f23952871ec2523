"""Individuals that grow link by link."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.kernels.assembly.clusters import grow_by_links
from pipeline_lib.kernels.assembly.links import make_graph

CHAIN = [(0, 1), (1, 2)]
TRIANGLE = [(0, 1), (0, 2), (1, 2)]


def grow(links, edges, present=None):
    links = np.asarray(links, np.float32)
    count = links.shape[-1]
    bodyparts = max(map(max, edges)) + 1
    there = np.ones((len(links), bodyparts, count), bool) if present is None else present
    return grow_by_links(links, there, make_graph(edges, range(bodyparts))).tolist()


def test_a_chain_is_one_individual_and_what_is_not_linked_stays_alone():
    """Nodes are peaks 0 and 1 of bodypart 0, then of 1, then of 2."""
    links = [[[[0.9, 0], [0, 0]], [[0.8, 0], [0, 0]]]]
    assert grow(links, CHAIN) == [[0, 1, 0, 3, 0, 5]]


def test_the_strongest_link_comes_first_however_many_speak_against_it():
    """The link 0.9 between animals is one; two of 0.8 within each are left what remains."""
    within = np.eye(2) * 0.8
    links = np.stack([within, within, within])[None].copy()
    links[0, 0, 0, 1] = 0.9
    # Peak 0 of bodypart 0 takes peak 1 of bodypart 1; peak 0 of bodypart 2 and peak 1 are as
    # near to them, and the lower node is taken.
    assert grow(links, TRIANGLE) == [[0, 1, 2, 0, 0, 1]]


def test_an_individual_takes_no_bodypart_twice():
    """From peak 0 of bodypart 1 links lead to both peaks of bodypart 0: the stronger one counts."""
    links = [[[[0.5, 0], [0.6, 0]], [[0.4, 0], [0, 0]]]]
    assert grow(links, CHAIN) == [[0, 1, 1, 3, 1, 5]]


def test_peaks_that_are_missing_belong_to_nobody():
    links = np.zeros((2, 2, 2, 2))
    present = np.ones((2, 3, 2), bool)
    present[1] = False
    assert grow(links, CHAIN, present) == [list(range(6))] * 2
    assert grow(np.zeros((0, 2, 2, 2)), CHAIN) == []


def grow_one_by_one(links, edges, bodyparts):
    """Return what `grow_by_links` does to a frame, written as it is told: sets of nodes."""
    count = links.shape[-1]
    offers = {
        (a * count + i, b * count + j): links[edge, i, j]
        for edge, (a, b) in enumerate(edges)
        for i, j in itertools.product(range(count), repeat=2)
        if links[edge, i, j] > 0
    }
    free, individuals = set(range(bodyparts * count)), []
    while usable := {pair: value for pair, value in offers.items() if free.issuperset(pair)}:
        individual = set(max(usable, key=usable.get))
        while True:
            shown = {node // count for node in individual}
            further = {
                (set(pair) - individual).pop(): value
                for pair, value in sorted(usable.items(), key=lambda item: item[1])
                if len(individual & set(pair)) == 1
            }
            further = {node: value for node, value in further.items() if node // count not in shown}
            if not further:
                break
            individual.add(max(further, key=further.get))
        individuals.append(frozenset(individual))
        free -= individual
    return {*individuals, *(frozenset([node]) for node in free)}


@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 4),
    graph=st.sampled_from([CHAIN, TRIANGLE, list(itertools.combinations(range(5), 2))]),
    share=st.sampled_from([0.2, 0.6, 1.0]),
)
def test_all_frames_grow_as_each_would_by_itself(seed, count, graph, share):
    random = np.random.default_rng(seed)
    shape = (4, len(graph), count, count)
    links = np.where(
        random.random(shape) < share, random.permutation(np.prod(shape)).reshape(shape) + 1, 0
    )
    bodyparts = max(map(max, graph)) + 1
    for found, frame in zip(grow(links, graph), links, strict=True):
        clusters = [
            {node for node, own in enumerate(found) if own == label} for label in set(found)
        ]
        assert all(min(cluster) == found[min(cluster)] for cluster in clusters)
        assert set(map(frozenset, clusters)) == grow_one_by_one(frame, graph, bodyparts)


@pytest.mark.parametrize("frames", [1, 3])
def test_frames_do_not_see_each_other(frames):
    links = np.random.default_rng(0).random((3, 3, 2, 2))
    assert grow(links[:frames], TRIANGLE) == grow(links, TRIANGLE)[:frames]
