"""One network for several decoders: their frames of one size go through it together."""

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
    result: "Future[Located]" = field(default_factory=Future)


class SharedPredictor:
    """Runs a predictor in threads of its own for callers in other threads.

    Requests that wait at the same time and have frames of one size are answered by one call, so
    that the ends of segments and short videos fill batches too. None waits for others to come.

    Parameters
    ----------
    predictor
        What predicts; it must be safe to call from several threads.
    batch_size
        Frames after which no more requests join.
    threads
        Calls at a time: with 2, frames travel to a GPU while it works on others.
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

    def predict(self, frames: Sequence[Image]) -> Located:
        """Locate keypoints; see `pipeline_lib.models.inference.predictor.Predictor.predict`."""
        request = _Request(frames)
        self._requests.put(request)
        return request.result.result()

    def _serve(self) -> None:
        while True:
            requests = self._collect()
            try:
                frames = [frame for request in requests for frame in request.frames]
                found = self._predictor.predict(frames)
            except BaseException as error:  # noqa: BLE001 - it is the callers' to handle
                for request in requests:
                    request.result.set_exception(error)
                continue
            done = 0
            for request in requests:
                rows = slice(done, done + len(request.frames))
                done = rows.stop
                identity = None if found.identity is None else found.identity[rows]
                request.result.set_result(
                    Located(found.position[rows], found.confidence[rows], identity)
                )

    def _collect(self) -> list[_Request]:
        """Return requests for one call: at least one, and those that wait with its size."""
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
