"""Test the files that define environments, as far as possible without building them."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parents[1]
ENVIRONMENTS = REPOSITORY / "workflow" / "envs"
LOCKS = REPOSITORY / "locks"
POST_DEPLOY = ENVIRONMENTS / "cohortpose.post-deploy.sh"

HADOLINT = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")

# Packages that conda-forge has under another name.
CONDA_NAMES = {
    "dask": "dask-core",
    "huggingface-hub": "huggingface_hub",
    "opencv-python": "py-opencv",
    "tables": "pytables",
    "torch": "pytorch",
}
# Only the main process, Snakemake's own environment, needs them.
NOT_IN_JOBS = {"snakemake", "rocrate"}


def read_project():
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]


def read_pins(*names):
    """Return the pins of lock files, without their hashes."""
    names = names or ("torch.txt", "run.txt", "develop.txt", "uv.txt")
    lines = [line for name in names for line in (LOCKS / name).read_text().splitlines()]
    pins = [line.removesuffix(" \\") for line in lines if line[:1] not in {"#", " ", "-"}]
    return [Requirement(pin) for pin in pins]


def read_definition():
    """Return the sections of the Apptainer definition; the header's under the name ``""``."""
    text = (ENVIRONMENTS / "cohortpose.def").read_text()
    parts = re.split(r"^%(\w+)\n", text, flags=re.MULTILINE)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def test_conda_gets_what_the_package_asks_for():
    """Compare name by name, with the same lower bounds."""
    values = yaml.safe_load((ENVIRONMENTS / "cohortpose.yaml").read_text())
    assert set(values) == {"channels", "dependencies"}
    (pip,) = (entry["pip"] for entry in values["dependencies"] if isinstance(entry, dict))
    conda = [entry for entry in values["dependencies"] if isinstance(entry, str)]
    found = dict(entry.split() for entry in (*conda, *pip) if " " in entry)
    requirements = map(Requirement, read_project()["dependencies"])
    wanted = {
        CONDA_NAMES.get(requirement.name, requirement.name): str(requirement.specifier)
        for requirement in requirements
        if requirement.name not in NOT_IN_JOBS
    }
    assert found == wanted | {"python": "=3.11"}


def test_locks_fit_what_the_package_asks_for():
    project = read_project()
    pinned = {canonicalize_name(one.name): one for one in read_pins()}
    asked = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    for requirement in map(Requirement, asked):
        pin = pinned.get(canonicalize_name(requirement.name))
        assert pin is not None, f"{requirement}: run `make lock`"
        (version,) = (one.version for one in pin.specifier)
        assert requirement.specifier.contains(version), f"{requirement}: pinned {version}"


def test_locks_are_for_every_platform():
    pins = read_pins()
    assert all(one.operator == "==" for pin in pins for one in pin.specifier)
    names = [canonicalize_name(pin.name) for pin in pins]
    assert len(names) == len(set(names))
    cuda = [pin for pin in pins if re.match(r"nvidia-(?!ml-py)", pin.name)]
    mac = {"sys_platform": "darwin", "platform_machine": "arm64", "platform_system": "Darwin"}
    linux = {"sys_platform": "linux", "platform_machine": "x86_64", "platform_system": "Linux"}
    assert cuda
    assert all(pin.marker and not pin.marker.evaluate(mac) for pin in cuda)
    assert all(pin.marker.evaluate(linux) for pin in cuda)


def test_every_pin_has_hashes():
    for name in ("torch.txt", "run.txt", "develop.txt", "uv.txt"):
        text = (LOCKS / name).read_text()
        pins = re.split(r"\n(?=\S)", text.split("\n", 1)[1].strip())
        assert [pin for pin in pins if "--hash=sha256:" not in pin] == []


def test_a_machine_without_a_gpu_gets_no_cuda():
    """Check that PyTorch for CPUs has the same version and that nothing brings CUDA's libraries."""
    cpu, usual = (
        {str(pin.specifier) for pin in read_pins(f)} for f in ("torch-cpu.txt", "torch.txt")
    )
    assert cpu <= usual
    assert [pin.name for pin in read_pins("torch-cpu.txt")] == ["torch", "torchvision"]
    other = [pin.name for pin in read_pins("run.txt", "develop.txt", "uv.txt")]
    assert [
        name for name in other if re.match(r"nvidia-(?!ml-py)|cuda|triton|torch$|torchvision", name)
    ] == []
    assert (
        "--index-url https://download.pytorch.org/whl/cpu\n"
        in (LOCKS / "torch-cpu.txt").read_text()
    )


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
@pytest.mark.parametrize("choice", ["pypi", "cpu"])
def test_locks_hold_all_that_running_needs(python, choice, tmp_path):
    """Resolve stubs of exactly the pinned versions, with the chosen build of PyTorch."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    files = {"pypi": ("torch.txt", "run.txt"), "cpu": ("torch-cpu.txt", "run.txt")}[choice]
    marker = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": "linux",
        "platform_machine": "x86_64",
        "platform_system": "Linux",
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
        "extra": "",
    }
    pins = [pin for pin in read_pins(*files) if not pin.marker or pin.marker.evaluate(marker)]
    build = "+cpu" if choice == "cpu" else ""
    for pin in pins:
        (version,) = (one.version for one in pin.specifier)
        local = build if pin.name in {"torch", "torchvision"} else ""
        write_stub(wheels, pin.name, f"{version}{local}", choice)
    done = subprocess.run(
        [sys.executable, "-m", "uv", "pip", "compile", "--no-index", "--find-links", wheels,
         "--python-version", python, "--python-platform", "x86_64-unknown-linux-gnu",
         "--no-header", "--no-annotate", "--offline", "--no-cache", "pyproject.toml"],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = {Requirement(line).name for line in done.stdout.splitlines()}
    assert found <= {canonicalize_name(pin.name) for pin in pins}
    torch = [line for line in done.stdout.splitlines() if line.startswith("torch==")]
    assert [line.endswith("+cpu") for line in torch] == [choice == "cpu"]


def write_stub(folder, name, version, choice):
    """Write a wheel with the metadata of the installed package and nothing else."""
    try:
        needs = metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        needs = []
    if choice == "cpu" and name == "torch":
        needs = [need for need in needs if not re.match(r"nvidia|cuda|triton", need)]
    stem = f"{canonicalize_name(name).replace('-', '_')}-{version}"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Dist: {need}" for need in needs]
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{stem}.dist-info/METADATA", "\n".join([*lines, ""]))
        wheel.writestr(f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{stem}.dist-info/RECORD", "")


def test_the_tests_run_with_the_pinned_versions():
    differ = {}
    for pin in read_pins():
        if pin.marker is None or pin.marker.evaluate():
            try:
                version = metadata.version(pin.name)
            except metadata.PackageNotFoundError:
                continue
            if not pin.specifier.contains(version, prereleases=True):
                differ[pin.name] = (str(pin.specifier), version)
    assert differ == {}


def copied_into_the_image():
    """Return what the Dockerfile copies from the repository."""
    text = (REPOSITORY / "Dockerfile").read_text()
    lines = re.findall(r"^COPY (?!--from)(.+)$", text, flags=re.MULTILINE)
    return {name for line in lines for name in line.split()[:-1]}


@pytest.mark.skipif(HADOLINT is None, reason="no wheel of hadolint for this machine")
def test_the_dockerfile_is_clean():
    done = subprocess.run(
        [HADOLINT, "Dockerfile"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_images_get_files_that_are_there():
    ignored = (REPOSITORY / ".dockerignore").read_text().splitlines()
    kept = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    assert ignored[0] == "*"
    assert copied_into_the_image() == kept
    assert [name for name in kept if not (REPOSITORY / name).exists()] == []
    files = [line.split() for line in read_definition()["files"].splitlines() if line.strip()]
    assert {source for source, _ in files} == kept
    assert all(target == f"/opt/cohortpose/{source}" for source, target in files)


def test_both_images_start_from_the_same():
    docker = re.findall(r"^FROM (\S+)", (REPOSITORY / "Dockerfile").read_text(), flags=re.MULTILINE)
    definition = read_definition()
    header = dict(line.split(": ") for line in definition[""].splitlines() if ": " in line[:20])
    assert header == {"Bootstrap": "docker", "From": docker[0]}
    assert set(docker) == {docker[0]}
    assert set(definition) - {""} == {"files", "post", "environment", "test", "labels", "help"}
    for line in definition["labels"].splitlines():
        assert not line.strip() or len(line.split(maxsplit=1)) == 2


@pytest.mark.parametrize("section", ["post", "environment", "test"])
def test_scripts_of_the_definition_are_shell(section):
    script = read_definition()[section]
    done = subprocess.run(["sh", "-n"], input=script, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def deploy(tmp_path):
    """Return a function that runs the post-deploy script with a Python that notes its arguments."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path / "called"}\n')
    python.chmod(0o755)

    def run(**variables):
        path = f"{tmp_path}:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", POST_DEPLOY],
            env={"PATH": path, **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        called = tmp_path / "called"
        return done, called.read_text().split() if called.exists() else []

    return run


def test_the_package_is_added_from_the_checkout(deploy):
    done, called = deploy(COHORTPOSE_SOURCE=str(REPOSITORY))
    assert done.returncode == 0, done.stderr
    expected = ["-m", "pip", "install", "--no-deps", "--editable", str(REPOSITORY)]
    assert called == expected


def test_the_package_is_added_from_an_address(deploy):
    done, called = deploy(COHORTPOSE_SOURCE="git+https://example.org/cohortpose@v1")
    assert done.returncode == 0, done.stderr
    assert called[-2:] == ["--no-deps", "git+https://example.org/cohortpose@v1"]


def test_without_a_source_nothing_of_that_name_is_installed(deploy):
    done, called = deploy()
    assert done.returncode == 1
    assert "COHORTPOSE_SOURCE is not set" in done.stderr
    assert called == []
