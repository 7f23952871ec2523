"""Test paths as people give them: texts, the folder of the run, a file of the results."""

import pytest

import pipeline_lib
from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.layout import Results

OPENERS = [pipeline_lib.open_cohort, pipeline_lib.read_labels, pipeline_lib.load_network]


@pytest.mark.parametrize("call", OPENERS)
def test_the_folder_of_a_run_is_answered_with_its_results(tmp_path, call):
    inside = tmp_path / "res"
    inside.mkdir()
    Results(inside).config.write_text("cohort: cohort.tsv\n")
    with pytest.raises(StoreError, match=f"{tmp_path}: not a results folder; give {inside}$"):
        call(tmp_path)


@pytest.mark.parametrize("call", [pipeline_lib.open_cohort, pipeline_lib.load_network])
@pytest.mark.parametrize("kind", ["missing", "file"])
def test_what_is_no_folder(tmp_path, call, kind):
    path = tmp_path / "results"
    if kind == "file":
        path.write_text("")
    with pytest.raises(StoreError, match=f"{path}: no such folder; expected the results folder"):
        call(str(path))


def test_texts_are_paths(tmp_path):
    assert Results(str(tmp_path)) == Results(tmp_path)
    assert Results(str(tmp_path)).filtered("pose", "a") == Results(tmp_path).filtered("pose", "a")
    config = tmp_path / "config.yaml"
    config.write_text("cohort: a.tsv\n")
    assert pipeline_lib.read_config(str(config)).cohort == "a.tsv"
