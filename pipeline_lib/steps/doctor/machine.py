"""Check cores, memory, the limits of control groups, OpenMP and the GPU."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from pipeline_lib.core.process import count_cores
from pipeline_lib.steps.doctor.check import Check, judge
from pipeline_lib.steps.provenance.machine import describe_machine

GROUPS = Path("/sys/fs/cgroup")
_MEMORY = Path("/proc/meminfo")
_OWN_GROUPS = Path("/proc/self/cgroup")

_GIGABYTE = 1e9
_LEAST_GIGABYTES, _GOOD_GIGABYTES = 1.0, 4.0
# Limits of control groups above this are none.
_NO_LIMIT = 2**60


def check_machine(environment: Mapping[str, str]) -> Iterator[Check]:
    """Yield the checks of processor, memory and OpenMP."""
    cores = count_cores()
    yield judge_cores(cores, os.cpu_count() or cores, find_quota())
    yield judge_memory(find_available(), find_memory_limit())
    yield from judge_openmp(environment, cores)


def judge_cores(cores: int, there: int, quota: float | None) -> Check:
    """Judge the cores of this process.

    Parameters
    ----------
    cores
        Cores that it may run on.
    there
        Cores of the machine.
    quota
        Cores whose time its control group may use; None: all.
    """
    found = f"{cores} of {there} cores"
    if quota is None or quota >= cores:
        return judge("cores", found)
    whole = max(1, int(quota))
    return judge(
        "cores",
        f"{found}, but the control group limits their time to that of {quota:g}",
        warn=f"run snakemake with `--cores {whole}`: more workers than that hold each other up",
    )


def judge_memory(available: float | None, limit: float | None) -> Check:
    """Judge the memory that is available, and the limit of the control group; in bytes."""
    known = [value for value in (available, limit) if value is not None]
    if not known:
        return judge("memory", "this system does not tell")
    least = min(known) / _GIGABYTE
    found = f"{least:.1f} GB available"
    if limit is not None and limit == min(known):
        found += " (the limit of the control group)"
    more = "close other programs, ask for more memory, or set `inference.workers: 1`"
    return judge(
        "memory",
        found,
        warn=more if least < _GOOD_GIGABYTES else "",
        fail=more if least < _LEAST_GIGABYTES else "",
    )


def judge_openmp(environment: Mapping[str, str], cores: int) -> Iterator[Check]:
    """Judge the number of threads and the waiting of OpenMP."""
    threads = environment.get("OMP_NUM_THREADS", "")
    found, warn, fail = f"OMP_NUM_THREADS={threads}" if threads else "threads: by the cores", "", ""
    if threads and not re.fullmatch(r"[1-9]\d*(,[1-9]\d*)*", threads):
        fail = "OMP_NUM_THREADS must be a number of threads: correct it, or `unset` it"
    elif threads and int(threads.split(",")[0]) > cores:
        warn = f"more threads than the {cores} cores: `unset OMP_NUM_THREADS`"
    yield judge("OpenMP threads", found, warn=warn, fail=fail)
    policy = environment.get("OMP_WAIT_POLICY", "").upper()
    spins = policy == "ACTIVE" or environment.get("KMP_BLOCKTIME", "0") not in ("", "0")
    yield judge(
        "OpenMP waiting",
        f"OMP_WAIT_POLICY={policy}" if policy else "as the runtime decides",
        warn="idle threads spin and hold other processes up: `unset OMP_WAIT_POLICY KMP_BLOCKTIME`"
        if spins
        else "",
    )


def find_available() -> float | None:
    """Return the bytes of memory that programs can get; None where the system does not tell."""
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB", _MEMORY.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024.0 if found else None


def find_quota() -> float | None:
    """Return the least quota of processor time of this process's control groups, in cores."""
    found = []
    for folder in _list_groups("cpu"):
        parts = _read(folder / "cpu.max").split()
        parts = parts or [_read(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period")]
        if len(parts) == 2 and all(re.fullmatch(r"\d+", part) for part in parts):
            found.append(int(parts[0]) / max(1, int(parts[1])))
    return min(found, default=None)


def find_memory_limit() -> float | None:
    """Return the least limit of memory of this process's control groups, in bytes."""
    found = []
    for folder in _list_groups("memory"):
        text = _read(folder / "memory.max") or _read(folder / "memory.limit_in_bytes")
        if text.isdecimal() and int(text) < _NO_LIMIT:
            found.append(float(text))
    return min(found, default=None)


def _list_groups(controller: str) -> Iterator[Path]:
    """Yield the folders of this process's control groups, of both versions, and those above."""
    for line in _read(_OWN_GROUPS).splitlines():
        _, names, path = line.split(":", 2)
        if names not in ("", controller) and controller not in names.split(","):
            continue
        root = GROUPS if not names else GROUPS / controller
        folder = root / path.lstrip("/")
        # In a container, the path may be that of the host; the root is its own group then.
        yield from (one for one in (folder, *folder.parents) if one.is_relative_to(root))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def check_torch() -> Iterator[Check]:
    """Yield the checks of PyTorch and the GPU; loads PyTorch."""
    machine = describe_machine()
    try:
        import torch  # noqa: PLC0415 - takes seconds
    except Exception as error:  # noqa: BLE001 - a broken build raises anything
        yield judge(
            "PyTorch",
            f"cannot be loaded: {error}",
            fail="install the package again in a new environment: see the page on installing",
        )
        return
    built = torch.version.cuda or torch.version.hip
    yield judge(
        "PyTorch", f"{torch.__version__}, built for {f'CUDA {built}' if built else 'processors'}"
    )
    yield judge_gpu(machine, built, usable=bool(torch.cuda.is_available()))


def judge_gpu(machine: Mapping[str, object], built: str | None, *, usable: bool) -> Check:
    """Judge whether the GPUs of the machine can be used by this PyTorch."""
    devices = machine["devices"]
    names = ", ".join(map(str, devices)) if isinstance(devices, list) else ""
    if not names:
        return judge("GPU", "none that the NVIDIA driver tells of: networks run on processors")
    if usable:
        return judge("GPU", f"{names} (driver {machine['driver']}, CUDA {machine['cuda']})")
    mend = (
        "this PyTorch is built without CUDA: install a build with it"
        if built is None
        else f"PyTorch is built for CUDA {built}, the driver runs up to {machine['cuda']}: update "
        "the driver or install an older build; or CUDA_VISIBLE_DEVICES hides the GPU"
    )
    return judge("GPU", f"{names}, but PyTorch cannot use it", warn=mend)
