"""A live run as people start it: command line, config, preview, watchdog."""

import contextlib
import json
import os
import threading
import time
import urllib.error
import urllib.request

import cv2
import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

import pipeline_lib
from pipeline_lib.cli import app
from pipeline_lib.live.latency import LatencyCounter, Watchdog
from pipeline_lib.live.predictor import LivePredictor
from pipeline_lib.live.preview import PreviewApp, draw, show_preview
from pipeline_lib.live.priorities import allows_real_time
from pipeline_lib.live.recording import recorder
from pipeline_lib.live.recording.events import Events, LineLog
from pipeline_lib.live.recording.log import PARTS
from tests.live.cameras import FakeCamera, make_settings, run_discs, write_video
from tests.live.discs import draw as draw_discs_at

POSE = np.array([[[20.0, 30.0], [40.0, 50.0], [60.0, 70.0]]])
IMAGE = draw_discs_at(POSE)


def call(*arguments):
    return CliRunner().invoke(app, ["live", *(str(argument) for argument in arguments)])


def test_a_config_runs_cameras_and_records_every_frame_of_a_video(tmp_path, bundle):
    write_video(tmp_path / "v.mp4", 12 * [IMAGE])
    camera = {"name": "top", "source": f"video:{tmp_path / 'v.mp4'}", "every_frame": True}
    config = tmp_path / "config.yaml"
    values = {
        "cohort": "cohort.tsv",
        "results": str(tmp_path / "results"),
        "model": {"bundle": str(bundle)},
        "live": {"cameras": [camera], "real_time": False},
    }
    config.write_text(yaml.safe_dump(values))
    found = call("--config", config, "--output", tmp_path / "live", "--ahead-ms", 10)
    assert found.exit_code == 0, found.output
    poses = pipeline_lib.open_poses(tmp_path / "live" / "top-0001.zarr.zip")
    assert poses.frame_status.values.tolist() == 12 * [0]
    record = json.loads((tmp_path / "live" / "run.json").read_text())
    assert record["cameras"]["top"]["predicted"] == 12
    assert record["settings"]["prediction"]["ahead_ms"] == 10
    assert set(record["cameras"]["top"]["latency_ms"]) == {"whole", *PARTS}
    # The offline network, given the same frames, finds the same points.
    live = pipeline_lib.LivePredictor(bundle)
    offline = live.predict(IMAGE).position
    for row in range(12):
        found_row = poses.position.values[row].transpose(2, 1, 0)
        np.testing.assert_allclose(found_row, offline, atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "expected --model"),
        (["--model", "x.cohortpose", "--source", "camera:0"], "no such bundle"),
        (["--model", "{bundle}"], "expected a camera"),
        (["--model", "{bundle}", "--source", "nonsense"], "expected camera:"),
        (["--model", "{bundle}", "--source", "video:none.mp4"], "none.mp4"),
        (["--model", "{bundle}", "--source", "camera:0", "--cropping", "100"], "multiple of 32"),
    ],
)
def test_what_cannot_run_is_told_in_one_line(tmp_path, bundle, arguments, said, capfd):
    filled = [one.format(bundle=bundle) for one in arguments]
    found = call(*filled, "--output", tmp_path / "live")
    assert found.exit_code == 1
    assert said in found.output + capfd.readouterr().err
    assert "Traceback" not in found.output
    assert not list(tmp_path.glob("live/*.live"))


def open_page(address, cookie=None):
    request = urllib.request.Request(address, headers={"Cookie": cookie} if cookie else {})  # noqa: S310
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        return answer.read(), answer.headers


def is_real_time():
    return os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK == os.SCHED_FIFO


def watch_threads(monkeypatch, folder, *, allowed):
    """Return the scheduling policy and the niceness of the threads of a run, by what they do."""
    found = {}

    def note(name):
        thread = threading.get_native_id()
        nice = os.getpriority(os.PRIO_PROCESS, thread)
        found[name] = (is_real_time(), nice)

    class Camera(FakeCamera):
        def read(self, timeout):
            note("capture")
            return super().read(timeout)

    class Writer(recorder.LiveVideoWriter):
        def write(self, ticks, image):
            note("encode")
            super().write(ticks, image)

    inner = LivePredictor.predict

    def predict(self, *values):
        note("predict")
        return inner(self, *values)

    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(recorder, "LiveVideoWriter", Writer)
    monkeypatch.setattr(LivePredictor, "predict", predict)
    if not allowed:
        monkeypatch.setattr(os, "sched_setscheduler", refuse)
    settings = make_settings(real_time=True)
    camera = Camera([one for _ in range(5) for one in (IMAGE, 0.02)])
    summary = run_discs(monkeypatch, settings, {"top": camera}, folder)["top"]
    assert summary["captured"] == 5
    return found, (folder / "events.tsv").read_text()


@pytest.mark.skipif(not hasattr(os, "sched_setscheduler"), reason="Linux has these priorities")
def test_threads_have_real_time_priority_where_the_system_allows_it(monkeypatch, tmp_path):
    if not allows_real_time():
        pytest.skip("this system allows no real-time priority")
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    found, events = watch_threads(monkeypatch, tmp_path, allowed=True)
    # What comes first anyway need not be spared by the encoder.
    assert found == {"capture": (True, usual), "predict": (True, usual), "encode": (False, usual)}
    assert "priority" not in events
    # Threads that are no part of it keep their own.
    assert not is_real_time()


@pytest.mark.skipif(not hasattr(os, "sched_setscheduler"), reason="Linux has these priorities")
def test_a_system_without_real_time_is_told_and_the_encoder_gives_way(monkeypatch, tmp_path):
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    found, events = watch_threads(monkeypatch, tmp_path, allowed=False)
    assert found["capture"] == found["predict"] == (False, usual)
    assert found["encode"] == (False, min(19, max(usual, 5)))
    assert "no real-time priority: the system allows none (Operation not permitted)" in events


def test_the_preview_shows_the_last_frame_to_whoever_has_the_address(tmp_path, monkeypatch):
    pytest.importorskip("uvicorn")
    seen, addresses = {}, []

    @contextlib.contextmanager
    def watch(runs):
        with show_preview(runs, None, addresses.append):
            yield
            address = addresses[0]
            base = address.partition("?")[0]
            with pytest.raises(urllib.error.HTTPError, match="401"):
                open_page(f"{base}cameras")
            _, headers = open_page(address)
            cookie = headers["Set-Cookie"].partition(";")[0]
            seen["cameras"] = json.loads(open_page(f"{base}cameras", cookie)[0])
            seen["state"] = json.loads(open_page(f"{base}state/top", cookie)[0])
            seen["picture"] = open_page(f"{base}picture/top", cookie)[0]
            seen["page"] = open_page(base, cookie)[0].decode()
            with pytest.raises(urllib.error.HTTPError, match="404"):
                open_page(f"{base}picture/none", cookie)

    # The second comes when the first was predicted, however busy this machine is.
    cameras = [{"name": "top", "source": "video:fake", "every_frame": True}]
    camera = FakeCamera([IMAGE, IMAGE, 0.05])
    run_discs(monkeypatch, make_settings(cameras=cameras), {"top": camera}, tmp_path, watch=watch)
    assert seen["cameras"] == ["top"]
    assert seen["state"]["row"] == 1
    assert "2 of 2 predicted" in seen["state"]["text"]
    picture = cv2.imdecode(np.frombuffer(seen["picture"], np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (120, 160, 3)
    assert 'fetch("/cameras")' in seen["page"]


def test_points_are_drawn_where_they_are(monkeypatch):
    kept = []

    @contextlib.contextmanager
    def watch(runs):
        kept.extend(runs)
        yield

    large = np.full((1920, 960, 3), 90, np.uint8)
    large[10:19, 300:309] = (255, 0, 0)
    settings = make_settings(prediction={"pcutoff": 0.0})
    run_discs(monkeypatch, settings, {"top": FakeCamera([large, 0.3])}, None, watch=watch)
    picture = draw(kept[0].loop.shown, (), ("red", "green", "blue"))
    assert picture.shape == (960, 480, 3)
    # The point of the large frame at (304, 14) is at (152, 7) of the small one.
    assert picture[7, 152].tolist() == [255, 200, 0]
    assert picture[60, 60].tolist() == [90, 90, 90]
    status, _, _ = PreviewApp(kept).answer("/picture/../top")
    assert status == 404


def test_latencies_are_counted_in_flat_memory():
    counter = LatencyCounter()
    assert np.isnan(counter.quantile(0.5))
    for milliseconds in range(1, 101):
        counter.add(milliseconds / 1000)
    assert counter.count == 100
    assert counter.quantile(0.5) == pytest.approx(0.050, abs=1e-4)
    assert counter.quantile(0.99) == pytest.approx(0.099, abs=1e-4)
    assert counter.longest == 0.1
    counter.add(99.0)
    counter.add(-1.0)
    assert counter.quantile(1.0) == 99.0 or counter.quantile(1.0) == pytest.approx(1.0, abs=1e-3)


def test_the_watchdog_says_what_takes_long_and_when_it_is_over(tmp_path):
    events = Events(tmp_path / "events.tsv")
    dog = Watchdog("top", 0.02, events)
    quick, slow = (dict.fromkeys(PARTS, 0.001) | {"network": one} for one in (0.005, 0.04))
    for _ in range(100):
        dog.see(0.01, quick)
    assert not events.counts
    # One of ten may take longer.
    for number in range(100):
        dog.see(0.03 if number % 10 == 0 else 0.01, quick)
    assert not events.counts
    for _ in range(100):
        dog.see(0.045, slow)
    for _ in range(200):
        dog.see(0.01, quick)
    assert dict(events.counts) == {"latency": 1, "latency back": 1}
    text = (tmp_path / "events.tsv").read_text()
    assert "100 of the last 100 frames took longer than the promised 20 ms" in text
    assert "network 40.0" in text
    assert "training.goal: live" in text


def test_events_that_come_with_each_frame_are_counted_beyond_some_lines(tmp_path, monkeypatch):
    moment = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: moment[0])
    events = Events(tmp_path / "events.tsv", 100.0)
    for number in range(1000):
        moment[0] += 1 / 64
        events.tell("top", "repeated", f"picture {number}")
        if number % 640 == 0:
            events.tell("top", "camera gone", f"at {number}")
    events.flush()
    events.flush()
    rows = [line.split("\t")[2:] for line in (tmp_path / "events.tsv").read_text().splitlines()[1:]]
    texts = [text for kind, text in rows if kind == "repeated"]
    # 640 in 10 s, of which 20 have a line each; then 360.
    assert texts[:20] == [f"picture {number}" for number in range(20)]
    assert [text for text in texts if "more" in text] == [
        "620 more like these",
        "340 more like these",
    ]
    assert len(texts) == 42
    assert [text for kind, text in rows if kind == "camera gone"] == ["at 0", "at 640"]
    assert events.counts == {"repeated": 1000, "camera gone": 2}


@pytest.mark.parametrize(
    ("there", "found"),
    [
        (None, "a\tb\n1\t2\n"),
        ("", "a\tb\n1\t2\n"),
        ("a\tb\n0\t0\n", "a\tb\n0\t0\n1\t2\n"),
        ("a\tb\n0\t", "a\tb\n0\t\n1\t2\n"),
    ],
)
def test_a_table_goes_on_whole_after_a_run_that_was_killed_at_it(tmp_path, there, found):
    path = tmp_path / "events.tsv"
    if there is not None:
        path.write_text(there)
    LineLog(path, ("a", "b")).append(1, 2)
    assert path.read_text() == found
