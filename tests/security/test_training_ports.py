"""Test the ports of a training with several processes on one node."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from torch.distributed import TCPStore

from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.network import TrainingSettings
from pipeline_lib.core.settings.reading import write_resolved_config
from pipeline_lib.models.training.rendezvous import LoopbackEnvironment
from pipeline_lib.models.training.run import _choose_environment
from pipeline_lib.steps.make_targets.run import run_make_targets
from tests.models.synthetic import tiny_config, write_tiny_labels


def list_hosts(process):
    """Return the addresses on which a process and its children listen."""
    found = set()
    for one in (process, *process.children(recursive=True)):
        for link in one.net_connections(kind="inet"):
            # One with a remote address, such as that of a name query, hears nobody else.
            open_to_all = link.type == socket.SOCK_DGRAM and not link.raddr
            if link.status == psutil.CONN_LISTEN or open_to_all:
                found.add((one.pid == process.pid, link.laddr.ip))
    return found


def test_two_processes_meet_on_loopback(tmp_path):
    results = Results(tmp_path / "results")
    write_tiny_labels(results, train=10, validation=3)
    config = tiny_config(devices=2, accelerator="cpu", epochs=1)
    run_make_targets(config, results)
    (tmp_path / "config.yaml").write_text(write_resolved_config(config))
    found = set()
    with (tmp_path / "log").open("w") as log:
        started = subprocess.Popen(
            [Path(sys.executable).with_name("cohortpose"), "train", "--config", "config.yaml"],
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stderr=log,
        )
        while started.poll() is None:
            try:
                found |= list_hosts(psutil.Process(started.pid))
            except psutil.Error:
                continue
            time.sleep(0.05)
    assert started.returncode == 0, (tmp_path / "log").read_text()
    # The first process has the rendezvous, both have Gloo.
    assert found == {(True, "127.0.0.1"), (False, "127.0.0.1")}


@pytest.fixture
def alone(monkeypatch):
    """Remove the variables of every launcher."""
    for name in ("LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "GLOO_SOCKET_IFNAME"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_pytorch_finds_the_server_and_opens_no_other(alone):
    alone.setenv("MASTER_ADDR", "elsewhere")
    environment = LoopbackEnvironment()
    port = environment.main_port
    this = psutil.Process()
    before = [link for link in this.net_connections("inet") if link.status == psutil.CONN_LISTEN]
    assert environment.main_address == "127.0.0.1"
    # As `torch.distributed.init_process_group` has it for the first process.
    store = TCPStore("127.0.0.1", port, 1, is_master=True, multi_tenant=True)
    store.set("key", "value")
    assert TCPStore("127.0.0.1", port, is_master=False).get("key") == b"value"
    after = [link for link in this.net_connections("inet") if link.status == psutil.CONN_LISTEN]
    assert after == before
    assert ("127.0.0.1", port) in [link.laddr for link in after]
    assert os.environ["GLOO_SOCKET_IFNAME"] in ("lo", "lo0")
    environment.teardown()
    assert "GLOO_SOCKET_IFNAME" not in os.environ


def test_variables_set_by_the_user_are_kept(alone):
    alone.setenv("GLOO_SOCKET_IFNAME", "eth7")
    environment = LoopbackEnvironment()
    assert environment.main_port > 0
    assert os.environ["GLOO_SOCKET_IFNAME"] == "eth7"
    environment.teardown()
    assert os.environ["GLOO_SOCKET_IFNAME"] == "eth7"


def test_a_process_with_a_rank_opens_nothing(alone):
    alone.setenv("LOCAL_RANK", "1")
    alone.setenv("MASTER_PORT", "1234")
    environment = LoopbackEnvironment()
    assert environment.main_port == 1234
    assert environment._server is None


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({}, LoopbackEnvironment),
        ({"strategy": "ddp"}, LoopbackEnvironment),
        ({"strategy": "ddp_spawn"}, LightningEnvironment),
        ({"num_nodes": 2}, LightningEnvironment),
    ],
)
def test_only_processes_on_this_node_meet_there(alone, settings, kind):
    for name in ("SLURM_NTASKS", "TORCHELASTIC_RUN_ID"):
        alone.delenv(name, raising=False)
    if settings.get("num_nodes"):
        # Started by hand on each: nobody else starts processes on several nodes without `srun`.
        alone.setenv("NODE_RANK", "0")
        alone.setenv("MASTER_ADDR", "127.0.0.1")
    assert torch.distributed.is_available()
    assert type(_choose_environment(TrainingSettings(**settings))) is kind
