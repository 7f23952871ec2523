"""Cameras may do anything: what comes is counted, and the loop goes on."""

import numpy as np

from pipeline_lib.live import capture
from pipeline_lib.live.newest import Newest
from pipeline_lib.live.sources.frames import Frame, SourceError, now
from tests.live.cameras import FakeCamera, make_settings, run_discs
from tests.live.discs import draw

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
