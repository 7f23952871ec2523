"""Predict the newest frame of a camera again and again, and act on it."""

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipeline_lib.core.settings.outputs.live import LiveSettings
from pipeline_lib.live.actions import Actions
from pipeline_lib.live.capture import Capture, Captured
from pipeline_lib.live.latency import LatencyCounter, Watchdog
from pipeline_lib.live.predictor import LivePoses, LivePredictor
from pipeline_lib.live.priorities import NetworkThreads, raise_priority
from pipeline_lib.live.processors import ProcessorChain
from pipeline_lib.live.recording.events import Events, LineLog
from pipeline_lib.live.recording.log import PARTS, PoseRecord
from pipeline_lib.live.recording.recorder import Recorder
from pipeline_lib.live.rules import Change, RuleJudge, View
from pipeline_lib.live.sources.frames import Image, now

_TAKE = 0.1
_WHOLE_IN_A_ROW = 50


@dataclass
class LoopCounts:
    """Count what the loop of a camera did.

    Attributes
    ----------
    predicted
        Frames that were predicted.
    whole
        Those of them that were seen whole though windows are asked for.
    lost
        Windows that lost the animals.
    starts
        Starts of rules.
    failed
        Frames whose prediction failed; they are among the dropped ones.
    failed_actions
        Actions whose counterpart did not take them.
    latency
        From the capture of a frame to its last action.
    parts
        Each part of the latency by itself.
    """

    predicted: int = 0
    whole: int = 0
    lost: int = 0
    starts: int = 0
    failed: int = 0
    failed_actions: int = 0
    latency: LatencyCounter = field(default_factory=LatencyCounter)
    parts: dict[str, LatencyCounter] = field(
        default_factory=lambda: {part: LatencyCounter() for part in PARTS}
    )


@dataclass(frozen=True, eq=False)
class Shown:
    """Hold the last frame and its poses, for the preview."""

    captured: Captured
    poses: LivePoses
    latency: float


class Loop(threading.Thread):
    """Predict and act in a thread, of real-time priority where that is allowed.

    Parameters
    ----------
    capture
        Captures the frames.
    predictor
        Predicts them.
    settings
        Settings of the run.
    recorder
        Records poses; None: nobody does.
    actions, events, triggers
        Shared by all cameras.
    processors
        Processors of installed packages.
    threads
        Those in which networks compute, of all cameras.
    clock
        Monotonic time that counts as 0 in tables, s.
    folder
        Folder of the recording, where processors save.
    """

    def __init__(  # noqa: PLR0913 - what it joins
        self,
        capture: Capture,
        predictor: LivePredictor,
        settings: LiveSettings,
        *,
        camera: str,
        recorder: Recorder | None,
        actions: Actions,
        events: Events,
        triggers: LineLog,
        processors: list[Any],
        threads: NetworkThreads,
        clock: float,
        folder: Path | None = None,
    ) -> None:
        super().__init__(name=f"predict-{camera}", daemon=True)
        self._capture, self._settings = capture, settings
        self.predictor = self._predictor = predictor
        self._camera, self._recorder, self._events = camera, recorder, events
        self._actions, self._triggers, self._clock = actions, triggers, clock
        self._folder, self._threads = folder, threads
        self._chain = ProcessorChain(processors, camera, events)
        self._judge = RuleJudge(settings.rules, predictor.keypoints, predictor.individuals)
        self._watchdog = Watchdog(camera, settings.latency_ms / 1000.0, events)
        self._size: tuple[int, int] | None = None
        self._whole_in_a_row = 0
        self.counts = LoopCounts()
        self.shown: Shown | None = None
        self._last: Captured | None = None
        self.error: Exception | None = None

    def run(self) -> None:
        """Predict until no more frames come."""
        if self._settings.real_time and (reason := raise_priority()):
            self._events.tell(self._camera, "priority", f"no real-time priority: {reason}")
        try:
            self._get_ready()
            while True:
                captured = self._capture.newest.take(_TAKE)
                if captured is not None:
                    self._try(captured)
                elif self._capture.ended:
                    break
        except Exception as error:  # noqa: BLE001 - the run tells it and ends
            self.error = error
        finally:
            self._end_rules()
            self._chain.close(self._folder)

    def _get_ready(self) -> None:
        """Compile the networks for the size of the first frame; capturing then begins."""
        while not self._capture.ended:
            image = self._capture.first.take(_TAKE)
            if image is not None:
                self._warm_up(image)
                break
        self._capture.ready.set()

    def _warm_up(self, image: Image) -> None:
        size = (image.shape[0], image.shape[1])
        with self._threads.find():
            self._predictor.warm_up(size)
        self._size = size

    def _try(self, captured: Captured) -> None:
        """Handle a frame; one that a network or a driver cannot take does not end the loop."""
        try:
            self._handle(captured)
        except Exception as error:  # noqa: BLE001 - of networks and drivers, which have their own
            self.counts.failed += 1
            # The next frame compiles anew.
            self._size = None
            text = f"frame {captured.row} was not predicted ({type(error).__name__}: {error})"
            self._events.tell(self._camera, "prediction", text)

    def _handle(self, captured: Captured) -> None:
        frame = captured.frame
        if frame.image.shape[:2] != self._size:
            # Networks are compiled for a size, and what was expected is in px of other frames.
            self._warm_up(frame.image)
        self._last = captured
        started = now()
        poses = self._predictor.predict(frame.image, frame.captured)
        predicted = now()
        triggered = self._act(captured, poses, predicted)
        done = now()
        timings = poses.timings
        known = timings.preprocess + timings.network + timings.decode + timings.ahead
        parts = {
            "wait": started - frame.captured,
            # Whatever else the prediction took is neither network nor decoding.
            "preprocess": timings.preprocess + max(0.0, predicted - started - known),
            "network": timings.network,
            "decode": timings.decode,
            "ahead": timings.ahead,
            "trigger": done - predicted,
        }
        self._count(poses, done - frame.captured, parts)
        if self._recorder is not None and captured.take is not None:
            record = PoseRecord(
                captured.row,
                started,
                done,
                triggered,
                self._predictor.ahead_ms / 1000.0,
                poses.window,
                poses.lost,
                tuple(parts.values()),
                poses.position,
                poses.confidence,
            )
            self._recorder.add_poses(captured.take, record)
        self.shown = Shown(captured, poses, done - frame.captured)

    def _count(self, poses: LivePoses, latency: float, parts: dict[str, float]) -> None:
        counts = self.counts
        counts.predicted += 1
        counts.lost += poses.lost
        counts.whole += poses.window is None and self._settings.prediction.cropping > 0
        self._see_window(poses)
        counts.latency.add(latency)
        for part, seconds in parts.items():
            counts.parts[part].add(seconds)
        self._watchdog.see(latency, parts)
        if text := self._threads.see():
            self._events.tell(self._camera, "priority", text)

    def _see_window(self, poses: LivePoses) -> None:
        """Tell if animals that are found never fit into the window: each frame is seen whole."""
        side = self._settings.prediction.cropping
        found = bool((poses.confidence >= self._settings.prediction.pcutoff).any())
        whole = poses.window is None and found and not poses.lost
        self._whole_in_a_row = self._whole_in_a_row + 1 if whole and side else 0
        if self._whole_in_a_row == _WHOLE_IN_A_ROW:
            self._events.tell(
                self._camera,
                "window",
                f"{_WHOLE_IN_A_ROW} frames in a row were seen whole, though animals were found: "
                f"they do not fit into a window of {side} network px, or fewer are found than "
                "there are; set live.prediction.cropping larger, or to 0",
            )

    def _act(self, captured: Captured, poses: LivePoses, predicted: float) -> float:
        """Call processors, judge rules and send; return when the first action was sent."""
        position, ahead = poses.position, poses.ahead
        if self._chain:
            position = self._chain.process(
                position, poses.confidence, captured.frame.captured, predicted
            )
            # What a processor changed is changed ahead, too.
            ahead = ahead + np.nan_to_num(position - poses.position)
        certain = poses.confidence[..., None] >= self._settings.prediction.pcutoff
        view = View(
            np.where(certain, position, np.nan),
            np.where(certain, ahead, np.nan),
            poses.velocity,
            captured.frame.captured,
        )
        return self._send(captured, self._judge.judge(view))

    def _end_rules(self) -> None:
        """Let what rules have switched on be switched off when the run is over."""
        if self._last is not None:
            self._send(self._last, self._judge.end(), "the run ended")

    def _send(self, captured: Captured, changes: list[Change], problem: str = "") -> float:
        """Send what rules set off, and record it; return when the first action was sent."""
        first = float("nan")
        for change in changes:
            failed = self._actions.send(change, self._camera, captured.row, captured.frame.captured)
            sent = now()
            first = sent if np.isnan(first) and change.actions else first
            self.counts.starts += change.starts
            self.counts.failed_actions += len(failed)
            self._triggers.append(
                self._camera,
                captured.row,
                change.rule,
                change.individual,
                "start" if change.starts else "end",
                f"{change.value:.4f}",
                f"{captured.frame.captured - self._clock:.6f}",
                f"{sent - self._clock:.6f}",
                f"{1000 * (sent - captured.frame.captured):.3f}",
                ", ".join([*filter(None, [problem]), *(f"{name}: not sent" for name in failed)]),
            )
        return first
