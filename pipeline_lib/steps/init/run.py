"""Write a config and a cohort sheet for existing videos or projects (``init``)."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from pipeline_lib.core.errors import ConfigError, LabelError, SheetError
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.core.untrusted.yaml_files import load_yaml
from pipeline_lib.io.labels.detect import detect_format
from pipeline_lib.io.labels.tables import LABELED_DATA
from pipeline_lib.io.publish import publish_text
from pipeline_lib.io.stage_tables import format_table
from pipeline_lib.io.video.containers.formats import VIDEO_SUFFIXES
from pipeline_lib.steps.init.projects import describe_labels
from pipeline_lib.steps.sheet.additions import Naming, Places, make_additions
from pipeline_lib.steps.sheet.find import NOT_UTF8, find_videos, is_text, shorten_path, show
from pipeline_lib.steps.sheet.run import SHEET_NAME, tell_left_out

CONFIG_NAME = "config.yaml"

_MOST_NAMED = 3

_TITLES = {
    "cohort": "One row per video. Columns you add (group, sex, dose) travel to the outputs.",
    "individuals": "Animals in one frame.",
    "assembly": "The labels have no edges: all pairs of bodyparts are tried to join animals.",
    "skeleton": "Bodyparts in the order of every keypoint axis, and the edges that join them.",
    "labels": "Labelled frames to train on. Bodyparts come from them unless `skeleton` is given.",
    "quality": "Judge each video against the others: pass, warn or fail, and why (results/qc.tsv).",
    "frames": "No labels yet: write frames to label, then name the labelled project in `labels`.",
}

_log = logging.getLogger(__name__)


class _ConfigDumper(yaml.SafeDumper):
    """Write YAML as people do: a list of plain names on one line."""


def _represent_list(dumper: yaml.SafeDumper, items: list[Any]) -> yaml.Node:
    plain = all(isinstance(item, str) for item in items)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=plain)


_ConfigDumper.add_representer(list, _represent_list)


def init_project(source: Path, folder: Path, naming: Naming | None = None) -> None:
    """Write ``config.yaml`` and ``cohort.tsv`` for a folder of videos or a labelled project.

    Parameters
    ----------
    source
        Folder of videos (searched with its subfolders), one video, a DeepLabCut project (or its
        ``config.yaml``), a SLEAP file, COCO keypoints, or any other format of
        `pipeline_lib.core.formats.labels.FORMATS`.
    folder
        Working directory of the run to be; made if missing. Paths in both files are relative to
        it where that is short, else absolute.
    naming
        How cells of the sheet are made from file names; None: it has ids and paths only.

    Raises
    ------
    ConfigError
        If one of the two files is already there: neither is ever overwritten.
    SheetError
        If the source is missing or has no videos, or the way to it is not UTF-8.
    LabelError
        If the source is a format that cannot be read, or its project file is broken.
    """
    _check_untouched(folder)
    if naming:
        naming.check()
    if not source.exists():
        raise SheetError(str(source), ["no such file or folder"])
    kind = _detect_kind(source)
    sections: dict[str, Any] = {"cohort": SHEET_NAME}
    if kind == "videos":
        videos = find_videos([source])
        if not videos:
            known = ", ".join(sorted(suffix[1:] for suffix in VIDEO_SUFFIXES))
            raise SheetError(str(source), [f"no videos found here ({known})"])
        _tell_labelled(source)
    else:
        described = describe_labels(kind, source)
        sections |= described.sections
        videos = find_videos(described.videos)
        if described.labelled:
            sections["labels"] = [{"path": shorten_path(source, folder), "format": kind}]
    if "labels" not in sections:
        sections["frames"] = {"extract": True}
    sections["quality"] = {"enabled": True}
    if not videos:
        sheet = show(folder / SHEET_NAME)
        _log.warning("%s: no videos found; add rows to %s", show(source), sheet)
    made = make_additions(videos, Places(source, folder), naming, compare_content=kind == "videos")
    nameless = [str(one.path) for one in made.misfits if one.reason == NOT_UTF8]
    nameless += [path for one in sections.get("labels", ()) if not is_text(path := one["path"])]
    if nameless:
        raise SheetError(str(source), [f"{path!r}: {NOT_UTF8}" for path in nameless])
    tell_left_out(made)
    text = _write_config(sections, f"{source.absolute()} ({kind})")
    columns = (naming or Naming()).columns
    publish_text(folder / SHEET_NAME, format_table(columns, made.rows))
    publish_text(folder / CONFIG_NAME, text)
    _log.info("%s: %d videos from %s (%s)", show(folder), len(made.rows), show(source), kind)


def find_labelled(folder: Path) -> list[Path]:
    """List labelled projects and SLEAP files in a folder and its subfolders, not further down."""
    levels = ("", "*/")
    projects = {path.parent for up in levels for path in folder.glob(f"{up}*/{LABELED_DATA}")}
    return sorted(projects | {path for up in levels for path in folder.glob(f"{up}*.slp")})


def _check_untouched(folder: Path) -> None:
    there = [name for name in (CONFIG_NAME, SHEET_NAME) if (folder / name).exists()]
    if there:
        problem = "exists and is never overwritten: choose another folder or remove it"
        raise ConfigError(str(folder), [f"{name} {problem}" for name in there])


def _tell_labelled(source: Path) -> None:
    if not (labelled := find_labelled(source)):
        return
    named = ", ".join(show(path) for path in labelled[:_MOST_NAMED])
    more = ", ..." if len(labelled) > _MOST_NAMED else ""
    _log.warning("labels below this folder are not used; to use them, give %s%s", named, more)


def _detect_kind(source: Path) -> str:
    """Return the label format of a source, or ``videos``."""
    if source.is_file() and source.suffix.lower() in VIDEO_SUFFIXES:
        return "videos"
    if source.is_file():
        return detect_format(source)
    try:
        return detect_format(source)
    except LabelError:
        return "videos"


def _write_config(sections: Mapping[str, Any], origin: str) -> str:
    """Return the YAML text of the sections, each under a comment, after checking it."""
    shown = " ".join(show(origin).split())
    lines = [
        f"# Written by `cohortpose init` from {shown}.",
        "# Only what differs from the defaults; paths are relative to the working directory.",
    ]
    for key, value in sections.items():
        dumped = yaml.dump(
            {key: value}, Dumper=_ConfigDumper, sort_keys=False, allow_unicode=True, width=80
        )
        lines += ["", f"# {_TITLES[key]}", dumped.rstrip("\n")]
    text = "\n".join(lines) + "\n"
    parse_config(load_yaml(text), where=CONFIG_NAME)
    return text
