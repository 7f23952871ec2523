"""Cameras that do what a test says."""

import contextlib
import time
from pathlib import Path

import av
import numpy as np

from pipeline_lib.core.settings.outputs.live import LiveSettings
from pipeline_lib.live import run
from pipeline_lib.live.run import LiveRequest, run_live
from pipeline_lib.live.sources.frames import Frame, LiveSource, now
from tests.live.discs import make_predictor


class FakeCamera(LiveSource):
    """Gives frames, raises errors and waits, in the order of a script.

    A script holds images, `Frame`s, exceptions, and numbers of seconds to wait; an exception after
    the text "shut" is raised when it is opened. It starts when the networks are ready.
    """

    def __init__(self, script, fps=None):
        self._script, self._fps = list(script), fps
        self._first = next(item for item in self._script if isinstance(item, (np.ndarray, Frame)))
        self._ready = False
        self._number = 0
        self._due = None
        self.opened = 0
        self.given = []

    def open(self):
        self.opened += 1
        if self._script and isinstance(self._script[0], str):
            self._script.pop(0)
            raise self._script.pop(0)

    def rewind(self):
        self._ready = True

    def read(self, timeout):
        del timeout
        if not self._ready:
            time.sleep(0.001)
            image = self._first.image if isinstance(self._first, Frame) else self._first
            return Frame(image, -1, now())
        if not self._script:
            self.ended = True
            return None
        item = self._script.pop(0)
        if isinstance(item, Exception):
            raise item
        if isinstance(item, float):
            time.sleep(item)
            return None
        if self._fps:
            self._due = now() if self._due is None else self._due + 1 / self._fps
            time.sleep(max(0.0, self._due - now()))
        if isinstance(item, Frame):
            return item
        self._number += 1
        frame = Frame(item, self._number, self._due if self._fps else now(), 0.0)
        self.given.append(frame)
        return frame


def make_settings(**values):
    """Return settings of one camera, without real-time priority."""
    values.setdefault("cameras", [{"name": "top", "source": "camera:0"}])
    return LiveSettings.model_validate({"real_time": False, **values})


def run_discs(monkeypatch, settings, cameras, folder, *, animals=1, delay=0.0, watch=None):
    """Run cameras with a network that finds discs, and takes its time; return what it sums up."""

    def load(request):
        own = request.settings.prediction
        predictor, finder = make_predictor(
            animals, own.ahead_ms, side=own.cropping, pcutoff=own.pcutoff
        )
        predictor.name = "discs"
        inner = finder.predict

        def slow(frames):
            time.sleep(delay)
            return inner(frames)

        finder.predict = slow if delay else inner
        return predictor

    monkeypatch.setattr(run, "_load", load)
    return run_live(LiveRequest(settings, "discs", folder), sources=cameras, watch=watch)


def write_video(path: Path, images, fps=50):
    """Write a video without loss, so that points are found where they were drawn."""
    with contextlib.closing(av.open(str(path), "w")) as container:
        stream = container.add_stream("libx264rgb", rate=fps, options={"qp": "0"})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "rgb24"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return path
