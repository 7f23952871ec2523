"""Files that build environments: what can be checked of them without building."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parents[1]
ENVIRONMENTS = REPOSITORY / "workflow" / "envs"
POST_DEPLOY = ENVIRONMENTS / "cohortpose.post-deploy.sh"

HADOLINT = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")

# Packages that conda-forge has under another name.
CONDA_NAMES = {
    "dask": "dask-core",
    "opencv-python": "py-opencv",
    "tables": "pytables",
    "torch": "pytorch",
}
# Only the main process, Snakemake's own environment, needs them.
NOT_IN_JOBS = {"snakemake", "rocrate"}


def read_project():
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]


def read_constraints():
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    return [Requirement(line) for line in lines if not line.startswith("#")]


def read_definition():
    """Return the sections of the Apptainer definition; the header's under the name ``""``."""
    text = (ENVIRONMENTS / "cohortpose.def").read_text()
    parts = re.split(r"^%(\w+)\n", text, flags=re.MULTILINE)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def test_conda_gets_what_the_package_asks_for():
    """Name by name, with the same lower bounds."""
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


def test_constraints_fit_what_the_package_asks_for():
    project = read_project()
    pinned = {canonicalize_name(one.name): one for one in read_constraints()}
    asked = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    for requirement in map(Requirement, asked):
        pin = pinned.get(canonicalize_name(requirement.name))
        assert pin is not None, f"{requirement}: run `make lock`"
        (version,) = (one.version for one in pin.specifier)
        assert requirement.specifier.contains(version), f"{requirement}: pinned {version}"


def test_constraints_are_for_every_platform():
    constraints = read_constraints()
    assert all(one.operator == "==" for pin in constraints for one in pin.specifier)
    names = [canonicalize_name(pin.name) for pin in constraints]
    assert len(names) == len(set(names))
    cuda = [pin for pin in constraints if pin.name.startswith("nvidia-")]
    mac = {"sys_platform": "darwin", "platform_machine": "arm64", "platform_system": "Darwin"}
    linux = {"sys_platform": "linux", "platform_machine": "x86_64", "platform_system": "Linux"}
    assert cuda
    assert all(pin.marker and not pin.marker.evaluate(mac) for pin in cuda)
    assert all(pin.marker.evaluate(linux) for pin in cuda)


def test_what_runs_the_tests_is_what_is_pinned():
    differ = {}
    for pin in read_constraints():
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
