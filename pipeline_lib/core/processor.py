"""Name the processor of this machine, with the instructions that networks use."""

import platform
from contextlib import suppress
from functools import cache
from pathlib import Path

_PROCESSORS = Path("/proc/cpuinfo")
# Of Linux' names: those that decide how fast a network runs in which precision.
_INSTRUCTIONS = (
    "avx2",
    "avx512f",
    "avx_vnni",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_bf16",
    "amx_int8",
    "asimddp",
    "bf16",
    "i8mm",
)


def name_processor() -> str:
    """Return the name of the processor: that of Linux, else whatever Python knows."""
    return _read_field("model name") or platform.processor() or platform.machine()


@cache
def describe_processor() -> str:
    """Return the name of the processor, and the instructions of it that networks use."""
    known = (_read_field("flags") or _read_field("Features")).split()
    found = [name for name in _INSTRUCTIONS if name in known]
    return f"{name_processor()} ({', '.join(found)})" if found else name_processor()


def _read_field(wanted: str) -> str:
    with suppress(OSError):
        for line in _PROCESSORS.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == wanted:
                return value.strip()
    return ""
