"""Test that training on two devices equals training on one, also after a stop.

In double precision, where equal mathematics shows: in single precision AdamW turns the last
digits of gradients that are zero but for rounding into steps of the learning rate, so that one
process differs from itself by 1e-3 when the frames of a batch come in another order.
"""

import os
import signal
import socket
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from pipeline_lib.core.errors import ModelError, PreemptedError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import write_resolved_config
from pipeline_lib.models.card import read_card
from pipeline_lib.models.training.history import HistoryWriter
from pipeline_lib.steps import train
from pipeline_lib.steps.make_targets.run import run_make_targets
from pipeline_lib.steps.provenance.jobs import read_all_jobs
from pipeline_lib.steps.train import run_train
from tests.core.test_process import LEFTOVERS
from tests.models.synthetic import tiny_config, write_tiny_labels
from tests.models.training.test_unsupervised import UNSUPERVISED, store_clips

# A plateau is found after epoch 5; cooled down, and validated every second epoch, it is epoch 8.
EPOCHS, MOST = 8, 20
STEPS = 3  # of an epoch: 10 frames in batches of 4, the last one filled up
SETTINGS = {
    "epochs": MOST,
    "stop": {"plateau": True, "span": 0.4, "gain": 0.9, "least_steps": 14},
    "validate_every": 2,
    "validation_fraction": 0.2,
    "precision": "64-true",
    "augmentation": {"mirror": True},
    "unsupervised": UNSUPERVISED,
}

# As the command line, but that one of the processes gets a signal after some steps.
_DRIVER = """
import faulthandler, os, signal
# Tells where it waits, if it does so for ever.
faulthandler.dump_traceback_later(200)
from pipeline_lib.cli import main
from pipeline_lib.models.training.history import HistoryWriter

keep, told = HistoryWriter.on_train_batch_end, os.environ.get("TOLD", "").split()

def end_batch(self, trainer, *rest):
    keep(self, trainer, *rest)
    if told == [str(trainer.global_rank), str(trainer.global_step)]:
        os.kill(os.getpid(), signal.SIGTERM)

HistoryWriter.on_train_batch_end = end_batch
main()
"""


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def make_run(tmp_path_factory):
    """Make folders with targets in them; one of three validation frames has no second device."""
    made = Results(tmp_path_factory.mktemp("made"))
    write_tiny_labels(made, train=10, validation=3)
    run_make_targets(tiny_config(), made)
    store_clips(made.clips)

    def make() -> Results:
        results = Results(tmp_path_factory.mktemp("run") / "results")
        results.targets.parent.mkdir(parents=True)
        results.targets.symlink_to(made.targets)
        results.clips.symlink_to(made.clips)
        return results

    return make


def train_on(
    devices: int, results: Results, told: str = "", launcher: dict[str, str] | None = None
) -> subprocess.Popen:
    """Start the command line in a folder of its own."""
    folder = results.root.parent
    config = tiny_config(**SETTINGS | {"devices": devices})
    (folder / "config.yaml").write_text(write_resolved_config(config))
    (folder / "driver.py").write_text(_DRIVER)
    command = [sys.executable, folder / "driver.py", "--directory", folder.name, "train"]
    return subprocess.Popen(
        [*command, "--config", "config.yaml"],
        cwd=folder.parent,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TOLD": told, **(launcher or {})},
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process: subprocess.Popen, status: int = 0) -> str:
    _, log = process.communicate(timeout=240)
    assert process.returncode == status, log
    return log


def stop_here(monkeypatch, step: int, number: signal.Signals = signal.SIGTERM) -> None:
    """Send this process a signal after a step."""
    keep = HistoryWriter.on_train_batch_end

    def end_batch(self, trainer, *rest):
        keep(self, trainer, *rest)
        if trainer.global_step == step:
            monkeypatch.undo()
            os.kill(os.getpid(), number)

    monkeypatch.setattr(HistoryWriter, "on_train_batch_end", end_batch)


def read_state(results: Results, name: str = "last.ckpt") -> dict:
    return torch.load(results.model("pose").checkpoints / name, weights_only=True)


def read_history(results: Results) -> pd.DataFrame:
    return pd.read_csv(results.model("pose").history, sep="\t")


def assert_same_numbers(one: Results, other: Results) -> None:
    """Compare weights, batch-norm statistics, optimiser and curves, up to rounding."""
    a, b = read_state(one), read_state(other)
    assert (a["epoch"], a["global_step"]) == (b["epoch"], b["global_step"])
    assert a["state_dict"].keys() == b["state_dict"].keys()
    for name, value in a["state_dict"].items():
        torch.testing.assert_close(b["state_dict"][name], value, rtol=1e-7, atol=1e-9, msg=name)
    histories = [read_history(results) for results in (one, other)]
    keys = ["epoch", "step", "metric"]
    pd.testing.assert_frame_equal(histories[0][keys], histories[1][keys])
    # Single-precision digits are what a log of Lightning has.
    np.testing.assert_allclose(histories[0]["value"], histories[1]["value"], rtol=1e-6, atol=1e-9)
    names = [read_card(results.model("pose").card).training.checkpoint for results in (one, other)]
    assert names[0] == names[1]


@pytest.fixture(scope="module")
def alone(make_run):
    results = make_run()
    run_train(tiny_config(**SETTINGS), results)
    return results


@pytest.fixture(scope="module")
def together(make_run):
    """Start two processes at once as `srun` does, distinguished by SLURM's variables.

    The port is free when it is chosen; another process may take it before the first task does.
    """
    try:
        return start_step(make_run())
    except subprocess.TimeoutExpired as error:
        warnings.warn((error.stderr or b"").decode(errors="replace"), stacklevel=1)
        return start_step(make_run())


def start_step(results):
    """Run a training of two tasks to its end; return what they said."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    job = {
        "SLURM_JOB_ID": "17",
        "SLURM_STEP_ID": "0",
        "SLURM_NNODES": "1",
        "SLURM_NODEID": "0",
        "SLURM_NODELIST": "127.0.0.1",
        "SLURM_NTASKS": "2",
        "SLURM_NTASKS_PER_NODE": "2",
        "MASTER_PORT": str(port),
    }
    tasks = [
        train_on(2, results, launcher={**job, "SLURM_PROCID": rank, "SLURM_LOCALID": rank})
        for rank in ("1", "0")
    ]
    try:
        return results, "".join(end(task) for task in tasks)
    finally:
        for task in tasks:
            task.kill()


def test_two_processes_train_what_one_does(alone, together):
    """Train 24 steps with different numbers of labels on both sides, and augmentation."""
    results, _ = together
    assert read_state(results)["global_step"] == EPOCHS * STEPS
    assert_same_numbers(alone, results)
    errors = read_history(alone).query("metric == 'validation_error'")["value"]
    assert len(errors) == 4
    assert errors.notna().all()


def test_one_process_writes(alone, together):
    results, log = together
    files = [sorted(p.name for p in r.model("pose").folder.rglob("*")) for r in (alone, results)]
    assert files[0] == files[1]
    assert [job["ended"] for job in read_all_jobs(results)] == ["done"]
    assert log.count("epoch 2 of 20") == 1
    assert log.count("epoch 5: the loss has flattened; cooling down until epoch 8") == 1
    assert log.count("network of 24 steps") == 1


@pytest.mark.parametrize("devices", [(2, 1), (1, 2)])
def test_stopped_amid_an_epoch_and_resumed_with_other_devices(devices, alone, make_run):
    """Signal the last process only: all of them stop after the same step."""
    before, after = devices
    results = make_run()
    log = end(train_on(before, results, told=f"{before - 1} {2 * STEPS + 1}"), status=75)
    assert log.count("stopped by a signal and saved after 7 steps") == 1
    assert read_state(results)["global_step"] == 7
    assert not results.model("pose").card.exists()
    log = end(train_on(after, results))
    assert log.count("resuming from") == 1
    assert_same_numbers(alone, results)


@pytest.mark.parametrize(
    ("step", "settings"),
    [
        (1, {}),
        (STEPS, {}),
        (4 * STEPS, {}),
        (5 * STEPS, {}),
        (6 * STEPS + 1, {}),
        (STEPS + 2, {}),
        (STEPS + 2, {"loader_workers": 1}),
        (STEPS + 2, {"precision": "32-true"}),
    ],
)
def test_stopped_at_any_step_it_ends_to_the_bit_as_undisturbed(
    step, settings, alone, make_run, monkeypatch
):
    """Stop in the first epoch, at the end of one with and without validation, in a later one."""
    config = tiny_config(**SETTINGS | settings)
    undisturbed = alone
    if "precision" in settings:
        undisturbed = make_run()
        run_train(config, undisturbed)
    results = make_run()
    stop_here(monkeypatch, step)
    with pytest.raises(PreemptedError, match=f"saved after {step} steps"):
        run_train(config, results)
    run_train(config, results)
    one, other = read_state(undisturbed), read_state(results)
    assert one["global_step"] == other["global_step"] == EPOCHS * STEPS
    for name, value in one["state_dict"].items():
        assert torch.equal(value, other["state_dict"][name]), name
    histories = [r.model("pose").history.read_text() for r in (undisturbed, results)]
    assert histories[0] == histories[1]


def test_a_signal_in_the_last_epoch_lets_the_training_end(make_run, monkeypatch):
    """Check that nothing is left to save."""
    results = make_run()
    stop_here(monkeypatch, STEPS)
    run_train(tiny_config(**SETTINGS | {"epochs": 1}), results)
    assert read_card(results.model("pose").card).training.steps == STEPS


def test_before_its_time_is_over_a_slurm_job_is_requeued(make_run, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "pipeline_lib.models.training.checkpoints.requeue_slurm_job",
        lambda: asked.append(1) or True,
    )
    with monkeypatch.context() as context:
        stop_here(context, 2, signal.SIGUSR1)
        with pytest.raises(PreemptedError, match="SLURM will start it again"):
            run_train(tiny_config(**SETTINGS), make_run())
    assert asked == [1]
    # SIGTERM also comes from scancel: whoever wants the job to end must not see it again.
    with monkeypatch.context() as context:
        stop_here(context, 2)
        with pytest.raises(PreemptedError, match="the same command resumes from there"):
            run_train(tiny_config(**SETTINGS), make_run())
    assert asked == [1]


def test_other_ranks_wait_until_the_checkpoints_are_in_order(make_run, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "a")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(train, "_PATIENCE", 0.2)
    results = make_run()
    results.model("pose").checkpoints.mkdir(parents=True)
    marker = Path(results.model("pose").checkpoints / "key.txt")
    marker.write_text("of another training\n")
    with pytest.raises(ModelError, match="the first process of this training has not written"):
        run_train(tiny_config(), results)
    assert marker.read_text() == "of another training\n"


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        (
            {"SLURM_NTASKS": "2", "SLURM_STEP_ID": "0", "SLURM_NTASKS_PER_NODE": "2"},
            r"`devices=1` in Lightning, but the number of tasks per node",
        ),
        (
            {"RANK": "0", "TORCHELASTIC_RUN_ID": "a", "WORLD_SIZE": "2", "LOCAL_RANK": "0"},
            "does not match the world size",
        ),
    ],
)
def test_launchers_and_settings_that_disagree(environment, message, make_run, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ModelError, match=message):
        run_train(tiny_config(), make_run())


def test_several_nodes_without_a_launcher_are_refused_at_once(make_run, monkeypatch):
    """Check that no process waits for the others for ever."""
    monkeypatch.setenv("SLURM_NTASKS", "2")
    with pytest.raises(ModelError, match=r"on 2 nodes is started as one task.*put `srun` before"):
        run_train(tiny_config(num_nodes=2), make_run())


@pytest.mark.parametrize("place", ["an interactive step", "a pod", "LSF"])
def test_without_a_launcher_it_trains_like_a_workstation(place, make_run):
    """Set the variables of Snakemake's jobs, of shells in allocations, and of pods."""
    results = make_run()
    end(train_on(1, results, launcher=LEFTOVERS[place]))
    assert read_card(results.model("pose").card).training.epochs == EPOCHS
    assert [job["ended"] for job in read_all_jobs(results)] == ["done"]


def test_devices_of_an_allocation_are_lightnings_to_start(alone, make_run):
    results = make_run()
    said = end(train_on(2, results, launcher=LEFTOVERS["a batch script"]))
    assert said.count("network of") == 1
    assert_same_numbers(alone, results)
