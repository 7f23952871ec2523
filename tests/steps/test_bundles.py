"""Test runs of a bundle and trainings that start from one."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from pipeline_lib.core.errors import ConfigError, ModelError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.chosen import list_auto
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.core.stages import STAGES
from pipeline_lib.io.chosen_settings import write_choices
from pipeline_lib.io.targets.store import TargetStore
from pipeline_lib.models.card import LightningPoseLayout, read_card
from pipeline_lib.models.inference.torch_runtime import load_network
from pipeline_lib.models.zoo.archive import read_bundle
from pipeline_lib.steps.bundle import run_bundle
from pipeline_lib.steps.import_labels.chosen_settings import choose_settings, measure_labels
from pipeline_lib.steps.import_model import run_import_model
from pipeline_lib.steps.make_targets.run import run_make_targets
from pipeline_lib.steps.predict import write_prediction_project
from pipeline_lib.steps.runs.networks.bundle_fit import list_bundle_problems
from pipeline_lib.steps.runs.networks.start_network import (
    BundledStart,
    check_start,
    find_start,
    require_bundled_start,
)
from pipeline_lib.steps.runs.preflight import check_run
from pipeline_lib.steps.runs.result_keys import network_key
from pipeline_lib.steps.runs.stage_keys import find_stage_key
from pipeline_lib.steps.train import run_train, training_key
from tests.models.synthetic import TINY_BACKBONE, tiny_config, write_tiny_labels, write_tiny_model
from tests.models.zoo.bundles import (
    TEXTS,
    change,
    edit_card,
    read_members,
    write_members,
    write_tiny_bundle,
)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    return write_tiny_bundle(folder, "one"), write_tiny_bundle(folder, "two", seed=1)


@pytest.fixture(autouse=True)
def _stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "v.mp4").write_bytes(b"no video")
    (tmp_path / "cohort.tsv").write_text("video\tpath\nv\tv.mp4\n")


def configure(bundle, **sections):
    return {"cohort": "cohort.tsv", "model": {"bundle": str(bundle)}, **sections}


def test_a_bundle_wants_no_stage_of_labels(bundles):
    config = parse_config(configure(bundles[0]))
    wanted = {name for name, stage in STAGES.items() if stage.wanted(config)}
    assert wanted == {
        *("probe", "import-model", "infer", "filter", "export", "status", "report", "accept")
    }
    several = parse_config(configure(bundles[0], individuals={"max": 2}, frames={"extract": True}))
    wanted = {name for name, stage in STAGES.items() if stage.wanted(several)} - wanted
    assert wanted == {"track", "correct", "select-frames"}
    with pytest.raises(ConfigError, match="learns nothing from `labels`"):
        parse_config(configure(bundles[0], labels=[{"path": "p"}]))


def test_the_network_of_a_bundle_becomes_that_of_the_run(bundles):
    results = Results(Path("results"))
    keys = []
    for bundle in bundles:
        config = parse_config(configure(bundle, training={"name": "theirs"}))
        run_import_model(config, results)
        files = results.model("theirs")
        card, known = read_card(files.card), read_bundle(bundle)
        assert (card.name, card.bundle.sha256) == ("theirs", known.sha256)
        assert files.network.read_bytes() == known.read("network.onnx")
        assert files.history.read_text() == "epoch\tstep\tmetric\tvalue\n"
        load_network(files.weights, card)
        keys.append((network_key(config, results), find_stage_key(config, results, "import-model")))
    assert len({key for key, _ in keys}) == len({path for _, path in keys}) == 2
    # Wherever it lies, it is the same bundle.
    shutil.copy(bundles[1], "moved.cohortpose")
    moved = parse_config(configure("moved.cohortpose", training={"name": "theirs"}))
    assert find_stage_key(moved, results, "import-model") == keys[1][1]
    # A bundle that differs in its texts alone is another bundle.
    other = change(bundles[1], Path("other.cohortpose"), manifest=lambda v: v.update(citation="x"))
    run_import_model(parse_config(configure(other, training={"name": "theirs"})), results)
    assert network_key(moved, results) != keys[1][0]


@pytest.mark.parametrize(
    ("sections", "match"),
    [
        ({"skeleton": {"bodyparts": ["red", "blue"]}}, "but the bundle predicts red, green, blue"),
        ({"skeleton": {"edges": [["red", "tail"]]}}, "the bundle has no bodypart tail"),
        (
            {"filtering": {"method": "ensemble-kalman"}},
            "several networks predict, but the bundle has",
        ),
        ({"individuals": {"max": 3}}, "the bundle finds up to 1 in a frame: set it to 1"),
        ({"locating": {"enabled": True}}, "has no network that finds the animal"),
        ({"model": {"bundle": "none.cohortpose"}}, "`model.bundle`: none.cohortpose: no such"),
        ({"model": {"bundle": "http://h/a.cohortpose"}}, "expected a path, https:// or hf://"),
    ],
)
def test_settings_that_contradict_the_bundle_are_found_before_the_run(bundles, sections, match):
    with pytest.raises(ConfigError, match=match):
        check_run({**configure(bundles[0]), **sections})


def test_a_top_down_bundle_has_the_animals_of_its_locator(bundles):
    """Take their number from the network that finds them: the other sees one in each window."""
    one = read_bundle(bundles[0])
    locator = one.card.model_copy(update={"individuals": ("individual1", "individual2")})
    card = one.card.model_copy(update={"window": 64})
    bundle = replace(one, card=card, locator=locator)
    assert (one.animals, bundle.animals) == (1, 2)

    def list_problems(**individuals):
        return list_bundle_problems(
            parse_config(configure(bundles[0], individuals=individuals)), bundle
        )

    assert list_problems(max=2, method="top-down") == []
    alone, _ = list_problems(max=1)
    assert "the bundle finds up to 2 in a frame: set it to 2" in alone
    (other,) = list_problems(max=2)
    assert "but the bundle works top-down" in other


def test_a_training_starts_only_from_the_backbone_of_another_tool(bundles):
    def list_problems(theirs, **training):
        layout = {"backbone": theirs, "height": 64, "width": 64, "downsample_factor": 2}
        layout = LightningPoseLayout.model_validate(layout)
        update = {"lightning_pose": layout, "backbone": theirs}
        card = read_bundle(bundles[0]).card.model_copy(update=update)
        start = BundledStart(replace(read_bundle(bundles[0]), card=card, locator=card))
        assert start.locator.card is None
        config = tiny_config(start_from=str(bundles[0]), **training)
        with pytest.raises(ModelError) as caught:
            require_bundled_start(config, start)
        return str(caught.value)

    wrong = list_problems("resnet18", backbone="resnet34")
    assert "is a network of Lightning Pose, of which the backbone is kept: set " in wrong
    assert "`training.backbone` to resnet18, not resnet34" in wrong
    named = list_problems("resnet18", backbone="resnet18.a1_in1k", start_bodyparts={"red": "rot"})
    assert named.startswith("`training.start_bodyparts`: of a network of Lightning Pose the back")
    other = list_problems("efficientnet_b0", backbone="efficientnet_b0")
    assert "the backbone efficientnet_b0, which trainings here do not have" in other


def test_a_network_of_other_weights_replaces_nothing(bundles):
    results = Results(Path("results"))
    run_import_model(parse_config(configure(bundles[0], training={"name": "theirs"})), results)
    files = results.model("theirs")
    before = {path: path.read_bytes() for path in files.folder.rglob("*") if path.is_file()}
    weights = read_bundle(bundles[1]).read("weights.safetensors")
    mixed = change(bundles[0], Path("mixed.cohortpose"), weights_safetensors=weights)
    with pytest.raises(ModelError, match="another network than weights"):
        run_import_model(parse_config(configure(mixed, training={"name": "theirs"})), results)
    assert {path: path.read_bytes() for path in before} == before


def test_a_bundle_without_licence_is_run_with_a_warning(bundles, caplog):
    check_run(configure(bundles[0]))
    assert "licence" not in caplog.text
    free = change(bundles[0], Path("free.cohortpose"), manifest=lambda v: v.update(licence=""))
    check_run(configure(free))
    assert "free.cohortpose names no licence" in caplog.text


def test_a_bundle_with_a_wrong_hash_stops_the_run(bundles):
    address = f"{bundles[0]}#sha256={'0' * 64}"
    with pytest.raises(
        ConfigError, match=r"`model\.bundle`: .*expected a bundle with SHA-256 0000"
    ):
        check_run(configure(address))
    with pytest.raises(ModelError, match="SHA-256"):
        run_import_model(parse_config(configure(address)), Results(Path("results")))
    assert not Path("results").exists()


# So small a rate leaves weights as they are.
# Another seed than that of the bundle: new weights are other ones.
STILL = {"learning_rate": 1e-12, "weight_decay": 0.0, "epochs": 1, "seed": 5}


@pytest.fixture(scope="module")
def targets(tmp_path_factory):
    results = Results(tmp_path_factory.mktemp("targets") / "results")
    write_tiny_labels(results)
    run_make_targets(tiny_config(), results)
    return results


def rename(bundle, names):
    """Write a bundle whose bodyparts are called otherwise."""
    card = json.loads(read_bundle(bundle).read("model.json"))
    card["skeleton"] = Skeleton(bodyparts=names).model_dump(mode="json")
    return change(bundle, Path("renamed.cohortpose"), model_json=json.dumps(card).encode())


def test_a_training_starts_from_a_bundle_of_other_bodyparts(bundles, targets):
    shutil.copytree(targets.root, "results")
    results = Results(Path("results"))
    path = rename(bundles[0], ("blue", "rot", "tail"))
    start = {"start_from": str(path), "start_bodyparts": {"red": "rot"}}
    config = tiny_config(**STILL, **start)
    run_train(config, results)
    after = torch.load(results.model("pose").weights, weights_only=True)
    files = Results(bundles[0].parent / "results-one").model("pose")
    theirs = load_network(files.weights, read_card(files.card)).state_dict()
    # Ours are red, green, blue: red is called rot there, green is new, blue has its name.
    close = {"atol": 1e-6, "rtol": 0}
    torch.testing.assert_close(after["score.weight"][0], theirs["score.weight"][1], **close)
    torch.testing.assert_close(after["score.weight"][2], theirs["score.weight"][0], **close)
    torch.testing.assert_close(after["offset.weight"][4:], theirs["offset.weight"][:2], **close)
    assert not any(
        torch.allclose(after["score.weight"][1], row, **close) for row in theirs["score.weight"]
    )
    name = "head.smooth.0.0.weight"
    torch.testing.assert_close(after[name], theirs[name], **close)
    card = read_card(results.model("pose").card).training
    assert card.start_sha256 == read_bundle(path).sha256
    # The key is of the bundle and of the table, not of the path.
    store = TargetStore(results.targets)
    key = training_key(config, store, find_start(config))
    moved = Path("elsewhere.cohortpose")
    shutil.copy(path, moved)
    again = tiny_config(**STILL, **{**start, "start_from": str(moved)})
    assert training_key(again, store, find_start(again)) == key
    table = tiny_config(**STILL, start_from=str(path), start_bodyparts={"red": "tail"})
    assert training_key(table, store, find_start(table)) != key


def test_a_training_from_a_bundle_has_its_scale_and_stride(bundles):
    """Leave both to the labels, which alone would choose others, and train with what is chosen."""
    path = edit_card(bundles[0], Path("half.cohortpose"), scale=0.5)
    results = Results(Path("results"))
    labels = write_tiny_labels(results)
    values = tiny_config(**STILL, start_from=str(path)).model_dump(mode="json")
    values["targets"] |= {"scale": "auto", "stride": "auto"}
    config = parse_config(values)
    facts = measure_labels(labels)
    alone = parse_config({**values, "training": {**values["training"], "start_from": None}})
    assert choose_settings(alone, facts)["targets.scale"].value == 1.0
    chosen = choose_settings(config, facts)
    assert {name: one.value for name, one in chosen.items() if name in list_auto(config)} == {
        "targets.scale": 0.5,
        "targets.stride": 8,
    }
    write_choices(results.chosen_settings, chosen)
    assert check_start(config) == []
    run_make_targets(config, results)
    run_train(config, results)
    card = read_card(results.model("pose").card)
    assert (card.scale, card.stride) == (0.5, 8)
    assert "that of the network" in card.chosen["targets.scale"].reason
    after = torch.load(results.model("pose").weights, weights_only=True)
    theirs = Results(bundles[0].parent / "results-one").model("pose")
    before = torch.load(theirs.weights, weights_only=True)
    torch.testing.assert_close(after["score.weight"], before["score.weight"], atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("training", "match"),
    [
        ({"head_channels": 9}, "has head_channels 8, but this training has 9"),
        ({"backbone": "resnet18"}, f"has backbone {TINY_BACKBONE}, but this training has resnet18"),
        ({"start_bodyparts": {"red": "snout"}}, "the bundle has no bodypart 'snout'"),
        ({"start_from": "gone.cohortpose"}, "gone.cohortpose: no such bundle"),
        ({"start_from": "pose", "name": "b", "start_bodyparts": {"a": "b"}}, "goes with a bundle"),
    ],
)
def test_a_bundle_that_no_training_can_start_from_is_found_before_the_run(bundles, training, match):
    write_tiny_model(Results(Path("results")).model("pose"))
    values = {"backbone": TINY_BACKBONE, "head_channels": 8, "weights": "none"}
    start = {"start_from": str(bundles[0]), **training}
    with pytest.raises(ConfigError, match=match):
        check_run({"cohort": "cohort.tsv", "training": {**values, **start}})


def test_an_imported_network_can_be_handed_on_with_its_origin(bundles):
    results = Results(Path("results"))
    config = parse_config(configure(bundles[0]))
    run_import_model(config, results)
    again = run_bundle(config, results, TEXTS, Path("again.cohortpose"))
    assert read_bundle(again).card.bundle.sha256 == read_bundle(bundles[0]).sha256


def test_a_network_travels_with_the_one_that_finds_the_animal(bundles):
    results = Results(Path("made"))
    shutil.copytree(bundles[0].parent / "results-one", "made")
    write_tiny_model(results.model("pose").locator, seed=2, scale=0.5)
    locating = {"enabled": True, "window": 64, "pcutoff": 0.2}
    config = parse_config({"cohort": "cohort.tsv", "results": "made", "locating": locating})
    path = run_bundle(config, results, TEXTS, Path("two.cohortpose"))
    bundle = read_bundle(path)
    assert (bundle.card.scale, bundle.locator.scale) == (1.0, 0.5)
    assert "  enabled: true\n  window: 64\n  pcutoff: 0.2" in bundle.readme
    ours = Results(Path("ours"))
    run = parse_config(configure(path, results="ours", locating=locating))
    assert check_run(configure(path, locating=locating))[0].uses_locator
    run_import_model(run, ours)
    for part in (ours.model("pose"), ours.model("pose").locator):
        card = read_card(part.card)
        load_network(part.weights, card)
        assert (card.name, card.bundle.sha256) == ("pose", bundle.sha256)
    assert ours.model("pose").locator.network.read_bytes() == bundle.read("locator/network.onnx")
    # `predict` takes the settings that the bundle was used with.
    written = write_prediction_project([Path("v.mp4")], str(path), Path("out"))
    values = yaml.safe_load(written.read_text())
    assert values["locating"] == {**locating, "min_found": 0.5}
    # Half a locator is none.
    members = read_members(path)
    del members["locator/weights.safetensors"]
    write_members(Path("half.cohortpose"), members)
    with pytest.raises(ModelError, match=r"locator/weights\.safetensors' must be both"):
        read_bundle(Path("half.cohortpose"))
