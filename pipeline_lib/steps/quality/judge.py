"""Run the verb `judge`: decide which videos of the cohort pass, and say why the others do not."""

import logging
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline_lib.core.cohort import Video, read_cohort
from pipeline_lib.core.errors import CohortposeError, StoreError
from pipeline_lib.core.formats.checks import CHECKS
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.stages import STAGES
from pipeline_lib.core.tables import PROBE_COLUMNS, QUALITY_COLUMNS, STAGE_COLUMNS, VideoStatus
from pipeline_lib.core.untrusted.unseen import escape_unseen
from pipeline_lib.io.quality_decisions import PersonDecision, read_decisions
from pipeline_lib.io.quality_records import QualityRecord, read_record
from pipeline_lib.io.stage_tables import write_table
from pipeline_lib.kernels.quality.findings import format_spans
from pipeline_lib.steps.quality.decide import Finding, JudgedVideo, decide
from pipeline_lib.steps.quality.groups import find_groups
from pipeline_lib.steps.quality.run import keep_measured
from pipeline_lib.steps.runs.plan import keep_planned, read_plan
from pipeline_lib.steps.runs.shard_tables import read_shard_table

_log = logging.getLogger(__name__)

RULES = "rules"
MEASURE_COLUMNS = ("video", "group", "decision", "width", "height", *CHECKS)
_NOT_JUDGED = "it has not been measured; run again"

Row = dict[str, Any]


def run_judge(config: Config, results: Results) -> None:
    """Decide about every video of the sheet by its measures and those of the cohort.

    Only the records of `quality` are read, not poses or videos. ``qc.tsv`` has a row per finding,
    ``qc_measures.tsv`` a row per video.

    Parameters
    ----------
    config
        The run; ``config.quality`` has the limits, and names the decisions of people.
    results
        Has the records and receives the tables.

    Raises
    ------
    SheetError
        If the sheet cannot be read, or lacks the column of the groups.
    LabelError
        If the decisions of people cannot be read.
    StoreError
        If the plan cannot be read.
    """
    sheet = read_cohort(Path(config.cohort))
    people = read_people(config, sheet)
    videos = list_judged(config, results, sheet, people)
    judged = decide(videos, config.quality)
    rows, decisions = [], {}
    for video in videos:
        own = list(_list_rows(video.video, judged.findings[video.video], people.get(video.video)))
        decisions[video.video] = own[0]["decision"]
        rows += own
    write_table(results.quality, QUALITY_COLUMNS, rows)
    write_table(
        results.quality_measures,
        MEASURE_COLUMNS,
        (_tabulate(video, decisions, judged.values[video.video]) for video in videos),
    )
    counts = Counter(decisions.values())
    _log.info(
        "%d videos: %d pass, %d warn, %d fail",
        *(len(videos), counts["pass"], counts["warn"], counts["fail"]),
    )


def read_people(config: Config, sheet: Sequence[Video]) -> dict[str, PersonDecision]:
    """Return the last decision of people about each video of the sheet.

    Decisions about other videos are left out, and the log says so.

    Raises
    ------
    LabelError
        If the table cannot be read.
    """
    known = {video.video for video in sheet}
    found = read_decisions(Path(config.quality.decisions))
    for name in dict.fromkeys(one.video for one in found if one.video not in known):
        _log.warning(
            "%s: a decision about %s, which is not in %s: it is left out",
            *(config.quality.decisions, escape_unseen(name), config.cohort),
        )
    return {one.video: one for one in found if one.video in known}


def list_judged(
    config: Config,
    results: Results,
    sheet: Sequence[Video],
    people: Mapping[str, PersonDecision] | None = None,
) -> list[JudgedVideo]:
    """Return the videos of the sheet, in its order, with what was measured of each.

    A video whose record is lost or damaged is measured anew, and the log says so.

    Parameters
    ----------
    config, results
        The run.
    sheet
        Rows of the cohort sheet.
    people
        Decisions of people: nobody is compared with a video that was dropped.
    """
    groups, dropped = find_groups(config, sheet), people or {}
    ended = dict[str, Mapping[str, str]]()
    probed = dict[str, Mapping[str, str]]()
    table = STAGES["quality"]
    for shard in read_plan(results).shards:
        rows = read_shard_table(table.find_table(config, results, shard), STAGE_COLUMNS) or []
        ended |= {row["video"]: row for row in keep_planned(rows, results, shard)}
        probes = read_shard_table(results.shard(shard).probe, PROBE_COLUMNS) or []
        probed |= {row["video"]: row for row in probes}
    videos = []
    for video in sheet:
        name = video.video
        record, problem = None, ""
        row = ended.get(name, {})
        if row.get("status") == VideoStatus.DONE:
            record, problem = _read_or_measure(config, results, name, probed.get(name, {}))
        else:
            problem = row.get("reason") or _NOT_JUDGED
        counts = name not in dropped or dropped[name].decision != "drop"
        size = _read_size(probed.get(name, {}))
        videos.append(JudgedVideo(name, groups.get(name, ""), record, problem, size, counts))
    return videos


def _read_or_measure(
    config: Config, results: Results, video: str, facts: Mapping[str, str]
) -> tuple[QualityRecord | None, str]:
    """Return the record of a video; None, and why, if there is none and it cannot be measured."""
    path = results.video_quality(config.training.name, video)
    try:
        return read_record(path), ""
    except StoreError as error:
        _log.warning("%s; it is measured anew", error)
    try:
        keep_measured(config, results, video, facts)
        return read_record(path), ""
    except CohortposeError as error:
        return None, str(error)


def _list_rows(
    video: str, findings: Sequence[Finding], person: PersonDecision | None
) -> Iterator[Row]:
    """Yield the rows of a video: the decision in force first."""
    if person is not None:
        drops = person.decision == "drop"
        when = f" ({person.date})" if person.date else ""
        yield {
            "video": video,
            "decision": "fail" if drops else person.decision,
            "decided_by": _clean(person.name),
            "reason": f"{person.reason or 'no reason given'}{when}",
            "remedy": "drop" if drops else "",
        }
    elif not findings:
        yield {"video": video, "decision": "pass", "decided_by": RULES}
    for one in findings:
        yield {
            "video": video,
            "decision": one.decision,
            "decided_by": RULES,
            "check": one.check,
            "reason": one.reason,
            "value": _to_number(one.value),
            "limit": _to_number(one.limit),
            "seconds": format_spans(one.spans),
            "remedy": one.remedy,
        }


def _tabulate(video: JudgedVideo, decisions: Mapping[str, str], values: Mapping[str, float]) -> Row:
    width, height = video.size or (None, None)
    return {
        "video": video.video,
        "group": video.group,
        "decision": decisions[video.video],
        "width": width,
        "height": height,
        **{name: _to_number(values.get(name, math.nan)) for name in CHECKS},
    }


def _to_number(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _clean(name: str) -> str:
    return escape_unseen(" ".join(name.split()))


def _read_size(facts: Mapping[str, str]) -> tuple[int, int] | None:
    width, height = facts.get("width") or "", facts.get("height") or ""
    return (int(width), int(height)) if width.isdecimal() and height.isdecimal() else None
