"""Describe the machine of a verb: processor, accelerators, and the energy of their counters."""

import ctypes
import platform
import socket
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pipeline_lib.core.process import count_cores

# Linux counts the energy of Intel's and AMD's processor packages here, in microjoules.
_POWER_COUNTERS = Path("/sys/class/powercap")
_PROCESSORS = Path("/proc/cpuinfo")

_NVML_LIBRARY = "libnvidia-ml.so.1"
_NVML_TEXT = 96


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
        "processor": _name_processor(),
        "cores": count_cores(),
        **_describe_devices(),
    }


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


def _name_processor() -> str:
    with suppress(OSError):
        for line in _PROCESSORS.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


@cache
def _load_nvml() -> ctypes.CDLL | None:
    """Return NVIDIA's management library, started; None where there is no driver.

    Neither torch nor ``nvidia-smi`` is asked: one takes seconds to import, the other to run.
    """
    try:
        library = ctypes.CDLL(_NVML_LIBRARY)
        return library if library.nvmlInit_v2() == 0 else None
    except (OSError, AttributeError):
        return None


def _list_devices(library: ctypes.CDLL) -> list[ctypes.c_void_p]:
    count = ctypes.c_uint(0)
    if library.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0:
        return []
    devices = []
    for index in range(count.value):
        device = ctypes.c_void_p()
        if library.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(device)) == 0:
            devices.append(device)
    return devices


def _describe_devices() -> dict[str, Any]:
    """Return driver, the newest CUDA that it can run, and the name of each device."""
    nothing: dict[str, Any] = {"driver": None, "cuda": None, "devices": []}
    library = _load_nvml()
    if library is None:
        return nothing
    text = ctypes.create_string_buffer(_NVML_TEXT)
    if library.nvmlSystemGetDriverVersion(text, _NVML_TEXT) == 0:
        nothing["driver"] = text.value.decode()
    number = ctypes.c_int(0)
    if library.nvmlSystemGetCudaDriverVersion_v2(ctypes.byref(number)) == 0:
        nothing["cuda"] = f"{number.value // 1000}.{number.value % 1000 // 10}"
    for device in _list_devices(library):
        if library.nvmlDeviceGetName(device, text, _NVML_TEXT) == 0:
            nothing["devices"].append(text.value.decode())
    return nothing


def _read_device_energy() -> dict[str, float]:
    library = _load_nvml()
    if library is None:
        return {}
    joules = {}
    for index, device in enumerate(_list_devices(library)):
        millijoules = ctypes.c_ulonglong(0)
        if library.nvmlDeviceGetTotalEnergyConsumption(device, ctypes.byref(millijoules)) == 0:
            joules[f"nvidia:{index}"] = millijoules.value / 1e3
    return joules
