"""Schedule segments of videos onto Dask workers, and retry those whose worker died."""

import logging
import queue
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import distributed
from distributed import Client, LocalCluster

from pipeline_lib.core.errors import CohortposeError
from pipeline_lib.core.settings.videos import InferenceSettings
from pipeline_lib.core.tables import VideoStatus
from pipeline_lib.io.poses.read import read_pose_key
from pipeline_lib.io.poses.segments import SegmentFolder, Timings
from pipeline_lib.kernels.segments import Range, choose_segment_length, cut_segments, find_gaps
from pipeline_lib.steps.infer.segment import finish_video, infer_segment
from pipeline_lib.steps.infer.tasks import Outcome, Totals, Verdict, VideoTask
from pipeline_lib.steps.infer.worker_cache import warm_up

logger = logging.getLogger(__name__)

# In shorter segments, the decoding before the first frame and the scheduling would dominate.
_SHORTEST_SEGMENT = 200
# Priority of joining segments, so that a finished video is published before others start.
_FINISH_FIRST = 10

PROGRESS_TOPIC = "cohortpose-progress"
_SECONDS_BETWEEN_EVENTS = 1.0
_SECONDS_BETWEEN_LOOKS = 2.0
_SECONDS_ALONE = 60.0


@dataclass(eq=False)
class _Video:
    task: VideoTask
    waiting: deque[Range]
    running: int = 0
    tried: "Counter[Range]" = field(default_factory=Counter)
    verdict: Verdict | None = None

    @property
    def frames_waiting(self) -> int:
        return sum(stop - start for start, stop in self.waiting)


@dataclass(frozen=True)
class _Job:
    """Describe the task of a future; a `segment` of None joins the finished segments."""

    video: _Video
    segment: Range | None


def plan_segments(
    tasks: Sequence[VideoTask], workers: int, settings: InferenceSettings
) -> dict[str, list[Range]]:
    """Return the missing frames of each video, cut into segments, by the key of the video.

    Parameters
    ----------
    tasks
        Videos to infer; finished segments are not planned again.
    workers
        Number of segments that run in parallel.
    settings
        Longest segment.
    """
    gaps = {
        task.key: find_gaps(task.frames, SegmentFolder(Path(task.segments)).list_finished())
        for task in tasks
    }
    missing = sum(stop - start for ranges in gaps.values() for start, stop in ranges)
    shortest = min(_SHORTEST_SEGMENT, settings.segment_frames)
    length = choose_segment_length(missing, workers, settings.segment_frames, shortest)
    return {key: cut_segments(ranges, length) for key, ranges in gaps.items()}


def schedule_videos(
    client: Client, tasks: Sequence[VideoTask], settings: InferenceSettings
) -> Iterator[Outcome]:
    """Infer videos on the workers of a cluster; yield each outcome as soon as it is known.

    Every worker gets as many segments as it has threads and no more, so that its death costs only
    the segments in progress. These are tried again after all others, one per worker at a time, to
    find out which of them kills the worker.

    Parameters
    ----------
    client
        Client of a cluster with at least one worker.
    tasks
        Videos with different keys.
    settings
        Length of the segments and number of attempts.

    Raises
    ------
    OSError, CohortposeError
        If the machine or the cluster fails. The job can be tried again and keeps the finished
        segments.
    """
    schedule = _Schedule(client, settings.attempts)
    segments = plan_segments(tasks, schedule.count_slots(), settings)
    # Longest first, so that no worker is left with a long video at the end.
    for task in sorted(tasks, key=lambda task: -task.frames):
        schedule.add(_Video(task, deque(segments[task.key])))
    yield from schedule.run()


class _Schedule:
    def __init__(self, client: Client, attempts: int) -> None:
        self._client, self._attempts = client, attempts
        self._videos: deque[_Video] = deque()
        self._suspects: deque[_Job] = deque()
        self._jobs: dict[Any, _Job] = {}
        self._ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._workerless_since: float | None = None
        self._network_tried = False

    def add(self, video: _Video) -> None:
        if video.waiting:
            self._videos.append(video)
        else:
            self._submit(_Job(video, None))

    def count_slots(self) -> int:
        threads: dict[str, int] = self._client.nthreads()
        return max(1, sum(threads.values()))

    def run(self) -> Iterator[Outcome]:
        self._fill()
        while self._jobs:
            try:
                future = self._ended.get(timeout=_SECONDS_BETWEEN_LOOKS)
            except queue.Empty:
                self._check_workers()
            else:
                outcome = self._handle_result(self._jobs.pop(future), future)
                future.release()
                if outcome is not None:
                    yield outcome
            # Even without a result, since workers may have joined.
            self._fill()

    def _check_workers(self) -> None:
        """Raise an error if all local workers are gone: Dask restarts only those that had run."""
        if self._client.nthreads() or not isinstance(self._client.cluster, LocalCluster):
            self._workerless_since = None
            return
        self._workerless_since = self._workerless_since or time.monotonic()
        if time.monotonic() - self._workerless_since > _SECONDS_ALONE:
            raise CohortposeError(
                "every Dask worker died and none came back: check the free memory, then "
                "run again; finished segments are kept"
            )

    def _fill(self) -> None:
        """Submit a segment to every free slot; once none is left, one suspect to every worker."""
        slots = self.count_slots() if self._videos else 0
        while self._videos and len(self._jobs) < slots:
            video = self._videos[0]
            self._submit(_Job(video, video.waiting.popleft()))
            if not video.waiting:
                self._videos.popleft()
        if self._videos or not self._suspects:
            return
        workers = max(1, len(self._client.nthreads()))
        while self._suspects and len(self._jobs) < workers:
            self._submit(self._suspects.popleft())

    def _submit(self, job: _Job) -> None:
        task = job.video.task
        if job.segment is None:
            future = self._client.submit(finish_video, task, pure=False, priority=_FINISH_FIRST)
        else:
            future = self._client.submit(run_segment, task, *job.segment, pure=False)
        job.video.running += 1
        self._jobs[future] = job
        future.add_done_callback(self._ended.put)

    def _handle_result(self, job: _Job, future: Any) -> Outcome | None:  # noqa: ANN401 - Dask's
        """Handle the result of a future; return the outcome if the video is finished."""
        video = job.video
        video.running -= 1
        try:
            result = future.result()
        except distributed.KilledWorker:
            self._try_network(video.task)
            return self._suspect(job)
        except CancelledError:
            raise CohortposeError(
                "the Dask scheduler is gone: run again; finished segments are kept"
            ) from None
        if isinstance(result, Totals):
            return _describe_done(video.task, result)
        if isinstance(result, Verdict):
            self._end_video(video, result)
        return self._continue(video)

    def _try_network(self, task: VideoTask) -> None:
        """Check, after the first death of a worker, that loading the network is not the cause."""
        if self._network_tried:
            return
        self._network_tried = True
        # A segment that kills workers may kill this call, at most once per slot and attempt.
        for _ in range(self.count_slots() + self._attempts):
            future = self._client.submit(warm_up, task.network, pure=False, priority=_FINISH_FIRST)
            try:
                future.result()
            except distributed.KilledWorker:
                continue
            return
        raise CohortposeError(
            "Dask workers die while they load the network: give them more memory "
            "(`inference.worker_gigabytes`, or the machine's), or use fewer "
            "(`inference.workers`)"
        )

    def _suspect(self, job: _Job) -> Outcome | None:
        video, segment = job.video, job.segment or (0, job.video.task.frames)
        if job.segment is not None and _is_published(video.task, job.segment):
            # The worker died after it had published the segment.
            return self._continue(video)
        video.tried[segment] += 1
        times = video.tried[segment]
        logger.warning(
            "%s: the worker at frames %d to %d died (%d of %d attempts)",
            video.task.video,
            segment[0],
            segment[1] - 1,
            times,
            self._attempts,
        )
        if video.verdict is None and times < self._attempts:
            self._suspects.append(job)
            return None
        reason = (
            f"its worker died {times} times at frames {segment[0]} to {segment[1] - 1}: out of "
            "memory, or a crash of the decoder"
        )
        self._end_video(video, Verdict(VideoStatus.FAILED, reason, keep_segments=True))
        return self._continue(video)

    def _end_video(self, video: _Video, verdict: Verdict) -> None:
        video.verdict = video.verdict or verdict
        if video.waiting:
            video.waiting.clear()
            self._videos.remove(video)
        self._suspects = deque(job for job in self._suspects if job.video is not video)

    def _continue(self, video: _Video) -> Outcome | None:
        """Join the segments of a video if they are complete; return the outcome if it failed."""
        suspected = any(job.video is video for job in self._suspects)
        if video.waiting or video.running or suspected:
            return None
        if video.verdict is None:
            self._submit(_Job(video, None))
            return None
        if not video.verdict.keep_segments:
            SegmentFolder(Path(video.task.segments)).remove()
        return Outcome(video.task.video, video.verdict.status, video.verdict.reason)


def _describe_done(task: VideoTask, totals: Totals) -> Outcome:
    """Return the outcome of a complete video; log how much of it was still, and why not more."""
    if task.still_frames:
        share = totals.still / max(totals.frames, 1)
        told = f"{task.video}: nothing moved in {share:.1%} of {totals.frames} frames"
        logger.info("%s", f"{told}: {totals.note}" if totals.note else told)
    return Outcome(
        task.video,
        VideoStatus.DONE,
        key=task.key,
        frames=totals.frames,
        undecodable=totals.undecodable,
        timings=totals.timings,
        still=totals.still if task.still_frames else None,
    )


def _is_published(task: VideoTask, segment: Range) -> bool:
    finished = SegmentFolder(Path(task.segments)).list_finished()
    return segment in finished or read_pose_key(Path(task.output)) == task.key


def run_segment(task: VideoTask, start: int, stop: int) -> Totals | Verdict | None:
    """Infer a segment on a Dask worker and send its progress to the client.

    Parameters
    ----------
    task
        The video.
    start, stop
        First frame, and one past the last.

    Returns
    -------
    Totals, Verdict or None
        As from `infer_segment`.
    """
    worker = distributed.get_worker()
    sent, frames, timings = time.monotonic(), 0, Timings()

    def note(more: int, took: Timings) -> None:
        nonlocal frames, timings
        frames, timings = frames + more, timings + took
        if time.monotonic() - sent >= _SECONDS_BETWEEN_EVENTS:
            send()

    def send() -> None:
        nonlocal sent, frames, timings
        event = {
            "frames": frames,
            "decode": timings.decode,
            "network": timings.network,
            "wait": timings.wait,
        }
        worker.log_event(PROGRESS_TOPIC, event)
        sent, frames, timings = time.monotonic(), 0, Timings()

    ended = infer_segment(task, start, stop, note)
    if frames:
        send()
    return ended
