"""Run the verb `rerun`: turn findings into what is to be done about them.

Without `apply` nothing is written. What is written is for the next run: a table of frames to label,
settings that are given to it beside the config, or decisions of a person.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from pipeline_lib.core.cohort import Video, read_cohort
from pipeline_lib.core.errors import ConfigError, StoreError
from pipeline_lib.core.formats.checks import CHECKS, PROCESSED
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.overrides import SECTIONS, list_keys, override_section
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.stages import STAGES
from pipeline_lib.core.tables import QUALITY_COLUMNS
from pipeline_lib.core.untrusted.unseen import escape_unseen
from pipeline_lib.io.labels.table import read_labels
from pipeline_lib.io.poses.read import read_times
from pipeline_lib.io.publish import publish_text
from pipeline_lib.io.quality_decisions import PersonDecision, add_decisions
from pipeline_lib.io.stage_tables import format_table, read_table, write_table
from pipeline_lib.steps.quality.judge import RULES
from pipeline_lib.steps.refine.corrected import read_corrected_frames

# What can be done, and what a person can decide instead.
ACTIONS = ("relabel", "refine", "settings", "drop", "pass", "warn", "fail")
_DECISIONS = ("drop", "pass", "warn", "fail")
_FRAME_COLUMNS = ("video", "frame", "check", "reason")

Row = Mapping[str, str]
_Labelled = Mapping[str, frozenset[int]]


@dataclass(frozen=True)
class RerunRequest:
    """Say which findings are turned into what.

    Attributes
    ----------
    checks, videos
        Checks and videos whose findings count; empty: all.
    only
        ``fail`` or ``warn``: findings of that decision; empty: both.
    action
        One of `ACTIONS`; empty: what usually helps, by finding.
    settings
        Such as ``filtering.pcutoff=0.6``, for the action ``settings``.
    name, reason
        Who decides, and why.
    frames
        Frames to label of each video.
    """

    checks: tuple[str, ...] = ()
    videos: tuple[str, ...] = ()
    only: str = ""
    action: str = ""
    settings: tuple[str, ...] = ()
    name: str = ""
    reason: str = ""
    frames: int = 5


@dataclass(frozen=True)
class RerunPlan:
    """Hold what is to be done.

    Attributes
    ----------
    findings
        Action and row of ``qc.tsv``.
    frames
        Rows of the table of frames to label.
    decisions
        Decisions of a person.
    settings
        Settings for the next run.
    gaps
        Why some of it cannot be done as asked.
    """

    findings: list[tuple[str, Row]]
    frames: list[dict[str, Any]] = field(default_factory=list)
    decisions: list[PersonDecision] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    gaps: list[str] = field(default_factory=list)

    @property
    def changes(self) -> bool:
        """Tell whether anything is to be written."""
        return bool(self.frames or self.decisions or self.settings)


def plan_rerun(
    config: Config, results: Results, request: RerunRequest, folder: Path = Path()
) -> RerunPlan:
    """Return what is to be done about the findings of the last run.

    Parameters
    ----------
    config, results
        The run.
    request
        Which findings are turned into what.
    folder
        Where the table of frames is to be written.

    Raises
    ------
    ConfigError
        If the request names what is not there, or contradicts itself.
    StoreError
        If there are no decisions yet.
    """
    _check(config, request)
    findings = _list_findings(results, request)
    plan = RerunPlan(findings)
    by_action: dict[str, list[Row]] = defaultdict(list)
    for action, row in findings:
        by_action[action].append(row)
    _plan_frames(config, results, request, by_action["relabel"], plan, folder)
    if by_action["refine"]:
        videos = {row["video"] for row in by_action["refine"]}
        section = plan.settings.setdefault("refinement", {"enabled": True})
        section["frames"] = section.get("frames", 0) + request.frames * len(videos)
    _plan_settings(config, request, by_action["settings"], plan)
    for action in _DECISIONS:
        _plan_decisions(request, action, by_action[action], plan)
    return plan


def apply_plan(config: Config, plan: RerunPlan, folder: Path) -> list[Path]:
    """Write what is to be done; return the written files.

    Raises
    ------
    LabelError
        If the table of decisions cannot be read.
    """
    written = []
    if plan.decisions:
        path = Path(config.quality.decisions)
        add_decisions(path, plan.decisions)
        written.append(path)
    if plan.frames:
        path = folder / _name_frames()
        write_table(path, _FRAME_COLUMNS, plan.frames)
        written.append(path)
    if plan.settings:
        path = folder / "rerun.yaml"
        head = "# Written by `cohortpose rerun`: settings beside the config for the next run.\n"
        text = yaml.safe_dump(plan.settings, sort_keys=False, allow_unicode=True)
        publish_text(path, head + text)
        written.append(path)
    return written


def describe_plan(plan: RerunPlan, written: Sequence[Path], config: Path) -> list[str]:
    """Return lines for people: each finding with its action, then what to run."""
    lines = [
        f"{action or 'look':9}{escape_unseen(row['video'])}: {row['check']}: "
        f"{escape_unseen(row['reason'])}"
        for action, row in plan.findings
    ]
    lines += [f"note: {gap}" for gap in plan.gaps]
    if not plan.findings:
        return [*lines, "nothing to do: no finding of the last run is asked for"]
    if any(action in ("", "look") for action, _ in plan.findings):
        lines.append(
            "look: nothing is done about these by itself; decide with --as, such as `--as drop` or "
            "`--as pass`"
        )
    if not plan.changes:
        return lines
    if not written:
        return [*lines, "nothing is written; with --apply it is"]
    lines += [f"written: {path}" for path in written]
    extra = [str(path) for path in written if path.suffix == ".yaml"]
    command = " ".join(["snakemake --cores all --configfile", str(config), *extra])
    return [*lines, f"next: {command}"]


def _check(config: Config, request: RerunRequest) -> None:
    problems = [
        f"--check {name}: there is no such check; there are {', '.join(CHECKS)}"
        for name in request.checks
        if name not in CHECKS and name != PROCESSED
    ]
    known = {video.video for video in read_cohort(Path(config.cohort))}
    problems += [
        f"--video {name}: {config.cohort} has no such video"
        for name in request.videos
        if name not in known
    ]
    if request.action == "settings" and not request.settings:
        problems.append("--as settings needs --set, such as `--set filtering.pcutoff=0.6`")
    if request.settings and request.action not in ("", "settings"):
        problems.append(f"--set is for --as settings, found --as {request.action}")
    for text in request.settings:
        problems += _find_problem(config, text)
    if problems:
        raise ConfigError("rerun", problems)


def _find_problem(config: Config, text: str) -> list[str]:
    key, equals, _ = text.partition("=")
    section, name = _split_key(config, text)
    if not equals or section not in SECTIONS:
        expected = " or ".join(f"{one}.KEY=VALUE" for one in SECTIONS)
        known = equals and section in type(config).model_fields
        whole = f"; `{key}` holds for the whole cohort: change the config" if known else ""
        return [f"--set {text}: expected {expected}{whole}"]
    try:
        override_section(section, getattr(config, section), {name: _read_value(text)})
    except ValueError as error:
        return [f"--set {text}: {error}"]
    return []


def _split_key(config: Config, text: str) -> tuple[str, str]:
    """Return section and key of a setting; a key that one section alone has may lack its section.

    The section is empty if none, or more than one, has the key.
    """
    section, dot, name = text.partition("=")[0].strip().partition(".")
    if dot:
        return section, name
    having = [one for one in SECTIONS if section in list_keys(one, getattr(config, one))]
    return having[0] if len(having) == 1 else "", section


def _read_value(text: str) -> Any:  # noqa: ANN401 - YAML
    try:
        return yaml.safe_load(text.partition("=")[2])
    except yaml.YAMLError:
        raise ValueError("is no value") from None


def _list_findings(results: Results, request: RerunRequest) -> list[tuple[str, Row]]:
    """Return action and row of each finding that is asked for.

    Videos that a person has decided about are left out unless they are named.
    """
    if not results.quality.exists():
        raise StoreError(
            f"{results.quality}: no such file; set `quality.enabled: true` and run snakemake first"
        )
    rows = read_table(results.quality, QUALITY_COLUMNS)
    decided = {row["video"] for row in rows if row["decided_by"] != RULES}
    found: list[tuple[str, Row]] = []
    for row in rows:
        video, check = row["video"], row["check"]
        if not check or (request.checks and check not in request.checks):
            continue
        if request.videos and video not in request.videos:
            continue
        if video in decided and video not in request.videos:
            continue
        if request.only and row["decision"] != request.only:
            continue
        usual = "settings" if request.settings else row["remedy"]
        found.append((request.action or usual, row))
    return found


def _plan_frames(  # noqa: PLR0913, PLR0917 - what frames depend on
    config: Config,
    results: Results,
    request: RerunRequest,
    rows: Sequence[Row],
    plan: RerunPlan,
    folder: Path,
) -> None:
    """Choose frames without a label within the seconds that offend, evenly spread over them."""
    chosen: dict[tuple[str, int], Row] = {}
    by_video: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_video[row["video"]].append(row)
    before = STAGES["quality"].videos
    labelled = _find_labelled(config, results, read_cohort(Path(config.cohort))) if rows else {}
    for video, own in by_video.items():
        if before is None:
            break
        try:
            poses = STAGES[before.source(config)].find_poses(config, results, video)
            times = read_times(poses)
        except StoreError as error:
            plan.gaps.append(f"{video}: no frames to label: {error}")
            continue
        for frame, row in _spread(own, times, request.frames, labelled.get(video, frozenset())):
            chosen.setdefault((video, frame), row)
    plan.frames.extend(
        {"video": video, "frame": frame, "check": row["check"], "reason": row["reason"]}
        for (video, frame), row in chosen.items()
    )
    if plan.frames:
        plan.settings["refinement"] = {
            "enabled": True,
            "frames": len(plan.frames),
            "frame_list": str(folder / _name_frames()),
        }


def _spread(
    rows: Sequence[Row], times: NDArray[np.float64], number: int, labelled: frozenset[int]
) -> list[tuple[int, Row]]:
    """Return frames that are evenly spread over the seconds that rows name, and have no label."""
    spans = [(start, end, row) for row in rows for start, end in _read_spans(row["seconds"])]
    if not spans:
        spans = [(0.0, math.inf, row) for row in rows[:1]]
    edges = [_cut_frames(times, start, end) for start, end, _ in spans]
    frames = np.concatenate([np.arange(*edge) for edge in edges] or [np.empty(0, np.intp)])
    owner = np.repeat(np.arange(len(spans)), [stop - start for start, stop in edges])
    known = np.isin(frames, np.fromiter(labelled, np.intp, len(labelled)))
    frames, owner = frames[~known], owner[~known]
    frames, first = np.unique(frames, return_index=True)
    places = (np.arange(min(number, len(frames))) + 0.5) / max(1, min(number, len(frames)))
    chosen = (places * len(frames)).astype(np.intp)
    return [(int(frames[one]), spans[owner[first[one]]][2]) for one in chosen]


def _cut_frames(times: NDArray[np.float64], start: float, end: float) -> tuple[int, int]:
    """Return the first of the frames within some seconds, and the one after the last.

    Seconds between two frames are those of the first of them.
    """
    if not len(times):
        return 0, 0
    first, stop = np.searchsorted(times - times[0], (start - 1e-6, end - 1e-6)).tolist()
    return (first, stop) if first < stop else (max(0, first - 1), max(1, first))


def _find_labelled(config: Config, results: Results, videos: Sequence[Video]) -> _Labelled:
    """Return the frames with a label or a correction, by the name of a video or of its file."""
    found: dict[str, frozenset[int]] = dict(read_corrected_frames(config).frames)
    if results.labels.exists():
        for name, some in read_labels(results.labels).table.groupby("video")["frame"]:
            found[str(name)] = found.get(str(name), frozenset()) | frozenset(map(int, some))
    return {
        one.video: found.get(one.video, frozenset()) | found.get(one.path.stem, frozenset())
        for one in videos
    }


def _read_spans(text: str) -> list[tuple[float, float]]:
    spans = []
    for part in filter(None, (one.strip() for one in text.split(","))):
        start, _, end = part.partition("-")
        try:
            span = float(start), float(end)
        except ValueError:
            continue
        if all(map(math.isfinite, span)) and span[0] <= span[1]:
            spans.append(span)
    return spans


def _plan_settings(
    config: Config, request: RerunRequest, rows: Sequence[Row], plan: RerunPlan
) -> None:
    """Give the videos of findings other settings, beside those that the config gives already."""
    if not rows:
        return
    videos = list(dict.fromkeys(row["video"] for row in rows))
    given: dict[str, dict[str, Any]] = defaultdict(dict)
    for text in request.settings:
        section, name = _split_key(config, text)
        given[section][name] = _read_value(text)
    if not given:
        plan.gaps.append("settings: say which with --set, such as `--set filtering.pcutoff=0.6`")
        return
    # A list of a second config file replaces that of the first. What videos had stays theirs.
    kept = []
    for one in config.overrides:
        rest = [video for video in one.videos if video not in videos]
        values = one.model_dump(mode="json", exclude_defaults=True)
        kept += [{**values, "videos": rest}] if rest else []
    for video in videos:
        own = dict[str, Any](videos=[video])
        for section in SECTIONS:
            values = {}
            for one in config.overrides:
                values |= getattr(one, section) if video in one.videos else {}
            values |= given.get(section, {})
            if values:
                own[section] = values
        kept.append(own)
    plan.settings["overrides"] = _join_alike(kept)


def _join_alike(overrides: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Join the overrides of videos that have the same settings."""
    joined: list[dict[str, Any]] = []
    for one in overrides:
        for other in joined:
            if all(one.get(name) == other.get(name) for name in SECTIONS):
                other["videos"] += one["videos"]
                break
        else:
            joined.append({**one, "videos": list(one["videos"])})
    return joined


def _plan_decisions(
    request: RerunRequest, action: str, rows: Sequence[Row], plan: RerunPlan
) -> None:
    reasons: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        reasons[row["video"]].append(f"{row['check']}: {row['reason']}")
    if reasons and not request.name:
        plan.gaps.append(f"{action}: say who decides with --name")
        return
    today = datetime.now(UTC).date().isoformat()
    for video, found in reasons.items():
        reason = request.reason or "; ".join(found)[:1000]
        plan.decisions.append(PersonDecision(video, action, request.name, today, reason))


def _name_frames() -> str:
    return "rerun_frames.tsv"


def format_frames(plan: RerunPlan) -> str:
    """Return the table of frames to label as text."""
    return format_table(_FRAME_COLUMNS, plan.frames)
