"""Check that a file that is no video, or needs too much, fails alone and the shard continues."""

import multiprocessing
import os
import socket
import struct
import sys
from pathlib import Path

import av
import pytest

from pipeline_lib.core.errors import CohortposeError, VideoError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.core.tables import MANIFEST_COLUMNS, PROBE_COLUMNS
from pipeline_lib.io.stage_tables import read_table, write_table
from pipeline_lib.io.video.reader import VideoReader, probe_video
from pipeline_lib.steps import apart
from pipeline_lib.steps.apart import Limits, Lost, examine_apart
from pipeline_lib.steps.probe import run_probe
from tests.video_corpus import encode, x264
from tests.without_root import run_without_root


def write_manifest(folder: Path, paths: dict[str, Path]) -> Results:
    results = Results(folder / "results")
    rows = [
        {"video": name, "path": path, "bytes": 0, "modified_ns": 0} for name, path in paths.items()
    ]
    write_table(results.shard("s0").manifest, MANIFEST_COLUMNS, rows)
    return results


def read_probe(results: Results) -> dict[str, dict[str, str]]:
    return {row["video"]: row for row in read_table(results.shard("s0").probe, PROBE_COLUMNS)}


def run(folder: Path, paths: dict[str, Path], **reading: float) -> dict[str, dict[str, str]]:
    results = write_manifest(folder, paths)
    run_probe(parse_config({"cohort": "cohort.tsv", "reading": reading}), results, "s0")
    return read_probe(results)


def announce_samples(path: Path, samples: int, size: int) -> Path:
    """Write into an MP4 that it has so many samples of one size."""
    encode(path, frames=2, options=x264())
    data = bytearray(path.read_bytes())
    struct.pack_into(">II", data, data.index(b"stsz") + 8, size, samples)
    path.write_bytes(data)
    return path


@pytest.fixture
def good(tmp_path):
    return encode(tmp_path / "good.mp4", frames=20, options=x264())


def test_a_file_that_is_not_regular_is_quarantined(tmp_path, good):
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "loop.mp4").symlink_to(tmp_path / "loop.mp4")
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "nothing.mp4")
    (tmp_path / "to-pipe.mp4").symlink_to(tmp_path / "pipe.mp4")
    (tmp_path / "folder.mp4").mkdir()
    expected = {
        "pipe": (tmp_path / "pipe.mp4", "not a regular file, but a pipe"),
        "topipe": (tmp_path / "to-pipe.mp4", "not a regular file, but a pipe"),
        "loop": (tmp_path / "loop.mp4", "its links lead in a circle"),
        "gone": (tmp_path / "gone.mp4", "no such file"),
        "folder": (tmp_path / "folder.mp4", "a folder, not a file"),
        "zero": (Path("/dev/zero"), "not a regular file, but a device"),
        "null": (Path("/dev/null"), "not a regular file, but a device"),
        "long": (tmp_path / ("x" * 300 + ".mp4"), "a path that is too long"),
        "longer": (Path("/".join(["x" * 200] * 30)), "a path that is too long"),
        "inside": (good / "x.mp4", "no such file"),
    }
    rows = run(tmp_path, {**{name: path for name, (path, _) in expected.items()}, "good": good})
    assert rows["good"]["status"] == "done"
    for name, (_, reason) in expected.items():
        assert rows[name]["status"] == "quarantined", name
        assert rows[name]["reason"].startswith(f"{reason}: "), name


def test_a_socket_is_no_video(tmp_path, monkeypatch):
    # The path of a socket is short.
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s.mp4")
        with pytest.raises(VideoError, match="not a regular file"):
            probe_video(Path("s.mp4"))


@pytest.mark.parametrize("path", ["a\0b.mp4", "a\nb.mp4", "a\udcffb.mp4", "~nobody/a.mp4"])
def test_odd_paths_are_refused_with_a_reason_on_one_line(path):
    with pytest.raises(VideoError) as caught:
        VideoReader(Path(path))
    assert str(caught.value).isprintable()


_PROBE = """
import sys
from pathlib import Path
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.steps.probe import run_probe
if __name__ == "__main__":
    run_probe(parse_config({"cohort": "cohort.tsv"}), Results(Path(sys.argv[1])), "s0")
"""


@pytest.mark.parametrize("closed", ["file", "folder"])
def test_a_folder_without_permission(tmp_path, good, closed):
    (tmp_path / "folder").mkdir()
    path = encode(tmp_path / "folder" / "a.mp4", frames=3, options=x264())
    results = write_manifest(tmp_path, {"closed": path, "good": good})
    (path if closed == "file" else path.parent).chmod(0)
    run_without_root(_PROBE, results.root)
    path.parent.chmod(0o700)
    rows = read_probe(results)
    assert rows["closed"]["status"] == "quarantined"
    assert rows["closed"]["reason"] == f"no permission to read it: {path}"
    assert rows["good"]["status"] == "done"


@pytest.mark.parametrize(("samples", "size"), [(50_000_000, 1), (2**31, 1), (2**32 - 1, 0)])
def test_an_mp4_that_announces_too_many_samples_is_refused_at_once(tmp_path, samples, size):
    path = announce_samples(tmp_path / "a.mp4", samples, size)
    with pytest.raises(VideoError, match=f"damaged: it announces {samples} samples"):
        probe_video(path)


def test_a_fragment_that_announces_too_many_samples_is_refused(tmp_path):
    options = {"movflags": "frag_keyframe+empty_moov"}
    path = encode(tmp_path / "a.mp4", frames=5, options=x264(), container_options=options)
    data = bytearray(path.read_bytes())
    at = data.index(b"trun") + 4
    struct.pack_into(">II", data, at, 0, 50_000_000)
    path.write_bytes(data)
    with pytest.raises(VideoError, match="damaged: it announces 50000000 samples"):
        probe_video(path)


# Written as a module of its own, because processes import what they run.
_EXAMINATIONS = """
import os
import signal
import time

def take_memory(path):
    return len(bytearray(int(float(path) * 1e9)))

def hang(path):
    if path == "hang":
        # Holds Python's lock: no thread could end it.
        sum(iter(int, 1))
    return path

def end_process(path):
    if path.isdecimal():
        os.kill(os.getpid(), int(path))
    return path

def refuse_to_end(path):
    if path == "hang":
        # As in a read that its file server never answers: no signal but the last ends it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
        time.sleep(600)
    return path

def fail():
    raise ImportError("no such library")
"""


@pytest.fixture
def examinations(tmp_path, monkeypatch):
    (tmp_path / "some_examinations.py").write_text(_EXAMINATIONS)
    monkeypatch.syspath_prepend(tmp_path)
    import some_examinations  # noqa: PLC0415 - written just now

    yield some_examinations
    del sys.modules["some_examinations"]


def test_memory_has_a_limit(examinations):
    take_memory = examinations.take_memory
    found = examine_apart(["0.1"], take_memory, processes=1, limits=Limits(gigabytes=0.5))
    assert list(found) == [100_000_000]
    with pytest.raises(MemoryError):
        list(examine_apart(["0.9"], take_memory, processes=1, limits=Limits(gigabytes=0.5)))


def test_time_has_a_limit_and_others_go_on(examinations):
    limits = Limits(seconds=2.0, seconds_per_gigabyte=0.0)
    paths = ["a", "hang", "b", "c"]
    found = list(examine_apart(paths, examinations.hang, processes=2, limits=limits))
    assert found == ["a", Lost("reading it took more than 2 s: given up"), "b", "c"]


def test_a_process_that_does_not_end_itself_is_killed_and_replaced(examinations, monkeypatch):
    monkeypatch.setattr(apart, "_GRACE_SECONDS", 0.5)
    limits = Limits(seconds=1.0, seconds_per_gigabyte=0.0)
    paths = ["a", "hang", "b", "hang", "c"]
    found = list(examine_apart(paths, examinations.refuse_to_end, processes=1, limits=limits))
    given_up = Lost("reading it took more than 1 s: given up")
    assert found == ["a", given_up, "b", given_up, "c"]
    assert multiprocessing.active_children() == []


def test_a_process_that_ends_costs_one_file_and_is_replaced(examinations):
    paths = ["a", "11", "b", "6", "9", "c", "d"]
    found = list(examine_apart(paths, examinations.end_process, processes=1))
    assert [one for one in found if isinstance(one, str)] == ["a", "b", "c", "d"]
    crashed = Lost("FFmpeg crashed while it read the file")
    assert found[1] == found[3] == crashed
    assert "want of memory" in found[4].reason


def test_processes_that_cannot_start_are_no_files_fault(examinations):
    run_apart = examine_apart(["a"], examinations.hang, processes=1, prepare=examinations.fail)
    with pytest.raises(CohortposeError, match="ended before it had a video"):
        list(run_apart)


def test_frames_that_are_too_large_are_refused(tmp_path, good):
    path = encode(tmp_path / "large.mov", "mjpeg", frames=2, pixel_format="yuvj420p")
    data = bytearray(path.read_bytes())
    # Start of frame: length, precision, height and width (ITU-T T.81, B.2.2).
    at = -1
    while (at := data.find(b"\xff\xc0\0\x11\x08", at + 1)) > 0:
        struct.pack_into(">HH", data, at + 5, 60_000, 60_000)
    path.write_bytes(data)
    rows = run(tmp_path, {"large": path, "good": good})
    reason = "no frame can be decoded: its mjpeg stream gives no picture"
    assert (rows["large"]["status"], rows["large"]["reason"]) == ("quarantined", reason)
    assert rows["good"]["status"] == "done"


def test_limits_are_settings(tmp_path, good):
    rows = run(tmp_path, {"good": good}, seconds=60, gigabytes=1.0)
    assert rows["good"]["status"] == "done"


def test_lost_frames_are_told_in_the_table(tmp_path, good):
    path = tmp_path / "a.mkv"
    with av.open(path, "w") as container, av.open(good) as source:
        stream = container.add_stream_from_template(source.streams.video[0])
        packets = [one for one in source.demux(video=0) if one.size]
        for number, packet in enumerate(packets):
            if number not in (5, 6):
                packet.stream = stream
                container.mux(packet)
    row = run(tmp_path, {"a": path})["a"]
    assert (row["status"], row["frames"]) == ("done", "20")
    assert row["reason"].startswith("the file lacks 2 frames at ")


def test_a_doubt_is_told_in_the_table(tmp_path, good):
    path = tmp_path / "a.mkv"
    whole = encode(tmp_path / "b.mkv", "mpeg4", frames=20)
    with av.open(path, "w") as container, av.open(whole) as source:
        stream = container.add_stream_from_template(source.streams.video[0])
        for packet in [one for one in source.demux(video=0) if one.size][::2]:
            packet.stream = stream
            container.mux(packet)
    rows = run(tmp_path, {"a": path, "good": good})
    assert (rows["a"]["status"], rows["a"]["frames"]) == ("done", "10")
    assert "its header states 25 frames per second, its times say 12.5" in rows["a"]["reason"]
    assert rows["good"]["reason"] == ""
