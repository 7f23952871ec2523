"""Test that foreign weight files run nothing and touch no other file."""

import argparse
import logging
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from pytorch_lightning.strategies import DDPStrategy, FSDPStrategy, SingleDeviceStrategy

from pipeline_lib.core.errors import ModelError
from pipeline_lib.core.layout import Results
from pipeline_lib.models.card import ModelCard, format_card, read_card
from pipeline_lib.models.inference.onnx_file import read_onnx
from pipeline_lib.models.inference.predictor import RuntimeOptions, load_predictor
from pipeline_lib.models.training.checkpoint_files import CheckpointFiles
from pipeline_lib.models.training.history import HistoryWriter
from pipeline_lib.models.training.run import refuse_own_checkpoints
from pipeline_lib.steps.make_targets.run import run_make_targets
from pipeline_lib.steps.train import run_train
from tests.models.synthetic import BODYPARTS, draw_discs, tiny_config, write_tiny_labels

CONFIG = tiny_config(epochs=2, validation_fraction=0.3, checkpoint="best")


class Payload:
    """Write a file when unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return results of a finished training."""
    results = Results(tmp_path_factory.mktemp("trained") / "results")
    write_tiny_labels(results, validation=2)
    run_make_targets(CONFIG, results)
    run_train(CONFIG, results)
    return results


@pytest.fixture
def copied(trained, tmp_path):
    """Return a copy of these results with an unfinished network."""
    results = Results(tmp_path / "copied")
    shutil.copytree(trained.root, results.root)
    for path in (results.model("pose").card, results.model("pose").network):
        path.unlink()
    return results


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "code was run"


def load(results: Results, name: str = "last.ckpt") -> dict:
    return torch.load(results.model("pose").checkpoints / name, weights_only=True)


@pytest.fixture
def steps(monkeypatch):
    """Return a list that collects the number of each training step."""
    steps: list[int] = []
    keep = HistoryWriter.on_train_batch_end

    def note(self, trainer, *rest):
        steps.append(trainer.global_step)
        keep(self, trainer, *rest)

    monkeypatch.setattr(HistoryWriter, "on_train_batch_end", note)
    return steps


def spoil_pickle(path: Path, state: dict, marker: Path) -> None:
    torch.save({**state, "payload": Payload(marker)}, path)


def spoil_old_form(path: Path, state: dict, marker: Path) -> None:
    torch.save({**state, "payload": Payload(marker)}, path, _use_new_zipfile_serialization=False)


def spoil_bare_pickle(path: Path, state: dict, marker: Path) -> None:
    del state
    path.write_bytes(pickle.dumps(Payload(marker)))


def spoil_script(path: Path, state: dict, marker: Path) -> None:
    """Write a TorchScript archive, which is a program."""
    del state, marker
    torch.jit.save(torch.jit.script(torch.nn.Identity()), path)


def spoil_namespace(path: Path, state: dict, marker: Path) -> None:
    """Refuse a harmless class too, since it is no plain value."""
    del marker
    torch.save({**state, "payload": argparse.Namespace(a=1)}, path)


def spoil_key(path: Path, state: dict, marker: Path) -> None:
    del marker
    torch.save({**state, "cohortpose_training": "0" * 16}, path)


def spoil_without_key(path: Path, state: dict, marker: Path) -> None:
    del marker
    torch.save({k: v for k, v in state.items() if k != "cohortpose_training"}, path)


def spoil_list(path: Path, state: dict, marker: Path) -> None:
    del state, marker
    torch.save([1, 2], path)


def spoil_fifo(path: Path, state: dict, marker: Path) -> None:
    del state, marker
    path.unlink()
    os.mkfifo(path)


def spoil_truncated(path: Path, state: dict, marker: Path) -> None:
    del state, marker
    path.write_bytes(path.read_bytes()[:-100])


def spoil_dangling(path: Path, state: dict, marker: Path) -> None:
    del state
    path.unlink()
    path.symlink_to(marker)


SPOILED = [value for name, value in list(globals().items()) if name.startswith("spoil_")]


def test_the_payload_would_run(tmp_path, marker):
    """Check that the attack works, without which the other tests would show nothing."""
    spoil_pickle(tmp_path / "a.ckpt", {}, marker)
    torch.load(tmp_path / "a.ckpt", weights_only=False)
    assert marker.is_dir()


def test_a_good_checkpoint_is_resumed_from(copied, steps):
    before = load(copied)
    run_train(CONFIG, copied)
    assert steps == []
    assert load(copied)["global_step"] == before["global_step"]
    assert not any(copied.model("pose").checkpoints.glob("*.refused"))


@pytest.mark.parametrize("spoil", SPOILED)
@pytest.mark.parametrize("name", ["last.ckpt", "best.ckpt"])
def test_foreign_checkpoints_are_set_aside(name, spoil, copied, caplog, steps):
    folder, marker = copied.model("pose").checkpoints, copied.root / "code was run"
    spoil(folder / name, load(copied, name), marker)
    with caplog.at_level(logging.WARNING, logger="pipeline_lib"):
        run_train(CONFIG, copied)
    assert not marker.exists()
    assert steps == [1, 2, 3, 4]
    (said,) = [one.getMessage() for one in caplog.records if "set aside" in one.getMessage()]
    assert str(folder / name) in said
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [
            "key.txt",
            "seconds.txt",
            *(f"{name}{end}" for name in ("best.ckpt", "last.ckpt") for end in ("", ".refused")),
        ]
    )
    assert copied.model("pose").card.exists()


def test_a_checkpoint_names_no_files(trained):
    """Check that the file that a checkpoint calls the best so far is not removed."""

    def texts(value):
        if isinstance(value, dict):
            for item in (*value, *value.values()):
                yield from texts(item)
        elif isinstance(value, list | tuple):
            for item in value:
                yield from texts(item)
        elif isinstance(value, str):
            yield value

    found = list(texts(load(trained)))
    assert any("BestCheckpoint" in text for text in found)
    assert [text for text in found if "/" in text] == []
    with pytest.raises(RuntimeError, match="no checkpoint is ever removed"):
        CheckpointFiles("k").remove_checkpoint("anything")


def test_a_checkpoint_that_lightning_would_prefer_is_not_looked_at(copied, marker, steps):
    files = copied.model("pose")
    for folder in (files.folder, files.checkpoints):
        spoil_pickle(folder / "hpc_ckpt_7.ckpt", load(copied), marker)
    run_train(CONFIG, copied)
    assert not marker.exists()
    assert steps == []


def test_a_state_that_could_not_be_loaded_again_is_not_saved(tmp_path):
    files = CheckpointFiles("k")
    with pytest.raises(TypeError, match=r"checkpoint\.a\.1: ndarray is no plain value"):
        files.save_checkpoint({"a": [1, np.zeros(2)]}, tmp_path / "a.ckpt")
    assert list(tmp_path.iterdir()) == []
    files.save_checkpoint({"a": [1, torch.ones(2)]}, tmp_path / "a.ckpt")
    assert files.load_checkpoint(tmp_path / "a.ckpt", weights_only=False)["a"][1].sum() == 2


def test_strategies_with_checkpoints_of_their_own_are_refused():
    for good in (SingleDeviceStrategy("cpu"), DDPStrategy()):
        refuse_own_checkpoints(good)
    with pytest.raises(ModelError, match=r"training\.strategy: FSDPStrategy has checkpoints"):
        refuse_own_checkpoints(FSDPStrategy())


@pytest.mark.parametrize(
    "spoil", [spoil_pickle, spoil_old_form, spoil_bare_pickle, spoil_script, spoil_truncated]
)
def test_weights_for_pytorch_run_nothing(spoil, trained, tmp_path, marker):
    results = Results(tmp_path / "copied")
    shutil.copytree(trained.model("pose").folder, results.model("pose").folder)
    weights = results.model("pose").weights
    spoil(weights, torch.load(weights, weights_only=True), marker)
    with pytest.raises(ModelError, match=r"network\.pt: PyTorch cannot load it"):
        load_predictor(results.model("pose"), RuntimeOptions("torch", threads=1))
    assert not marker.exists()


@pytest.mark.parametrize("spoil", [spoil_pickle, spoil_old_form, spoil_bare_pickle])
def test_pretrained_weights_run_nothing(spoil, trained, tmp_path, marker):
    path = tmp_path / "weights.pth"
    spoil(path, {"state_dict": {}}, marker)
    with pytest.raises(ModelError, match=r"weights\.pth: not a state dict"):
        run_train(tiny_config(weights=str(path)), Results(trained.root))
    assert not marker.exists()


@pytest.mark.parametrize("name", ["local-dir:{0}", "hf-hub:someone/else", "hf_hub:someone/else"])
def test_a_card_names_no_backbone_elsewhere(name, trained, tmp_path):
    results = Results(tmp_path / "copied")
    files = results.model("pose")
    shutil.copytree(trained.model("pose").folder, files.folder)
    card = read_card(files.card).model_copy(update={"backbone": name.format(tmp_path)})
    assert isinstance(card, ModelCard)
    files.card.write_text(format_card(card))
    with pytest.raises(ModelError, match="expected the name of a timm model, found"):
        load_predictor(files, RuntimeOptions("torch", threads=1))


def externalise(source: Path, target: Path, location: str, *, nested: bool = False) -> None:
    """Write a network one of whose tensors is in another file."""
    model = onnx.load(source)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.ClearField("float_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location
    if nested:
        constant = onnx.helper.make_node("Constant", [], ["hidden"], value=tensor)
        body = onnx.helper.make_graph([constant], "body", [], [])
        model.graph.initializer.remove(tensor)
        model.graph.node.append(
            onnx.helper.make_node("If", ["frames"], [], then_branch=body, else_branch=body)
        )
    target.write_bytes(model.SerializeToString())


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("location", ["secret.bin", "../secret.bin", "{0}/secret.bin"])
def test_a_network_reads_no_other_file(runtime, location, nested, trained, tmp_path):
    results = Results(tmp_path / "copied")
    files = results.model("pose")
    shutil.copytree(trained.model("pose").folder, files.folder)
    for folder in (files.folder, files.folder.parent, tmp_path):
        (folder / "secret.bin").write_bytes(bytes(10_000))
    externalise(files.network, files.network, location.format(tmp_path), nested=nested)
    with pytest.raises(ModelError, match=r"whose tensors are all inside.*secret\.bin"):
        load_predictor(files, RuntimeOptions(runtime, threads=1))


def test_the_word_location_in_a_text_is_no_external_data(trained, tmp_path):
    model = onnx.load(trained.model("pose").network)
    model.doc_string = "location"
    path = tmp_path / "network.onnx"
    path.write_bytes(model.SerializeToString())
    assert read_onnx(path) == path.read_bytes()


def test_another_format_of_onnx_runtime_is_refused(tmp_path):
    path = tmp_path / "network.onnx"
    path.write_bytes(b"\x08\0\0\0ORTM" + bytes(100))
    with pytest.raises(ModelError, match="no ONNX model"):
        read_onnx(path)


def test_a_trained_network_still_predicts(trained):
    image = draw_discs(np.full((len(BODYPARTS), 2), 30.0), (64, 64))
    found = [
        load_predictor(trained.model("pose"), RuntimeOptions(runtime, threads=1)).predict([image])
        for runtime in ("onnx", "openvino", "torch")
    ]
    for one in found:
        assert np.isfinite(one.position).all()
        np.testing.assert_allclose(one.position, found[0].position, atol=0.05)
