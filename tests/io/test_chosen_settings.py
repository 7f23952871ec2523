"""The file of chosen settings: damaged ones are refused, and values must be possible."""

import pytest

from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.base import AUTO
from pipeline_lib.core.settings.chosen import TUNABLE, ChosenSetting, get_setting, list_auto
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.core.settings.run import Config, ResolvedConfig
from pipeline_lib.io.chosen_settings import read_choices, resolve_settings, write_choices

VALUES = {
    "training.backbone": "tf_efficientnet_lite0",
    "training.augmentation.rotation": 15.0,
    "training.augmentation.mirror": True,
    "targets.scale": 0.5,
    "targets.stride": 4,
    "targets.sigma": 3.0,
    "targets.pos_dist_thresh": 6.0,
    "locating.scale": 0.25,
    "locating.window": 96,
    "training.crop": None,
    "training.batch_size": 2,
    "training.epochs": 40,
    "training.stop.plateau": True,
    "training.freeze": True,
}
CHOICES = {name: ChosenSetting(value=value, reason="so") for name, value in VALUES.items()}
# Stated by default, all three.
_TRAINING = {"backbone": AUTO, "stop": {"plateau": AUTO}, "freeze": AUTO}
AUTOMATIC = {"cohort": "c", "training": _TRAINING}


@pytest.fixture
def results(tmp_path):
    results = Results(tmp_path)
    write_choices(results.chosen_settings, CHOICES)
    return results


def test_every_setting_is_auto_and_gets_its_value(results):
    config = parse_config(AUTOMATIC)
    assert list_auto(config) == TUNABLE == tuple(VALUES)
    resolved = resolve_settings(config, results)
    assert {name: get_setting(resolved, name) for name in TUNABLE} == VALUES
    assert read_choices(results.chosen_settings) == CHOICES
    assert AUTO not in str(resolved.model_dump(include={"targets", "locating"}))


def test_stated_values_win_also_those_that_mean_nothing(results):
    config = parse_config({"cohort": "c", "training": {"crop": None, "epochs": 3}})
    results.chosen_settings.write_text(
        results.chosen_settings.read_text().replace("value: null", "value: 64")
    )
    resolved = resolve_settings(config, results)
    assert (resolved.training.crop, resolved.training.epochs) == (None, 3)
    assert resolve_settings(parse_config(AUTOMATIC), results).training.crop == 64


def test_a_config_that_states_all_reads_no_file(results):
    resolved = resolve_settings(parse_config(AUTOMATIC), results)
    results.chosen_settings.unlink()
    stated = Config.model_validate(resolved.model_dump())
    assert resolve_settings(stated, results) == resolved
    assert isinstance(resolved.for_locator(), ResolvedConfig)
    assert resolved.for_locator().targets.scale == 0.25


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("version: 1\nsettings: [", "is not YAML"),
        ("version: 2\nsettings: {}\n", "`version`"),
        ("version: 1\nsettings: {}\n", "lacks training.backbone, .*training.epochs"),
        ("version: 1\nsettings: {a: 1}\n", "`settings.a`"),
        ("- 1\n", "`file`"),
        ("", "`file`"),
    ],
)
def test_a_damaged_file_is_refused(text, message, results):
    results.chosen_settings.write_text(text)
    with pytest.raises(StoreError, match=f"chosen_settings.yaml: {message}.*import-labels"):
        resolve_settings(parse_config(AUTOMATIC), results)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("targets.stride", 5),
        ("training.epochs", 0),
        ("training.epochs", None),
        ("locating.window", 33),
        ("targets.scale", True),
    ],
)
def test_a_value_that_the_setting_may_not_have_is_refused(name, value, results):
    wrong = {**CHOICES, name: ChosenSetting(value=value, reason="")}
    write_choices(results.chosen_settings, wrong)
    with pytest.raises(StoreError, match=rf"chosen_settings.yaml: `{name.split('.')[0]}"):
        resolve_settings(parse_config(AUTOMATIC), results)


def test_no_file(tmp_path):
    with pytest.raises(StoreError, match="no such file; settings that are `auto`"):
        resolve_settings(parse_config(AUTOMATIC), Results(tmp_path))
