"""Run live cameras: capture, predict, act, record, and sum up."""

import contextlib
import gc
import json
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline_lib import __version__
from pipeline_lib.core.errors import ConfigError
from pipeline_lib.core.settings.outputs.live import CameraSettings, LiveSettings
from pipeline_lib.io.publish import publish_text
from pipeline_lib.live.actions import Actions
from pipeline_lib.live.capture import Capture
from pipeline_lib.live.latency import LatencyCounter
from pipeline_lib.live.loop import Loop
from pipeline_lib.live.predictor import LivePredictor
from pipeline_lib.live.priorities import NetworkThreads, allows_real_time
from pipeline_lib.live.processors import load_processors
from pipeline_lib.live.recording.events import TRIGGER_COLUMNS, Events, LineLog
from pipeline_lib.live.recording.finish import finish_recordings
from pipeline_lib.live.recording.log import PARTS, TakeHead
from pipeline_lib.live.recording.recorder import Recorder
from pipeline_lib.live.sources.choice import make_source
from pipeline_lib.live.sources.frames import Source, now

logger = logging.getLogger("pipeline_lib.live")

# Threads hand Python's lock on after so many seconds; by default it is 5 ms.
_SWITCH = 0.0005
_POLL = 0.05


@dataclass(frozen=True)
class LiveRequest:
    """Ask for a live run.

    Attributes
    ----------
    settings
        What to do.
    network
        Bundle or results folder.
    folder
        Receives everything; None: nothing is recorded.
    model
        Name of the network in a results folder.
    """

    settings: LiveSettings
    network: str
    folder: Path | None
    model: str | None = None


@dataclass(eq=False)
class CameraRun:
    """Hold the threads of a camera."""

    name: str
    capture: Capture
    loop: Loop
    recorder: Recorder | None

    @property
    def error(self) -> Exception | None:
        """Return what ended the camera before its time; None: nothing did."""
        return self.capture.error or self.loop.error

    def sum_up(self) -> dict[str, Any]:
        """Return counts and latencies of the camera."""
        counts, loop = self.capture.counts, self.loop.counts
        recorder = self.recorder
        return {
            **asdict(counts),
            "predicted": loop.predicted,
            # Those in the mailbox at the end were neither.
            "dropped": counts.captured - loop.predicted,
            "whole": loop.whole,
            "lost": loop.lost,
            "starts": loop.starts,
            "failed": loop.failed,
            "failed_actions": loop.failed_actions,
            "unrecorded": 0 if recorder is None else recorder.unrecorded,
            "pictures_repeated": 0 if recorder is None else recorder.repeated,
            "latency_ms": {
                "whole": _sum_up_latency(loop.latency),
                **{part: _sum_up_latency(loop.parts[part]) for part in PARTS},
            },
        }


def _sum_up_latency(counter: LatencyCounter) -> dict[str, float]:
    """Return median, 99th percentile and maximum, ms."""
    shares = {"p50": 0.5, "p99": 0.99}
    found = {name: round(1000 * counter.quantile(share), 2) for name, share in shares.items()}
    return {**found, "max": round(1000 * counter.longest, 3)}


Watch = Callable[[list[CameraRun]], contextlib.AbstractContextManager[object]]


def run_live(
    request: LiveRequest,
    *,
    sources: dict[str, Source] | None = None,
    predictors: Sequence[LivePredictor] | None = None,
    watch: Watch | None = None,
) -> dict[str, Any]:
    """Run cameras until they end, the time is over, or the process is asked to stop.

    Parameters
    ----------
    request
        What is asked for.
    sources
        Sources by name of camera, instead of those that the settings name.
    predictors
        One for each camera, instead of those that the settings describe.
    watch
        Makes a context in which the cameras run, such as a preview.

    Returns
    -------
    dict
        Counts and latencies by camera, also written as ``run.json``.

    Raises
    ------
    CohortposeError
        If it cannot start, or a camera can never go on.
    """
    settings = request.settings
    if not settings.cameras:
        raise ConfigError("config", ["`live.cameras`: expected a camera; or give --source"])
    # Before anything is written: most that can be wrong is found here.
    real_time = settings.real_time and allows_real_time()
    threads = NetworkThreads(wanted=real_time)
    if predictors is None:
        with threads.find():
            predictors = [_load(request) for _ in settings.cameras]
    if request.folder is not None:
        request.folder.mkdir(parents=True, exist_ok=True)
        finish_recordings(request.folder)
    clock, started = now(), datetime.now(UTC)
    events = Events(_name(request.folder, "events.tsv"), clock)
    triggers = LineLog(_name(request.folder, "triggers.tsv"), TRIGGER_COLUMNS)
    actions = Actions(settings.actions, events)
    stop = threading.Event()
    try:
        shared = _Shared(actions, events, triggers, stop, clock, started, real_time, threads)
        runs = [
            _set_up(
                camera,
                request,
                shared,
                predictor,
                sources[camera.name] if sources else make_source(camera),
            )
            for camera, predictor in zip(settings.cameras, predictors, strict=True)
        ]
        with _prepare_process(), _on_signals(stop), watch(runs) if watch else _nothing():
            _run(runs, settings.seconds, stop)
    finally:
        threads.close()
        actions.close()
        events.flush()
        triggers.flush()
    summary = {one.name: one.sum_up() for one in runs}
    _tell(summary)
    if request.folder is not None:
        record = {
            "cohortpose": __version__,
            "network": runs[0].loop.predictor.source,
            "started": started.isoformat(),
            "settings": settings.model_dump(mode="json"),
            "cameras": summary,
            "events": dict(events.counts),
        }
        try:
            publish_text(request.folder / "run.json", json.dumps(record, indent=2) + "\n")
        except OSError as error:
            # A disk that is full takes no summary; what was recorded waits for room.
            reason = error.strerror or error
            told = "make room, then run `cohortpose live --recover`"
            logger.warning("%s/run.json: cannot be written (%s): %s", request.folder, reason, told)
        finish_recordings(request.folder)
    for one in runs:
        if one.error is not None:
            raise one.error
    return summary


@dataclass(frozen=True)
class _Shared:
    """Hold what all cameras share."""

    actions: Actions
    events: Events
    triggers: LineLog
    stop: threading.Event
    clock: float
    started: datetime
    real_time: bool
    threads: NetworkThreads


def _load(request: LiveRequest) -> LivePredictor:
    own = request.settings.prediction
    return LivePredictor(
        request.network,
        model=request.model,
        runtime=own.runtime,
        precision=own.precision,
        threads=own.threads,
        cropping=own.cropping,
        pcutoff=own.pcutoff,
        min_found=own.min_found,
        look_again=own.look_again,
        ahead_ms=own.ahead_ms,
        noise=own.noise,
        acceleration=own.acceleration,
    )


def _set_up(
    camera: CameraSettings,
    request: LiveRequest,
    shared: _Shared,
    predictor: LivePredictor,
    source: Source,
) -> CameraRun:
    settings = request.settings
    own = settings.prediction

    def describe(take: int, first_row: int, size: tuple[int, int]) -> TakeHead:
        return TakeHead(
            camera.name,
            take,
            first_row,
            size,
            predictor.keypoints,
            predictor.individuals,
            predictor.source,
            shared.started.isoformat(),
            shared.clock,
            {"crop": camera.crop, "prediction": own.model_dump(mode="json")},
        )

    recorder = None
    wanted = settings.recording.poses or settings.recording.video
    if request.folder is not None and wanted:
        recorder = Recorder(
            request.folder,
            camera.name,
            settings.recording,
            describe,
            shared.events,
            # Among busy processes an encoder of low priority would repeat most pictures.
            polite=not shared.real_time,
        )
    capture = Capture(
        camera, source, recorder, shared.events, shared.stop, real_time=shared.real_time
    )
    loop = Loop(
        capture,
        predictor,
        settings,
        camera=camera.name,
        recorder=recorder,
        actions=shared.actions,
        events=shared.events,
        triggers=shared.triggers,
        processors=load_processors(settings.processors),
        threads=shared.threads,
        clock=shared.clock,
        folder=request.folder,
    )
    return CameraRun(camera.name, capture, loop, recorder)


def _run(runs: list[CameraRun], seconds: float | None, stop: threading.Event) -> None:
    end = float("inf")
    for one in runs:
        one.loop.start()
        one.capture.start()
    try:
        while not stop.is_set() and now() < end and any(one.loop.is_alive() for one in runs):
            # Of several cameras one may fail later: the others go on.
            if any(one.error and not one.capture.counts.captured for one in runs):
                break
            if seconds is not None and end == float("inf"):
                # The time begins when all are ready, but for those that are gone.
                states = [one.capture for one in runs]
                begun = any(one.ready.is_set() for one in states) and all(
                    one.ready.is_set() or one.counts.outages for one in states
                )
                end = now() + seconds if begun else end
            stop.wait(_POLL)
    finally:
        stop.set()
        for one in runs:
            one.capture.join()
            one.capture.newest.close()
            one.loop.join()
            if one.recorder is not None:
                one.recorder.close()


@contextlib.contextmanager
def _prepare_process() -> Iterator[None]:
    """Keep Python's own pauses short."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH)
    # What there is now is never looked at again by the collector.
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        sys.setswitchinterval(before)


@contextlib.contextmanager
def _on_signals(stop: threading.Event) -> Iterator[None]:
    """End the run whole when the process is asked to stop."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        one: signal.signal(one, lambda *_: stop.set()) for one in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


@contextlib.contextmanager
def _nothing() -> Iterator[None]:
    yield


def _name(folder: Path | None, name: str) -> Path | None:
    return None if folder is None else folder / name


def _tell(summary: dict[str, Any]) -> None:
    for name, one in summary.items():
        latency = one["latency_ms"]["whole"]
        logger.info(
            "%s: %d frames captured, %d predicted, %d dropped, %d missed by the source; latency "
            "p50 %.1f ms, p99 %.1f ms, longest %.1f ms",
            *(name, one["captured"], one["predicted"], one["dropped"], one["missed"]),
            *(latency["p50"], latency["p99"], latency["max"]),
        )
