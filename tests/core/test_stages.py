"""Test the records of the stages: which are wanted, and the settings they depend on."""

import pytest

from pipeline_lib.core import versions
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.core.stages import STAGES, VIDEO_STAGES

LABELS = [{"path": "project"}]


def parse(**sections):
    return parse_config({"cohort": "cohort.tsv", "labels": LABELS, **sections})


def list_changed(before, after):
    return {
        name
        for name, stage in STAGES.items()
        if stage.hash_settings(before) != stage.hash_settings(after)
    }


@pytest.mark.parametrize(
    ("sections", "changed"),
    [
        ({"filtering": {"window": 3}}, {"filter"}),
        ({"exports": {"scorer": "me"}}, {"export"}),
        ({"inference": {"batch_size": 3, "workers": 1}}, set()),
        ({"inference": {"crop": [0, 8, 0, 8]}}, {"infer"}),
        ({"inference": {"max_failed_fraction": 0.1}}, {"accept"}),
        ({"training": {"epochs": 3}}, {"train", "train-locator"}),
        ({"training": {"name": "other"}}, set()),
        ({"training": {"measure_every": 3}}, set()),
        ({"training": {"split": {"seed": 3}}}, {"import-labels"} | {"train", "train-locator"}),
        ({"tracking": {"max_gap": 3}}, {"track"}),
        ({"assembly": {"pcutoff": 0.3}}, set()),
        ({"frames": {"number": 3}}, {"select-frames"}),
        ({"report": {"title": "x"}}, {"report"}),
        ({"targets": {"stride": 4}}, {"make-targets", "make-targets-locator"}),
    ],
)
def test_a_setting_concerns_the_stages_whose_results_depend_on_it(sections, changed):
    assert list_changed(parse(), parse(**sections)) == changed


def test_assembly_concerns_several_animals_only():
    several = {"max": 3}
    before, after = (
        parse(individuals=several, assembly={"pcutoff": value}) for value in (0.1, 0.3)
    )
    assert list_changed(before, after) == {"infer", "evaluate"}


def test_networks_that_were_trained_before_curves_of_the_test_split_keep_their_key():
    """A setting beyond these would train every network of every results folder anew."""
    before = (
        "augmentation.blur augmentation.brightness augmentation.contrast augmentation.erase "
        "augmentation.mirror augmentation.noise augmentation.rotation augmentation.scale "
        "augmentation.translation backbone batch_size checkpoint crop deterministic epochs "
        "head_channels learning_rate location_refinement_weight precision seed split.block_frames "
        "split.fold split.folds split.method split.seed split.test_fraction validate_every "
        "validation_fraction warmup weight_decay weights"
    )
    lines = STAGES["train"].list_settings(parse())
    names = {line.partition(": ")[0] for line in lines if line.startswith("training.")}
    assert names == {f"training.{name}" for name in before.split()}


def test_each_setting_is_one_line():
    lines = STAGES["filter"].list_settings(parse(filtering={"window": 7}))
    assert lines == (
        "version of the step: 1",
        "filtering.pcutoff: 0.4",
        "filtering.max_gap: 5",
        'filtering.method: "median"',
        "filtering.window: 7",
        "filtering.order: 2",
    )


def test_a_raised_version_makes_results_anew(monkeypatch):
    before = STAGES["infer"].hash_settings(parse())
    monkeypatch.setattr(versions, "INFER", 99)
    assert STAGES["infer"].hash_settings(parse()) != before


def test_the_wanted_stages_follow_from_the_settings():
    def wanted(config):
        return [name for name in VIDEO_STAGES if STAGES[name].wanted(config)]

    assert wanted(parse_config({"cohort": "cohort.tsv"})) == ["probe"]
    assert wanted(parse()) == ["probe", "infer", "filter", "export"]
    assert wanted(parse(exports={"formats": []})) == ["probe", "infer", "filter"]
    assert wanted(parse(individuals={"max": 2})) == list(VIDEO_STAGES)
