"""Cameras may do anything: what comes is counted, and the loop goes on."""

import numpy as np
import pytest

import pipeline_lib
from pipeline_lib.core.tables import FrameStatus
from pipeline_lib.live import capture
from pipeline_lib.live.newest import Newest
from pipeline_lib.live.predictor import LivePredictor
from pipeline_lib.live.sources.frames import Frame, LiveError, LiveSource, SourceError, now
from tests.live.cameras import FakeCamera, make_settings, run_discs
from tests.live.discs import DiscFinder, draw

POSE = np.array([[[20.0, 30.0], [40.0, 50.0], [60.0, 70.0]]])
IMAGE = draw(POSE)


def test_the_newest_item_wins():
    newest = Newest()
    for item in (1, 2, 3):
        newest.put(item)
    assert newest.take(0) == 3
    assert newest.take(0) is None
    assert newest.dropped == 2
    newest.close()
    assert newest.take(60) is None


def test_dropped_frames_are_counted_exactly(tmp_path, monkeypatch):
    camera = FakeCamera(100 * [IMAGE], fps=200)
    settings = make_settings(recording={"video": False})
    summary = run_discs(monkeypatch, settings, {"top": camera}, tmp_path, delay=0.02)["top"]
    assert summary["captured"] == len(camera.given) == 100
    assert summary["predicted"] + summary["dropped"] == 100
    # A frame takes four times as long as there is for it.
    assert 0 < summary["predicted"] < 90
    lines = (tmp_path / "top-0001.times.tsv").read_text().splitlines()[1:]
    states = [line.split("\t")[-2] for line in lines]
    assert (states.count("seen"), states.count("dropped")) == (
        summary["predicted"],
        summary["dropped"],
    )
    # No frame waited in a queue: no longer than one prediction.
    waits = [float(line.split("\t")[7]) for line in lines]
    assert np.nanmedian(waits) < 100


def number(value, captured=None):
    return Frame(IMAGE, value, now() if captured is None else captured)


def test_repeated_and_late_frames_are_left_out_and_counted(tmp_path, monkeypatch):
    numbers = [1, 2, 2, 5, 3, 4, 6, 6, 6, 10]
    camera = FakeCamera([item for one in numbers for item in (number(one), 0.002)])
    summary = run_discs(monkeypatch, make_settings(), {"top": camera}, tmp_path)["top"]
    assert (summary["captured"], summary["repeated"], summary["late"]) == (5, 3, 2)
    assert summary["missed"] == 2 + 3
    events = (tmp_path / "events.tsv").read_text()
    assert "frame 2 came again" in events
    assert "frame 3 came after 5" in events


def test_a_camera_that_counts_from_the_start_again_is_believed_after_a_while(monkeypatch):
    monkeypatch.setattr(capture, "_ANEW", 0.05)
    numbers = [100, 101, 1, 2]
    script = [item for one in numbers for item in (number(one), 0.002)]
    script += [0.08, *(item for one in (3, 4, 5) for item in (None, 0.002))]
    camera = FakeCamera([number(99), *[one for one in script if one is not None]])
    for one in (3, 4, 5):
        camera._script.append(Frame(IMAGE, one, now() + 1))
    summary = run_discs(monkeypatch, make_settings(), {"top": camera}, None)["top"]
    assert (summary["captured"], summary["late"]) == (6, 2)


def test_a_camera_that_is_unplugged_and_comes_back(tmp_path, monkeypatch):
    monkeypatch.setattr(capture, "_REOPEN", 0.01)
    gone = SourceError("camera 0: gives no more frames")
    script = [IMAGE, 0.01, IMAGE, 0.01, gone, "shut", SourceError("not there"), IMAGE, 0.01, IMAGE]
    camera = FakeCamera(script)
    summary = run_discs(monkeypatch, make_settings(), {"top": camera}, tmp_path)["top"]
    assert (summary["captured"], summary["outages"]) == (4, 2)
    assert camera.opened == 3
    events = (tmp_path / "events.tsv").read_text()
    assert "gives no more frames; it is tried again" in events
    assert "the camera is back" in events
    # The recording goes on in the same video.
    assert [path.name for path in tmp_path.glob("*.mp4")] == ["top-0001.mp4"]


def test_a_window_that_is_too_small_is_told(tmp_path, monkeypatch):
    settings = make_settings(prediction={"cropping": 64})
    camera = FakeCamera([one for _ in range(90) for one in (IMAGE, 0.015)])
    summary = run_discs(monkeypatch, settings, {"top": camera}, tmp_path)["top"]
    assert summary["whole"] == summary["predicted"] >= 50
    assert "do not fit into a window of 64" in (tmp_path / "events.tsv").read_text()


def test_a_region_is_cut_out(tmp_path, monkeypatch):
    crop = [10, 90, 20, 100]
    cameras = [{"name": "top", "source": "camera:0", "crop": crop}]
    camera = FakeCamera([IMAGE, 0.02, IMAGE])
    shown = []

    def watch(runs):
        shown.extend(runs)
        return np.errstate()

    run_discs(monkeypatch, make_settings(cameras=cameras), {"top": camera}, tmp_path, watch=watch)
    last = shown[0].loop.shown
    assert last.captured.frame.image.shape == (80, 80, 3)
    np.testing.assert_allclose(last.poses.position, POSE - (10, 20), atol=0.5)


def test_two_cameras_run_at_once(tmp_path, monkeypatch):
    cameras = [{"name": name, "source": "camera:0"} for name in ("left", "right")]
    sources = {name: FakeCamera(20 * [IMAGE], fps=100) for name in ("left", "right")}
    summary = run_discs(monkeypatch, make_settings(cameras=cameras), sources, tmp_path)
    assert {name: one["captured"] for name, one in summary.items()} == {"left": 20, "right": 20}
    assert {path.name for path in tmp_path.glob("*.zarr.zip")} == {
        "left-0001.zarr.zip",
        "right-0001.zarr.zip",
    }


def pause(items, seconds=0.01):
    return [one for item in items for one in (item, seconds)]


def test_frames_that_cannot_be_used_are_left_out_and_counted(tmp_path, monkeypatch):
    wrong = [number(2**63), number(-(2**70)), number(2, float("nan")), number(3, float("inf"))]
    camera = FakeCamera(pause([number(1), *wrong, number(4), number(2**63 - 1)]))
    summary = run_discs(monkeypatch, make_settings(), {"top": camera}, tmp_path)["top"]
    assert (summary["captured"], summary["broken"], summary["outages"]) == (3, 4, 0)
    assert camera.opened == 1
    numbers = [
        line.split("\t")[2] for line in (tmp_path / "top-0001.times.tsv").read_text().splitlines()
    ]
    assert [one for one in numbers[1:] if one] == ["1", "4", str(2**63 - 1)]
    assert "9223372036854775808, which has no 64 bits: left out" in read_events(tmp_path)


def read_events(folder):
    return (folder / "events.tsv").read_text()


def test_frames_without_the_region_are_left_out_until_the_camera_has_it_again(
    tmp_path, monkeypatch
):
    large, small = np.zeros((120, 160, 3), np.uint8), np.zeros((60, 80, 3), np.uint8)
    cameras = [{"name": "top", "source": "camera:0", "crop": [0, 100, 0, 100]}]
    camera = FakeCamera(pause([large, large, small, small, small, large]))
    settings = make_settings(cameras=cameras)
    summary = run_discs(monkeypatch, settings, {"top": camera}, tmp_path)["top"]
    assert (summary["captured"], summary["broken"], summary["outages"]) == (3, 3, 0)
    assert "lies beyond the frames of 80 x 60 px: left out" in read_events(tmp_path)
    # At the start it is a mistake of whoever wrote the config.
    with pytest.raises(LiveError, match="lies beyond the frames of 80 x 60 px"):
        run_discs(monkeypatch, settings, {"top": FakeCamera([small])}, tmp_path)


def test_a_camera_of_which_nothing_can_be_used_is_opened_again(tmp_path, monkeypatch):
    monkeypatch.setattr(capture, "_BROKEN", 1.0)
    monkeypatch.setattr(capture, "_REOPEN", 0.01)
    wrong = number(2**63)
    camera = FakeCamera(pause([IMAGE, wrong, wrong, 1.1, wrong, IMAGE]))
    summary = run_discs(monkeypatch, make_settings(), {"top": camera}, tmp_path)["top"]
    assert (summary["captured"], summary["broken"], summary["outages"]) == (2, 3, 1)
    assert camera.opened == 2
    assert "which has no 64 bits; it is tried again" in read_events(tmp_path)


def test_whatever_a_running_camera_raises_it_is_tried_again(tmp_path, monkeypatch):
    monkeypatch.setattr(capture, "_REOPEN", 0.01)
    script = pause([IMAGE, RuntimeError("driver"), IMAGE])
    script[-1:] = [OSError(19, "No such device"), "shut", ValueError("odd"), *pause([IMAGE])]
    camera = FakeCamera(script)
    summary = run_discs(monkeypatch, make_settings(), {"top": camera}, tmp_path)["top"]
    assert (summary["captured"], summary["outages"]) == (3, 3)
    events = read_events(tmp_path)
    assert "RuntimeError: driver; it is tried again" in events
    assert "ValueError: odd; it is tried again" in events
    # Told of a camera that gives frames, not of one that was only opened.
    assert events.count("the camera is back") == 2
    with pytest.raises(RuntimeError, match="never began"):
        run_discs(
            monkeypatch,
            make_settings(),
            {"top": FakeCamera(["shut", RuntimeError("never began"), IMAGE])},
            tmp_path / "none",
        )


TWO = [{"name": name, "source": "camera:0"} for name in ("left", "right")]


def test_a_camera_that_fails_for_good_leaves_the_others_running(tmp_path, monkeypatch):
    left = FakeCamera(pause([IMAGE, IMAGE, LiveError("the video breaks off"), IMAGE]))
    right = FakeCamera(pause(30 * [IMAGE]))
    sources = {"left": left, "right": right}
    with pytest.raises(LiveError, match="the video breaks off"):
        run_discs(monkeypatch, make_settings(cameras=TWO), sources, tmp_path)
    assert [len(one.given) for one in (left, right)] == [2, 30]
    assert "left\tcamera failed\tthe video breaks off: it ends" in read_events(tmp_path)
    for name, count in (("left", 2), ("right", 30)):
        lines = (tmp_path / f"{name}-0001.times.tsv").read_text().splitlines()[1:]
        assert len([line for line in lines if line.split("\t")[1]]) == count


def test_the_time_is_over_though_one_of_the_cameras_never_came(tmp_path, monkeypatch):
    class Absent(LiveSource):
        def open(self):
            raise SourceError("not plugged in")

    sources = {"left": Absent(), "right": FakeCamera(pause(3000 * [IMAGE]))}
    settings = make_settings(cameras=TWO, seconds=0.3)
    summary = run_discs(monkeypatch, settings, sources, tmp_path)
    assert summary["left"]["captured"] == 0
    assert 0 < summary["right"]["captured"] < 3000


def test_a_frame_that_the_network_cannot_take_costs_that_frame_alone(tmp_path, monkeypatch):
    real = DiscFinder.predict

    def predict(self, frames):
        if not frames[0].any():
            raise RuntimeError("no memory on the GPU")
        return real(self, frames)

    monkeypatch.setattr(DiscFinder, "predict", predict)
    monkeypatch.setattr(LivePredictor, "warm_up", lambda *_: 0.0)
    black = np.zeros_like(IMAGE)
    camera = FakeCamera(pause([IMAGE, IMAGE, black, IMAGE], 0.05))
    summary = run_discs(monkeypatch, make_settings(), {"top": camera}, tmp_path)["top"]
    assert (summary["captured"], summary["failed"]) == (4, 1)
    assert summary["predicted"] + summary["dropped"] == 4
    text = "frame 2 was not predicted (RuntimeError: no memory on the GPU)"
    assert text in read_events(tmp_path)
    status = pipeline_lib.open_poses(tmp_path / "top-0001.zarr.zip").frame_status.values
    assert status[2] == FrameStatus.MISSING
