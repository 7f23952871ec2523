"""Test settings with former names: they work with a warning, and keys contain them still."""

import logging

import pytest

from pipeline_lib.core.errors import ConfigError
from pipeline_lib.core.settings.individuals import TrackingSettings
from pipeline_lib.core.settings.reading import parse_config, write_resolved_config
from pipeline_lib.core.settings.renamed import RENAMED, rename_settings
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.stages import STAGES, tracking_key


def set_value(path, value):
    section, name = path.split(".")
    return {"cohort": "c", section: {name: value}}


def read_value(config, path):
    section, name = path.split(".")
    return getattr(getattr(config, section), name)


@pytest.mark.parametrize(("former", "present"), RENAMED.items())
def test_a_former_name_works_with_a_warning_that_names_the_present_one(former, present, caplog):
    values = set_value(former, 0.25)
    config = parse_config(values, "my.yaml")
    assert read_value(config, present) == 0.25
    assert config == parse_config(set_value(present, 0.25))
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith(f"my.yaml: `{former}` is now `{present}`")
    assert values == set_value(former, 0.25), "the caller's values are not changed"


@pytest.mark.parametrize(("former", "present"), RENAMED.items())
def test_both_names_are_a_problem_among_others(former, present, caplog):
    section, name = former.split(".")
    values = set_value(present, 0.25)
    values[section][name] = 0.5
    with pytest.raises(ConfigError) as error:
        parse_config({**values, "training": {"epochs": 0}})
    both, other = error.value.problems
    assert both == f"`{former}` is the former name of `{present}`: remove `{former}`"
    assert other.startswith("`training.epochs`")
    # The rest is right: this problem is not lost on the way.
    with pytest.raises(ConfigError, match="1 problem"):
        parse_config(values)
    assert caplog.records == []


@pytest.mark.parametrize(("former", "present"), RENAMED.items())
def test_a_wrong_value_of_a_former_name_names_the_present_one(former, present):
    with pytest.raises(ConfigError) as error:
        parse_config(set_value(former, 3))
    (problem,) = error.value.problems
    assert problem.startswith(f"`{present}`")
    assert "found 3" in problem


def test_present_names_and_silent_reading_give_no_warning(caplog):
    parse_config({"cohort": "c", "tracking": {"max_ambiguity": 0.5}, "locating": {"min_found": 1}})
    parse_config({"cohort": "c", "tracking": {"max_rival": 0.5}}, warn=False)
    assert caplog.records == []


@pytest.mark.parametrize("section", [None, [], "text", 3, {}])
def test_sections_without_settings_are_left_to_the_other_checks(section):
    values = {"tracking": section, "locating": {"window": 96}}
    assert rename_settings(values) == (values, [], [])


def test_each_present_name_is_a_setting_and_no_former_name_is():
    for former, present in RENAMED.items():
        section, name = present.split(".")
        settings = type(getattr(Config(cohort="c"), section))
        assert name in settings.model_fields
        assert former.split(".")[0] == section
        assert former.split(".")[1] not in settings.model_fields


def test_the_present_name_is_written():
    text = write_resolved_config(parse_config({"cohort": "c", "tracking": {"max_rival": 0.5}}))
    assert "max_ambiguity: 0.5" in text
    assert "max_rival" not in text


def test_keys_contain_the_former_name_so_that_nothing_is_computed_again():
    config = parse_config({"cohort": "c", "individuals": {"max": 2}})
    lines = STAGES["track"].list_settings(config)
    assert "tracking.max_rival: 0.7" in lines
    assert not any("max_ambiguity" in line for line in lines)
    assert list(TrackingSettings().result_settings()) == [
        "similarity",
        "motion",
        "min_similarity",
        "max_rival",
        "max_gap",
        "min_length",
        "max_stitch_gap",
    ]
    locating = config.locating.model_copy(update={"min_found": 0.9})
    assert locating.result_settings() == {
        "window": "auto",
        "pcutoff": 0.1,
        "least_found": 0.9,
    }
    usual = tracking_key("s", config.individuals, config.tracking)
    other = config.tracking.model_copy(update={"max_ambiguity": 0.8})
    assert tracking_key("s", config.individuals, other) != usual
