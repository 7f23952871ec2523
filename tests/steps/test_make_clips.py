"""Test which clips are stored of videos that cannot be read to their end."""

from pathlib import Path

import numpy as np

from pipeline_lib.core.errors import VideoError
from pipeline_lib.models.inference.preprocessing import FrameFit
from pipeline_lib.steps import make_clips as subject


class Reader:
    """Read a video of which frame 5 is damaged, and which ends in an error at frame 8."""

    def __init__(self, path, _):
        self.path = path

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def read(self, start, stop):
        if self.path.name == "b" and stop > 8:
            raise VideoError("the disk is gone")
        image = np.zeros((32, 32, 3), np.uint8)
        return [(frame, None if frame == 5 else image + frame) for frame in range(start, stop)]


def test_clips_that_cannot_be_read_keep_their_places(monkeypatch):
    monkeypatch.setattr(subject, "PatientReader", Reader)
    fit = FrameFit.of(32, 32, 1.0)
    videos = [subject._Video(name, Path(name), fit, 12, name) for name in "abc"]
    chosen = [(video, start) for video in range(3) for start in (0, 4, 6, 9)]
    clips = list(subject._read_clips(videos, chosen, 2, 60.0))
    told = [None if clip is None else clip[0, 0, 0, 0] for clip in clips]
    assert told == [0, None, 6, 9, 0, None, 6, None, 0, None, 6, 9]
