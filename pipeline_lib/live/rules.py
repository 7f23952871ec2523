"""Judge rules: measures of points that pass a value set off actions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import ConfigError
from pipeline_lib.core.settings.outputs.live import RuleSettings
from pipeline_lib.kernels.kinematics.depth import measure_depth
from pipeline_lib.kernels.kinematics.measures import measure_angle, measure_distance

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Change:
    """Tell that a rule started or ended.

    Attributes
    ----------
    rule, individual
        Names.
    starts
        Whether it started.
    value
        Measured value, in the unit of the rule.
    actions
        Names of the actions that it sets off.
    """

    rule: str
    individual: str
    starts: bool
    value: float
    actions: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class View:
    """Hold what rules see of a frame.

    Attributes
    ----------
    seen, ahead
        Shape (individual, keypoint, 2), px: points as found, and as predicted; NaN: not certain.
    velocity
        As `seen`, px/s.
    captured
        When the frame was captured, s.
    """

    seen: Floats
    ahead: Floats
    velocity: Floats
    captured: float


@dataclass
class _State:
    """Hold how a rule stands with an individual."""

    holds: bool = False
    value: float = np.nan
    passed: int = 0
    started: float = -np.inf


class RuleJudge:
    """Judge all rules of a camera, frame by frame.

    A frame in which the value is not known changes nothing. A start within the refractory time is
    put off until that is over.

    Parameters
    ----------
    rules
        The rules.
    keypoints, individuals
        Names along the axes of the points.

    Raises
    ------
    ConfigError
        If a rule names a point or an individual that there is not.
    """

    def __init__(
        self, rules: Sequence[RuleSettings], keypoints: Sequence[str], individuals: Sequence[str]
    ) -> None:
        known = {"points": keypoints, "individual": individuals, "other": individuals}
        problems = []
        for rule in rules:
            given = {"points": rule.points, "individual": (rule.individual,)}
            given["other"] = (rule.other,)
            problems += [
                f"`live.rules`: {rule.name}: `{field}`: the network has no {name!r}, but "
                f"{', '.join(known[field])}"
                for field, names in given.items()
                for name in names
                if name is not None and name not in known[field]
            ]
        if problems:
            raise ConfigError("config", problems)
        self._rules = [_Rule(rule, keypoints, individuals) for rule in rules]

    def judge(self, view: View) -> list[Change]:
        """Return what starts and ends in a frame."""
        return [change for rule in self._rules for change in rule.judge(view)]

    def end(self) -> list[Change]:
        """End the rules that hold, with their last values, as there are no more frames."""
        return [change for rule in self._rules for change in rule.end()]


class _Rule:
    def __init__(
        self, settings: RuleSettings, keypoints: Sequence[str], individuals: Sequence[str]
    ) -> None:
        self._settings = settings
        self._points = [list(keypoints).index(name) for name in settings.points]
        names = list(individuals)
        one = settings.individual
        self._rows = list(range(len(names))) if one is None else [names.index(one)]
        self._other = None if settings.other is None else names.index(settings.other)
        self._names = names
        self._states = [_State() for _ in self._rows]
        self._corners = np.array(settings.polygon, np.float64).reshape(-1, 2)
        # Everything is judged as "above".
        self._sign = 1.0 if settings.below is None else -1.0
        given = settings.above if settings.below is None else settings.below
        self._limit = self._sign * (given or 0.0)

    def judge(self, view: View) -> list[Change]:
        values = self._measure(view)
        changes = []
        for state, row, value in zip(self._states, self._rows, values.tolist(), strict=True):
            change = self._step(state, value, view.captured)
            if change is not None:
                own = self._settings
                changes.append(Change(own.name, self._names[row], change, value, own.actions))
        return changes

    def end(self) -> list[Change]:
        own, changes = self._settings, []
        for state, row in zip(self._states, self._rows, strict=True):
            if state.holds:
                changes.append(Change(own.name, self._names[row], False, state.value, own.actions))  # noqa: FBT003
            state.holds = False
        return changes

    def _measure(self, view: View) -> NDArray[np.float64]:
        """Return the value for each individual; NaN: not known."""
        points = (view.ahead if self._settings.ahead else view.seen)[self._rows]
        chosen = [points[:, point] for point in self._points]
        match self._settings.measure:
            case "region":
                return measure_depth(chosen[0], self._corners)
            case "speed":
                velocity = view.velocity[self._rows][:, self._points[0]]
                speed = np.hypot(velocity[:, 0], velocity[:, 1])
                # A point that is not seen has a velocity still.
                here = np.isfinite(view.seen[self._rows][:, self._points[0]]).all(axis=-1)
                return np.where(here, speed, np.nan).astype(np.float64)
            case "distance":
                second = chosen[1]
                if self._other is not None:
                    both = view.ahead if self._settings.ahead else view.seen
                    second = both[[self._other], self._points[1]]
                return measure_distance(chosen[0], second)
            case "angle":
                return measure_angle(chosen[0], chosen[1], chosen[2])

    def _step(self, state: _State, value: float, captured: float) -> bool | None:
        """Return whether the rule starts (True) or ends (False); None: neither."""
        if np.isnan(value):
            return None
        state.value = value
        limit = self._limit - (self._settings.hysteresis if state.holds else 0.0)
        if (self._sign * value > limit) == state.holds:
            state.passed = 0
            return None
        state.passed += 1
        if state.passed < self._settings.frames:
            return None
        state.passed = 0
        if state.holds:
            state.holds = False
            return False
        if captured - state.started < self._settings.refractory_ms / 1000.0:
            return None
        state.holds, state.started = True, captured
        return True
