"""Train twice from scratch with `deterministic`: the same bytes."""

import pytest
import torch

from pipeline_lib.core.layout import Results
from pipeline_lib.steps.make_targets.run import run_make_targets
from pipeline_lib.steps.train import run_train
from tests.models.synthetic import tiny_config, write_tiny_labels


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Make two results folders, each with its own labels, targets and network."""
    config = tiny_config(deterministic=True, epochs=2, validation_fraction=0.2, checkpoint="best")
    runs = []
    for name in ("one", "other"):
        results = Results(tmp_path_factory.mktemp(name))
        write_tiny_labels(results, validation=2)
        run_make_targets(config, results)
        run_train(config, results)
        runs.append(results.model("pose"))
    return runs


@pytest.mark.parametrize("name", ["network", "weights", "history"])
def test_the_exported_network_is_the_same(trained, name):
    one, other = (getattr(files, name).read_bytes() for files in trained)
    assert len(one) > 100
    assert one == other


@pytest.mark.parametrize("name", ["last.ckpt", "best.ckpt"])
def test_the_checkpoints_are_the_same(trained, name):
    """Compare weights, batch-norm statistics, optimiser, schedule and loops, to the bit."""
    one, other = (torch.load(files.checkpoints / name, weights_only=True) for files in trained)
    assert one["optimizer_states"][0]["state"]
    assert list(flatten(one)) == list(flatten(other))


def flatten(value, name=""):
    """Yield the name and the bytes of everything in a nested state."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from flatten(item, f"{name}.{key}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from flatten(item, f"{name}.{index}")
    elif isinstance(value, torch.Tensor):
        yield name, value.dtype, value.shape, value.contiguous().numpy().tobytes()
    else:
        yield name, repr(value)


def test_flattening_sees_a_changed_bit():
    state = {"a": [torch.zeros(2), {"b": 1}]}
    other = {"a": [torch.tensor([0.0, -0.0]), {"b": 1}]}
    assert list(flatten(state)) != list(flatten(other))
    assert [name for name, *_ in flatten(state)] == [".a.0", ".a.1.b"]
