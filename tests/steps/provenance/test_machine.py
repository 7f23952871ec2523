"""Test the description of the machine and its counters."""

import os
import platform

import pytest

from pipeline_lib.core import processor
from pipeline_lib.steps.provenance import machine
from pipeline_lib.steps.provenance.machine import (
    EnergyReading,
    describe_machine,
    measure_energy,
    read_energy,
)


@pytest.fixture
def counters(tmp_path, monkeypatch):
    """Simulate counters of two processor packages, one with a subdomain, and no NVIDIA driver."""
    monkeypatch.setattr(machine, "_POWER_COUNTERS", tmp_path)
    monkeypatch.setattr(machine, "_load_nvml", lambda: None)

    def write(name, microjoules):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "energy_uj").write_text(f"{microjoules}\n")
        (folder / "max_energy_range_uj").write_text("262143000000\n")

    write("intel-rapl:0", 5_000_000)
    write("intel-rapl:1", 262_142_000_000)
    write("intel-rapl:0:0", 1_000_000)
    return write


def test_packages_are_summed_and_their_parts_are_not(counters):
    before = read_energy()
    counters("intel-rapl:0", 7_500_000)
    counters("intel-rapl:0:0", 2_000_000)
    assert measure_energy(before, read_energy()) == {
        "joules": 2.5,
        "counters": ["intel-rapl:0", "intel-rapl:1"],
    }


def test_a_counter_that_starts_again_from_zero(counters):
    before = read_energy()
    counters("intel-rapl:1", 3_000_000)
    # One joule to its end at 262,143 J, and three from zero.
    assert measure_energy(before, read_energy())["joules"] == 4.0


def test_missing_energy_is_explained(tmp_path, monkeypatch, counters):
    del counters
    for folder in tmp_path.glob("intel-rapl:?"):
        (folder / "energy_uj").unlink()
    unreadable = read_energy()
    assert unreadable.joules == {}
    assert "No such file" in unreadable.reason
    monkeypatch.setattr(machine, "_POWER_COUNTERS", tmp_path / "nothing")
    found = measure_energy(read_energy(), read_energy())
    assert found == {"joules": None, "reason": "this machine has no energy counters"}
    assert measure_energy(EnergyReading({"a": 1.0}, {}, ""), EnergyReading({"b": 1.0}, {}, "")) == {
        "joules": None,
        "reason": "the counters changed in between",
    }


class Driver:
    """Simulate two devices: the first used 1.5 kJ, the second cannot be reached."""

    class NVMLError(Exception):
        """Stand for pynvml's error."""

    def nvmlDeviceGetCount(self):  # noqa: N802
        return 2

    def nvmlDeviceGetHandleByIndex(self, index):  # noqa: N802
        if index == 1:
            raise self.NVMLError
        return 100

    def nvmlDeviceGetTotalEnergyConsumption(self, device):  # noqa: N802
        assert device == 100
        return 1_500_000

    def nvmlDeviceGetName(self, device):  # noqa: N802
        assert device == 100
        return "NVIDIA Abacus"

    def nvmlSystemGetDriverVersion(self):  # noqa: N802
        return "580.1"

    def nvmlSystemGetCudaDriverVersion_v2(self):  # noqa: N802
        return 13020


class MuteDriver(Driver):
    """Simulate a driver that answers nothing."""

    def nvmlDeviceGetCount(self):  # noqa: N802
        raise self.NVMLError

    nvmlSystemGetDriverVersion = nvmlSystemGetCudaDriverVersion_v2 = nvmlDeviceGetCount  # noqa: N815


def test_the_simulated_functions_are_those_of_the_bindings():
    pynvml = pytest.importorskip("pynvml")
    names = [name for name in vars(Driver) if not name.startswith("_")]
    assert len(names) == 7
    assert [name for name in names if not hasattr(pynvml, name)] == []


def test_a_driver_that_answers_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "_POWER_COUNTERS", tmp_path)
    monkeypatch.setattr(machine, "_load_nvml", MuteDriver)
    assert [describe_machine()[name] for name in ("driver", "cuda", "devices")] == [None, None, []]
    assert read_energy().joules == {}


def test_devices_of_a_pretended_driver(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "_POWER_COUNTERS", tmp_path)
    monkeypatch.setattr(machine, "_load_nvml", Driver)
    found = describe_machine()
    assert (found["driver"], found["cuda"], found["devices"]) == (
        "580.1",
        "13.2",
        ["NVIDIA Abacus"],
    )
    assert read_energy().joules == {"nvidia:0": 1500.0}


def test_the_machine_is_described(tmp_path, monkeypatch):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: Abacus 3000\nmodel name\t: Another\n")
    monkeypatch.setattr(processor, "_PROCESSORS", cpuinfo)
    found = describe_machine()
    assert found["processor"] == "Abacus 3000"
    assert found["cores"] == len(os.sched_getaffinity(0))
    assert found["host"] == platform.node()
    monkeypatch.setattr(machine, "_load_nvml", lambda: None)
    assert [describe_machine()[name] for name in ("driver", "cuda", "devices")] == [None, None, []]
    cpuinfo.unlink()
    assert describe_machine()["processor"]
