"""Freezing and plateaus: off unless asked for, and never with a stated length by `auto`."""

import pytest

from pipeline_lib.core.errors import ConfigError
from pipeline_lib.core.settings.chosen import ChosenSetting, list_auto, replace_auto
from pipeline_lib.core.settings.reading import parse_config

NAMES = ("training.stop.plateau", "training.freeze")
QUICK = {"freeze": "auto", "stop": {"plateau": "auto"}}


def choose(config):
    values = {"training.stop.plateau": True, "training.freeze": True, "training.epochs": 190}
    return {
        name: ChosenSetting(value=values.get(name, 8), reason="r") for name in list_auto(config)
    }


@pytest.mark.parametrize(
    ("training", "asked", "resolved"),
    [
        ({}, False, (False, False)),
        (QUICK, True, (True, True)),
        ({**QUICK, "epochs": 50}, False, (False, False)),
        ({"epochs": 50, "freeze": True, "stop": {"plateau": True}}, False, (True, True)),
    ],
)
def test_auto_holds_where_the_labels_decide_the_length(training, asked, resolved):
    fixed = {"crop": None, "batch_size": 8, "augmentation": {"rotation": 180, "mirror": False}}
    config = parse_config({"cohort": "c", "training": {**fixed, **training}})
    assert (set(NAMES) <= set(list_auto(config))) is asked
    choices = choose(config) | {
        "locating.window": ChosenSetting(value=96, reason="r"),
        "locating.scale": ChosenSetting(value=0.5, reason="r"),
        "targets.scale": ChosenSetting(value=1.0, reason="r"),
    }
    found = replace_auto(config, choices).training
    assert (found.stop.plateau, found.freeze) == resolved


def test_keys_have_them_only_where_they_are_used():
    def select(**training):
        return parse_config({"cohort": "c", "training": training}).training_settings()

    assert not {"stop", "freeze"} & select().keys()
    assert not {"stop", "freeze"} & select(epochs=50, **QUICK).keys()
    # Settings of a plateau that is not looked for count for nothing.
    assert select(stop={"gain": 0.5}) == select()
    used = select(epochs=50, freeze=True, stop={"plateau": True, "gain": 0.5})
    assert (used["freeze"], used["stop"]["gain"]) == (True, 0.5)
    assert {"stop", "freeze"} <= select(**QUICK).keys()


def test_random_weights_are_not_frozen():

    with pytest.raises(ConfigError, match="freeze: true needs pretrained weights"):
        parse_config({"cohort": "c", "training": {"freeze": True, "weights": "none"}})


def test_the_locator_has_a_length_of_its_own():
    values = {"cohort": "c", "training": {"epochs": 50, "freeze": True, "stop": {"plateau": True}}}
    same = parse_config(values).for_locator().training
    assert (same.stop.plateau, same.freeze) == (True, True)
    own = parse_config({**values, "locating": {"epochs": 9, "weights": "none"}}).for_locator()
    assert (own.training.epochs, own.training.stop.plateau, own.training.freeze) == (
        9,
        False,
        False,
    )
