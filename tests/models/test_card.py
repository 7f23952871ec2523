"""Test that model cards are read as written, and that others are refused."""

import json

import pytest

from pipeline_lib.core.errors import ModelError
from pipeline_lib.core.layout import ModelFiles
from pipeline_lib.core.settings.chosen import ChosenSetting
from pipeline_lib.core.settings.network import LocatingSettings, StatedLocating
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.models.card import (
    ModelCard,
    TrainingRecord,
    format_card,
    locating_key,
    needs_locator,
    read_card,
    settle_locating,
)


@pytest.fixture
def card():
    return ModelCard(
        name="pose",
        key="k",
        backbone="b",
        head_channels=8,
        parameters=1,
        stride=8,
        scale=0.5,
        refinement_scale=7.0,
        skeleton=Skeleton(bodyparts=("nose", "l", "r"), symmetries=(("l", "r"),)),
        mean=(0.5, 0.5, 0.5),
        std=(0.1, 0.2, 0.3),
        network_sha256="s",
        training=TrainingRecord(
            epochs=1, steps=2, seconds=0.1, seed=0, frames={}, checkpoint="c", settings={"a": None}
        ),
        versions={"torch": "2"},
    )


def test_a_card_round_trips(card, tmp_path):
    path = tmp_path / "model.json"
    path.write_text(format_card(card))
    assert read_card(path) == card
    assert json.loads(path.read_text())["format_version"] == 1


def test_what_is_auto_is_what_the_network_was_trained_for(card):
    choice = {"locating.window": ChosenSetting(value=96, reason="small animals")}
    chosen = card.model_copy(update={"chosen": choice})
    stated = StatedLocating(window=160, scale=0.5)
    assert settle_locating(stated, chosen).window == 160
    assert settle_locating(StatedLocating(pcutoff=0.3), chosen) == LocatingSettings(
        window=96, pcutoff=0.3
    )
    # Cards of older releases name no choice.
    assert settle_locating(StatedLocating(), card) == LocatingSettings(window=224, scale=0.25)


@pytest.mark.parametrize("window", [96, 128])
def test_the_key_of_poses_has_the_window_in_force(card, window, tmp_path):
    files = ModelFiles(tmp_path)
    choice = {"locating.window": ChosenSetting(value=window, reason="")}
    files.locator.folder.mkdir()
    files.locator.card.write_text(format_card(card))
    files.card.write_text(format_card(card.model_copy(update={"chosen": choice})))
    auto = locating_key(files, StatedLocating(enabled=True))
    assert auto == locating_key(files, LocatingSettings(enabled=True, window=window))
    assert (auto == locating_key(files, LocatingSettings(enabled=True, window=96))) == (
        window == 96
    )


def test_poses_of_windows_that_auto_chooses_have_a_key_of_their_own(card, tmp_path):
    files = ModelFiles(tmp_path)
    files.card.write_text(format_card(card))
    assert locating_key(files, StatedLocating()) == ""
    with pytest.raises(ModelError, match="no network that finds the animal"):
        locating_key(files, StatedLocating(enabled="auto"))
    files.locator.folder.mkdir()
    files.locator.card.write_text(format_card(card))
    keys = {locating_key(files, StatedLocating(enabled=way)) for way in (False, True, "auto")}
    assert len(keys) == 3
    # Several animals have no such windows.
    several = card.model_copy(update={"individuals": ("a", "b")})
    assert needs_locator(StatedLocating(enabled="auto"), card)
    assert not needs_locator(StatedLocating(enabled="auto"), several)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: values.pop("stride"), "not a model card: `stride`: Field required"),
        (lambda values: values.update(format_version=2), "not a model card: `format_version`"),
        (lambda values: values.update(colour="red"), "not a model card: `colour`"),
        (lambda values: values["skeleton"].update(bodyparts=["a", "a"]), "listed twice"),
    ],
)
def test_another_format_is_refused(card, tmp_path, change, message):
    path = tmp_path / "model.json"
    values = json.loads(format_card(card))
    change(values)
    path.write_text(json.dumps(values))
    with pytest.raises(ModelError, match=message):
        read_card(path)


@pytest.mark.parametrize("content", [b"", b"\0" * 300, b"\xff\xfe{", b"[]"])
def test_a_damaged_card(tmp_path, content):
    path = tmp_path / "model.json"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.json: not a model card"):
        read_card(path)


def test_no_card(tmp_path):
    with pytest.raises(ModelError, match="no model; run train"):
        read_card(tmp_path / "model.json")
    path = tmp_path / "model.json"
    path.write_text("{")
    with pytest.raises(ModelError, match="not a model card"):
        read_card(path)
