"""Every kind of source gives the frames that were put in, and says when it is gone."""

import json
import multiprocessing
import socket
import subprocess
import sys
import time
import types
from multiprocessing import resource_tracker
from multiprocessing.shared_memory import SharedMemory

import cv2
import numpy as np
import pytest

from pipeline_lib.core.settings.outputs.live import CameraSettings
from pipeline_lib.io.images import write_png
from pipeline_lib.live.sources import folders, opencv, shared_memory
from pipeline_lib.live.sources.choice import make_source
from pipeline_lib.live.sources.folders import FolderSource
from pipeline_lib.live.sources.frames import FrameError, LiveError, SourceError, now, to_rgb
from pipeline_lib.live.sources.genicam import GenICamSource
from pipeline_lib.live.sources.shared_memory import SharedFrameWriter, SharedMemorySource
from pipeline_lib.live.sources.streams import StreamSource
from pipeline_lib.live.sources.videos import VideoSource
from pipeline_lib.live.sources.zeromq import ZeroMqSource
from tests.live.cameras import write_video


def paint(number, size=(24, 32)):
    image = np.zeros((*size, 3), np.uint8)
    image[..., 0], image[..., 1], image[: size[0] // 2, :, 2] = number, 2 * number, 200
    return image


def settings(source="camera:0", **values):
    return CameraSettings(source=source, **values)


def test_images_become_rgb():
    image = paint(7)
    np.testing.assert_array_equal(to_rgb(image[..., ::-1], bgr=True), image)
    grey = image[..., 0]
    assert to_rgb(grey).shape == (24, 32, 3)
    np.testing.assert_array_equal(to_rgb(grey[..., None])[..., 1], grey)
    deep = grey.astype(np.uint16) * 256 + 3
    np.testing.assert_array_equal(to_rgb(deep)[..., 2], grey)
    four = np.concatenate([image, image[..., :1]], axis=2)
    np.testing.assert_array_equal(to_rgb(four), image)
    for wrong in (image.astype(float), image[..., :2], image[0, 0], image[:0]):
        with pytest.raises(SourceError, match="expected 1, 3 or 4 channels"):
            to_rgb(wrong)


def test_a_video_comes_at_its_pace_and_leaves_out_what_it_cannot_give_in_time(tmp_path):
    path = write_video(tmp_path / "v.mp4", [paint(n) for n in range(20)])
    source = VideoSource(path, 100)
    start, frames, late = now(), [], -1
    source.open()
    while not source.ended:
        frame = source.read(1)
        if frame is not None:
            frames.append(frame)
            if late < 0 and frame.number >= 5:
                late = frame.number
                time.sleep(0.055)
    assert now() - start >= 0.18
    numbers = [frame.number for frame in frames]
    assert numbers == sorted(set(numbers))
    assert not {late + 1, late + 2, late + 3, late + 4} & set(numbers)
    assert frames[0].image[0, 0].tolist() == paint(frames[0].number)[0, 0].tolist()
    steps = np.diff([frame.captured for frame in frames]) / np.diff(numbers)
    np.testing.assert_allclose(steps, 0.01, atol=1e-9)
    first = None
    while first is None or first.number >= 15:
        source.rewind()
        assert not source.ended
        # The first ones may be late already, or all of them.
        first = source.read(1)
    source.close()
    every = VideoSource(path, paced=False)
    every.open()
    assert [every.read(1).number for _ in range(20)] == list(range(20))
    assert every.read(1) is None
    assert every.ended


def test_a_folder_gives_images_as_they_come_in_the_order_of_their_names(tmp_path):
    write_png(tmp_path / "old1.png", paint(1))
    source = FolderSource(tmp_path)
    source.open()
    assert source.read(0) is None
    whole = tmp_path / "whole"
    whole.mkdir()
    for number in (9, 10):
        write_png(whole / f"img{number}.png", paint(number))
    # Names that come before the last one are old.
    content = (whole / "img9.png").read_bytes()
    (tmp_path / "z9.png").write_bytes(content[: len(content) // 2])
    assert source.read(0) is None
    (tmp_path / "z9.png").write_bytes(content)
    (whole / "img10.png").rename(tmp_path / "z10.png")
    (tmp_path / "z8.txt").write_text("no image")
    found = [source.read(0.5) for _ in range(2)]
    assert [frame.image[0, 0, 0] for frame in found] == [9, 10]
    assert source.read(0) is None
    whole.rmdir() if not any(whole.iterdir()) else None
    with pytest.raises(SourceError, match="no such folder"):
        FolderSource(tmp_path / "none").open()


def test_a_bad_image_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "_PATIENCE", 0.05)
    (tmp_path / "a1.png").write_bytes(b"no image")
    write_png(tmp_path / "a2.png", paint(2))
    source = FolderSource(tmp_path, paced=False)
    source.open()
    with pytest.raises(FrameError, match=r"a1\.png: cannot be read"):
        source.read(2)
    frame = source.read(2)
    assert (frame.image[0, 0, 0], frame.number) == (2, 2)
    (tmp_path / "end").touch()
    assert source.read(0) is None
    assert source.ended


def test_bad_images_do_not_keep_newer_ones_waiting(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "_PATIENCE", 3600.0)
    monkeypatch.setattr(folders, "_BRIEF", 0.05)
    source = FolderSource(tmp_path)
    source.open()
    for number in range(10):
        (tmp_path / f"a{number}.png").write_bytes(b"no image")
    write_png(tmp_path / "b.png", paint(7))
    begin = now()
    for _ in range(10):
        with pytest.raises(FrameError, match="cannot be read"):
            source.read(60)
    frame = source.read(60)
    assert (frame.image[0, 0, 0], frame.number) == (7, 11)
    # All were seen at the first look: the frame is as old as that.
    assert begin <= frame.captured <= now() - 0.05
    # The last one may be in the middle of being written.
    (tmp_path / "c.png").write_bytes(b"no image")
    assert source.read(0.2) is None


def test_a_large_folder_is_not_listed_for_each_image(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "_COSTLY", 0.0)
    monkeypatch.setattr(folders, "_PATIENCE", 3600.0)
    write_png(tmp_path / "a1_007.png", paint(1))
    source = FolderSource(tmp_path)
    source.open()
    write_png(tmp_path / "a1_008.png", paint(8))
    # The first one is found by a listing.
    monkeypatch.setattr(source, "_guessed_at", -1e9)
    assert source.read(1).image[0, 0, 0] == 8
    lists, inner = [], source._list
    monkeypatch.setattr(source, "_list", lambda: lists.append(1) or inner())
    for number in (9, 10, 12, 20):
        write_png(tmp_path / f"a1_{number:03d}.png", paint(number))
        frame = source.read(1)
        assert frame.image[0, 0, 0] == number
    write_png(tmp_path / "a1_099.png", paint(99))
    assert source.read(0.05) is None
    assert lists == []
    # After a while without a next number the folder is listed again.
    monkeypatch.setattr(folders, "_PATIENCE", 0.02)
    assert source.read(1).image[0, 0, 0] == 99
    assert lists
    # Names that do not count are always listed.
    monkeypatch.setattr(folders, "_PATIENCE", 3600.0)
    monkeypatch.setattr(source, "_guessed_at", -1e9)
    write_png(tmp_path / "b.png", paint(5))
    assert source.read(1).image[0, 0, 0] == 5
    assert source._guess() == []


def write_memory(name, ready, stop):
    writer = SharedFrameWriter(name, (24, 32, 3))
    ready.set()
    number = 0
    while not stop.is_set():
        number = number % 100 + 1
        writer.write(paint(number))
        time.sleep(0.0005)
    writer.close()


def test_shared_memory_never_gives_a_torn_frame(monkeypatch):
    monkeypatch.setattr(shared_memory, "_STALE", 60)
    name = f"cohortpose-test-{time.monotonic_ns()}"
    with pytest.raises(SourceError, match="does its writer run"):
        SharedMemorySource(name).open()
    context = multiprocessing.get_context("fork")
    ready, stop = context.Event(), context.Event()
    process = context.Process(target=write_memory, args=(name, ready, stop))
    process.start()
    assert ready.wait(10)
    source = SharedMemorySource(name)
    source.open()
    last = 0
    for _ in range(100):
        # The writer may have to wait for a processor.
        frame = source.read(10)
        number = int(frame.image[0, 0, 0])
        np.testing.assert_array_equal(frame.image, paint(number))
        assert frame.number > last
        last = frame.number
        assert abs(frame.captured - frame.stamp) < 5
    stop.set()
    process.join()
    source.read(0)
    monkeypatch.setattr(shared_memory, "_STALE", 0.2)
    with pytest.raises(SourceError, match="no new frame"):
        source.read(5)
    source.close()


def test_a_writer_takes_the_place_of_one_that_was_killed():
    name = f"cohortpose-test-{time.monotonic_ns()}"
    left = SharedMemory(name, create=True, size=10)
    writer = SharedFrameWriter(name, (24, 32, 3))
    writer.write(paint(3))
    assert bytes(writer._buffer()[:8]) == shared_memory.MAGIC
    assert writer._buffer()[64] == 3
    writer.close()
    left.close()
    with pytest.raises(SourceError, match="does its writer run"):
        SharedMemorySource(name).open()


def test_shared_memory_of_another_program_is_left_alone():
    name = f"cohortpose-foreign-{time.monotonic_ns()}"
    other = SharedMemory(name, create=True, size=128)
    try:
        other.buf[:6] = b"theirs"
        with pytest.raises(SourceError, match="choose another name"):
            shared_memory.SharedFrameWriter(name, (4, 4, 1))
        assert bytes(other.buf[:6]) == b"theirs"
        seen = shared_memory._attach(name)
        assert bytes(seen.buf[:6]) == b"theirs"
        seen.close()
    finally:
        other.close()
        # Attaching it has told Python's tracker that it is not to be removed.
        resource_tracker.register(f"/{name}", "shared_memory")
        other.unlink()


def test_shared_memory_that_lies_about_its_size_is_refused():
    name = f"cohortpose-lie-{time.monotonic_ns()}"
    writer = SharedFrameWriter(name, (8, 8, 1))
    writer.write(np.ones((8, 8, 1), np.uint8))
    source = SharedMemorySource(name)
    source.open()
    assert source.read(1).image.tolist() == np.ones((8, 8, 3)).tolist()
    shared_memory._HEAD.pack_into(
        writer._memory.buf, 0, shared_memory.MAGIC, 2, 9, 0, 10**6, 10**6, 3, 0
    )
    with pytest.raises(SourceError, match="which it cannot hold"):
        source.read(1)
    source.close()
    writer.close()


def free_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def test_frames_come_by_zeromq():
    zmq = pytest.importorskip("zmq")
    address = f"tcp://127.0.0.1:{free_port()}"
    sender = zmq.Context.instance().socket(zmq.PUSH)
    sender.bind(address)
    source = ZeroMqSource(address, pull=True)
    source.open()
    image = paint(5)
    head = {"number": 17, "time_ns": 2_500_000_000, "shape": [24, 32, 3], "dtype": "uint8"}
    sender.send_multipart([json.dumps(head).encode(), image.tobytes()])
    frame = source.read(5)
    np.testing.assert_array_equal(frame.image, image)
    assert (frame.number, frame.stamp) == (17, 2.5)
    assert source.read(0.01) is None
    wrong = [
        [b"{}", b""],
        [b"[" * 3000, b""],
        [json.dumps({**head, "shape": [24, 32, -1]}).encode(), image.tobytes()],
        [json.dumps({**head, "shape": [10**9, 10**9, 3]}).encode(), image.tobytes()],
        [json.dumps({**head, "number": 1e999}).encode(), image.tobytes()],
        [json.dumps({**head, "dtype": "object"}).encode(), image.tobytes()],
        [b"alone"],
    ]
    for parts in wrong:
        sender.send_multipart(parts)
        with pytest.raises(FrameError, match="zmq:tcp"):
            source.read(5)
    # The next frame comes by the same connection.
    sender.send_multipart([json.dumps(head).encode(), image.tobytes()])
    assert source.read(5).number == 17
    source.close()
    sender.close(linger=0)


# In a process of its own, as a camera is: FFmpeg's sender keeps Python's lock while it waits.
SEND = """
import sys, time
import av, numpy as np
end = time.monotonic() + 60
while time.monotonic() < end:
    try:
        with av.open(sys.argv[1], "w", format="rtsp", options={"rtsp_transport": "tcp"}) as sent:
            stream = sent.add_stream("libx264", rate=50, options={"tune": "zerolatency", "g": "1"})
            stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
            for number in range(190):
                grey = np.full((48, 64, 3), 40 + number, np.uint8)
                sent.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
                time.sleep(0.005)
            break
    except Exception:
        time.sleep(0.05)
"""


def test_a_stream_is_read_by_rtsp_and_its_end_is_told():
    port = free_port()
    # FFmpeg can wait for a sender, which stands for a camera.
    waiting = {"rtsp_flags": "listen", "listen_timeout": "60"}
    source = StreamSource(f"rtsp://user:secret@127.0.0.1:{port}/cam", waiting)
    sender = subprocess.Popen([sys.executable, "-c", SEND, f"rtsp://127.0.0.1:{port}/cam"])
    try:
        source.open()
        greys = []
        while not greys or greys[-1] < 220:
            frame = source.read(1)
            assert frame.image.shape == (48, 64, 3)
            greys.append(int(frame.image.mean()))
        assert len(greys) > 10
        assert (np.diff(greys) >= 0).all()
        with pytest.raises(SourceError, match=r"rtsp://127.0.0.1:\d+/cam: the stream broke off"):
            [source.read(1) for _ in range(50)]
    finally:
        sender.kill()
        sender.wait()
        source.close()
    with pytest.raises(SourceError, match="no video stream") as gone:
        StreamSource(f"rtsp://user:secret@127.0.0.1:{port}/cam").open()
    assert "secret" not in str(gone.value)


class FakeCapture:
    """Stands for OpenCV's camera."""

    frames = 3
    there = True

    def __init__(self, device):
        FakeCapture.device, FakeCapture.asked = device, {}
        self.left = self.frames

    def isOpened(self):  # noqa: N802 - OpenCV's name
        return self.there

    def set(self, key, value):
        self.asked[key] = value

    def grab(self):
        self.left -= 1
        return self.left >= 0

    def retrieve(self):
        return True, paint(self.left)[..., ::-1]

    def release(self):
        pass


def test_a_camera_of_this_machine_is_asked_for_what_is_set(monkeypatch):
    monkeypatch.setattr(opencv.cv2, "VideoCapture", FakeCapture)
    source = make_source(settings("/dev/video2", fps=90, width=640, height=480, exposure_us=2000))
    source.open()
    assert FakeCapture.device == "/dev/video2"
    assert FakeCapture.asked[cv2.CAP_PROP_FPS] == 90
    assert FakeCapture.asked[cv2.CAP_PROP_FRAME_WIDTH] == 640
    assert FakeCapture.asked[cv2.CAP_PROP_EXPOSURE] == 20
    np.testing.assert_array_equal(source.read(1).image, paint(2))
    assert [source.read(1).number for _ in range(2)] == [2, 3]
    with pytest.raises(SourceError, match="gives no more frames"):
        source.read(1)
    source.close()
    monkeypatch.setattr(FakeCapture, "there", False)
    with pytest.raises(SourceError, match="is it plugged in"):
        source.open()


class FakeHarvester:
    """Stands for `harvesters.core.Harvester` with one camera."""

    form = "Mono8"
    made = None

    def __init__(self):
        FakeHarvester.made = self
        self.files, self.queued, self.number = [], 0, 0
        feature = types.SimpleNamespace
        self.nodes = feature(
            ExposureAuto=feature(), ExposureTime=feature(), Width=feature(), Height=feature()
        )
        self.remote_device = feature(node_map=self.nodes)

    def add_file(self, path):
        self.files.append(path)

    def update(self):
        pass

    def create(self, search):
        self.search = search
        return self

    def start(self):
        pass

    def try_fetch(self, timeout):
        del timeout
        self.number += 1
        if self.number > 3:
            return None
        colour = self.form != "Mono8"
        image = paint(self.number)[..., ::-1] if colour else paint(self.number)[..., 0]
        component = types.SimpleNamespace(
            height=24, width=32, data_format=self.form, data=image.ravel()
        )
        return types.SimpleNamespace(
            payload=types.SimpleNamespace(components=[component]),
            frame_id=self.number + 10,
            timestamp_ns=1_000_000_000 * self.number,
            queue=self.queue,
        )

    def queue(self):
        self.queued += 1

    def is_acquiring(self):
        return False

    def destroy(self):
        pass

    def reset(self):
        self.files = []


@pytest.mark.parametrize("form", ["Mono8", "BGR8", "BayerRG8"])
def test_an_industrial_camera_is_read_through_harvesters(tmp_path, monkeypatch, form):
    core = types.ModuleType("harvesters.core")
    core.Harvester = FakeHarvester
    monkeypatch.setitem(sys.modules, "harvesters", types.ModuleType("harvesters"))
    monkeypatch.setitem(sys.modules, "harvesters.core", core)
    monkeypatch.setattr(FakeHarvester, "form", form)
    monkeypatch.delenv("GENICAM_GENTL64_PATH", raising=False)
    source = make_source(settings("genicam:A1", exposure_us=500, width=32, height=24, fps=50))
    assert isinstance(source, GenICamSource)
    with pytest.raises(LiveError, match="names no folder with a producer"):
        source.open()
    (tmp_path / "maker.cti").touch()
    monkeypatch.setenv("GENICAM_GENTL64_PATH", str(tmp_path))
    source.open()
    made = FakeHarvester.made
    assert made.files == [str(tmp_path / "maker.cti")]
    assert made.search == {"serial_number": "A1"}
    # What the camera lacks (a rate) is passed over.
    assert (made.nodes.ExposureTime.value, made.nodes.Width.value) == (500, 32)
    if form == "BayerRG8":
        with pytest.raises(FrameError, match="set its pixel format"):
            source.read(1)
    else:
        frame = source.read(1)
        assert (frame.number, frame.stamp) == (11, 1.0)
        expected = paint(1) if form == "BGR8" else np.repeat(paint(1)[..., :1], 3, axis=2)
        np.testing.assert_array_equal(frame.image, expected)
        source.read(1), source.read(1)
        with pytest.raises(SourceError, match="has stopped"):
            source.read(1)
    assert made.queued == (1 if form == "BayerRG8" else 3)
    source.close()


def test_a_buffer_that_is_not_whole_costs_that_frame(tmp_path, monkeypatch):
    class Torn(FakeHarvester):
        def try_fetch(self, timeout):
            buffer = super().try_fetch(timeout)
            if self.number == 1:
                buffer.payload.components[0].data = np.zeros(5, np.uint8)
            if self.number == 2:
                buffer.payload.components = []
            return buffer

    core = types.ModuleType("harvesters.core")
    core.Harvester = Torn
    monkeypatch.setitem(sys.modules, "harvesters", types.ModuleType("harvesters"))
    monkeypatch.setitem(sys.modules, "harvesters.core", core)
    (tmp_path / "maker.cti").touch()
    monkeypatch.setenv("GENICAM_GENTL64_PATH", str(tmp_path))
    source = make_source(settings("genicam:"))
    source.open()
    for _ in range(2):
        with pytest.raises(FrameError, match="not whole"):
            source.read(1)
    assert source.read(1).number == 13
    assert FakeHarvester.made.queued == 3


@pytest.mark.parametrize("text", ["nonsense", "ftp://x", "video:", "shm:", "http://cam/stream"])
def test_what_is_no_source_is_refused(text):
    with pytest.raises(LiveError, match="expected camera:"):
        make_source(settings(text))


@pytest.mark.parametrize(
    ("source", "ignored"),
    [
        ("camera:0", None),
        ("rtsp://host/stream", "fps, width, height, exposure_us"),
        ("shm:x", "fps, width, height, exposure_us"),
        ("video:x.mp4", "width, height, exposure_us"),
    ],
)
def test_what_a_source_cannot_be_asked_for_is_told(source, ignored, caplog):
    make_source(settings(source, fps=20, width=640, height=480, exposure_us=100))
    text = f"{ignored} of {source.partition('://')[0]} cannot be set here"
    assert (text in caplog.text) if ignored else not caplog.text
