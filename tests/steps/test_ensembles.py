"""Test ensembles of tiny networks: their training, poses, keys, calibration and bundles."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from pipeline_lib.core.errors import ConfigError, ModelError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.core.tables import PREDICTION_COLUMNS, REGION_COLUMNS
from pipeline_lib.io.stage_tables import read_table
from pipeline_lib.io.targets.store import TargetStore
from pipeline_lib.models.card import BundleRecord, format_card, read_card
from pipeline_lib.models.inference.locating.coarse_to_fine import load_pose_predictor
from pipeline_lib.models.inference.predictor import RuntimeOptions, load_predictor
from pipeline_lib.models.members import check_members, count_members, read_member_cards
from pipeline_lib.models.regions import read_regions_file
from pipeline_lib.models.zoo.archive import read_bundle
from pipeline_lib.steps.bundle import run_bundle
from pipeline_lib.steps.evaluate.regions import publish_regions
from pipeline_lib.steps.evaluate.run import run_evaluate
from pipeline_lib.steps.import_model import run_import_model
from pipeline_lib.steps.make_targets.run import run_make_targets
from pipeline_lib.steps.report.ensembles import summarise_ensemble
from pipeline_lib.steps.runs.networks.start_network import find_start
from pipeline_lib.steps.runs.result_keys import network_key
from pipeline_lib.steps.runs.stage_keys import find_stage_key
from pipeline_lib.steps.train import run_train, training_key
from pipeline_lib.steps.zoo import verify_bundle
from tests.models.synthetic import BODYPARTS, tiny_config, write_tiny_labels, write_tiny_model
from tests.models.zoo.bundles import TEXTS, change, read_members, write_members

ONNX = RuntimeOptions("onnx", threads=1)


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    results = Results(tmp_path_factory.mktemp("networks"))
    for number, files in enumerate(results.model("pose").list_members(3)):
        write_tiny_model(files, seed=number)
    return results


@pytest.fixture
def trio(networks, tmp_path):
    """Return a results folder with three untrained networks."""
    shutil.copytree(networks.root, tmp_path / "results")
    return Results(tmp_path / "results")


def rename_bodypart(path):
    """Give the network of a card another skeleton; return the text of its card."""
    card = read_card(path)
    skeleton = card.skeleton.model_copy(update={"bodyparts": ("else", *BODYPARTS[1:])})
    return format_card(card.model_copy(update={"skeleton": skeleton}))


def test_each_member_is_a_training_of_its_own(tmp_path):
    results, config = Results(tmp_path / "results"), tiny_config(ensemble=2, epochs=1, seed=5)
    write_tiny_labels(results, train=4)
    run_make_targets(config, results)
    run_train(config, results, member=2)
    files = results.model("pose").member(2)
    card = read_card(files.card)
    assert (card.training.seed, card.training.settings["seed"], card.name) == (6, 6, "pose")
    assert card.training.targets_key == TargetStore(results.targets).key
    made = {path.name for path in files.folder.iterdir()}
    assert made == {"network.onnx", "network.pt", "model.json", "history.tsv", "checkpoints"}
    assert not results.model("pose").card.exists()
    # It is the network that this seed gives, and more members would leave it as it is.
    alone = tiny_config(epochs=1, seed=6)
    run_train(alone, results)
    assert read_card(results.model("pose").card).network_sha256 == card.network_sha256
    assert read_card(results.model("pose").card).key == card.key
    keys = [
        find_stage_key(tiny_config(ensemble=count), results, "train-members") for count in (2, 5)
    ]
    assert keys[0] == keys[1]
    with pytest.raises(ModelError, match=r"--member 3: `training\.ensemble` is 2"):
        run_train(config, results, member=3)


def test_poses_are_the_medians_of_the_members(trio):
    files = trio.model("pose")
    frames = [np.random.default_rng(n).integers(0, 255, (64, 96, 3), np.uint8) for n in (0, 1)]
    members = files.list_members(3)
    found = load_pose_predictor(files, ONNX, tiny_config().locating, None, members).predict(frames)
    alone = [load_predictor(one, ONNX).predict(frames) for one in members]
    position = np.stack([one.position for one in alone])
    np.testing.assert_array_equal(found.position, np.median(position, axis=0))
    confidence = np.median([one.confidence for one in alone], axis=0)
    np.testing.assert_array_equal(found.confidence, confidence)
    square = ((position - found.position) ** 2).sum(axis=-1)
    np.testing.assert_allclose(found.spread, np.sqrt(square.mean(axis=0)), rtol=1e-5)
    assert (found.spread > 1).any()
    assert alone[0].spread is None


def test_poses_depend_on_every_member_and_on_no_other_network(trio):
    three, one = tiny_config(ensemble=3), tiny_config()
    keys = {network_key(three, trio), network_key(tiny_config(ensemble=2), trio)}
    single = network_key(one, trio)
    write_tiny_model(trio.model("pose").member(3), seed=7)
    keys.add(network_key(three, trio))
    assert len({*keys, single}) == 4
    assert network_key(one, trio) == single
    trio.model("pose").member(2).card.write_text(rename_bodypart(trio.model("pose").card))
    for refused in (
        lambda: network_key(three, trio),
        lambda: load_pose_predictor(
            trio.model("pose"), ONNX, one.locating, None, trio.model("pose").list_members(3)
        ),
    ):
        with pytest.raises(ModelError, match=r"same skeleton, found else, .*train this member"):
            refused()
    trio.model("pose").member(2).card.unlink()
    with pytest.raises(ModelError, match="no model; run train"):
        network_key(three, trio)


def test_members_that_were_trained_on_other_frames_are_refused(trio):
    """Test frames of one member that another has learned would make regions too small."""
    cards = read_member_cards(trio.model("pose"), 2)
    settings = {"split": {"seed": 1}, "validation_fraction": 0.0}
    for changes in (
        {"frames": {"train": 9, "test": 1}},
        {"settings": settings},
        {"settings": {**settings, "split": None, "validation_fraction": 0.1}},
    ):
        record = cards[1].training.model_copy(update=changes)
        other = cards[1].model_copy(update={"training": record})
        with pytest.raises(ModelError, match=r"second: .* trained on the same frames, but first"):
            check_members([("first", cards[0]), ("second", other)])
    # The same numbers of other frames.
    keyed = [
        card.model_copy(update={"training": card.training.model_copy(update={"targets_key": key})})
        for card, key in zip(cards, ("a", "b"), strict=True)
    ]
    with pytest.raises(ModelError, match="trained on the same frames"):
        check_members([("first", keyed[0]), ("second", keyed[1])])
    # Older cards do not name their targets.
    check_members([("first", keyed[0]), ("second", cards[1])])
    # What else differs, such as the seed, is no matter.
    record = cards[1].training.model_copy(update={"seed": 8, "epochs": 7, "precision": "x"})
    other = cards[1].model_copy(update={"training": record})
    check_members([("first", cards[0]), ("second", other)])


def make_predictions(images, spread=True):
    """Return predictions of test images with errors of 2 px and more, as an evaluation has them."""
    random = np.random.default_rng(0)
    rows = [
        (f"i{image}", "v", image, "test", "animal", part, *random.normal(50, 2, 2), 0.5, 50.0, 50.0)
        for image in range(images)
        for part in BODYPARTS
    ]
    table = pd.DataFrame(rows, columns=list(PREDICTION_COLUMNS))
    return table.assign(spread=2.0) if spread else table


def test_confidence_is_calibrated_on_held_out_labels(trio, caplog):
    config, files = tiny_config(ensemble=3), trio.model("pose")
    cards = read_member_cards(files, 3)
    publish_regions(config, trio, cards, make_predictions(60))
    regions = read_regions_file(files.regions, cards)
    assert 0.85 <= regions.coverage[regions.levels.index(0.9)] <= 0.95
    assert (regions.points, regions.images) == (60 * len(BODYPARTS), 60)
    # The root of -2 ln(0.1) times the standard deviation.
    radius = regions.find_radius(np.full((5, len(BODYPARTS)), 0.5), np.full((5, 3), 2.0))
    np.testing.assert_allclose(radius, 2 * 2.146, rtol=0.2)
    assert np.isnan(regions.find_radius(np.zeros(len(BODYPARTS)))).all()
    with pytest.raises(ValueError, match=r"level 0\.91 is none of"):
        regions.find_radius(np.ones(len(BODYPARTS)), level=0.91)
    rows = read_table(trio.regions("pose"), REGION_COLUMNS)
    assert {row["bodypart"] for row in rows} == {"all", *BODYPARTS}
    with pytest.raises(ModelError, match="of other networks"):
        read_regions_file(files.regions, cards[:2])
    # Of few points no region of 99 % is known: its cells are empty, and so is the report's row.
    publish_regions(config, trio, cards, make_predictions(25))
    rows = read_table(trio.regions("pose"), REGION_COLUMNS)
    told = {
        row["level"]: (row["coverage"], row["radius"]) for row in rows if row["bodypart"] == "all"
    }
    assert told["0.99"] == ("", "")
    assert all(told["0.9"])
    trio.metrics("pose").touch()
    shown = summarise_ensemble(config, trio, [])
    (last,) = [row for row in shown.regions if row["level"] == 0.99]
    assert (last["coverage"], last["radius"]) == (None, None)
    assert shown.worst[1] > 0
    # An older one is not left beside networks that it is not of.
    publish_regions(config, trio, cards, make_predictions(4))
    assert "12 held-out points of 4 images" in caplog.text
    assert not files.regions.exists()
    assert not trio.regions("pose").exists()


def test_an_evaluation_measures_the_members_beside_the_ensemble(trio):
    write_tiny_labels(trio, train=2, test=6)
    run_evaluate(tiny_config(ensemble=3), trio)
    rows = read_table(trio.members("pose"), ("member", "split", "mean_error", "points"))
    assert [row["member"] for row in rows[::2]] == ["ensemble", "1", "2", "3"]
    predictions = pd.read_parquet(trio.predictions("pose"))
    assert (predictions["spread"] > 0).any()
    test = predictions[predictions["split"] == "test"]
    error = np.hypot(test["x"] - test["label_x"], test["y"] - test["label_y"]).mean()
    assert float(rows[1]["mean_error"]) == pytest.approx(error)
    assert rows[1]["points"] == str(6 * len(BODYPARTS))
    # One network has none of these files, and leaves none of an ensemble of before: bundles refuse
    # a calibration of other networks.
    stale = (trio.model("pose").regions, trio.regions("pose"), trio.members("pose"))
    for path in stale:
        path.write_text("of before")
    run_evaluate(tiny_config(), trio)
    assert not any(path.exists() for path in stale)
    assert "spread" not in pd.read_parquet(trio.predictions("pose"))


def test_a_bundle_holds_the_ensemble_and_its_calibration(trio, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = tiny_config(ensemble=3)
    cards = read_member_cards(trio.model("pose"), 3)
    publish_regions(config, trio, cards, make_predictions(60))
    path = run_bundle(config, trio, TEXTS)
    assert "as listed" in verify_bundle(str(path))
    bundle = read_bundle(path)
    assert len(bundle.ensemble) == 2
    assert "networks that predict together | 3" in bundle.readme
    assert "Calibrated on 180 held-out points" in bundle.readme
    start = parse_config({"cohort": "c.tsv", "training": {"start_from": str(path), "ensemble": 4}})
    starts = [find_start(start, member=number).folder for number in range(1, 5)]
    assert starts == ["", "members/2/", "members/3/", ""]
    layout = SimpleNamespace(skeleton=SimpleNamespace(symmetries=()))
    store = SimpleNamespace(layout=layout, key="k")
    keys = [training_key(start, store, find_start(start, member=one)) for one in range(1, 5)]
    # Members start from other networks of the same file.
    assert len(set(keys)) == 3
    theirs = parse_config({"cohort": "c.tsv", "model": {"bundle": str(path)}})
    run = Results(tmp_path / "run")
    # Of a training under the same name, which is not replaced, then left by another bundle.
    write_tiny_model(run.model("pose").member(4), seed=9)
    with pytest.raises(ConfigError, match="was trained here"):
        run_import_model(theirs, run)
    left = run.model("pose").member(4).card
    record = BundleRecord(file="other.cohortpose", sha256="1" * 64, members=4)
    left.write_text(format_card(read_card(left).model_copy(update={"bundle": record})))
    run_import_model(theirs, run)
    files = run.model("pose")
    assert count_members(theirs, run) == 3
    assert sorted(one.name for one in files.members.iterdir()) == ["2", "3"]
    assert files.member(3).network.read_bytes() == trio.model("pose").member(3).network.read_bytes()
    assert read_regions_file(files.regions, read_member_cards(files, 3)).points == 180
    with pytest.raises(ConfigError, match="uses as many as the bundle has"):
        parse_config(
            {"cohort": "c.tsv", "model": {"bundle": str(path)}, "training": {"ensemble": 3}}
        )


def test_members_of_other_skeletons_are_refused(trio, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = tiny_config(ensemble=3)
    path = run_bundle(config, trio, TEXTS)
    other = rename_bodypart(trio.model("pose").member(3).card)
    changed = change(path, tmp_path / "other.cohortpose", members_3_model_json=other.encode())
    with pytest.raises(
        ModelError, match=r"members/3/model\.json: members of an ensemble must have"
    ):
        verify_bundle(str(changed))
    trio.model("pose").member(3).card.write_text(other)
    with pytest.raises(ModelError, match="members of an ensemble must have the same skeleton"):
        run_bundle(config, trio, TEXTS, tmp_path / "again.cohortpose")
    # A member without its network, and one without those before it.
    for name in ("members/2/network.onnx", "members/2/model.json"):
        kept = {one: text for one, text in read_members(path).items() if one != name}
        manifest = json.loads(kept["bundle.json"])
        del manifest["members"][name]
        lacking = tmp_path / "lacking.cohortpose"
        write_members(lacking, {**kept, "bundle.json": json.dumps(manifest).encode()})
        with pytest.raises(ModelError, match=f"lists no {name}"):
            read_bundle(lacking)
