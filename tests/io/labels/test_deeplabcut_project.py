"""Test bodyparts, edges and individuals read from a DeepLabCut project file."""

import logging

import pytest

from pipeline_lib.core.errors import LabelError
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.io.labels.deeplabcut_project import (
    find_project_config,
    project_individuals,
    project_skeleton,
    read_project_config,
    read_project_skeleton,
)

SEVERAL = """
multianimalproject: true
identity: true
individuals: [m1, m2]
uniquebodyparts: [corner]
multianimalbodyparts: [nose, tail, on]
bodyparts: MULTI!
skeleton:
- [nose, tail]
- [nose, corner]
- [bodypart1, bodypart2]
- [tail, tail]
"""


@pytest.fixture
def write(tmp_path):
    def write(text):
        (tmp_path / "config.yaml").write_text(text)
        return tmp_path / "config.yaml"

    return write


def test_several_animals(write):
    values = read_project_config(write(SEVERAL))
    assert project_skeleton(values, "config.yaml") == Skeleton(
        bodyparts=("nose", "tail", "on", "corner"),
        edges=(("nose", "tail"),),
        unique_bodyparts=("corner",),
    )
    assert project_individuals(values) == (("m1", "m2"), True)


def test_one_animal(write):
    values = read_project_config(write("bodyparts: [nose, tail]\nskeleton: []\n"))
    assert project_skeleton(values, "") == Skeleton(bodyparts=("nose", "tail"))
    assert project_individuals(values) == ((), False)


@pytest.mark.parametrize("flag", ["multianimalproject: True", "bodyparts: MULTI!"])
def test_either_sign_of_several_animals_counts(write, flag):
    text = f"{flag}\nmultianimalbodyparts: [a]\nindividuals: [x, y]\nidentity: false\n"
    values = read_project_config(write(text))
    assert project_skeleton(values, "").bodyparts == ("a",)
    assert project_individuals(values) == (("x", "y"), False)


def test_bodyparts_named_twice(write):
    path = write(SEVERAL.replace("[corner]", "[nose]"))
    with pytest.raises(LabelError, match="bodyparts listed twice: nose"):
        project_skeleton(read_project_config(path), str(path))


def test_the_skeleton_of_a_part_of_a_project(write, tmp_path, caplog):
    write(SEVERAL)
    inside = tmp_path / "labeled-data" / "m1"
    inside.mkdir(parents=True)
    table = inside / "CollectedData_ann.csv"
    table.touch()
    assert find_project_config(inside) == tmp_path / "config.yaml"
    for path in (tmp_path, tmp_path / "config.yaml", inside, table):
        assert read_project_skeleton(path).edges == (("nose", "tail"),)
    # Labels do not need it: a broken one costs them nothing.
    write("bodyparts: [")
    with caplog.at_level(logging.WARNING):
        assert read_project_skeleton(inside) == Skeleton()
    assert "no skeleton is taken from the project" in caplog.text
    (tmp_path / "config.yaml").unlink()
    assert read_project_skeleton(inside) == Skeleton()
