"""A decoder that gives nothing any more costs its video, not the run."""

import threading
import time
from contextlib import closing

import pytest

from pipeline_lib.core.errors import VideoError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.core.tables import VideoStatus
from pipeline_lib.io.video.reader import VideoReader
from pipeline_lib.steps import select_frames
from pipeline_lib.steps.infer.frames.read_ahead import ReadAhead, StalledError, explain_stall
from tests.video_corpus import encode, x264


@pytest.fixture
def released():
    """Return what hanging decoders wait for; set at the end, so that their threads end."""
    event = threading.Event()
    yield event
    event.set()


def hang_after(number, released):
    yield from range(number)
    released.wait(60)


def test_items_that_came_are_given_before_the_stall(released):
    ahead = ReadAhead(hang_after(5, released), depth=2, patience=1.0)
    items = iter(ahead)
    found = [next(items) for _ in range(5)]
    with closing(ahead), pytest.raises(StalledError):
        next(items)
    assert found == [0, 1, 2, 3, 4]


def test_closing_after_a_stall_does_not_wait_for_the_thread(released):
    ahead = ReadAhead(hang_after(0, released), depth=1, patience=0.1)
    with pytest.raises(StalledError):
        next(iter(ahead))
    began = time.monotonic()
    ahead.close()
    assert time.monotonic() - began < 10
    assert not released.is_set()


def test_a_decoder_that_reads_on_is_waited_for():
    packets = 0

    def read():
        nonlocal packets
        for _ in range(12):
            time.sleep(0.1)
            packets += 1
        yield "a frame after many packets"

    with closing(ReadAhead(read(), depth=1, patience=0.8, progress=lambda: packets)) as ahead:
        assert list(ahead) == ["a frame after many packets"]


def test_a_stall_is_a_reason_that_names_the_setting():
    reason = r"decoding gave no frame in 7 s \(`reading.seconds_per_frame`\): given up"
    with pytest.raises(VideoError, match=reason), explain_stall(7.0):
        raise StalledError
    with pytest.raises(KeyError), explain_stall(7.0):
        raise KeyError


def test_the_selection_of_frames_gives_a_hanging_video_up(tmp_path, monkeypatch, released):
    path = encode(tmp_path / "a.mp4", frames=20, options=x264())

    monkeypatch.setattr(VideoReader, "read", lambda *_, **__: hang_after(0, released))
    config = parse_config({"cohort": "cohort.tsv", "reading": {"seconds_per_frame": 0.2}})
    probe = {
        "video": "a",
        "path": str(path),
        "status": VideoStatus.DONE,
        "reason": "",
        "fingerprint": "0" * 64,
        "key": "k",
    }
    row = select_frames._process(probe, config, Results(tmp_path / "results"))
    assert row["status"] == VideoStatus.FAILED
    assert row["reason"].startswith("decoding gave no frame in 0 s (`reading.seconds_per_frame`)")
    assert not (tmp_path / "results" / "frames" / "a").exists()
