"""Share one network between several decoders, whose frames of one size form batches."""

import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from pipeline_lib.models.inference.decoding import Located
from pipeline_lib.models.inference.predictor import Image, PosePredictor


@dataclass(frozen=True, eq=False)
class _Request:
    frames: Sequence[Image]
    first: Sequence[bool] | None = None
    result: "Future[Located]" = field(default_factory=Future)


class SharedPredictor:
    """Run a predictor in threads of its own, for callers in other threads.

    One call answers all waiting requests with frames of the same size, so that short videos and
    ends of segments fill batches too. No request waits for others to arrive.

    Parameters
    ----------
    predictor
        Predictor to share; several threads must be able to call it.
    batch_size
        Number of frames from which no more requests join.
    threads
        Number of parallel calls; with 2, frames are copied to a GPU while it computes others.
    """

    def __init__(self, predictor: PosePredictor, batch_size: int, threads: int = 2) -> None:
        self.card, self.surplus = predictor.card, predictor.surplus
        self._predictor, self._batch_size = predictor, batch_size
        self._requests: queue.SimpleQueue[_Request] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._held: _Request | None = None
        for number in range(threads):
            name = f"network-{number}"
            threading.Thread(target=self._serve, name=name, daemon=True).start()

    def predict(self, frames: Sequence[Image], first: Sequence[bool] | None = None) -> Located:
        """Locate keypoints; see `pipeline_lib.models.inference.predictor.Predictor.predict`."""
        request = _Request(frames, first)
        self._requests.put(request)
        return request.result.result()

    def _serve(self) -> None:
        while True:
            requests = self._collect()
            try:
                frames = [frame for request in requests for frame in request.frames]
                found = self._predict(frames, requests)
            except BaseException as error:  # noqa: BLE001 - it is the callers' to handle
                for request in requests:
                    request.result.set_exception(error)
                continue
            done = 0
            for request in requests:
                rows = slice(done, done + len(request.frames))
                done = rows.stop
                request.result.set_result(found.take(rows))

    def _predict(self, frames: Sequence[Image], requests: Sequence[_Request]) -> Located:
        if all(request.first is None for request in requests):
            return self._predictor.predict(frames)
        # Frames that are no block's are each a block of their own.
        marks = [request.first or [True] * len(request.frames) for request in requests]
        return self._predictor.predict(frames, [mark for each in marks for mark in each])

    def _collect(self) -> list[_Request]:
        """Return the requests for one call: the first, and the waiting ones of the same size."""
        with self._lock:
            first = self._held or self._requests.get()
            self._held = None
            requests, count = [first], len(first.frames)
            size = first.frames[0].shape
            while count < self._batch_size:
                try:
                    other = self._requests.get_nowait()
                except queue.Empty:
                    break
                if other.frames[0].shape != size:
                    self._held = other
                    break
                requests.append(other)
                count += len(other.frames)
            return requests
