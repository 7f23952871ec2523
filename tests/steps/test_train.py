"""Test that training learns, and that a killed training ends like an uninterrupted one."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from pipeline_lib.core.errors import ModelError, StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.network import LocatingSettings
from pipeline_lib.core.settings.reading import hash_settings, write_resolved_config
from pipeline_lib.io.targets.store import TargetStore
from pipeline_lib.models.card import read_card
from pipeline_lib.models.inference.locating.coarse_to_fine import load_pose_predictor
from pipeline_lib.models.inference.predictor import RuntimeOptions, load_predictor
from pipeline_lib.models.training import module
from pipeline_lib.models.training.history import HistoryWriter
from pipeline_lib.models.training.samples.data import PoseData
from pipeline_lib.steps.make_targets.run import run_make_targets
from pipeline_lib.steps.train import run_train, training_key
from tests.models.synthetic import BODYPARTS, draw_discs, tiny_config, write_tiny_labels

EPOCHS = 4


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Use one thread: sums are the same to the bit only if they are split in the same way."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def targets(tmp_path_factory):
    """Make target stores by their content, once, as results folders to copy."""
    made: dict[int, Path] = {}

    def get(validation: int = 0) -> Path:
        if validation not in made:
            results = Results(tmp_path_factory.mktemp("made"))
            write_tiny_labels(results, validation=validation)
            run_make_targets(tiny_config(), results)
            made[validation] = results.targets
        return made[validation]

    return get


@pytest.fixture
def results(tmp_path, targets):
    """Make a results folder with targets and nothing else."""
    return link_targets(tmp_path / "results", targets())


def link_targets(root: Path, store: Path) -> Results:
    results = Results(root)
    results.targets.parent.mkdir(parents=True)
    results.targets.symlink_to(store)
    return results


def read_weights(results: Results) -> dict[str, torch.Tensor]:
    return torch.load(results.model("pose").weights, weights_only=True)


def read_history(results: Results) -> pd.DataFrame:
    return pd.read_csv(results.model("pose").history, sep="\t")


def assert_same_training(one: Results, other: Results) -> None:
    """Compare bit by bit: weights, batch-norm statistics, curves, optimiser and schedule."""
    a, b = read_weights(one), read_weights(other)
    assert a.keys() == b.keys()
    for name, value in a.items():
        assert torch.equal(value, b[name]), name
    histories = [one.model("pose").history, other.model("pose").history]
    assert histories[0].read_text() == histories[1].read_text()
    states = [
        torch.load(results.model("pose").checkpoints / "last.ckpt", weights_only=True)
        for results in (one, other)
    ]
    assert states[0]["epoch"] == states[1]["epoch"]
    assert states[0]["global_step"] == states[1]["global_step"]
    assert states[0]["lr_schedulers"] == states[1]["lr_schedulers"]
    moments = [state["optimizer_states"][0]["state"] for state in states]
    assert moments[0].keys() == moments[1].keys()
    for number, moment in moments[0].items():
        for name, value in moment.items():
            assert torch.equal(value, moments[1][number][name]), name
    cards = [read_card(results.model("pose").card) for results in (one, other)]
    assert cards[0].key == cards[1].key
    assert cards[0].network_sha256 == cards[1].network_sha256


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, targets):
    """Return results of uninterrupted trainings, by their settings."""
    made: dict[str, Results] = {}

    def get(validation: int = 0, **training) -> Results:
        key = hash_settings(training, validation)
        if key not in made:
            root = tmp_path_factory.mktemp("undisturbed") / "results"
            made[key] = link_targets(root, targets(validation))
            run_train(tiny_config(**training), made[key])
        return made[key]

    return get


class KilledError(Exception):
    """Simulate the end of a job."""


@pytest.fixture
def kill_after(monkeypatch):
    """Make the training fail once, at the end of an epoch, when its metrics are written."""

    def arm(epoch: int) -> None:
        write = HistoryWriter.on_train_epoch_end

        def end_epoch(self, trainer, module):
            write(self, trainer, module)
            if trainer.current_epoch == epoch:
                monkeypatch.undo()
                raise KilledError

        monkeypatch.setattr(HistoryWriter, "on_train_epoch_end", end_epoch)

    return arm


SETTINGS = {
    "plain": {},
    # Saved after epochs 1 and 3 only: epoch 2 is repeated when the job dies in it.
    "sparse": {"validate_every": 2},
    "validated": {
        "validation": 2,
        "validate_every": 2,
        "checkpoint": "best",
        "validation_fraction": 0.3,
    },
    "mirrored-crops": {"crop": 32, "augmentation": {"mirror": True}},
    # Flat after epoch 4 of at most 12; the job dies in the cool-down of two epochs.
    "plateau": {
        "epochs": 12,
        "stop": {"plateau": True, "span": 0.5, "gain": 0.9, "least_steps": 1},
    },
}


@pytest.mark.parametrize("kind", SETTINGS)
def test_a_killed_training_ends_as_if_undisturbed(kind, undisturbed, targets, tmp_path, kill_after):
    settings = dict(SETTINGS[kind])
    whole = undisturbed(**settings)
    store = targets(settings.pop("validation", 0))
    killed = link_targets(tmp_path / "results", store)
    kill_after(4 if kind == "plateau" else 2)
    with pytest.raises(KilledError):
        run_train(tiny_config(**settings), killed)
    assert not killed.model("pose").card.exists()
    assert (killed.model("pose").checkpoints / "last.ckpt").exists()
    run_train(tiny_config(**settings), killed)
    assert_same_training(whole, killed)


def test_a_plateau_ends_the_training_early(undisturbed):
    """Keep the rate for 4 epochs of 2 steps; 4 more steps cool down to zero."""
    results = undisturbed(**SETTINGS["plateau"])
    card, history = read_card(results.model("pose").card), read_history(results)
    assert (card.training.epochs, card.training.steps) == (6, 12)
    values = history.pivot_table(index="epoch", columns="metric", values="value")
    # A twentieth of the 24 steps is one, of warm-up; each epoch has the rate after its last step.
    assert values["learning_rate"].tolist() == pytest.approx([1e-3] * 4 + [5e-4, 0.0])
    excess = values["train_loss"] - values["train_excess_loss"]
    assert 0.01 < excess.min() < excess.max() < values["train_loss"].min()
    assert values["test_error"].notna()[5]


_TRAIN = """
import os, signal, sys
from pathlib import Path
from pipeline_lib.core.settings.reading import read_config
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.network import LocatingSettings
from pipeline_lib.models.training import module
from pipeline_lib.models.training.samples.data import PoseData
from pipeline_lib.models.training.history import HistoryWriter
from pipeline_lib.steps.train import run_train

write, last = HistoryWriter.on_train_epoch_end, int(sys.argv[3])

def end_epoch(self, trainer, module):
    write(self, trainer, module)
    if trainer.current_epoch == last:
        os.kill(os.getpid(), signal.SIGKILL)

HistoryWriter.on_train_epoch_end = end_epoch
run_train(read_config(Path(sys.argv[1])), Results(Path(sys.argv[2])))
"""


def test_a_training_killed_for_good_resumes_in_another_process(undisturbed, results, tmp_path):
    """Send SIGKILL as a cluster does: nothing can be tidied up."""
    config = tiny_config()
    path = tmp_path / "config.yaml"
    path.write_text(write_resolved_config(config))
    killed = subprocess.run(
        [sys.executable, "-c", _TRAIN, path, results.root, "1"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
        capture_output=True,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    checkpoints = results.model("pose").checkpoints
    last = torch.load(checkpoints / "last.ckpt", weights_only=True)
    assert last["epoch"] == 0
    assert 0.0 < float((checkpoints / "seconds.txt").read_text()) < 1000.0
    (checkpoints / "seconds.txt").write_text("1000.0\n")
    run_train(config, results)
    assert_same_training(undisturbed(), results)
    assert 1000.0 < read_card(results.model("pose").card).training.seconds < 2000.0


def test_history_has_every_epoch_once(undisturbed):
    history = read_history(undisturbed())
    assert list(history) == ["epoch", "step", "metric", "value"]
    assert not history.duplicated(["epoch", "metric"]).any()
    for metric in ("train_loss", "train_score_map_loss", "learning_rate"):
        assert history.loc[history["metric"] == metric, "epoch"].tolist() == list(range(EPOCHS))
    for metric in ("test_loss", "test_error", "test_median_error", "train_error"):
        assert history.loc[history["metric"] == metric, "epoch"].tolist() == list(range(EPOCHS))
    # 6 frames in batches of 4 are 2 steps an epoch.
    assert sorted(history["step"].unique()) == [2, 4, 6, 8]


def test_validation_is_written_when_it_was_measured(undisturbed):
    history = read_history(undisturbed(**SETTINGS["validated"]))
    error = history[history["metric"] == "validation_error"]
    assert error["epoch"].tolist() == [1, 3]
    assert (error["value"] > 0).all()


def test_the_best_checkpoint_is_the_one_of_the_least_error(undisturbed):
    results = undisturbed(**SETTINGS["validated"])
    history = read_history(results)
    error = history[history["metric"] == "validation_error"].set_index("epoch")["value"]
    record = read_card(results.model("pose").card).training
    assert record.checkpoint == "best.ckpt"
    assert record.epochs == error.idxmin() + 1
    best = torch.load(results.model("pose").checkpoints / "best.ckpt", weights_only=True)
    weights = read_weights(results)
    assert all(torch.equal(best["state_dict"][f"network.{k}"], v) for k, v in weights.items())


def test_a_training_that_diverges_publishes_nothing(results):
    config = tiny_config(epochs=3, learning_rate=1e30)
    files = results.model("pose")
    with pytest.raises(ModelError, match=r"it diverged by epoch 1: .*learning_rate"):
        run_train(config, results)
    published = (files.weights, files.network, files.card)
    assert not any(path.exists() for path in published)
    assert not list(files.checkpoints.glob("*.ckpt"))


def test_the_last_epoch_counts_wherever_it_falls(results):
    """Train 3 epochs, saved every 2: the network is that of epoch 3."""
    run_train(tiny_config(epochs=3, validate_every=2), results)
    record = read_card(results.model("pose").card).training
    assert (record.epochs, record.steps) == (3, 6)


def test_a_training_shorter_than_the_interval(targets, tmp_path):
    """Save and validate once, at its end."""
    results = link_targets(tmp_path / "results", targets(2))
    training = {"validation_fraction": 0.3, "checkpoint": "best", "validate_every": 10}
    run_train(tiny_config(epochs=1, **training), results)
    assert read_card(results.model("pose").card).training.epochs == 1


def test_best_without_a_frame_to_validate_on_is_refused_at_once(results):
    config = tiny_config(validation_fraction=0.01, checkpoint="best")
    with pytest.raises(ModelError, match="no frame to validate on, so none is best"):
        run_train(config, results)
    assert not results.model("pose").history.exists()


def test_the_card_says_what_was_trained(undisturbed):
    results = undisturbed()
    config, files = tiny_config(), results.model("pose")
    card = read_card(files.card)
    assert card.skeleton.bodyparts == BODYPARTS
    assert (card.stride, card.scale, card.refinement_scale) == (8, 1.0, 7.2801)
    assert card.training.frames == {"train": 6, "validation": 0, "test": 1}
    assert (card.training.epochs, card.training.steps) == (EPOCHS, 2 * EPOCHS)
    assert card.training.settings == config.training.model_dump(mode="json")
    assert card.key == training_key(config, TargetStore(results.targets))
    assert card.parameters == sum(
        value.numel()
        for name, value in read_weights(results).items()
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked"))
        and name not in ("mean", "std")
    )
    assert json.loads(files.card.read_text())["versions"].keys() >= {"torch", "timm"}


def test_a_finished_training_is_not_repeated(undisturbed, targets, tmp_path, monkeypatch):
    results = link_targets(tmp_path / "results", targets())
    run_train(tiny_config(), results)
    monkeypatch.setattr(
        "pipeline_lib.models.training.module.PoseTraining.training_step",
        lambda *_: pytest.fail("trained again"),
    )
    run_train(tiny_config(), results)
    assert_same_training(undisturbed(), results)


@pytest.mark.parametrize(
    "other",
    [
        {"learning_rate": 2e-3},
        {"seed": 1},
        {"epochs": 5},
        {"augmentation": {"rotation": 10.0}},
    ],
)
def test_checkpoints_of_other_settings_are_not_used(other, results, kill_after, tmp_path, targets):
    kill_after(0)
    with pytest.raises(KilledError):
        run_train(tiny_config(), results)
    # Were it read, the training would fail.
    (results.model("pose").checkpoints / "last.ckpt").write_bytes(b"no checkpoint")
    run_train(tiny_config(**other), results)
    fresh = link_targets(tmp_path / "fresh", targets())
    run_train(tiny_config(**other), fresh)
    assert_same_training(fresh, results)


def test_the_key_is_of_what_gives_the_network_not_of_where_it_runs(results, tmp_path):
    store = TargetStore(results.targets)

    def key(**training):
        return training_key(tiny_config(**training), store)

    plain = key()
    for placement in ({"devices": 2}, {"strategy": "ddp"}, {"loader_workers": 3}, {"name": "b"}):
        assert key(**placement) == plain
    # Curves are looked at, and nothing is chosen by them.
    assert key(measure_every=3) == key(measure_every=0) == plain
    for setting in ({"precision": "16-mixed"}, {"weights": "timm"}, {"crop": 64}, {"seed": 4}):
        assert key(**setting) != plain
    # A file of weights counts by its content.
    weights = tmp_path / "w.pth"
    weights.write_bytes(b"one")
    first = key(weights=str(weights))
    weights.write_bytes(b"two")
    assert key(weights=str(weights)) != first


STILL = {"rotation": 0.0, "scale": [1.0, 1.0], "translation": 0.0}


def count_drawn(monkeypatch) -> list[int]:
    """Return a list that grows with each batch whose targets are drawn."""
    drawn: list[int] = []
    encode = module.encode_targets

    def count(position, *rest):
        drawn.append(len(position))
        return encode(position, *rest)

    monkeypatch.setattr(module, "encode_targets", count)
    return drawn


@pytest.mark.parametrize(
    ("training", "reads"),
    [
        ({"augmentation": STILL}, True),
        ({"augmentation": {**STILL, "noise": 0.0, "blur": 0.0, "erase": 0.0}}, True),
        ({"augmentation": {**STILL, "mirror": True}}, False),
        ({"augmentation": STILL, "crop": 32}, False),
        ({}, False),
    ],
)
def test_without_augmentation_training_reads_the_stored_targets(
    training, reads, tmp_path, targets, monkeypatch
):
    results = link_targets(tmp_path / "results", targets())
    config = tiny_config(epochs=2, **training)
    drawn = count_drawn(monkeypatch)
    run_train(config, results)
    assert drawn == ([] if reads else [4] * 4)
    if not reads:
        return
    # It learns what it would from targets that are drawn, to the digits of the stored ones.
    other = link_targets(tmp_path / "drawn", targets())
    stored = PoseData.__init__

    def forget_maps(self, *given, stored_maps, **named):
        assert stored_maps
        stored(self, *given, **named)

    monkeypatch.setattr(PoseData, "__init__", forget_maps)
    run_train(config, other)
    assert drawn == [4] * 4
    losses = [
        table.loc[table["metric"] == "train_loss", "value"].to_numpy()
        for table in map(read_history, (results, other))
    ]
    np.testing.assert_allclose(losses[0], losses[1], rtol=2e-3)


def test_a_training_on_stored_targets_resumes_as_if_undisturbed(results, tmp_path, targets):
    config = tiny_config(augmentation=STILL, loader_workers=1)
    run_train(config, results)
    killed = link_targets(tmp_path / "killed", targets())
    path = tmp_path / "config.yaml"
    path.write_text(write_resolved_config(config))
    ended = subprocess.run(
        [sys.executable, "-c", _TRAIN, path, killed.root, "2"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
        capture_output=True,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    run_train(config, killed)
    assert_same_training(results, killed)


def test_a_training_finds_the_bodyparts_of_an_unseen_frame(tmp_path):
    """Find the discs of an unseen frame to within a cell after some epochs."""
    results = Results(tmp_path / "results")
    write_tiny_labels(results, train=24)
    gentle = {"rotation": 0.0, "scale": [0.9, 1.1], "noise": 0.0, "blur": 0.0, "erase": 0.0}
    config = tiny_config(
        epochs=40, learning_rate=5e-3, batch_size=8, augmentation=gentle, validate_every=40
    )
    run_make_targets(config, results)
    run_train(config, results)
    history = read_history(results)
    loss = history.loc[history["metric"] == "train_loss", "value"].to_numpy()
    assert loss[-3:].mean() < 0.5 * loss[:3].mean()
    points = np.array([[20.0, 40.0], [44.0, 20.0], [30.0, 12.0]])
    predictor = load_predictor(results.model("pose"), RuntimeOptions("onnx", threads=1))
    position, *_ = predictor.predict([draw_discs(points, (64, 64))])
    assert np.linalg.norm(position[0, 0] - points, axis=1).max() < 8.0


def test_the_locator_is_trained_on_small_whole_frames_beside_the_network(tmp_path):
    """Keep the network, its targets and its checkpoints."""
    results = Results(tmp_path / "results")
    write_tiny_labels(results)
    base = tiny_config(epochs=2, crop=32)
    config = base.model_copy(update={"locating": LocatingSettings(scale=0.5, epochs=1)})
    run_make_targets(config, results, locator=True)
    run_train(config, results, locator=True)
    assert not results.targets.exists()
    assert not results.model("pose").card.exists()
    store, locator = TargetStore(results.locator_targets), results.model("pose").locator
    assert (store.layout.height, store.layout.width, store.layout.scale) == (32, 32, 0.5)
    card = read_card(locator.card)
    assert (card.scale, card.training.epochs, card.training.settings["crop"]) == (0.5, 1, None)
    assert card.key == training_key(config.for_locator(), store)
    before = locator.card.read_bytes(), store.key

    run_make_targets(config, results)
    run_train(config, results)
    card = read_card(results.model("pose").card)
    assert (card.scale, card.training.epochs, card.training.settings["crop"]) == (1.0, 2, 32)
    assert (locator.card.read_bytes(), TargetStore(results.locator_targets).key) == before
    options = RuntimeOptions("onnx", threads=1)
    settings = config.locating.model_copy(update={"enabled": True, "window": 32, "pcutoff": 1.0})
    predictor = load_pose_predictor(results.model("pose"), options, settings)
    frames = [draw_discs(np.full((3, 2), 30.0), (64, 64))]
    whole = load_predictor(results.model("pose"), options).predict(frames)
    np.testing.assert_array_equal(predictor.predict(frames)[0], whole[0])


def test_without_targets_it_says_what_to_run(tmp_path):
    with pytest.raises(StoreError, match=r"no target store .*; run make-targets"):
        run_train(tiny_config(), Results(tmp_path))


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"accelerator": "abacus"}, "Lightning refuses these settings"),
        ({"precision": "7-true"}, "Lightning refuses these settings"),
        ({"backbone": "mobilenetv9"}, "timm has no model 'mobilenetv9'"),
        ({"weights": "package"}, "`package` holds weights for tf_efficientnet_lite0, "),
    ],
)
def test_unavailable_hardware_is_reported(results, training, message):
    with pytest.raises(ModelError, match=message):
        run_train(tiny_config(**training), results)
