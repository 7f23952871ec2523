"""Test the resolved skeleton, from config and labels."""

import logging

import pytest

from pipeline_lib.core.errors import LabelError
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.steps.import_labels.skeleton import (
    choose_unique,
    find_missing_edges,
    resolve_skeleton,
)

PARTS = ("nose", "tail", "ear", "corner")


def test_unique_bodyparts_come_from_both_sides_in_the_order_of_bodyparts():
    skeleton = Skeleton(unique_bodyparts=("ear",))
    assert choose_unique(skeleton, PARTS, ["corner", "unused"]) == ("ear", "corner")
    assert choose_unique(Skeleton(), PARTS, []) == ()


def test_a_config_that_names_bodyparts_says_which_are_unique():
    with pytest.raises(LabelError, match=r"skeleton.bodyparts has corner, which the labels have o"):
        choose_unique(Skeleton(bodyparts=PARTS), PARTS, ["corner"])
    skeleton = Skeleton(bodyparts=PARTS, unique_bodyparts=("corner",))
    assert choose_unique(skeleton, PARTS, ["corner"]) == ("corner",)


def test_labels_complete_the_skeleton():
    sources = [
        Skeleton(edges=(("nose", "tail"), ("nose", "hip")), symmetries=(("ear", "tail"),)),
        Skeleton(
            edges=(("tail", "nose"), ("ear", "nose"), ("ear", "corner")),
            symmetries=(("tail", "ear"),),
        ),
        Skeleton(symmetries=(("nose", "ear"),)),
    ]
    # Each edge once; none to a bodypart that is unique, or not in use; no second partner.
    assert resolve_skeleton(Skeleton(), PARTS, ("corner",), sources) == Skeleton(
        bodyparts=PARTS,
        edges=(("nose", "tail"), ("ear", "nose")),
        symmetries=(("ear", "tail"),),
        unique_bodyparts=("corner",),
    )


def test_the_config_comes_first():
    own = Skeleton(edges=(("nose", "ear"),), symmetries=(("nose", "corner"),))
    source = Skeleton(edges=(("nose", "tail"),), symmetries=(("ear", "tail"),))
    found = resolve_skeleton(own, PARTS, (), [source])
    assert (found.edges, found.symmetries) == (own.edges, own.symmetries)


def test_an_edge_of_the_config_to_a_unique_bodypart_of_the_labels():
    own = Skeleton(edges=(("nose", "corner"),))
    with pytest.raises(LabelError, match=r"skeleton.edges join a unique bodypart: nose and corner"):
        resolve_skeleton(own, PARTS, ("corner",), [])


@pytest.mark.parametrize(
    ("skeleton", "settings", "missing"),
    [
        ({}, {}, True),
        ({"edges": [("nose", "tail"), ("tail", "ear")]}, {}, False),
        ({}, {"assembly": {"graph": "complete"}}, False),
        ({}, {"individuals": {"max": 2, "method": "top-down"}}, False),
        ({}, {"individuals": {"max": 1}}, False),
        ({"bodyparts": ["centre"]}, {}, False),
        ({"bodyparts": ["centre", "corner"], "unique_bodyparts": ["corner"]}, {}, False),
    ],
)
def test_edges_are_needed_to_join_bodyparts_of_several_animals(skeleton, settings, missing):
    config = parse_config({"cohort": "c.tsv", "individuals": {"max": 2}, **settings})
    found = find_missing_edges(Skeleton(**{"bodyparts": PARTS[:3], **skeleton}), config)
    assert bool(found) == missing
    if found:
        assert found.endswith("set `skeleton.edges`, or `assembly.graph: complete`")


def test_a_bodypart_that_no_edge_reaches(caplog):
    config = parse_config({"cohort": "c.tsv", "individuals": {"max": 2}})
    skeleton = Skeleton(bodyparts=PARTS[:3], edges=(("nose", "tail"),))
    with caplog.at_level(logging.WARNING):
        assert find_missing_edges(skeleton, config) is None
    assert "no edge reaches ear" in caplog.text
