"""Provide the labelled projects of the benchmarks: fetch and check their files, write configs.

A project is read from the folder that the variable COHORTPOSE_DATA names, or downloaded from
GitHub at a pinned commit. Each file must have the SHA-256 in the registry beside this module, so
that a figure belongs to exactly these files.
"""

import argparse
import copy
import json
import logging
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import pooch
import yaml

from pipeline_lib.core.errors import CohortposeError, StoreError
from pipeline_lib.core.settings.chosen import TUNABLE
from pipeline_lib.core.settings.reading import parse_config

DATA_VARIABLE = "COHORTPOSE_DATA"
DOWNLOAD_ATTEMPTS = 3

OPENFIELD_CONFIG = """\
# DeepLabCut's open-field mouse, seen from above. Paths are relative to this folder.
cohort: cohort.tsv
results: results

skeleton:
  bodyparts: [snout, leftear, rightear, tailbase]
  edges:
    - [snout, leftear]
    - [snout, rightear]
    - [leftear, tailbase]
    - [rightear, tailbase]
  symmetries:
    - [leftear, rightear]

labels:
  - path: $project
    format: deeplabcut

frames:
  extract: true
  number: 20

targets:
  scale: 1.0
  stride: 8
  sigma: 6.0
  pos_dist_thresh: 12.0

training:
  crop: 288
  batch_size: 8
  epochs: 50
  split:
    method: random
    test_fraction: 0.05
  augmentation:
    rotation: 180
    mirror: false
    translation: 0.25

locating:
  scale: 0.25
  window: 224

report:
  title: DeepLabCut's open-field mouse
"""

MIRROR_MOUSE_CONFIG = """\
# Lightning Pose's head-fixed mouse: side view above, mirrored bottom view below, in one image.
cohort: cohort.tsv
results: results

skeleton:
  bodyparts: [
    paw1LH_top, paw2LF_top, paw3RF_top, paw4RH_top, tailBase_top, tailMid_top, nose_top, obs_top,
    paw1LH_bot, paw2LF_bot, paw3RF_bot, paw4RH_bot, tailBase_bot, tailMid_bot, nose_bot,
    obsHigh_bot, obsLow_bot]

labels:
  - path: $project
    format: lightning-pose

targets:
  scale: 1.0
  stride: 8
  sigma: 6.0
  pos_dist_thresh: 12.0

training:
  crop: null
  batch_size: 8
  epochs: 30
  split:
    method: random
    test_fraction: 0.1
  # The camera, the mirror and the mouse's head stand still.
  augmentation:
    rotation: 10
    mirror: false
    scale: [0.9, 1.1]
    translation: 0.05

locating:
  scale: 0.25
  window: 224

report:
  title: Lightning Pose's mirror mouse
"""

MIRROR_MOUSE_REMARK = """\
Compared: the mean Euclidean distance in px of the 396 x 406 px frames, over all labelled points
of both views, each of the 90 example frames tested once by networks trained on the other folds.

Lightning Pose's documentation (its page on mixed precision, at the pinned commit) gives
7.11 ± 0.11 px for `mirror-mouse-fused`: both views in one image, 100 training frames, ResNet-50
pretrained on AP-10K, three seeds. That data set has the 14 keypoints of the mouse without the
three of the obstacle, so the row without them is the one to hold beside it. Its frames are others
(22 sessions, some kept for testing only) and the page does not say which of them were tested: the
two figures describe the same task, not the same test.
"""


@dataclass(frozen=True)
class Project:
    """Describe a labelled project and its run.

    Attributes
    ----------
    folder
        The project's folder below the one that COHORTPOSE_DATA names.
    base_url
        Address of its files, ending in ``/``.
    registry
        File beside this module: name below the folder and SHA-256 of each file.
    video
        Name and file of its video.
    config
        YAML template, in which `$project` stands for the project's folder.
    left_out
        Bodyparts that a second pooled figure leaves out.
    remark
        Remark on figures to compare with.
    """

    folder: str
    base_url: str
    registry: str
    video: tuple[str, str]
    config: str
    left_out: tuple[str, ...] = ()
    remark: str = ""


PROJECTS: Mapping[str, Project] = {
    "openfield": Project(
        folder="openfield/openfield-Pranav-2018-10-30",
        base_url="https://raw.githubusercontent.com/DeepLabCut/DeepLabCut/"
        "2df0f46c8c8c56c8238b46b3d58384163bafb2f0/examples/openfield-Pranav-2018-10-30/",
        registry="openfield.sha256.txt",
        video=("m3v1mp4", "videos/m3v1mp4.mp4"),
        config=OPENFIELD_CONFIG,
    ),
    "mirror-mouse": Project(
        folder="mirror-mouse/mirror-mouse-example",
        base_url="https://raw.githubusercontent.com/paninski-lab/lightning-pose/"
        "f54c4778ad1cc70af7be940919073793a70f3eef/data/mirror-mouse-example/",
        registry="mirror-mouse.sha256.txt",
        video=("test_vid", "videos/test_vid.mp4"),
        config=MIRROR_MOUSE_CONFIG,
        left_out=("obs_top", "obsHigh_bot", "obsLow_bot"),
        remark=MIRROR_MOUSE_REMARK,
    ),
}

# Labelled frames of each project.
LABELLED: Mapping[str, int] = {"mirror-mouse": 90, "openfield": 116}


def locate_project(project: Project) -> Path:
    """Return the absolute folder of a project whose files are the registered ones.

    Raises
    ------
    StoreError
        If files are missing or differ, or cannot be downloaded.
    """
    data = os.environ.get(DATA_VARIABLE)
    local = Path(data).absolute() / project.folder if data else None
    if local is not None and local.is_dir():
        check_files(local, read_registry(project))
        return local
    cache = Path(pooch.os_cache("cohortpose")) / Path(project.folder).name
    return download_files(project.base_url, read_registry(project), cache)


def read_registry(project: Project) -> dict[str, str]:
    """Return the SHA-256 of each file of a project, by its name below the project's folder."""
    files = pooch.create(path="", base_url="")
    files.load_registry(Path(__file__).with_name(project.registry))
    return dict(files.registry)


def check_files(folder: Path, registry: Mapping[str, str]) -> None:
    """Compare files with their registered hashes.

    Raises
    ------
    StoreError
        If files are missing or differ; the message names them.
    """
    problems = []
    for name, known in registry.items():
        path = folder / name
        if not path.is_file():
            problems.append(f"{name} is missing")
        elif (found := pooch.file_hash(path)) != known:
            problems.append(f"{name} has SHA-256 {found}, expected {known}")
    if problems:
        shown = "".join(f"\n  - {problem}" for problem in problems[:10])
        raise StoreError(
            f"{folder}: {len(problems)} of {len(registry)} files are not the pinned ones; restore "
            f"them, or unset {DATA_VARIABLE} to download them{shown}"
        )


def download_files(
    base_url: str, registry: Mapping[str, str], folder: Path, attempts: int = DOWNLOAD_ATTEMPTS
) -> Path:
    """Download the files that are missing or differ; each appears whole or not at all.

    Parameters
    ----------
    base_url
        Address that the names are appended to.
    registry
        SHA-256 of each file by name.
    folder
        Folder for the files; created if missing.
    attempts
        Number of attempts per file.

    Returns
    -------
    Path
        The absolute folder.

    Raises
    ------
    StoreError
        If a file cannot be downloaded or has another hash; it is not kept. Complete files stay,
        so that another run resumes there.
    """
    pooch.get_logger().setLevel(logging.WARNING)  # not a line per file
    files = pooch.create(
        path=folder, base_url=base_url, registry=dict(registry), retry_if_failed=attempts - 1
    )
    print(f"downloading {len(registry)} files from {base_url} to {folder}")
    for name in registry:
        try:
            files.fetch(name)
        # The errors of `requests`, which pooch downloads with, are OSErrors.
        except (ValueError, OSError) as error:
            raise StoreError(
                f"{files.get_url(name)}: {error}; run again to go on, or set {DATA_VARIABLE} to "
                "a folder that has the project"
            ) from error
    return folder.absolute()


def format_config(
    project: Project,
    source: Path,
    changes: Mapping[str, Any] | None = None,
    *,
    automatic: bool = False,
) -> str:
    """Return the checked YAML text of a run's config.

    Parameters
    ----------
    project
        The project with the template.
    source
        The project's folder.
    changes
        Nested settings that override those of the template.
    automatic
        Leave the settings that labels can decide to `auto`, but for those of `changes`.

    Raises
    ------
    ConfigError
        If the template has wrong settings.
    """
    # A JSON string is a YAML string, whatever the path contains.
    text = Template(project.config).substitute(project=json.dumps(str(source)))
    values = yaml.safe_load(text)
    if automatic:
        values = leave_to_labels(values)
    if changes or automatic:
        values = merge_settings(values, changes or {})
        text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    parse_config(values, where="config.yaml")
    return text


def leave_to_labels(settings: Mapping[str, Any], kept: Collection[str] = ()) -> dict[str, Any]:
    """Return settings without those that the labels can decide, so that all of these are `auto`.

    Parameters
    ----------
    settings
        Nested settings of a config.
    kept
        Dotted names of settings to keep.
    """
    left: dict[str, Any] = copy.deepcopy(dict(settings))
    for name in TUNABLE:
        *sections, last = name.split(".")
        inner = left
        for section in sections:
            inner = inner.get(section) or {}
        if name not in kept:
            inner.pop(last, None)
    return left


def merge_settings(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings with changes merged in, section by section."""
    merged = {**settings, **changes}
    for key in settings.keys() & changes.keys():
        if isinstance(settings[key], Mapping) and isinstance(changes[key], Mapping):
            merged[key] = merge_settings(settings[key], changes[key])
    return merged


def add_settings_options(parser: argparse.ArgumentParser, *, settings: bool = True) -> None:
    """Add `--set`, whose texts `nest_settings` takes, and `--settings` unless it is not wanted."""
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        dest="changes",
        action="append",
        default=[],
        help="a setting such as training.epochs=60; give each set a folder of its own",
    )
    if settings:
        parser.add_argument(
            "--settings",
            choices=("hand", "auto"),
            default="hand",
            help="of a labelled project: those of the template, or those that the labels decide",
        )


def nest_settings(given: Sequence[str]) -> dict[str, Any]:
    """Return settings written as ``section.key=value``, nested as in a config."""
    nested: dict[str, Any] = {}
    for one in given:
        name, _, text = one.partition("=")
        value: Any = yaml.safe_load(text)
        for part in reversed(name.split(".")):
            value = {part: value}
        nested = merge_settings(nested, value)
    return nested


def format_sheet(project: Project, source: Path) -> str:
    """Return the text of the cohort sheet, with the project's one video."""
    name, file = project.video
    return f"video\tpath\n{name}\t{source / file}\n"


def exit_with(error: CohortposeError) -> SystemExit:
    """Return the exit of a script that failed for a reason that users can act on."""
    return SystemExit(f"error: {error}")
