"""Decide about the videos of a cohort by what was measured of each."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.formats.checks import CHECKS, PROCESSED, Check
from pipeline_lib.core.settings.outputs.quality import CheckSettings, QualitySettings
from pipeline_lib.io.quality_records import QualityRecord
from pipeline_lib.kernels.quality.cohort import (
    Standard,
    choose_worst,
    compare_sizes,
    describe_quarters,
    describe_standard,
    estimate_shift,
    measure_proportions,
    measure_views,
)
from pipeline_lib.kernels.quality.findings import (
    EVEN,
    Span,
    Verdict,
    find_samples,
    find_windows,
    judge,
    split_quarters,
    surround,
)

Doubles = NDArray[np.float64]

# Measures of pixels whose worst quarter of a video counts.
_QUARTERS = ("brightness", "focus")
# Seconds around a place at which individuals may have been exchanged.
_AROUND = 0.5
# The worst decision comes first, and of these the one farthest from its limit.
_ORDER = {"fail": 0, "warn": 1}


@dataclass(frozen=True)
class JudgedVideo:
    """Hold what decisions about a video depend on.

    Attributes
    ----------
    video
        Its name.
    group
        Videos of the same group are compared.
    record
        What was measured; None: it was not.
    problem
        Why it was not measured; empty if it was.
    size
        Width and height of its frames in px; None: unknown.
    counts
        Whether others are compared with it.
    """

    video: str
    group: str = ""
    record: QualityRecord | None = None
    problem: str = ""
    size: tuple[int, int] | None = None
    counts: bool = True


@dataclass(frozen=True)
class Finding:
    """Hold a fault of a video.

    Attributes
    ----------
    check
        Name of the check.
    decision
        ``warn`` or ``fail``.
    reason
        In words.
    value, limit
        In the unit of the check; NaN: there is none.
    spans
        Seconds that offend.
    remedy
        What usually helps.
    excess
        How far the value is beyond its limit, for the order of findings.
    """

    check: str
    decision: str
    reason: str
    value: float = math.nan
    limit: float = math.nan
    spans: list[Span] = field(default_factory=list)
    remedy: str = ""
    excess: float = math.inf


@dataclass(frozen=True)
class JudgedCohort:
    """Hold the decisions of the rules.

    Attributes
    ----------
    findings
        Of each video, the worst first.
    values
        What each check compared, by video and check; NaN: nothing could be measured.
    """

    findings: Mapping[str, list[Finding]]
    values: Mapping[str, Mapping[str, float]]


def decide(videos: Sequence[JudgedVideo], settings: QualitySettings) -> JudgedCohort:
    """Judge all videos, each compared with those of its group.

    A group is judged twice: what is usual is told by its videos without a finding of the first
    time, so that many faults of one kind do not hide those of another.

    Parameters
    ----------
    videos
        All videos of the cohort.
    settings
        Limits, and the fewest videos that others are compared with.
    """
    findings, values = dict[str, list[Finding]](), dict[str, dict[str, float]]()
    for group in dict.fromkeys(video.group for video in videos):
        own = [video for video in videos if video.group == group]
        judged = _Group(own, settings)
        usual = np.array([video.counts for video in own], np.bool_)
        usual &= [not judged.find(place) for place in range(len(own))]
        if settings.min_videos <= usual.sum() < len(own):
            judged = _Group(own, settings, usual)
        for place, video in enumerate(own):
            found = judged.find(place)
            findings[video.video] = sorted(
                found, key=lambda one: (_ORDER[one.decision], -one.excess)
            )
            values[video.video] = judged.list_values(place)
    return JudgedCohort(findings, values)


class _Group:
    """Judge the videos of one group.

    Parameters
    ----------
    videos
        The group.
    settings
        Limits.
    usual
        Shape (video,): which of them tell what is usual; None: all that count.
    """

    def __init__(
        self,
        videos: Sequence[JudgedVideo],
        settings: QualitySettings,
        usual: NDArray[np.bool_] | None = None,
    ) -> None:
        self._videos, self._settings = videos, settings
        counts = np.array([video.counts for video in videos], np.bool_)
        self._usual = counts if usual is None else usual
        self._values: dict[str, Doubles] = {}
        self._standards: dict[str, Standard | None] = {}
        self._usual_view: NDArray[np.float32] | None = None
        self._halves: dict[int, Doubles] = {}
        self._usual_size = _find_usual([video.size for video in videos if video.counts])
        own = self._measure_together()
        for name, check in CHECKS.items():
            if name in _QUARTERS:
                self._compare_quarters(name, check)
                continue
            values = own.get(name)
            if values is None:
                values = np.array([_read_value(video.record, name) for video in videos])
            self._values[name] = values
            self._set_standard(name, check, values)

    def list_values(self, place: int) -> dict[str, float]:
        """Return what each check compares of a video."""
        return {name: float(values[place]) for name, values in self._values.items()}

    def find(self, place: int) -> list[Finding]:
        """Return the faults of a video."""
        video = self._videos[place]
        if video.problem:
            return [Finding(PROCESSED, "fail", video.problem, remedy="look")]
        if video.record is None:
            return []
        found = []
        for name, check in CHECKS.items():
            value = float(self._values[name][place])
            limits = self._settings.limits.get(name, CheckSettings()).model_dump()
            standard = self._standards[name]
            verdict = judge(value, limits, standard, check.worse, logarithmic=check.logarithmic)
            if verdict is None:
                continue
            found.append(
                Finding(
                    name,
                    verdict.decision,
                    self._explain(name, place, value, verdict),
                    value,
                    verdict.limit,
                    self._find_spans(name, place, video.record, verdict),
                    check.remedy,
                    _measure_excess(value, verdict),
                )
            )
        return found

    def _measure_together(self) -> dict[str, Doubles]:
        """Return the measures that need the whole group."""
        return {
            "view": self._measure_views(),
            "proportions": measure_proportions(self._list_edges(), self._usual),
            "frame_size": compare_sizes(
                [video.size if video.counts else None for video in self._videos]
            )
            if self._is_large(int(sum(video.size is not None for video in self._videos)))
            else np.full(len(self._videos), np.nan),
        }

    def _measure_views(self) -> Doubles:
        """Return how different the view of each video is, in the half in which it is more so."""
        shown = [
            (place, video.record.thumbnails)
            for place, video in enumerate(self._videos)
            if video.record is not None and video.record.thumbnails is not None and video.counts
        ]
        views = np.full(len(self._videos), np.nan)
        if len({pictures.shape for _, pictures in shown}) != 1:
            return views
        pictures = np.stack([pictures for _, pictures in shown]).astype(np.float32)
        number, halves = pictures.shape[:2]
        flat = pictures.reshape(-1, *pictures.shape[2:])
        self._usual_view = np.median(flat, axis=0).astype(np.float32)
        if number > 1:
            found = measure_views(flat).reshape(number, halves)
            places = [place for place, _ in shown]
            views[places] = found.max(axis=1)
            self._halves = dict(zip(places, found, strict=True))
        return views

    def _list_edges(self) -> Doubles:
        records = [video.record for video in self._videos]
        names = list(dict.fromkeys(name for one in records if one for name in one.edges))
        return np.array(
            [
                [one.edges.get(name, np.nan) if one is not None else np.nan for name in names]
                for one in records
            ],
            np.float64,
        ).reshape(len(records), len(names))

    def _compare_quarters(self, name: str, check: Check) -> None:
        quarters = np.stack([_split(video.record, name) for video in self._videos])
        standard = describe_quarters(
            quarters[self._usual], check.floor, check.worse, logarithmic=check.logarithmic
        )
        self._values[name] = choose_worst(
            quarters, standard, check.worse, logarithmic=check.logarithmic
        )
        self._standards[name] = standard if self._is_large(standard.number) else None

    def _set_standard(self, name: str, check: Check, values: Doubles) -> None:
        counted = values[self._usual]
        standard = describe_standard(
            counted,
            check.floor,
            logarithmic=check.logarithmic,
            relative_floor=check.relative_floor,
        )
        self._standards[name] = standard if self._is_large(standard.number) else None

    def _is_large(self, number: int) -> bool:
        return number >= self._settings.min_videos

    def _explain(self, name: str, place: int, value: float, verdict: Verdict) -> str:
        video, check = self._videos[place], CHECKS[name]
        show = _choose_form(check)
        if name == "frame_size" and video.size and self._usual_size:
            return (
                f"frames have {_show_size(video.size)} px, and {show(value)} of the cohort have "
                f"{_show_size(self._usual_size)} px"
            )
        more = "more" if verdict.above else "less"
        text = f"{check.words.format(show(value))}, {more} than {show(verdict.limit)}"
        standard = self._standards[name]
        if not np.isnan(verdict.z) and standard is not None:
            centre = math.exp(standard.centre) if check.logarithmic else standard.centre
            size = (
                "far" if np.isinf(verdict.z) else f"{abs(verdict.z):.1f} robust standard deviations"
            )
            text += f" (usual: {show(centre)}; {size} away)"
        shift = self._find_shift(place) if name == "view" else None
        return f"{text}; it is shifted by about {shift[0]}, {shift[1]} px" if shift else text

    def _find_spans(
        self, name: str, place: int, record: QualityRecord, verdict: Verdict
    ) -> list[Span]:
        """Return the seconds that offend; of a view, the halves of the video."""
        spans = _find_spans(name, record, verdict)
        if name != "view" or place not in self._halves or len(spans) != 1:
            return spans
        half = spans[0][1] / 2.0
        first, second = (self._halves[place] > verdict.limit).tolist()
        return spans if first == second else [(0.0, half)] if first else [(half, 2.0 * half)]

    def _find_shift(self, place: int) -> tuple[int, int] | None:
        """Return by how many px a view is shifted to the right and downwards, if it is."""
        video = self._videos[place]
        record = video.record
        if record is None or record.thumbnails is None or self._usual_view is None:
            return None
        if place not in self._halves or not video.size:
            return None
        picture = record.thumbnails[int(self._halves[place].argmax())]
        shift = estimate_shift(picture.astype(np.float32), self._usual_view)
        if shift is None:
            return None
        return round(shift[0] * video.size[0]), round(shift[1] * video.size[1])


def _split(record: QualityRecord | None, name: str) -> Doubles:
    values = record.samples.get(name, np.empty(0)) if record is not None else np.empty(0)
    return split_quarters(values)


def _read_value(record: QualityRecord | None, name: str) -> float:
    return float(record.values.get(name, math.nan)) if record is not None else math.nan


def _find_usual(sizes: Sequence[tuple[int, int] | None]) -> tuple[int, int] | None:
    known = [size for size in sizes if size is not None]
    return max(dict.fromkeys(known), key=known.count) if known else None


def _find_spans(name: str, record: QualityRecord, verdict: Verdict) -> list[Span]:
    """Return the seconds that offend; the whole video where no part is worse than others."""
    duration = _read_value(record, "duration")
    if not duration > 0:
        return []
    if name in _QUARTERS and len(record.samples.get("time", ())):
        return find_samples(record.samples[name], record.samples["time"], duration, verdict)
    if name in ("identity", "exchanges") and len(record.doubts):
        least = EVEN if name == "exchanges" else 0.0
        times = record.doubts[record.doubts[:, 1] > least, 0]
        return surround(times, _AROUND, duration)
    if name in record.windows and len(record.windows[name]):
        return find_windows(record.windows[name], record.seconds, duration, verdict)
    return [(0.0, duration)]


def _measure_excess(value: float, verdict: Verdict) -> float:
    """Return how far beyond its limit a value is, comparable between checks only roughly."""
    if not np.isnan(verdict.z):
        return abs(verdict.z)
    away = abs(value - verdict.limit)
    return 10.0 * away / abs(verdict.limit) if verdict.limit else math.inf


def _choose_form(check: Check) -> Callable[[float], str]:
    if check.percent:
        return lambda value: f"{100 * value:.3g} %"
    return lambda value: f"{value:.3g}"


def _show_size(size: tuple[int, int]) -> str:
    return f"{size[0]}\N{MULTIPLICATION SIGN}{size[1]}"
