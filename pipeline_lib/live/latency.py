"""Count latencies, and warn when they are over what was promised."""

from collections import deque
from collections.abc import Mapping

import numpy as np

from pipeline_lib.live.recording.events import Events
from pipeline_lib.live.recording.log import PARTS

# 0.05 ms up to 1 s; longer ones count as that.
_STEP = 5e-5
_BINS = 20_000
_FRAMES = 100
_SHARE = 0.1

_ADVICE = {
    "wait": "frames wait for the one before: ask the camera for fewer frames per second, or make "
    "the part faster that takes longest",
    "preprocess": "ask the camera for smaller frames (`width`, `height`, `crop`)",
    "network": "set live.prediction.cropping, or a smaller window; train a light network "
    "(`training.goal: live`); or give it more cores",
    "decode": "train with a larger `targets.stride`, or set live.prediction.cropping",
    "ahead": "leave other work to other cores",
    "trigger": "an action or a processor takes long",
}


class LatencyCounter:
    """Count latencies in bins of 0.05 ms, in memory that does not grow."""

    def __init__(self) -> None:
        self._bins = np.zeros(_BINS + 1, np.int64)
        self._longest = 0.0

    def add(self, seconds: float) -> None:
        """Count a latency."""
        self._bins[min(_BINS, max(0, int(seconds / _STEP)))] += 1
        self._longest = max(self._longest, seconds)

    @property
    def count(self) -> int:
        """Number of latencies."""
        return int(self._bins.sum())

    @property
    def longest(self) -> float:
        """Longest latency, s."""
        return self._longest

    def quantile(self, share: float) -> float:
        """Return the latency that a share of all do not pass, s, to 0.05 ms; NaN without any."""
        total = self._bins.sum()
        if not total:
            return float("nan")
        place = int(np.searchsorted(self._bins.cumsum(), share * total))
        return min((place + 1) * _STEP, self._longest)


class Watchdog:
    """Say when the latency is over its promise, which part takes long, and what to do.

    Parameters
    ----------
    camera
        Name of the camera.
    promise
        Promised latency, s.
    events
        Is told.
    """

    def __init__(self, camera: str, promise: float, events: Events) -> None:
        self._camera, self._promise, self._events = camera, promise, events
        self._late: deque[bool] = deque(maxlen=_FRAMES)
        self._sums = dict.fromkeys(PARTS, 0.0)
        self._count = 0
        self._over = False

    def see(self, latency: float, parts: Mapping[str, float]) -> None:
        """See the latency of a frame and its parts, s."""
        self._late.append(latency > self._promise)
        for part in PARTS:
            self._sums[part] += parts[part]
        self._count += 1
        if self._count < _FRAMES:
            return
        means = {part: total / self._count for part, total in self._sums.items()}
        self._sums, self._count = dict.fromkeys(PARTS, 0.0), 0
        over = sum(self._late) > _SHARE * len(self._late)
        if over:
            # What waits does so because of something else.
            worst = max(PARTS[1:], key=lambda part: means[part])
            worst = "wait" if means["wait"] > 2 * means[worst] else worst
            told = ", ".join(f"{part} {1000 * means[part]:.1f}" for part in PARTS)
            self._events.tell(
                self._camera,
                "latency",
                f"{sum(self._late)} of the last {len(self._late)} frames took longer than the "
                f"promised {1000 * self._promise:g} ms (means in ms: {told}): {_ADVICE[worst]}",
            )
        elif self._over:
            self._events.tell(
                self._camera, "latency back", "the latency is within its promise again"
            )
        self._over = over
