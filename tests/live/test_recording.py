"""Test that recordings survive a kill, a full disk, damage and another resolution."""

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import pipeline_lib
from pipeline_lib.core.errors import StoreError
from pipeline_lib.io.timestamps import read_timestamps
from pipeline_lib.io.video.encode import LiveVideoWriter
from pipeline_lib.live import run
from pipeline_lib.live.recording import finish, recorder
from pipeline_lib.live.recording.finish import finish_recordings
from pipeline_lib.live.recording.log import FrameRecord, LogWriter, PoseRecord, TakeHead, read_log
from pipeline_lib.live.sources.frames import Frame, now
from tests.live.cameras import FakeCamera, make_settings, run_discs, write_video
from tests.live.discs import draw

HEAD = TakeHead("top", 1, 0, (120, 160), ("a", "b", "c"), ("x",), "n", "2026-01-01T00:00Z", 5.0)


def record_poses(row):
    position = np.arange(6, dtype=np.float32).reshape(1, 3, 2) + row
    return PoseRecord(
        *(row, 5.0 + row, 5.5 + row, float("nan"), 0.01, (1, 2, 96, 96), False),
        *((0.1, 0.2, 0.3, 0.4, 0.5, 0.6), position, np.full((1, 3), 0.5, np.float32)),
    )


def write_log(path, rows=10):
    log = LogWriter(path, HEAD)
    for row in range(rows):
        log.write_frame(FrameRecord(row, row + 7, 5.0 + row, float("nan"), row == 3))
        if row != 4:
            log.write_poses(record_poses(row))
    log.close()
    return path


def test_a_log_tells_what_was_written(tmp_path):
    taken = read_log(write_log(tmp_path / "top.live"))
    assert taken.head == HEAD
    assert [frame.row for frame in taken.frames] == list(range(10))
    assert [frame.row for frame in taken.frames if frame.repeated] == [3]
    assert sorted(taken.poses) == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    found, given = taken.poses[7], record_poses(7)
    assert (found.window, found.done, found.lost) == ((1, 2, 96, 96), 12.5, False)
    np.testing.assert_array_equal(found.position, given.position)
    np.testing.assert_array_equal(found.confidence, given.confidence)
    np.testing.assert_allclose(found.parts, given.parts)
    assert taken.damaged == 0


def test_a_log_that_was_cut_anywhere_has_all_whole_records(tmp_path):
    content = write_log(tmp_path / "whole.live", 4).read_bytes()
    start = content.index(b"\n") + 1
    before = 0
    for length in range(start, len(content), 3):
        path = tmp_path / "cut.live"
        path.write_bytes(content[:length])
        taken = read_log(path)
        records = len(taken.frames) + len(taken.poses)
        assert 0 <= records - before <= 1
        before = records
    assert before == 7


def test_damage_costs_the_records_that_it_hits(tmp_path):
    path = write_log(tmp_path / "top.live")
    content = bytearray(path.read_bytes())
    start = content.index(b"\n") + 1
    content[start + 20] ^= 0xFF
    # A record of which the disk took a part only.
    path.write_bytes(content[:300] + content[300 + 11 :])
    taken = read_log(path)
    assert taken.damaged > 0
    assert len(taken.frames) + len(taken.poses) in (17, 16)
    assert taken.frames[-1].row == 9


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}\n",
        b"[1]\n",
        b'{"format": "cohortpose live log", "format_version": 1}\n',
        b"\0" * 9,
    ],
)
def test_what_is_no_log_is_refused(tmp_path, content):
    (tmp_path / "x.live").write_bytes(content)
    with pytest.raises(StoreError, match="no log of a live recording"):
        read_log(tmp_path / "x.live")
    assert finish_recordings(tmp_path) == []
    assert (tmp_path / "x.live").exists()


def test_a_finished_log_is_an_ordinary_pose_file(tmp_path):
    write_log(tmp_path / "top-0001.live")
    assert finish_recordings(tmp_path) == [tmp_path / "top-0001.zarr.zip"]
    poses = pipeline_lib.open_poses(tmp_path / "top-0001.zarr.zip")
    assert poses.position.dims == ("time", "space", "keypoint", "individual")
    assert poses.frame_status.values.tolist() == 4 * [0] + [2] + 5 * [0]
    assert poses.time.values.tolist() == list(range(10))
    assert poses.position.isel(time=2).sel(keypoint="b").values.ravel().tolist() == [4.0, 5.0]
    assert not (tmp_path / "top-0001.live").exists()
    lines = (tmp_path / "top-0001.times.tsv").read_text().splitlines()
    assert len(lines) == 11
    assert lines[5].split("\t")[-2:] == ["dropped", "4.000000"]
    assert lines[6].split("\t")[6] == "500.000"


def moving(count, size=(120, 160)):
    pose = np.array([[[20.0, 30.0], [40.0, 50.0], [60.0, 70.0]]])
    return [draw(pose + np.array([number, 0]), size) for number in range(count)]


def test_rows_of_poses_are_frames_of_the_video(tmp_path, monkeypatch):
    # The camera loses three frames, which the video's times and the camera's numbers tell.
    images, start = moving(40), now()
    kept = [number for number in range(40) if number not in (11, 12, 30)]
    frames = [Frame(images[number], number, start + number / 200) for number in kept]
    settings = make_settings(recording={"quality": 0})
    summary = run_discs(monkeypatch, settings, {"top": FakeCamera(frames, 200)}, tmp_path)["top"]
    assert (summary["captured"], summary["missed"]) == (37, 3)
    assert summary["predicted"] + summary["dropped"] == 37
    poses = pipeline_lib.open_poses(tmp_path / "top-0001.zarr.zip").load()
    with pipeline_lib.VideoReader(tmp_path / "top-0001.mp4") as reader:
        assert reader.facts.frames == poses.sizes["time"] == 40
        np.testing.assert_allclose(reader.times, poses.time.values, atol=1e-4)
        for row, image in reader.read():
            # The places of the discs tell which frame it is; chroma has half the resolution.
            assert (image is None) == (row not in kept)
            assert image is None or np.abs(image.astype(int) - images[row]).mean() < 3
    found = poses.position.sel(keypoint="red").values[:, 0, 0]
    known = poses.frame_status.values == 0
    assert known.sum() == summary["predicted"]
    assert not known[[11, 12, 30]].any()
    np.testing.assert_allclose(found[known], 20.0 + np.flatnonzero(known), atol=0.5)
    times = read_timestamps(tmp_path / "top-0001.times.tsv")
    np.testing.assert_allclose(times - times[0], np.arange(40) / 200, atol=1e-4)


def test_another_resolution_begins_another_video(tmp_path, monkeypatch):
    images = moving(8) + moving(9, (101, 141))
    settings = make_settings(prediction={"cropping": 96})
    camera = FakeCamera([one for image in images for one in (image, 0.01)])
    summary = run_discs(monkeypatch, settings, {"top": camera}, tmp_path)["top"]
    assert summary["captured"] == 17
    for take, (count, size) in enumerate([(8, (160, 120)), (9, (141, 101))], 1):
        poses = pipeline_lib.open_poses(tmp_path / f"top-000{take}.zarr.zip")
        facts = pipeline_lib.VideoReader(tmp_path / f"top-000{take}.mp4").facts
        # Frames may be dropped while this machine is busy; rows stay those of the video.
        assert poses.sizes["time"] == facts.frames >= count
        assert (poses.attrs["width"], poses.attrs["height"]) == size
        # Odd sides are padded, as H.264 has none.
        assert (facts.width, facts.height) == (size[0] + size[0] % 2, size[1] + size[1] % 2)
    assert "frames are now 141 x 101" in (tmp_path / "events.tsv").read_text()


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="Linux lists open files there")
def test_files_are_open_for_one_video_however_often_the_resolution_changes(tmp_path, monkeypatch):
    most = [0]

    class Camera(FakeCamera):
        def read(self, timeout):
            links = []
            for path in Path("/proc/self/fd").iterdir():
                # Others may close theirs meanwhile.
                with contextlib.suppress(FileNotFoundError):
                    links.append(path.readlink().suffix)
            most[0] = max(most[0], links.count(".live"))
            return super().read(timeout)

    images = [
        image for pair in zip(moving(8), moving(8, (100, 140)), strict=True) for image in pair
    ]
    camera = Camera([one for image in images for one in (image, 0.02)])
    settings = make_settings(recording={"video": False})
    summary = run_discs(monkeypatch, settings, {"top": camera}, tmp_path)["top"]
    assert (summary["captured"], most[0]) == (16, 1)
    # Poses that came after the log was closed are there.
    files = sorted(tmp_path.glob("*.zarr.zip"))
    known = [int((pipeline_lib.open_poses(one).frame_status.values == 0).sum()) for one in files]
    assert len(files) == 16
    assert sum(known) == summary["predicted"]


def test_poses_that_come_after_a_log_was_closed_are_in_it(tmp_path):
    path = tmp_path / "top-0001.live"
    log = LogWriter(path, HEAD)
    log.write_poses(record_poses(0))
    log.close()
    log.write_poses(record_poses(1))
    log.close()
    assert sorted(read_log(path).poses) == [0, 1]


def test_a_full_disk_loses_nothing_recorded_and_recording_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(recorder, "_RETRY", 0.03)
    written, real = [0], os.write

    def write(file, content):
        written[0] += 1
        if 30 <= written[0] < 36:
            # A part of a record still fits, and then nothing.
            if written[0] % 2:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(file, content[:9])
        return real(file, content)

    monkeypatch.setattr(os, "write", write)
    camera = FakeCamera([one for image in moving(60) for one in (image, 0.01)])
    summary = run_discs(monkeypatch, make_settings(), {"top": camera}, tmp_path)["top"]
    assert summary["captured"] == 60
    assert summary["predicted"] + summary["dropped"] == 60
    assert 0 < summary["unrecorded"] < 50
    files = sorted(tmp_path.glob("*.zarr.zip"))
    rows = sum(pipeline_lib.open_poses(path).sizes["time"] for path in files)
    assert len(files) == 2
    assert rows >= 60 - summary["unrecorded"]
    (line,) = (tmp_path / "events.tsv").read_text().splitlines()[1:2]
    assert line.split("\t")[1:3] == ["top", "recording"]
    assert "No space left on device" in line


def test_a_disk_that_stays_full_loses_nothing_recorded(tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    camera = FakeCamera([one for image in moving(6) for one in (image, 0.03)])
    with monkeypatch.context() as full:
        full.setattr(run, "publish_text", refuse)
        full.setattr(finish, "publish_file", refuse)
        full.setattr(finish, "write_poses", refuse)
        summary = run_discs(full, make_settings(), {"top": camera}, tmp_path)["top"]
    assert summary["captured"] == 6
    assert "run.json: cannot be written (No space left on device): make room" in caplog.text
    assert {path.suffix for path in tmp_path.glob("top-*")} == {".live", ".mp4"}
    made = finish_recordings(tmp_path)
    assert sorted(path.name for path in made) == ["top-0001.mp4", "top-0001.zarr.zip"]
    assert pipeline_lib.open_poses(tmp_path / "top-0001.zarr.zip").sizes["time"] == 6
    assert pipeline_lib.VideoReader(tmp_path / "top-0001.mp4").facts.frames == 6


@pytest.mark.parametrize("cut", ["nothing", "header"])
def test_a_video_that_was_killed_before_its_first_picture_leaves_no_video(tmp_path, cut):
    part = tmp_path / "top-0001.part.mp4"
    writer = LiveVideoWriter(part, (120, 160), 23)
    for number, image in enumerate(moving(5)):
        writer.write(900 * number, image)
    writer.close()
    content = part.read_bytes()
    # Four bytes before its name is the length of the first fragment.
    part.write_bytes(b"" if cut == "nothing" else content[: content.index(b"moof") - 4])
    write_log(tmp_path / "top-0001.live", rows=2)
    made = finish_recordings(tmp_path)
    assert [path.name for path in made] == ["top-0001.zarr.zip"]
    assert not list(tmp_path.glob("*.mp4"))


def test_a_disk_that_takes_no_more_of_the_video_costs_no_pose(tmp_path, monkeypatch):
    monkeypatch.setattr(recorder, "_RETRY", 0.03)
    inner, pictures = recorder.LiveVideoWriter.write, [0]

    def write(self, ticks, image):
        pictures[0] += 1
        if pictures[0] == 20:
            raise OSError(errno.ENOSPC, "No space left on device")
        inner(self, ticks, image)

    monkeypatch.setattr(recorder.LiveVideoWriter, "write", write)
    camera = FakeCamera([one for image in moving(60) for one in (image, 0.01)])
    summary = run_discs(monkeypatch, make_settings(), {"top": camera}, tmp_path)["top"]
    assert summary["captured"] == 60
    assert summary["predicted"] + summary["dropped"] == 60
    first, second = (pipeline_lib.open_poses(one) for one in sorted(tmp_path.glob("*.zarr.zip")))
    assert first.sizes["time"] >= 19
    # What could not be recorded was counted; all else is there.
    captured = [json.loads(one.attrs["live"])["captured"] for one in (first, second)]
    assert sum(captured) == 60 - summary["unrecorded"]
    with pipeline_lib.VideoReader(tmp_path / "top-0001.mp4") as reader:
        assert sum(image is not None for _, image in reader.read()) == 19
    events = (tmp_path / "events.tsv").read_text()
    assert "recording failed (No space left on device): what was recorded stays" in events


def test_an_encoder_that_is_behind_repeats_pictures_and_keeps_rows(tmp_path, monkeypatch):
    inner = recorder.LiveVideoWriter.write

    def slow(self, ticks, image):
        time.sleep(0.02 if image is not None else 0)
        inner(self, ticks, image)

    monkeypatch.setattr(recorder.LiveVideoWriter, "write", slow)
    settings = make_settings(recording={"queue": 3})
    camera = FakeCamera(moving(60), fps=400)
    summary = run_discs(monkeypatch, settings, {"top": camera}, tmp_path)["top"]
    assert summary["pictures_repeated"] > 10
    poses = pipeline_lib.open_poses(tmp_path / "top-0001.zarr.zip")
    facts = pipeline_lib.VideoReader(tmp_path / "top-0001.mp4").facts
    assert poses.sizes["time"] == facts.frames >= summary["captured"] == 60


def test_a_second_run_into_the_folder_keeps_the_first(tmp_path, monkeypatch):
    for _ in range(2):
        camera = FakeCamera(moving(5), fps=100)
        run_discs(monkeypatch, make_settings(), {"top": camera}, tmp_path)
    assert [path.name for path in sorted(tmp_path.glob("*.mp4"))] == [
        "top-0001.mp4",
        "top-0002.mp4",
    ]


def test_times_rise_in_the_video_though_the_camera_repeats_them(tmp_path, monkeypatch):
    time_of = now()
    frames = [
        Frame(image, n, time_of + max(0, n - 3) // 2 / 50) for n, image in enumerate(moving(10), 1)
    ]
    camera = FakeCamera(frames, fps=100)
    run_discs(monkeypatch, make_settings(), {"top": camera}, tmp_path)
    assert pipeline_lib.VideoReader(tmp_path / "top-0001.mp4").facts.frames == 10


def test_a_killed_run_leaves_everything_that_it_recorded(tmp_path, bundle):
    video = write_video(tmp_path / "v.mp4", moving(200))
    folder = tmp_path / "live"
    command = ["live", "--source", f"top=video:{video}", "--model", str(bundle)]
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline_lib.start", *command, "--output", str(folder)],
        stderr=subprocess.PIPE,
    )
    log = folder / "top-0001.live"
    end = time.monotonic() + 60
    while not log.exists() or log.stat().st_size < 12_000:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    taken = read_log(log)
    assert len(taken.frames) > 40
    made = finish_recordings(folder)
    assert [path.name for path in made] == ["top-0001.mp4", "top-0001.zarr.zip"]
    poses = pipeline_lib.open_poses(made[1])
    assert poses.sizes["time"] >= len(taken.frames)
    assert (poses.frame_status.values == 0).sum() == len(taken.poses)
    with pipeline_lib.VideoReader(made[0]) as reader:
        # The encoder may have held the last ones.
        pictures = sum(image is not None for _, image in reader.read())
    assert 0 <= len(taken.frames) - pictures <= 30
