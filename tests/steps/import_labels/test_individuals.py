"""Test individuals of labels: names kept or counted, slots, and errors."""

import logging

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.core.errors import LabelError
from pipeline_lib.core.settings.individuals import IndividualSettings
from pipeline_lib.steps.import_labels.individuals import keep_single_individual, place_individuals

PARTS = ("nose", "tail", "corner")


def make_points(*animals, identified=True):
    """Make points of animals (image, name, {bodypart: x}); a name `?n` is no name; y is x + 1."""
    rows = [
        {
            "image": image,
            "individual": name.replace("?", "individual"),
            "named": not name.startswith("?"),
            "bodypart": bodypart,
            "x": x,
            "y": x + 1,
            "visible": not np.isnan(x),
            "source": "s",
            "source_number": 0,
            "identified": identified,
        }
        for image, name, points in animals
        for bodypart, x in points.items()
    ]
    return pd.DataFrame(rows)


def place(points, most=3, unique=(), **options):
    found, individuals = place_individuals(
        points, IndividualSettings(max=most, **options), PARTS, unique
    )
    rows = found[["image", "individual", "bodypart", "x"]].itertuples(index=False)
    return sorted(tuple(row) for row in rows), individuals


def problems_of(call, *arguments, **options):
    with pytest.raises(LabelError) as error:
        call(*arguments, **options)
    return error.value.problems


def test_names_are_kept_and_completed():
    points = make_points(("a", "fly10", {"nose": 1.0}), ("b", "fly2", {"nose": 2.0, "tail": 3.0}))
    rows, individuals = place(points)
    assert individuals == ("fly2", "fly10", "individual1")
    assert rows == [
        ("a", "fly10", "nose", 1.0),
        ("b", "fly2", "nose", 2.0),
        ("b", "fly2", "tail", 3.0),
    ]


def test_a_name_without_a_label_is_kept_where_there_is_room():
    nan = float("nan")
    points = make_points(
        ("a", "f1", {"nose": 1.0}), ("a", "f2", {"nose": nan}), ("a", "f3", {"nose": 2.0})
    )
    assert place(points, most=3)[1] == ("f1", "f2", "f3")
    assert place(points, most=2)[1] == ("f1", "f3")
    assert place(points, most=4)[1] == ("f1", "f2", "f3", "individual1")


def test_animals_without_a_name_take_free_slots_by_where_they_are():
    points = make_points(
        ("a", "?1", {"nose": 9.0}),
        ("a", "F", {"nose": 5.0}),
        ("a", "?2", {"nose": 1.0}),
        ("b", "?1", {"tail": 4.0}),
    )
    rows, individuals = place(points)
    assert individuals == ("F", "individual1", "individual2")
    assert rows == [
        ("a", "F", "nose", 5.0),
        ("a", "individual1", "nose", 1.0),
        ("a", "individual2", "nose", 9.0),
        # Nobody is known to be F here, so its slot is free.
        ("b", "F", "tail", 4.0),
    ]


def test_more_names_than_animals_say_nothing_across_images(caplog):
    points = make_points(
        ("a", "track_10", {"nose": 1.0}),
        ("a", "track_2", {"nose": 2.0}),
        ("b", "track_11", {"nose": 3.0}),
    )
    with caplog.at_level(logging.INFO):
        rows, individuals = place(points, most=2)
    assert individuals == ("individual1", "individual2")
    assert rows == [
        ("a", "individual1", "nose", 2.0),
        ("a", "individual2", "nose", 1.0),
        ("b", "individual1", "nose", 3.0),
    ]
    assert "the labels name 3 individuals (track_2, track_10, track_11), but" in caplog.text


def test_a_name_that_is_given_is_not_counted_again():
    points = make_points(("a", "individual1", {"nose": 1.0}), ("a", "?1", {"nose": 0.0}))
    rows, individuals = place(points, most=2)
    assert individuals == ("individual1", "individual2")
    assert rows == [("a", "individual1", "nose", 1.0), ("a", "individual2", "nose", 0.0)]


def test_exactly_overlapping_animals_stay_two():
    points = make_points(("a", "?1", {"nose": 1.0}), ("a", "?2", {"nose": 1.0}))
    assert place(points, most=2)[0] == [
        ("a", "individual1", "nose", 1.0),
        ("a", "individual2", "nose", 1.0),
    ]


def test_unique_bodyparts_belong_to_no_animal():
    points = make_points(
        ("a", "single", {"corner": 1.0}), ("a", "m1", {"nose": 2.0}), ("b", "m1", {"corner": 3.0})
    )
    rows, individuals = place(points, most=2, unique=("corner",))
    assert individuals == ("m1", "individual1")
    assert rows == [
        ("a", "m1", "nose", 2.0),
        ("a", "single", "corner", 1.0),
        ("b", "single", "corner", 3.0),
    ]
    points = make_points(("a", "m1", {"corner": 1.0}), ("a", "m2", {"corner": 9.0}))
    assert problems_of(place, points, most=2, unique=("corner",)) == (
        "a: corner is labelled 2 times, but it is one of the unique bodyparts",
    )


def test_more_animals_than_max():
    points = make_points(*[("a", f"m{n}", {"nose": float(n)}) for n in (3, 1, 2)])
    assert problems_of(place, points, most=2) == (
        "a: 3 animals are labelled (m1, m2, m3), but `individuals.max` is 2",
    )


def test_names_of_the_config():
    points = make_points(("a", "white", {"nose": 1.0}), ("a", "?1", {"nose": 2.0}))
    rows, individuals = place(points, most=3, names=("black", "white"))
    assert individuals == ("black", "white", "individual1")
    assert rows == [("a", "black", "nose", 2.0), ("a", "white", "nose", 1.0)]


def test_individuals_that_the_config_does_not_know():
    points = make_points(("a", "whit", {"nose": 1.0}), ("b", "zzz", {"nose": 1.0}))
    assert problems_of(place, points, most=2, names=("black", "white")) == (
        "a: individual whit is labelled, but is not among `individuals.names`; did you mean white?",
        "b: individual zzz is labelled, but is not among `individuals.names`; it has black, white",
    )


def test_identities_need_lasting_names():
    points = make_points(("a", "F", {"nose": 1.0}), ("b", "?1", {"nose": 2.0}))
    (problem,) = problems_of(place, points, most=2, identity=True)
    assert problem.startswith("b: an animal has no name (so it is in 1 images), but")
    points = make_points(*[("abc"[n], f"t{n}", {"nose": 1.0}) for n in range(3)])
    (problem,) = problems_of(place, points, most=2, identity=True)
    assert problem.startswith("the labels have more names than `individuals.max`, but")
    points = make_points(("a", "F", {"nose": 1.0}), ("b", "M", {"nose": 2.0}))
    assert place(points, most=2, identity=True)[1] == ("F", "M")


animal = st.tuples(
    st.sampled_from("ab"),
    st.sampled_from(["?1", "?2", "F", "M"]),
    st.dictionaries(st.sampled_from(PARTS), st.integers(0, 3).map(float), min_size=1),
)


@settings(max_examples=60)
@given(st.lists(animal, min_size=1, max_size=6, unique_by=lambda one: one[:2]), st.randoms())
def test_the_order_of_the_file_does_not_matter(animals, random):
    points = make_points(*animals)
    shuffled = list(animals)
    random.shuffle(shuffled)
    # Animals without a name are counted anew.
    swap = {"?1": "?2", "?2": "?1"}
    renamed = [(image, swap.get(name, name), parts) for image, name, parts in shuffled]
    rows, individuals = place(points, most=4)
    for other in (make_points(*shuffled), make_points(*renamed), points.iloc[::-1]):
        assert place(other, most=4) == (rows, individuals)
    # No point is lost, and no two are in one place.
    assert len({row[:3] for row in rows}) == len(rows) == len(points)


def test_one_animal():
    points = make_points(
        ("a", "m1", {"nose": 1.0}),
        ("a", "m2", {"nose": float("nan")}),
        ("a", "single", {"corner": 2.0}),
    )
    found = keep_single_individual(points)
    assert found[["individual", "bodypart", "x"]].to_numpy().tolist() == [
        ["animal", "nose", 1.0],
        ["animal", "corner", 2.0],
    ]
    again = make_points(("a", "m1", {"corner": 1.0}), ("a", "single", {"corner": 2.0}))
    assert problems_of(keep_single_individual, again) == (
        "s: corner is a bodypart of the animal and a unique one: rename one of them",
    )


def test_one_animal_may_have_several_tracks_but_not_several_names():
    animals = [("a", "t1", {"nose": 1.0}), ("b", "t2", {"nose": 2.0}), ("c", "?1", {"nose": 3.0})]
    found = keep_single_individual(make_points(*animals, identified=False))
    assert found["individual"].tolist() == ["animal"] * 3
    (problem,) = problems_of(keep_single_individual, make_points(*animals[:2]))
    assert problem == (
        "s: 2 individuals are labelled (t1, t2), but `individuals.max` is 1: set it to the most "
        "animals in one image"
    )
    together = make_points(*animals, ("b", "t1", {"nose": 1.0}), identified=False)
    (problem,) = problems_of(keep_single_individual, together)
    assert problem.startswith("s: 2 individuals are labelled (t1, t2, individual1), but")
