"""Write the report: an HTML page, and beside it what the page loads as needed."""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

import pipeline_lib
from pipeline_lib.core.cohort import Video, read_cohort
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.base import AUTO
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.tables import VideoStatus
from pipeline_lib.io.publish import publish_text
from pipeline_lib.steps.costs.panel import describe_costs
from pipeline_lib.steps.report.accuracy import (
    chart_errors,
    chart_history,
    compare_bodyparts,
    explain_missing_test,
    order_splits,
    tabulate_metrics,
    tabulate_similarity,
)
from pipeline_lib.steps.report.charts import (
    ANIMALS,
    TIME_COLOURS,
    colour_bodyparts,
    colour_individuals,
    draw_bars,
    format_number,
)
from pipeline_lib.steps.report.cohort.groups import compare_groups
from pipeline_lib.steps.report.cohort.networks import write_networks
from pipeline_lib.steps.report.cohort.quality import read_quality
from pipeline_lib.steps.report.details.store import prepare_details
from pipeline_lib.steps.report.ensembles import summarise_ensemble
from pipeline_lib.steps.report.inputs import (
    ALL_BODYPARTS,
    ReportInputs,
    read_inputs,
    summarise_precision,
)
from pipeline_lib.steps.report.labelling.iterations import compare_iterations
from pipeline_lib.steps.report.labelling.label_errors import read_label_errors
from pipeline_lib.steps.report.privacy import Redactor, list_strings
from pipeline_lib.steps.report.rendering import embed_json, render_page
from pipeline_lib.steps.report.samples import draw_samples, draw_trajectories
from pipeline_lib.steps.report.score_maps import draw_score_maps
from pipeline_lib.steps.report.sessions.data import MOMENTS
from pipeline_lib.steps.report.sessions.panel import describe_sessions
from pipeline_lib.steps.report.summaries import VideoSummary, rank_videos, summarise_videos
from pipeline_lib.steps.report.timings import (
    find_copies,
    read_timings,
    sum_timings,
)
from pipeline_lib.steps.report.tracks import describe_animals
from pipeline_lib.steps.report.videos import (
    Further,
    find_doubtful,
    group_reasons,
    histogram_detection,
    tabulate_videos,
)
from pipeline_lib.steps.runs.ledger import LedgerRow, count_statuses, derive_ledger
from pipeline_lib.steps.runs.sessions.ledger import derive_session_ledger

_HEATMAP_VIDEOS = 40
_REASONS = 8
# Fewer videos than this have no distribution worth a drawing.
_HISTOGRAM_VIDEOS = 8


def write_report(config: Config, results: Results) -> Path:
    """Publish the report page.

    The page needs no network: styles, script, charts and pictures are inside. What it shows of a
    single video, and a page of each network, are in the folder ``data`` beside it. It says what
    there is: a cohort without a model, a model without an evaluation, or videos without poses
    leave their section out.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    SheetError, StoreError
        If the sheet or the plan, without which there is no cohort, cannot be read.
    """
    page = _collect_page(config, results)
    sessions = ("sessions",) if page["sessions"] else ()
    text = render_page(
        "report.html.j2",
        page,
        styles=("report", "details", *sessions),
        scripts=("common", "details", "report", *sessions),
    )
    publish_text(results.report, text)
    return results.report


def _collect_page(config: Config, results: Results) -> dict[str, Any]:
    videos = {video.video: video for video in read_cohort(Path(config.cohort))}
    redactor, rows = _read_rows(config, results, videos)
    inputs = read_inputs(config, results)
    pcutoff = config.evaluation.pcutoff
    several = config.individuals.max > 1
    details = prepare_details(config, results, rows, videos)
    measured = {video: entry for video, (_, entry) in details.items()}
    summaries = summarise_videos(
        results, config.training.name, rows, pcutoff, several=several, measured=measured
    )
    animals = describe_animals(config, results, rows, summaries)
    bodyparts = inputs.bodyparts(config) or _find_bodyparts(summaries)
    counts = count_statuses(rows)
    timings = read_timings(results, config.training.name)
    comparison = compare_bodyparts(inputs, bodyparts)
    quality = read_quality(results.quality, videos, redactor, inputs.gaps)
    costs = describe_costs(config, results)
    table = tabulate_videos(rows, summaries, bodyparts, timings, Further(quality, costs))
    views = _list_views(config, results, rows, details, bodyparts)
    sessions = describe_sessions(
        config,
        results,
        derive_session_ledger(config, results, rows),
        redactor,
        inputs,
    )
    many = len(summaries) >= _HISTOGRAM_VIDEOS
    histograms = histogram_detection(summaries, bodyparts) if many else {}
    return {
        "title": config.report.title,
        "model": config.training.name,
        "sheet": Path(config.cohort).name,
        "pcutoff": pcutoff,
        "counts": {str(status): counts[status] for status in VideoStatus},
        "videos": len(rows),
        "tiles": measure_tiles(rows, summaries, inputs) + measure_animals(inputs, animals),
        "reasons": group_reasons(rows)[:_REASONS],
        "doubtful": find_doubtful(summaries),
        "copies": find_copies(rows, timings),
        "timings": sum_timings(timings[row["video"]] for row in rows if row["video"] in timings),
        "costs": costs,
        "quality": quality,
        "groups": compare_groups(
            rows,
            summaries,
            {video: entry["speed"]["mean"] for video, (_, entry) in details.items()},
        ),
        "networks": write_networks(config, results, redactor, inputs),
        # Data in which nothing can end the script element.
        "data": Markup(embed_json(table | views)),  # noqa: S704
        "bodyparts": bodyparts,
        "colours": colour_bodyparts(bodyparts),
        "several": several,
        "sessions": sessions,
        "session_moments": MOMENTS,
        "session_data": [
            Markup(embed_json(view.data))  # noqa: S704
            for view in (sessions.views if sessions else [])
        ],
        "animals": animals,
        "individual_colours": colour_individuals(inputs.individuals),
        "similarity": tabulate_similarity(inputs),
        "summaries": summaries,
        "heatmap": rank_videos(summaries, _HEATMAP_VIDEOS),
        "histograms": {part: draw_bars(bars) for part, bars in histograms.items()},
        "medians": {part: _median_detection(summaries, part) for part in histograms},
        "metrics": tabulate_metrics(inputs, bodyparts),
        "comparison": comparison,
        "error_charts": chart_errors(inputs, config),
        "ensemble": None if inputs.mismatch else summarise_ensemble(config, results, inputs.gaps),
        "precision": summarise_precision(config, results, inputs.gaps),
        "iterations": compare_iterations(config, results),
        "history_charts": chart_history(inputs.history),
        "history_gap": explain_missing_test(inputs),
        "maps": None
        if inputs.mismatch
        else draw_score_maps(results, config.training.name, inputs.predictions),
        # They compare labels with the same predictions.
        "label_errors": None
        if inputs.mismatch
        else read_label_errors(results, config.training.name, inputs.gaps),
        "samples": draw_samples(inputs.predictions, config, inputs.edges(config)),
        # Of several animals each video's card has its own.
        "trajectories": [] if several else draw_trajectories(config, summaries, details),
        "time_colours": TIME_COLOURS,
        "methods": _describe_methods(config, inputs, summaries, animals),
        "chosen": list_chosen(redactor.hide_record(inputs.card)),
        "card": flatten_record(redactor.hide_record(inputs.card)),
        "provenance": flatten_record(redactor.hide_record(inputs.provenance)),
        "settings": redactor.hide_settings(inputs.settings),
        "gaps": [redactor.hide(gap) for gap in inputs.gaps],
        "files": _list_files(config, results, inputs),
    }


def _read_rows(
    config: Config, results: Results, videos: Mapping[str, Video]
) -> tuple[Redactor, list[LedgerRow]]:
    """Return the rows of the ledger, with paths hidden in their reasons, and the redactor."""
    paths = (video.path for video in videos.values())
    redactor = Redactor(results, [*paths, *list_strings(config.model_dump(mode="json"))])
    rows = derive_ledger(config, results)
    return redactor, [{**row, "reason": redactor.hide(row["reason"])} for row in rows]


def _list_views(
    config: Config,
    results: Results,
    rows: Sequence[LedgerRow],
    details: Mapping[str, tuple[str, Any]],
    bodyparts: Sequence[str],
) -> dict[str, Any]:
    """Return what the page needs to open a video, in the order of the rows.

    Returns
    -------
    dict
        ``shards``: names of the script files; ``details``: index of the file of each video, or
        None; ``clips``: address of the clip of its worst seconds, or None; the cutoff, and colours.
    """
    shards = sorted({shard for shard, _ in details.values()})
    places = {shard: place for place, shard in enumerate(shards)}
    files = [details[row["video"]][0] if row["video"] in details else None for row in rows]
    clips = [results.worst_seconds(config.training.name, row["video"]) for row in rows]
    folder = clips[0].parent if clips else None
    there = set(folder.glob("*")) if folder is not None and folder.is_dir() else set()
    return {
        "shards": [
            results.report_details(shard).relative_to(results.report.parent).as_posix()
            for shard in shards
        ],
        "details": [None if shard is None else places[shard] for shard in files],
        "clips": [
            quote(f"../{clip.relative_to(results.root).as_posix()}") if clip in there else None
            for clip in clips
        ],
        "pcutoff": config.evaluation.pcutoff,
        "timeColours": TIME_COLOURS,
        "animalColours": ANIMALS,
        "partColours": colour_bodyparts(bodyparts),
    }


def flatten_record(record: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return a nested record as lines of a dotted key and a value."""
    lines: list[tuple[str, str]] = []
    for key, value in record.items():
        if isinstance(value, Mapping):
            lines += flatten_record(value, f"{prefix}{key}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            lines.append((f"{prefix}{key}", text))
    return lines


def list_chosen(card: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return name, value and reason of each setting that was chosen from the labels.

    Parameters
    ----------
    card
        Content of the network's card; damaged entries are left out.
    """
    chosen = card.get("chosen")
    return [
        (name, json.dumps(choice.get("value")), str(choice.get("reason", "")))
        for name, choice in (chosen if isinstance(chosen, Mapping) else {}).items()
        if isinstance(choice, Mapping)
    ]


def _find_bodyparts(summaries: Mapping[str, VideoSummary]) -> tuple[str, ...]:
    first = next(iter(summaries.values()), None)
    return tuple(first.detection) if first else ()


def _median_detection(summaries: Mapping[str, VideoSummary], bodypart: str) -> float:
    rates = [summary.detection.get(bodypart, math.nan) for summary in summaries.values()]
    known = [rate for rate in rates if math.isfinite(rate)]
    return statistics.median(known) if known else math.nan


def _describe_methods(
    config: Config,
    inputs: ReportInputs,
    summaries: Mapping[str, VideoSummary],
    animals: Mapping[str, Any] | None,
) -> str:
    """Return sentences for a methods section from the known facts."""
    # The card says what was trained; the settings, what is to be.
    record = inputs.card.get("training")
    trained = record if isinstance(record, dict) else {}
    backbone = inputs.card.get("backbone", config.training.backbone)
    epochs = trained.get("epochs", config.training.epochs)
    seed = trained.get("seed", config.training.seed)
    stride = inputs.card.get("stride", config.targets.stride)
    facts = {"output stride {}": stride, "{} epochs": epochs, "seed {}": seed}
    # Without a network, what the labels will tell is not known.
    known = [text.format(value) for text, value in facts.items() if value != AUTO]
    first = (
        f"Poses were estimated with cohortpose {pipeline_lib.__version__} "
        f"({', '.join([f'{backbone} backbone', *known])})."
    )
    parts = [first]
    if len(inputs.predictions):
        images = inputs.predictions.groupby("split")["image"].nunique()
        numbers = ", ".join(f"{images[split]} {split}" for split in order_splits(set(images.index)))
        parts.append(f"Labelled frames: {numbers}.")
    for split in order_splits({split for _, split, _ in inputs.metrics})[:1]:
        error = inputs.metrics.get((ALL_BODYPARTS, split, "mean_error"))
        root = inputs.metrics.get((ALL_BODYPARTS, split, "rmse"))
        if error is not None and root is not None:
            parts.append(
                f"On the {split} frames the mean Euclidean error was {format_number(error)} px "
                f"and the root mean square error {format_number(root)} px."
            )
    if summaries:
        parts.append(
            f"{len(summaries)} videos were analysed; keypoints with a confidence of at least "
            f"{format_number(config.evaluation.pcutoff)} count as found."
        )
    if animals is not None and math.isfinite(animals["followed"]):
        parts.append(
            f"Up to {config.individuals.max} animals were tracked: in "
            f"{format_number(100 * animals['followed'])} % of the frames all animals of the video "
            f"were followed without doubt."
        )
        if (read := animals["proofread"]) is not None:
            parts.append(
                f"Tracks were proofread by hand: {_count(read.decisions, 'decision')} about "
                f"{_count(read.videos, 'video')}, of which {read.applied} changed the tracks."
            )
    return " ".join(parts)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number != 1 else ''}"


def _list_files(config: Config, results: Results, inputs: ReportInputs) -> list[dict[str, str]]:
    """Return the paths of results relative to the page; only existing ones are linked."""
    model = config.training.name
    foreign = results.metrics(model).parent if inputs.mismatch else None
    tracked = [
        (
            "Poses with one animal per slot, VIDEO.zarr.zip",
            results.tracked(model, "VIDEO").parent,
        ),
        (
            "The tracks after decisions, only for videos that these change",
            results.corrected(model, "VIDEO").parent,
        ),
    ]
    sessions = [
        ("Sessions: one row per session", results.session_ledger),
        ("Calibrations: one row per calibration", results.calibrations),
        (
            "Poses in three dimensions, SESSION.zarr.zip",
            results.triangulated(model, "SESSION").parent,
        ),
    ]
    entries = (
        ("Ledger: one row per video", results.ledger),
        ("Metrics on labelled frames", results.metrics(model)),
        ("Predictions on labelled frames", results.predictions(model)),
        ("Labels that are probably wrong", results.label_errors(model)),
        ("Score maps of the worst test frames", results.score_maps(model)),
        ("The trained network", results.model(model).folder),
        ("Poses as the network predicted them, VIDEO.zarr", results.poses(model, "VIDEO").parent),
        *(tracked if config.individuals.max > 1 else ()),
        *(sessions if config.triangulation.enabled else ()),
        ("Poses after filtering, VIDEO.zarr.zip", results.filtered(model, "VIDEO").parent),
        ("Tables for other tools", results.exported(model, "VIDEO", "h5").parent),
        ("Every setting in force", results.config),
        ("Versions, seeds and hashes", results.provenance),
    )
    return [
        {
            "label": label,
            "path": str(path.relative_to(results.root)),
            "link": f"../{path.relative_to(results.root)}" if path.exists() else "",
        }
        for label, path in entries
        if path.parent != foreign
    ]


Tile = dict[str, str]


def measure_tiles(
    rows: Sequence[LedgerRow], summaries: Mapping[str, VideoSummary], inputs: ReportInputs
) -> list[Tile]:
    """Return the figures at the top of the page; those that are unknown are left out."""
    splits = order_splits({split for _, split, _ in inputs.metrics})
    split = splits[0] if splits else ""

    def metric(name: str) -> float:
        return inputs.metrics.get((ALL_BODYPARTS, split, name), math.nan)

    tiles = [
        (f"Median {split} error", metric("median_error"), "px", "half of the keypoints are closer"),
        (f"Mean {split} error", metric("mean_error"), "px", "mean Euclidean distance to the label"),
    ]
    thresholds = [
        name
        for part, found, name in inputs.metrics
        if name.startswith("pck@") and "(" not in name and (part, found) == (ALL_BODYPARTS, split)
    ]
    if thresholds:
        name = thresholds[len(thresholds) // 2]
        within = name.removeprefix("pck@")
        hint = f"{split} keypoints within {within} px of the label"
        tiles.append((f"PCK {within} px", 100 * metric(name), "%", hint))
    seconds = [
        row["frames"] / row["fps"]
        for row in rows
        if row["video"] in summaries and row["frames"] and row["fps"]
    ]
    frames = sum(summary.frames for summary in summaries.values())
    hours = f"{format_number(sum(seconds) / 3600)} h of video"
    rates = [s.mean_detection for s in summaries.values() if math.isfinite(s.mean_detection)]
    if summaries:
        lost = sum(summary.undecodable for summary in summaries.values())
        tiles.append(("Frames analysed", frames, "", hours))
        tiles.append(("Undecodable", lost, "", "frames kept as rows without a pose"))
    rested = [row for row in rows if row.get("still") is not None and row["frames"]]
    if rested:
        share = sum(row["still"] for row in rested) / sum(row["frames"] for row in rested)
        hint = "frames in which nothing moved: not computed again"
        tiles.append(("Still", 100 * share, "%", hint))
    if rates:
        typical = 100 * statistics.median(rates)
        hint = "keypoints at or above the cutoff, median video"
        tiles.append(("Detection rate", typical, "%", hint))
    return _format_tiles(tiles)


def measure_animals(inputs: ReportInputs, animals: Mapping[str, Any] | None) -> list[Tile]:
    """Return the figures of several animals; those that are unknown are left out."""
    tiles = []
    for split, values in tabulate_similarity(inputs)[:1]:
        hint = f"whole animals of the {split} frames, object keypoint similarity"
        tiles.append(("OKS mAP", values.get("OKS mAP", math.nan), "", hint))
    if animals is not None:
        tiles.append(
            (
                "All followed",
                100 * animals["followed"],
                "%",
                "frames in which every animal is followed",
            )
        )
        videos = len(animals["swapped"])
        hint = f"in {videos} of {animals['videos']} videos: exchanged animals?"
        tiles.append(("Possible swaps", animals["swaps"], "", hint))
    return _format_tiles(tiles)


def _format_tiles(tiles: Sequence[tuple[str, float, str, str]]) -> list[Tile]:
    return [
        {"label": label, "value": format_number(value), "unit": unit, "hint": hint}
        for label, value, unit, hint in tiles
        if math.isfinite(value)
    ]
