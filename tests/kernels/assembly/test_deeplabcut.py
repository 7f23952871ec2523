"""Test the assembly of individuals by DeepLabCut's method."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.kernels.assembly.deeplabcut import DeepLabCutRules, assemble_as_deeplabcut

NAN = np.nan
CHAIN = [(0, 1), (1, 2)]
TRIANGLE = [(0, 1), (0, 2), (1, 2)]
# Random frames with many peaks, in thousandths, and the individuals that DeepLabCut 3.0.2 found.
FRAMES = json.loads(Path(__file__).with_name("deeplabcut_frames.json").read_text())


def assemble(confidence, links, edges, *, position=None, unique=(), **changes):
    """Return the individuals of a frame, as the place of the peak of each keypoint, and scores.

    `confidence` has the peaks of each bodypart, `links` the affinity of (edge, peak, peak); other
    pairs have 0. Animals lie 100 px apart, so that none overlap.
    """
    count = max(map(len, confidence), default=0)
    value = np.full((len(confidence), count), NAN)
    for part, peaks in enumerate(confidence):
        value[part, : len(peaks)] = peaks
    if position is None:
        position = np.stack(
            [
                *np.broadcast_arrays(
                    np.arange(count) * 100.0, np.arange(len(confidence))[:, None] * 10.0
                )
            ],
            axis=-1,
        )
    position = np.where(np.isnan(value)[..., None], NAN, position)
    affinity = np.zeros((len(edges), count, count))
    for at, strength in links.items():
        affinity[at] = strength
    rules = {
        "individuals": 2,
        "pcutoff": 0.1,
        "min_affinity": 0.05,
        "min_links": 1,
        "max_overlap": 0.8,
    } | changes
    number = np.cumsum(~np.isnan(value)).reshape(value.shape) - 1
    found = assemble_as_deeplabcut(
        position[None],
        value[None],
        affinity[None],
        edges,
        DeepLabCutRules(**rules),
        unique=unique,
        number=number[None],
    )
    return list_members(found, position), found.score[0][np.isfinite(found.score[0])]


def list_members(found, position):
    """Return of each individual which peak each keypoint is, telling peaks by where they are."""
    members = []
    for pose, score in zip(found.position[0], found.score[0], strict=True):
        if np.isfinite(score):
            same = (position == pose[:, None]).all(axis=-1)
            members.append(
                {int(part): int(same[part].argmax()) for part in np.flatnonzero(same.any(1))}
            )
    return members


TWO = [[0.9, 0.8]] * 3
PARALLEL = {(0, 0, 0): 0.9, (0, 1, 1): 0.9, (1, 0, 0): 0.9, (1, 1, 1): 0.9}


def test_linked_peaks_are_an_individual():
    found, score = assemble(TWO, PARALLEL, CHAIN)
    assert found == [{0: 0, 1: 0, 2: 0}, {0: 1, 1: 1, 2: 1}]
    np.testing.assert_allclose(score, [1.8, 1.8])


def test_only_as_many_peaks_as_individuals_are_linked_the_most_confident_ones():
    """Link the third nose best although it is the least confident."""
    links = PARALLEL | {(0, 2, 0): 0.99}
    found, _ = assemble([[0.9, 0.8, 0.7], [0.9, 0.8], [0.9, 0.8]], links, CHAIN)
    assert found == [{0: 0, 1: 0, 2: 0}, {0: 1, 1: 1, 2: 1}]
    found, _ = assemble([[0.7, 0.8, 0.9], [0.9, 0.8], [0.9, 0.8]], links, CHAIN)
    # Now the first one is: its animal has the peaks of bodypart 1 that are left.
    assert found == [{0: 2, 1: 0, 2: 0}, {0: 1, 1: 1, 2: 1}]


def test_peaks_below_the_limit_are_not_linked_and_do_not_make_room_for_others():
    confidence = [[0.9, 0.2, 0.2], [0.9, 0.8], [0.9, 0.8]]
    found, _ = assemble(confidence, PARALLEL, CHAIN, pcutoff=0.3)
    assert found == [{0: 0, 1: 0, 2: 0}, {1: 1, 2: 1}]
    # As much as the limit is enough.
    found, _ = assemble(confidence, PARALLEL, CHAIN, pcutoff=0.2)
    assert found[1] == {0: 1, 1: 1, 2: 1}


def test_weak_pairs_count_in_the_sum_but_are_not_linked():
    """Compare sums: 0.9 + 0.04 is more than 0.4 + 0.4, and less than 0.5 + 0.5."""
    for cross, wanted in ((0.4, [{0: 0, 1: 0}]), (0.5, [{0: 0, 1: 1}, {0: 1, 1: 0}])):
        links = {(0, 0, 0): 0.9, (0, 1, 1): 0.04, (0, 0, 1): cross, (0, 1, 0): cross}
        found, _ = assemble([[0.9, 0.8]] * 2, links, [(0, 1)], max_overlap=1.0)
        assert found == wanted


def test_an_affinity_as_great_as_the_limit_is_enough():
    links = dict.fromkeys(PARALLEL, 0.25)
    assert len(assemble(TWO, links, CHAIN, min_affinity=0.25)[0]) == 2
    assert assemble(TWO, links, CHAIN, min_affinity=0.26)[0] == []


def test_the_strongest_link_comes_first_however_many_speak_against_it():
    """Join two animals by 0.95, although their own links are three of 0.8 each."""
    links = {(edge, peak, peak): 0.8 for edge in range(3) for peak in range(2)}
    links |= {(0, 0, 0): 0.0, (0, 0, 1): 0.95}
    # Along edge 0 peak 1 of bodypart 0 is left without a link.
    links[0, 1, 1] = 0.0
    found, score = assemble(TWO, links, TRIANGLE)
    # Edges (0, 2) and (1, 2) offer both peaks of bodypart 2; that of edge (0, 2) comes first.
    assert found == [{0: 0, 1: 1, 2: 0}, {0: 1, 2: 1}]
    np.testing.assert_allclose(score, [0.95 + 0.8, 0.8])


def test_links_found_after_an_individual_is_complete_do_not_count_in_its_sum():
    """Count all three links of a triangle in a frame of four bodyparts."""
    edges = [*TRIANGLE, (2, 3)]
    links = {(0, 0, 0): 0.9, (1, 0, 0): 0.7, (2, 0, 0): 0.8}
    _, score = assemble([[0.9], [0.9], [0.9], []], links, edges)
    np.testing.assert_allclose(score, [2.4])
    # With a fourth peak the group is complete, and all count again.
    _, score = assemble([[0.9]] * 4, links | {(3, 0, 0): 0.95}, edges)
    np.testing.assert_allclose(score, [3.35])
    # A second peak of bodypart 0 makes the group too large to be told complete at once. It grows:
    # 0.95, 0.8, 0.7, and then has no need of the 0.5 that closes the triangle.
    links = {(0, 0, 0): 0.5, (1, 0, 0): 0.7, (2, 0, 0): 0.8, (3, 0, 0): 0.95}
    apart = [*edges, (0, 3)]
    _, score = assemble([[0.9, 0.8], *[[0.9]] * 3], links | {(4, 1, 0): 0.6}, apart)
    np.testing.assert_allclose(score, [0.95 + 0.8 + 0.7])


def test_halves_that_a_link_from_later_to_earlier_bodyparts_joins_are_united_in_a_crowd():
    """Check that edges in that direction complete no group, and that the rest forms its own."""
    edges = [(0, 1), (3, 2), (2, 1)]
    links = {(edge, peak, peak): 0.9 for edge in range(3) for peak in range(2)}
    two = assemble([[0.9, 0.8]] * 4, links, edges, individuals=3, min_links=2)[0]
    assert two == [{0: 0, 1: 0, 2: 0, 3: 0}, {0: 1, 1: 1, 2: 1, 3: 1}]
    # One animal by itself is no more halves than there may be individuals, and stays in two.
    alone = {at: value for at, value in links.items() if at[1] == 0}
    assert assemble([[0.9]] * 4, alone, edges)[0] == [{0: 0, 1: 0}, {2: 0, 3: 0}]


def test_the_individuals_with_most_keypoints_are_kept():
    """Show two of three animals in every bodypart: 0 and 1 first, 1 and 2, then 0 and 2."""
    confidence = [
        [0.9, 0.9, 0.1],
        [0.1, 0.9, 0.9],
        [0.1, 0.9, 0.9],
        [0.9, 0.1, 0.9],
        [0.9, 0.1, 0.9],
    ]
    edges = [(part, part + 1) for part in range(4)]
    links = {(edge, peak, peak): 0.5 for edge in range(4) for peak in range(3)}
    found, score = assemble(confidence, links, edges)
    # Animal 0 has bodyparts 3 and 4, animal 1 has 0 to 2, animal 2 has 1 to 4.
    assert found == [{1: 2, 2: 2, 3: 2, 4: 2}, {0: 1, 1: 1, 2: 1}]
    np.testing.assert_allclose(score, [1.5, 1.0])
    # Of as many keypoints the one with the greater sum: animal 0 lacks a keypoint, however sure.
    links |= {(3, 0, 0): 0.99}
    assert assemble(confidence, links, edges)[0] == found
    assert len(assemble(confidence, links, edges, individuals=3)[0]) == 3


def test_the_overlapping_individual_with_the_larger_sum_is_kept():
    """Place each within the other's rectangle, except for one keypoint of three."""
    position = np.array([[[0, 0], [1, 1]], [[10, 0], [9, 0]], [[5, 10], [6, 30]]], float)
    links = PARALLEL | {(1, 1, 1): 0.95}
    every = assemble(TWO, links, CHAIN, position=position, max_overlap=1.0)[0]
    assert every == [{0: 0, 1: 0, 2: 0}, {0: 1, 1: 1, 2: 1}]
    # Animal 1 has two of three in the common rectangle, animal 0 one of three.
    assert len(assemble(TWO, links, CHAIN, position=position, max_overlap=0.4)[0]) == 2
    kept = assemble(TWO, links, CHAIN, position=position, max_overlap=0.3)[0]
    assert kept == [{0: 1, 1: 1, 2: 1}]


def test_individuals_of_too_few_links_are_dropped():
    links = PARALLEL | {(1, 1, 1): 0.0}
    assert len(assemble(TWO, links, CHAIN)[0]) == 2
    assert assemble(TWO, links, CHAIN, min_links=2)[0] == [{0: 0, 1: 0, 2: 0}]
    # Animals of two bodyparts cannot have two links, and are not lost.
    pair = {(0, 0, 0): 0.9, (0, 1, 1): 0.9}
    assert len(assemble([[0.9, 0.8]] * 2, pair, [(0, 1)], min_links=2)[0]) == 2


def test_a_single_animal_has_the_most_confident_peaks_whatever_the_links_and_the_limit():
    found, score = assemble([[0.4, 0.6], [0.05], []], {}, CHAIN, individuals=1)
    assert found == [{0: 1, 1: 0}]
    np.testing.assert_allclose(score, [0.325])


def test_animals_of_one_bodypart_are_its_peaks():
    assert assemble([[0.05, 0.6, 0.9, 0.7]], {}, [])[0] == [{0: 2}, {0: 3}]
    assert assemble([[0.05, 0.6]], {}, [])[0] == [{0: 1}]


def test_unique_bodyparts_belong_to_nobody():
    found, _ = assemble([*TWO, [0.9, 0.9]], PARALLEL, CHAIN, unique=(3,))
    assert found == [{0: 0, 1: 0, 2: 0}, {0: 1, 1: 1, 2: 1}]


def test_the_first_of_equal_peaks_in_the_file_is_linked():
    found, _ = assemble([[0.9, 0.9, 0.9], [0.9], [0.9]], {(0, 0, 0): 0.5, (0, 2, 0): 0.9}, CHAIN)
    assert found == [{0: 0, 1: 0}]


@pytest.mark.parametrize("frame", FRAMES)
def test_crowds_are_as_deeplabcut_has_them(frame):
    confidence = [np.array(values) / 1000 for values in frame["confidence"]]
    count = max(map(len, confidence))
    position = np.full((len(confidence), count, 2), NAN)
    for part, places in enumerate(frame["position"]):
        position[part, : len(places)] = places
    links = {
        (edge, *at): np.float32(value / 1000)
        for edge, matrix in enumerate(frame["affinity"])
        for at, value in np.ndenumerate(np.array(matrix))
    }
    edges = [tuple(edge) for edge in frame["edges"]]
    found, _ = assemble(
        confidence, links, edges, position=position, unique=frame["unique"], **frame["rules"]
    )
    assert found == [dict(members) for members in frame["individuals"]]


@given(
    seed=st.integers(0, 2**32 - 1),
    graph=st.sampled_from([CHAIN, TRIANGLE, list(itertools.combinations(range(5), 2))]),
    individuals=st.integers(1, 4),
)
def test_frames_do_not_see_each_other_and_no_peak_is_of_two(seed, graph, individuals):
    random = np.random.default_rng(seed)
    bodyparts, count = max(map(max, graph)) + 1, 4
    shape = (3, bodyparts, count)
    position = random.permutation(np.prod(shape) * 2).reshape(*shape, 2).astype(float)
    confidence = np.where(random.random(shape) < 0.8, random.random(shape), NAN)
    affinity = random.random((3, len(graph), count, count))
    rules = DeepLabCutRules(individuals, 0.1, 0.05, 1, 0.8)
    together = assemble_as_deeplabcut(position, confidence, affinity, graph, rules)
    for frame in range(3):
        part = slice(frame, frame + 1)
        alone = assemble_as_deeplabcut(
            position[part], confidence[part], affinity[part], graph, rules
        )
        for one, all_of_them in zip(alone, together, strict=True):
            np.testing.assert_array_equal(one, all_of_them[part])
    for pose in together.position.transpose(0, 2, 1, 3).reshape(-1, individuals, 2):
        there = pose[np.isfinite(pose).all(axis=1)]
        assert len(np.unique(there, axis=0)) == len(there)
