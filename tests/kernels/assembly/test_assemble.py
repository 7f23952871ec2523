"""Test the assembly of individuals on cases with a known answer."""

import itertools

import numpy as np
import pytest

from pipeline_lib.kernels.assembly.assemble import SPARE_PEAKS, assemble_individuals
from pipeline_lib.kernels.assembly.links import make_graph, sort_peaks
from pipeline_lib.kernels.assembly.selection import rank_individuals
from tests.kernels.assembly.assembly_examples import (
    SAME,
    as_set,
    detect,
    make_rules,
    poses_as_set,
)

NAN = np.nan
GONE = [NAN, NAN]
CHAIN = [(0, 1), (1, 2)]
TRIANGLE = [(0, 1), (1, 2), (0, 2)]
# Two animals 100 px apart, keypoints 10 px from each other.
ONE = [[0, 0], [10, 0], [20, 0]]
TWO = [[0, 100], [10, 100], [20, 100]]


def assemble(found, *, individuals=2, min_keypoints=2, unique=(), **options):
    rules = make_rules(individuals, min_keypoints=min_keypoints, **options)
    return assemble_individuals(*found, rules, unique=unique)


@pytest.mark.parametrize("edges", [CHAIN, TRIANGLE])
def test_two_animals(edges):
    found = assemble(detect([[ONE, TWO]], edges))
    assert as_set(found) == poses_as_set([[ONE, TWO]])
    np.testing.assert_allclose(found.confidence, 0.9)
    np.testing.assert_allclose(found.score, SAME)
    assert [values.dtype for values in found] == [np.float32] * 3


def test_the_best_comes_first_and_what_is_missing_is_nan():
    detections = detect([[ONE, [*TWO[:2], GONE]]], TRIANGLE)
    found = assemble(detections, individuals=3)
    np.testing.assert_array_equal(
        found.position[0], np.float32([ONE, [*TWO[:2], GONE], [GONE] * 3])
    )
    np.testing.assert_allclose(found.confidence[0], [[0.9] * 3, [0.9, 0.9, 0], [0, 0, 0]])
    # Mean affinity of the links; two of three bodyparts.
    np.testing.assert_allclose(found.score[0], [SAME, SAME * 2 / 3, NAN], rtol=1e-6)


def test_frames_without_peaks():
    for frames, peaks in ((2, 3), (2, 0), (0, 3)):
        found = assemble_individuals(
            np.full((frames, 3, peaks, 2), NAN),
            np.full((frames, 3, peaks), NAN),
            np.full((frames, 2, peaks, peaks), NAN),
            CHAIN,
            make_rules(2),
        )
        assert found.position.shape == (frames, 2, 3, 2)
        assert np.isnan(found.position).all()
        assert not found.confidence.any()
        assert np.isnan(found.score).all()


def test_links_of_an_edge_have_the_greatest_sum():
    """Prefer 0.8 + 0.8 to the largest affinity, 0.85, which would leave two points unlinked."""
    detections = detect([[ONE[:2], TWO[:2]]], [(0, 1)])
    detections.affinity[0, 0] = [[0.8, 0.85], [0.05, 0.8]]
    assert as_set(assemble(detections)) == poses_as_set([[ONE[:2], TWO[:2]]])
    # Pairs below the least affinity do not count: 0.45 + 0.45 is not traded for 0.8 + 0.09.
    detections.affinity[0, 0] = [[0.45, 0.8], [0.09, 0.05]]
    crossed = assemble(detections, individuals=1 + 1)
    assert as_set(crossed) == poses_as_set([[[ONE[0], TWO[1]]]])


def test_the_least_affinity_is_enough():
    detections = detect([[ONE[:2]]], [(0, 1)], same=0.25)
    assert np.isfinite(assemble(detections, min_affinity=0.25).score[0, 0])
    assert np.isnan(assemble(detections, min_affinity=0.2501).score).all()


def test_negative_affinities_never_link():
    detections = detect([[ONE[:2]]], [(0, 1)], same=-0.5)
    assert np.isnan(assemble(detections, min_affinity=0.0).score).all()


def test_a_single_wrong_link_is_outvoted():
    """Exchange bodypart 0 of the two animals on one of three edges."""
    animals = [[[[0, y], [10, y], [20, y], [30, y]] for y in (0, 100)]]
    edges = list(itertools.combinations(range(4), 2))
    detections = detect(animals, edges, same=0.6)
    detections.affinity[0, 0] = [[0.1, 0.59], [0.59, 0.1]]
    assert as_set(assemble(detections)) == poses_as_set(animals)


def test_a_strong_wrong_link_is_taken_back():
    """Exchange as above, but with a certain link, which is merged first."""
    animals = [[[[0, y], [10, y], [20, y], [30, y]] for y in (0, 100)]]
    edges = list(itertools.combinations(range(4), 2))
    detections = detect(animals, edges, same=0.6)
    detections.affinity[0, 0] = [[0.1, 1.0], [1.0, 0.1]]
    found = assemble(detections)
    assert as_set(found) == poses_as_set(animals)
    # Six edges: five of 0.6, one of 0.1.
    np.testing.assert_allclose(found.score, 3.1 / 6, rtol=1e-6)


def test_one_link_of_many_does_not_join_what_the_others_keep_apart():
    """Add a false point, 0.3 on one of five edges: 0.3 - 4 · 0.1 < 0; on two: 0.6 - 3 · 0.1."""
    animal = [[x, 0] for x in range(0, 50, 10)]
    edges = list(itertools.combinations(range(6), 2))
    detections = detect([[[*animal, [7, 77]]]], edges, other=0)
    detections.affinity[0, [edges.index((k, 5)) for k in range(5)]] = 0.0
    detections.affinity[0, edges.index((0, 5))] = 0.3
    assert as_set(assemble(detections)) == poses_as_set([[[*animal, GONE]]])
    detections.affinity[0, edges.index((1, 5))] = 0.3
    assert as_set(assemble(detections)) == poses_as_set([[[*animal, [7, 77]]]])


def test_a_bodypart_is_there_once_in_an_animal():
    """Link the better of two noses that have an affinity to the one tail."""
    detections = detect([[ONE, [TWO[0], GONE, GONE]]], CHAIN)
    detections.affinity[0, 0, 1, 0] = 0.8
    found = assemble(detections)
    assert as_set(found) == poses_as_set([[ONE]])
    detections.affinity[0, 0, 1, 0] = 0.95
    assert as_set(assemble(detections)) == poses_as_set([[[TWO[0], *ONE[1:]]]])


def test_fewest_keypoints():
    detections = detect([[ONE, [*TWO[:2], GONE]]], CHAIN)
    assert len(as_set(assemble(detections, min_keypoints=2))[0]) == 2
    assert as_set(assemble(detections, min_keypoints=3)) == poses_as_set([[ONE]])
    # Not more than there are bodyparts can be asked for.
    assert as_set(assemble(detections, min_keypoints=7)) == poses_as_set([[ONE]])


def test_more_animals_than_wanted():
    animals = [[ONE, TWO, [[0, 200], [10, 200], [20, 200]]]]
    detections = detect(animals, CHAIN, confidence=[[[0.9] * 3, [0.5] * 3, [0.7] * 3]])
    found = assemble(detections, individuals=2)
    assert as_set(found) == poses_as_set([[animals[0][0], animals[0][2]]])


def test_the_confident_peaks_are_put_together_and_others_fill_gaps():
    """Give two animals three noses: the false one is the most confident, a true one the least."""
    detections = detect(
        [[ONE, TWO, [[50, 50], GONE, GONE]]],
        CHAIN,
        confidence=[[[0.6, 0.9, 0.9], [0.5, 0.9, 0.9], [0.99, NAN, NAN]]],
    )
    found = assemble(detections, min_keypoints=2)
    assert as_set(found) == poses_as_set([[ONE, TWO]])
    np.testing.assert_allclose(found.score, SAME)


def test_a_gap_is_filled_with_what_fits_best_and_not_with_what_does_not_fit():
    noses = [[50, 50 + y] for y in range(4)]
    animals = [[ONE, *([nose, GONE, GONE] for nose in noses)]]
    confidence = [[[0.3, 0.9, 0.9], *([0.8, NAN, NAN] for _ in noses)]]
    detections = detect(animals, CHAIN, confidence=confidence, other=0.0)
    assert as_set(assemble(detections, individuals=2)) == poses_as_set([[ONE]])
    detections.affinity[0, 0, :3, 0] = (0.09, 0.2, 0.3)
    found = assemble(detections, individuals=2)
    assert as_set(found) == poses_as_set([[[noses[1], *ONE[1:]]]])


def test_low_confidence_is_left_out():
    detections = detect([[ONE, TWO]], CHAIN, confidence=[[[0.9] * 3, [0.9, 0.9, 0.19]]])
    found = assemble(detections, pcutoff=0.2)
    assert as_set(found) == poses_as_set([[ONE, [*TWO[:2], GONE]]])


def test_weak_peaks_fill_gaps_and_make_no_individuals():
    animals, confidence = [[ONE, TWO]], [[[0.9] * 3, [0.9, 0.9, 0.1]]]
    rules = {"pcutoff": 0.2, "min_confidence": 0.05, "min_keypoints": 2}
    found = assemble(detect(animals, CHAIN, confidence=confidence), **rules)
    assert as_set(found) == poses_as_set(animals)
    np.testing.assert_allclose(found.confidence.min(), 0.1)
    # Too weak.
    confidence[0][1][2] = 0.04
    found = assemble(detect(animals, CHAIN, confidence=confidence), **rules)
    assert as_set(found) == poses_as_set([[ONE, [*TWO[:2], GONE]]])
    # One certain keypoint is no individual of two.
    confidence[0][1] = [0.9, 0.1, 0.1]
    found = assemble(detect(animals, CHAIN, confidence=confidence), **rules)
    assert as_set(found) == poses_as_set([[ONE]])


def test_a_weak_peak_does_not_take_the_place_of_a_certain_one():
    """The weak tail has the higher affinity."""
    detections = detect(
        [[ONE, [GONE, GONE, TWO[2]]]], CHAIN, confidence=[[[0.9, 0.9, 0.5], [NAN, NAN, 0.1]]]
    )
    detections.affinity[0, 1, 0] = (0.4, 0.9)
    found = assemble(detections, individuals=1, pcutoff=0.2, min_confidence=0.05)
    assert as_set(found) == poses_as_set([[ONE]])


def test_a_weak_peak_is_linked_with_nothing():
    """The weak nose fits the first animal better than its own, which is certain."""
    animals = [[ONE, [[5.0, 5.0], *TWO[1:]]]]
    confidence = [[[0.9] * 3, [0.05, 0.9, 0.9]]]
    detections = detect(animals, CHAIN, confidence=confidence, other=0.0)
    detections.affinity[0, 0] = [[0.5, 0.0], [0.9, 0.0]]
    found = assemble(detections, pcutoff=0.2, min_confidence=0.02)
    assert as_set(found) == poses_as_set([[ONE, [GONE, *TWO[1:]]]])


def test_only_certain_keypoints_count_for_an_individual():
    detections = detect([[ONE]], CHAIN, confidence=[[[0.9, 0.9, 0.05]]])
    graph = make_graph(CHAIN, [0, 1, 2])
    peaks = sort_peaks(
        detections.position, detections.confidence, detections.affinity, graph, most=1
    )
    member = np.zeros((1, 1, 3), np.int64)
    for least, kept in ((2, 0), (3, -1)):
        rules = make_rules(1, pcutoff=0.2, min_confidence=0.02, min_keypoints=least)
        ranked, score = rank_individuals(member, peaks, graph, rules)
        assert (ranked == kept).all()
        assert np.isfinite(score).all() == (kept == 0)


def test_unique_bodyparts_belong_to_none():
    corner = [[3, 3], [4, 4]]
    animals = [[[ONE[0], corner[0], *ONE[1:]], [TWO[0], corner[1], *TWO[1:]]]]
    found = assemble(detect(animals, [(0, 2), (2, 3)]), unique=[1], min_keypoints=3)
    without = [[[pose[0], GONE, *pose[2:]] for pose in animals[0]]]
    assert as_set(found) == poses_as_set(without)
    assert not found.confidence[:, :, 1].any()
    np.testing.assert_allclose(found.score, SAME)


def test_one_animal_is_made_of_the_most_confident_peaks():
    detections = detect([[ONE, TWO]], CHAIN, confidence=[[[0.9, 0.4, 0.9], [0.5, 0.8, 0.5]]])
    found = assemble(detections, individuals=1)
    assert found.position.tolist() == [[[ONE[0], TWO[1], ONE[2]]]]
    # No link: the mean confidence stands for the affinity.
    np.testing.assert_allclose(found.score, [[2.6 / 3]], rtol=1e-6)


def test_animals_of_one_bodypart():
    points = [[[[1, 2]], [[3, 4]], [[5, 6]]]]
    detections = detect(points, [], confidence=[[[0.2], [0.9], [0.6]]])
    found = assemble(detections, individuals=2, min_keypoints=3)
    assert found.position.tolist() == [[[[3, 4]], [[5, 6]]]]
    np.testing.assert_allclose(found.score, [[0.9, 0.6]])


def test_only_unique_bodyparts():
    found = assemble(detect([[ONE, TWO]], []), unique=[0, 1, 2])
    assert np.isnan(found.position).all()
    assert np.isnan(found.score).all()


LONG = [(k, k + 1) for k in range(5)]


def make_line(y, *missing):
    return [GONE if k in missing else [10 * k, y] for k in range(6)]


def test_a_missing_keypoint_does_not_tear_a_chain_apart():
    animals = [[make_line(0, 2), make_line(100, 1, 4)]]
    assert as_set(assemble(detect(animals, LONG))) == poses_as_set(animals)


def test_parts_too_far_from_each_other_stay_apart():
    """Remove keypoint 2: the way past it may be 2 · 10 px, the longest edge being 10."""
    animal = np.array(make_line(0, 2))
    assert as_set(assemble(detect([[animal]], LONG))) == poses_as_set([[animal]])
    animal[3:, 0] += 1
    halves = [[[*animal[:2], *[GONE] * 4], [*[GONE] * 3, *animal[3:]]]]
    assert as_set(assemble(detect([[animal]], LONG))) == poses_as_set(halves)


def test_only_one_missing_keypoint_is_passed():
    animal = make_line(0, 2, 3)
    halves = [[[*animal[:2], *[GONE] * 4], [*[GONE] * 4, *animal[4:]]]]
    assert as_set(assemble(detect([[animal]], LONG))) == poses_as_set(halves)


def test_parts_that_could_be_of_either_animal_stay_apart():
    """Remove the middle of two animals 30 px apart; one half is equally close to both."""
    both = [[make_line(0, 2), make_line(30, 2)]]
    assert len(as_set(assemble(detect(both, LONG), individuals=4))[0]) == 4
    both = [[make_line(0, 2), make_line(60, 2)]]
    assert as_set(assemble(detect(both, LONG), individuals=4)) == poses_as_set(both)


def test_an_edge_that_speaks_against_it_keeps_parts_apart():
    detections = detect([[ONE, [GONE] * 3]], CHAIN)
    detections.affinity[0, 1, 0, 0] = 0.0
    assert as_set(assemble(detections)) == poses_as_set([[[*ONE[:2], GONE]]])


def test_bodyparts_without_an_edge_go_to_the_nearest_animal():
    found = assemble(detect([[ONE, TWO]], [(0, 1)]))
    assert as_set(found) == poses_as_set([[ONE, TWO]])
    # As near to both animals: no one's.
    between = [[[*ONE[:2], [15, 50]], [*TWO[:2], GONE]]]
    found = assemble(detect(between, [(0, 1)]))
    assert as_set(found) == poses_as_set([[[*ONE[:2], GONE], [*TWO[:2], GONE]]])


def test_without_any_edge_distance_alone_decides():
    found = assemble(detect([[ONE, TWO]], []), min_keypoints=3)
    assert as_set(found) == poses_as_set([[ONE, TWO]])


def test_two_animals_in_exactly_the_same_place():
    found = assemble(detect([[ONE, ONE]], TRIANGLE), individuals=2)
    np.testing.assert_array_equal(found.position[0], np.float32([ONE, ONE]))
    # A map shows their peaks only once: then they are one.
    found = assemble(detect([[ONE]], TRIANGLE), individuals=2)
    assert as_set(found) == poses_as_set([[ONE]])


def test_points_outside_of_the_image_are_points():
    animals = [[[[-50, -9], [-40, -9], [-30, 2]], [[1e4, 3], [1e4, 13], [1e4, 23]]]]
    assert as_set(assemble(detect(animals, TRIANGLE))) == poses_as_set(animals)


def test_overlap():
    """Put a small animal and 2 of 3 keypoints of a long one into the common rectangle."""
    long = [[0, 0], [10, 10], [100, 100]]
    small = [[0, 5], [5, 0], [11, 11]]
    detections = detect([[long, small]], TRIANGLE)
    detections.affinity[0, :, 1, 1] = 0.8
    assert len(as_set(assemble(detections))[0]) == 2
    assert len(as_set(assemble(detections, max_overlap=0.8))[0]) == 2
    found = assemble(detections, max_overlap=0.6)
    assert as_set(found) == poses_as_set([[long]])


def test_every_point_fires():
    generator = np.random.default_rng(0)
    edges = list(itertools.combinations(range(4), 2))
    count = 100
    position = generator.uniform(0, 100, (2, 4, count, 2))
    confidence = generator.uniform(0.1, 1, (2, 4, count))
    affinity = generator.uniform(-1, 1, (2, 6, count, count))
    found = assemble_individuals(position, confidence, affinity, edges, make_rules(3))
    assert np.isfinite(found.score).all()
    # What is not among the most confident peaks is not looked at.
    least = -np.sort(-confidence, axis=2)[:, :, 3 + SPARE_PEAKS - 1]
    shown = found.confidence > 0
    assert (found.confidence >= np.where(shown, least[:, None].astype(np.float32), 0)).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"edges": [(0, 1), (1, 3)]}, r"edge \(1, 3\) does not join two of the bodyparts"),
        ({"edges": [(0, 1), (1, 1)]}, r"edge \(1, 1\) does not join"),
        ({"edges": [(0, 1), (1, 0)]}, "two edges join the bodyparts 1 and 0"),
        ({"edges": [(0, 1)]}, r"affinity has shape \(1, 2, 1, 1\), expected \(1, 1, 1, 1\)"),
        ({"unique": [2]}, r"edge \(1, 2\) does not join"),
        ({"unique": [5]}, "unique bodyparts"),
        ({"confidence": np.ones((1, 3, 2))}, "position has shape"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change, message):
    detections = detect([[ONE]], CHAIN)
    given = detections._asdict() | {"rules": make_rules(1)}
    with pytest.raises(ValueError, match=message):
        assemble_individuals(**given | change)
