"""Choose the precision of a network from what was measured; nothing is computed here."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pipeline_lib.models.precision import PrecisionMeasurement

# Growth of the mean error, in percent, that a faster precision may cost.
MOST_GROWTH = 1.0
# Share of the labelled keypoints that a faster precision may miss beyond those of float32.
MOST_MISSED = 0.01
# Rates within this factor are the same: measurements vary, and less exact results gain nothing.
LEAST_GAIN = 1.1
# Fewest labelled keypoints that an error is judged on.
LEAST_POINTS = 20


class Choice(NamedTuple):
    """Hold what was chosen, and why in one sentence; None: float32, nothing was measured."""

    measurement: PrecisionMeasurement | None
    reason: str


def choose(
    measured: Sequence[PrecisionMeasurement], stated: str, points: int, judged_on: str
) -> Choice:
    """Choose the fastest precision whose mean error grows by at most 1 %.

    Of several that are about as fast, it is the one whose keypoints move least from those of
    float32.

    Parameters
    ----------
    measured
        What was measured, float32 among them.
    stated
        The setting: ``auto``, or ``int8``, which is taken whatever it costs if it can be had.
    points
        Number of labelled keypoints that the error is judged on.
    judged_on
        ``test`` or ``all`` labelled frames.
    """
    done = [one for one in measured if one.frames_per_second]
    plain = find_fastest(one for one in done if one.precision == "float32")
    if plain is None:
        return Choice(None, "float32: nothing could be measured")
    if stated == "int8":
        return _take_int8(measured, plain)
    if points < LEAST_POINTS:
        return Choice(
            plain,
            f"float32: {points} labelled keypoints are too few to judge an error on "
            f"(at least {LEAST_POINTS})",
        )
    allowed = [one for one in done if _is_allowed(one, plain, points)]
    fastest = find_fastest([plain, *allowed]) or plain
    alike = [one for one in allowed if _gain(fastest, one) < LEAST_GAIN]
    best = min(alike, key=lambda one: one.moved or 0.0, default=plain)
    if best.precision == "float32" or _gain(best, plain) < LEAST_GAIN:
        return Choice(plain, _explain_float32(done, plain, points, judged_on))
    return Choice(best, _describe(best, plain, judged_on))


def find_fastest(measured: Iterable[PrecisionMeasurement]) -> PrecisionMeasurement | None:
    """Return the measurement with the most frames per second; None of nothing."""
    return max(measured, key=lambda one: one.frames_per_second or 0.0, default=None)


def _take_int8(measured: Sequence[PrecisionMeasurement], plain: PrecisionMeasurement) -> Choice:
    tried = [one for one in measured if one.precision == "int8"]
    best = find_fastest(one for one in tried if one.frames_per_second)
    if best is not None:
        return Choice(best, _describe(best, plain, ""))
    reasons = [one.reason for one in tried if one.reason]
    return Choice(plain, f"float32 instead of int8: {reasons[0] if reasons else 'not measured'}")


def _is_allowed(one: PrecisionMeasurement, plain: PrecisionMeasurement, points: int) -> bool:
    if one.precision == "float32":
        return True
    if one.growth is None or one.growth > MOST_GROWTH:
        return False
    return (one.missed or 0) - (plain.missed or 0) <= MOST_MISSED * points


def _gain(one: PrecisionMeasurement, plain: PrecisionMeasurement) -> float:
    return (one.frames_per_second or 0.0) / (plain.frames_per_second or 1.0)


def _describe(one: PrecisionMeasurement, plain: PrecisionMeasurement, judged_on: str) -> str:
    text = f"{one.precision}: {_gain(one, plain):.2f} times the frames/s of float32"
    if one.growth is not None:
        where = {"test": " on test frames", "all": " on all labelled frames"}.get(judged_on, "")
        text += f", mean error {one.growth:+.1f} %"
        text += f" (± {one.growth_noise:.1f} %)" if one.growth_noise is not None else ""
        text += where
    return text


def _explain_float32(
    done: Sequence[PrecisionMeasurement],
    plain: PrecisionMeasurement,
    points: int,
    judged_on: str,
) -> str:
    """Return why no faster precision was taken."""
    others = [one for one in done if one.precision != "float32"]
    refused = [one for one in others if not _is_allowed(one, plain, points)]
    fast = find_fastest(one for one in refused if _gain(one, plain) >= LEAST_GAIN)
    if fast is not None:
        missed = (fast.missed or 0) - (plain.missed or 0)
        more = f", and {missed} keypoints more are missed" if missed > 0 else ""
        return f"float32: too inexact is {_describe(fast, plain, judged_on)}{more}"
    if not others:
        return "float32: this machine offers no other precision"
    return "float32: no other precision is faster here"
