"""Test the launch of a training over several nodes: its resources and its command."""

import pytest

from pipeline_lib.core.errors import ConfigError
from pipeline_lib.core.settings.network import TrainingSettings
from pipeline_lib.steps.runs.srun_launcher import ask_for_tasks, write_launcher


def launch(threads=8, **settings):
    return write_launcher(ask_for_tasks(TrainingSettings(**settings)), threads)


def test_on_one_node_the_job_is_one_task():
    assert ask_for_tasks(TrainingSettings(devices=4)) == {}
    assert launch(devices=4) == launch(devices="auto") == ""


def test_four_devices_on_each_of_two_nodes():
    asked = ask_for_tasks(TrainingSettings(devices=4, num_nodes=2))
    assert asked == {"mpi": "srun", "nodes": 2, "tasks_per_node": 4}
    command = launch(devices=4, num_nodes=2)
    assert command == "srun --kill-on-bad-exit=1 --nodes=2 --ntasks-per-node=4 --cpus-per-task=8 "


def test_one_device_on_each_of_three_nodes():
    asked = ask_for_tasks(TrainingSettings(devices=1, num_nodes=3))
    assert asked == {"mpi": "srun", "nodes": 3, "tasks": 3, "tasks_per_gpu": 1}
    assert "--nodes=3 --ntasks-per-node=1 " in launch(devices=1, num_nodes=3)


def test_a_user_may_ask_for_tasks_on_one_node():
    command = write_launcher({"mpi": "srun", "tasks_per_node": 2, "mem_mb": 100}, threads=1)
    assert "--nodes=1 --ntasks-per-node=2 --cpus-per-task=1 " in command


def test_an_unknown_number_of_devices_is_refused():
    with pytest.raises(ConfigError, match=r"`training.devices`: .* found 'auto'"):
        ask_for_tasks(TrainingSettings(num_nodes=2))
