"""Write the lock files beside this script: the pinned versions, for every platform and Python.

    python locks/write.py [--check]

- ``torch.txt``: PyTorch as it is on PyPI, with the CUDA libraries that it needs on Linux;
- ``torch-cpu.txt``: the same PyTorch, built for CPUs, from PyTorch's own index;
- ``run.txt``: all else that running needs, and the page for labelling;
- ``develop.txt``: what tests, checks and documentation need besides;
- ``uv.txt``: uv, which installs the others.

Each is complete, so that it can be installed with ``--no-deps``. Versions that are pinned already
stay as they are; to take newer ones, delete their lines. With ``--check`` nothing is written, and
the exit status is 1 if a file would change.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent / "pyproject.toml"
PYTHON = "3.11"
# What is of another build where PyTorch is.
TORCH = ("torch", "torchvision")
# The bindings of the driver, nvidia-ml-py, are none of CUDA's libraries.
CUDA = re.compile(r"nvidia-(?!ml-py)|cuda-|triton$")
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
NOTE = "# Written by `make lock`."

# A pin and its hashes, by the name of the package.
Pins = dict[str, str]


def main() -> None:
    """Write the files, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    texts = make_texts()
    changed = [name for name, text in texts.items() if read_text(HERE / name) != text]
    if check:
        sys.exit(f"not up to date: {', '.join(changed)}; run `make lock`" if changed else 0)
    for name in changed:
        (HERE / name).write_text(texts[name])


def make_texts() -> dict[str, str]:
    """Return the text of each lock file by its name."""
    # First all together: what both need is of one version.
    everything = resolve("--extra", "dev", constraints=read_pins())
    # Of what both need, the markers that hold for both.
    running = {name: everything[name] for name in resolve("--extra", "label", constraints=everything)}
    builds = {name: pin for name, pin in running.items() if name in TORCH or CUDA.match(name)}
    developing = {name: pin for name, pin in everything.items() if name not in running}
    cpu = [re.split(r" \\\n", builds[name], maxsplit=1)[0] for name in TORCH]
    return {
        "torch.txt": format_pins(builds),
        "torch-cpu.txt": "\n".join([NOTE, f"--index-url {CPU_INDEX}", *cpu, ""]),
        "run.txt": format_pins({n: pin for n, pin in running.items() if n not in builds}),
        "uv.txt": format_pins({"uv": developing.pop("uv")}),
        "develop.txt": format_pins(developing),
    }


def resolve(*options: str, constraints: Pins) -> Pins:
    """Return the pins, with hashes, of what the project needs on every platform."""
    with tempfile.TemporaryDirectory() as folder:
        held = Path(folder) / "constraints.txt"
        held.write_text("".join(f"{drop_hashes(pin)}\n" for pin in constraints.values()))
        command = [
            sys.executable,
            "-m",
            "uv",
            "pip",
            "compile",
            "--quiet",
            "--universal",
            "--python-version",
            PYTHON,
        ]
        command += ["--generate-hashes", "--no-header", "--no-annotate", "--no-emit-index-url"]
        command += ["--constraint", str(held), *options, str(PROJECT)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return split_pins(done.stdout)


def read_pins() -> Pins:
    """Return the pins of the lock files that there are."""
    files = ("torch.txt", "run.txt", "develop.txt", "uv.txt")
    return split_pins("".join(read_text(HERE / name) for name in files))


def split_pins(text: str) -> Pins:
    """Split the text of a lock file into its pins; one package may have several, by markers."""
    pins: Pins = {}
    for part in re.split(r"\n(?=\S)", text):
        pin = part.strip()
        if "==" in pin:
            name = pin.split("==", 1)[0]
            pins[name] = f"{pins[name]}\n{pin}" if name in pins else pin
    return pins


def drop_hashes(pin: str) -> str:
    """Return a pin, or several of one package, without hashes."""
    return re.sub(r" \\\n\s+--hash=\S+", "", pin)


def format_pins(pins: Pins) -> str:
    """Return the text of a lock file."""
    return "\n".join([NOTE, *pins.values(), ""])


def read_text(path: Path) -> str:
    """Return the text of a file; empty if there is none."""
    return path.read_text() if path.is_file() else ""


if __name__ == "__main__":
    main()
