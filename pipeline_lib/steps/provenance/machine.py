"""Describe the machine of a verb: processor, accelerators, and the energy of their counters."""

import platform
import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import Any

from pipeline_lib.core.process import count_cores
from pipeline_lib.core.processor import name_processor

# Linux counts the energy of Intel's and AMD's processor packages here, in microjoules.
_POWER_COUNTERS = Path("/sys/class/powercap")


@dataclass(frozen=True)
class EnergyReading:
    """Hold energy counters of one moment; only differences have a meaning.

    Attributes
    ----------
    joules
        Reading of each counter by its name.
    wraps
        Where a counter of that name starts again from zero, in joules.
    reason
        Why nothing could be read; empty if something was.
    """

    joules: dict[str, float]
    wraps: dict[str, float]
    reason: str


def describe_machine() -> dict[str, Any]:
    """Return host, operating system, processor, cores of this process, and NVIDIA devices."""
    return {
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "processor": name_processor(),
        "cores": count_cores(),
        **_describe_devices(),
    }


def count_visible_devices(environment: Mapping[str, str]) -> int:
    """Return the number of NVIDIA devices that CUDA shows to this process.

    Parameters
    ----------
    environment
        Its variables; ``CUDA_VISIBLE_DEVICES`` lists those that are shown, up to the first one that
        is none.
    """
    there = len(_describe_devices()["devices"])
    listed = environment.get("CUDA_VISIBLE_DEVICES")
    if listed is None:
        return there
    names = (name.strip() for name in listed.split(","))
    return min(there, sum(1 for _ in takewhile(lambda name: name not in ("", "-1"), names)))


def read_energy() -> EnergyReading:
    """Read the energy counters of processors and NVIDIA devices."""
    joules: dict[str, float] = {}
    wraps: dict[str, float] = {}
    reason = "this machine has no energy counters"
    # Packages only; their parts (cores, memory) are below them.
    for counter in sorted(_POWER_COUNTERS.glob("intel-rapl:*")):
        if counter.name.count(":") > 1:
            continue
        try:
            joules[counter.name] = int((counter / "energy_uj").read_text()) / 1e6
            wraps[counter.name] = int((counter / "max_energy_range_uj").read_text()) / 1e6
        except (OSError, ValueError) as error:
            joules.pop(counter.name, None)
            reason = f"{counter}: {error}"
    joules |= _read_device_energy()
    return EnergyReading(joules, wraps, "" if joules else reason)


def measure_energy(before: EnergyReading, after: EnergyReading) -> dict[str, Any]:
    """Return the energy between two readings, used by everything on the machine.

    Returns
    -------
    dict
        ``joules``, and ``counters`` that were summed; without counters ``joules`` is None and
        ``reason`` says why.
    """
    names = sorted(before.joules.keys() & after.joules.keys())
    if not names:
        return {
            "joules": None,
            "reason": after.reason or before.reason or "the counters changed in between",
        }
    used = 0.0
    for name in names:
        change = after.joules[name] - before.joules[name]
        used += change if change >= 0 else change + after.wraps.get(name, 0.0)
    return {"joules": round(used, 3), "counters": names}


@cache
def _load_nvml() -> Any | None:  # noqa: ANN401 - pynvml is not typed
    """Return the bindings of NVIDIA's management library, started; None without a driver.

    Neither torch nor ``nvidia-smi`` is asked: one takes seconds to import, the other to run.
    """
    import pynvml  # noqa: PLC0415 - only what is measured needs it

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml


def _list_devices(nvml: Any) -> Iterator[tuple[int, Any]]:  # noqa: ANN401
    """Yield the number and the handle of each device that can be reached."""
    with suppress(nvml.NVMLError):
        for number in range(nvml.nvmlDeviceGetCount()):
            with suppress(nvml.NVMLError):
                yield number, nvml.nvmlDeviceGetHandleByIndex(number)


def _describe_devices() -> dict[str, Any]:
    """Return driver, the newest CUDA that it can run, and the name of each device."""
    found: dict[str, Any] = {"driver": None, "cuda": None, "devices": []}
    nvml = _load_nvml()
    if nvml is None:
        return found
    with suppress(nvml.NVMLError):
        found["driver"] = nvml.nvmlSystemGetDriverVersion()
    with suppress(nvml.NVMLError):
        version = nvml.nvmlSystemGetCudaDriverVersion_v2()
        found["cuda"] = f"{version // 1000}.{version % 1000 // 10}"
    for _, device in _list_devices(nvml):
        with suppress(nvml.NVMLError):
            found["devices"].append(nvml.nvmlDeviceGetName(device))
    return found


def _read_device_energy() -> dict[str, float]:
    """Return the joules that each device has used since its driver was loaded."""
    nvml = _load_nvml()
    if nvml is None:
        return {}
    joules = {}
    for number, device in _list_devices(nvml):
        with suppress(nvml.NVMLError):
            joules[f"nvidia:{number}"] = nvml.nvmlDeviceGetTotalEnergyConsumption(device) / 1e3
    return joules
