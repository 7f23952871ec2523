"""Rules start and end where they should, and nowhere else."""

import json
import socket
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import pipeline_lib
from pipeline_lib.core.errors import ConfigError
from pipeline_lib.core.settings.outputs.live import LiveSettings, ProcessorSettings, RuleSettings
from pipeline_lib.kernels.kinematics.depth import measure_depth
from pipeline_lib.live import processors
from pipeline_lib.live.actions import Actions
from pipeline_lib.live.processors import ProcessorChain, load_processors
from pipeline_lib.live.recording.events import Events
from pipeline_lib.live.rules import RuleJudge, View
from pipeline_lib.live.sources.frames import now
from tests.live.cameras import FakeCamera, make_settings, run_discs, write_video
from tests.live.discs import draw

KEYPOINTS, ANIMALS = ("nose", "back", "tail"), ("m1", "m2")
SQUARE = ((0.0, 0.0), (10.0, 0.0), (10.0, 10.0), (0.0, 10.0))
HOOK = np.array([[0.0, 0], [10, 0], [10, 10], [6, 10], [6, 4], [0, 4]])


def test_depth_is_the_distance_to_the_outline():
    points = [[5, 2], [5, 6], [8, 8], [0, 0], [-3, 0], [13, 14], [np.nan, 1]]
    found = measure_depth(np.array(points), HOOK)
    np.testing.assert_allclose(found, [2, -1, 2, 0, -3, -5, np.nan], atol=1e-12)


def look(nose, *, animals=2, velocity=(0, 0), time=0.0):
    """Return a view in which the first animal has its nose somewhere, and back and tail beside."""
    seen = np.full((animals, 3, 2), np.nan)
    seen[0] = nose, (20, 0), (20, 20)
    seen[1:] = (100, 100)
    return View(seen, seen, np.broadcast_to(velocity, seen.shape).astype(float), time)


def judge(rule, views, animals=ANIMALS):
    """Return frame, individual and start or end of all changes."""
    rule = {"name": "r", "actions": [], **rule}
    judging = RuleJudge([RuleSettings.model_validate(rule)], KEYPOINTS, animals)
    return [
        (frame, one.individual, one.starts)
        for frame, view in enumerate(views)
        for one in judging.judge(view)
    ]


def walk(*xs, step=0.1):
    return [look((x, 5), time=frame * step) for frame, x in enumerate(xs)]


REGION = {"measure": "region", "points": ["nose"], "polygon": SQUARE}


def test_a_point_enters_and_leaves_a_region():
    views = walk(-5, -1, 1, 5, np.nan, 5, 9, 11, 15)
    assert judge(REGION, views) == [(2, "m1", True), (7, "m1", False)]


def test_hysteresis_keeps_a_point_at_the_border_inside():
    views = walk(-1, 1, -1, 1, -1, 1, -3, 1)
    assert len(judge(REGION, views)) == 7
    assert judge({**REGION, "hysteresis": 2}, views) == [
        (1, "m1", True),
        (6, "m1", False),
        (7, "m1", True),
    ]


def test_a_start_within_the_refractory_time_is_put_off():
    views = walk(-1, 1, -1, 1, 1, 1, 1, -1)
    # Started at 0.1 s; the next start is at 0.5 s, though the point entered at 0.3 s.
    rule = {**REGION, "refractory_ms": 350}
    assert judge(rule, views) == [
        (1, "m1", True),
        (2, "m1", False),
        (5, "m1", True),
        (7, "m1", False),
    ]


def test_a_value_must_be_passed_for_some_frames():
    views = walk(-1, 1, -1, 1, 1, -1, 1, 1, 1, -1, -1, -1)
    assert judge({**REGION, "frames": 3}, views) == [(8, "m1", True), (11, "m1", False)]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"measure": "speed", "points": ["nose"], "above": 4.9}, True),
        ({"measure": "speed", "points": ["nose"], "above": 5.1}, False),
        ({"measure": "speed", "points": ["nose"], "below": 5.1}, True),
        ({"measure": "distance", "points": ["nose", "back"], "above": 19.9}, True),
        ({"measure": "distance", "points": ["nose", "back"], "below": 19.9}, False),
        ({"measure": "angle", "points": ["nose", "back", "tail"], "below": 90.1}, True),
        ({"measure": "angle", "points": ["nose", "back", "tail"], "below": 89.9}, False),
        ({"measure": "distance", "points": ["nose", "tail"], "other": "m2", "above": 141.4}, True),
        ({"measure": "distance", "points": ["nose", "tail"], "other": "m2", "above": 141.5}, False),
        ({"measure": "region", "points": ["back"], "polygon": SQUARE, "above": -10.1}, True),
        ({"measure": "region", "points": ["back"], "polygon": SQUARE, "below": -10.1}, False),
    ],
)
def test_measures(rule, expected):
    view = look((0, 0), velocity=(3, -4))
    changes = judge({"individual": "m1", **rule}, [view])
    assert changes == ([(0, "m1", True)] if expected else [])


def test_each_individual_stands_for_itself():
    views = [look((5, 5)), look((50, 5)), look((5, 5))]
    for number, view in enumerate(views):
        view.seen[1, 0] = (5, 5) if number else (50, 50)
    assert judge(REGION, views) == [
        (0, "m1", True),
        (1, "m1", False),
        (1, "m2", True),
        (2, "m1", True),
    ]


def test_points_are_judged_ahead_or_as_seen():
    seen, ahead = np.full((1, 3, 2), 50.0), np.full((1, 3, 2), 5.0)
    view = View(seen, ahead, seen * 0, 0.0)
    assert judge(REGION, [view], ("m1",)) == [(0, "m1", True)]
    assert judge({**REGION, "ahead": False}, [view], ("m1",)) == []


def test_names_that_there_are_not_are_told():
    rules = [
        {"name": "a", "measure": "speed", "points": ["paw"], "above": 1},
        {"name": "b", "measure": "speed", "points": ["nose"], "above": 1, "individual": "m3"},
    ]
    with pytest.raises(ConfigError) as told:
        RuleJudge(LiveSettings(rules=rules).rules, KEYPOINTS, ANIMALS)
    assert "a: `points`: the network has no 'paw', but nose, back, tail" in str(told.value)
    assert "b: `individual`: the network has no 'm3', but m1, m2" in str(told.value)


@pytest.mark.parametrize(
    "rule",
    [
        {"measure": "speed", "points": ["a", "b"], "above": 1},
        {"measure": "speed", "points": ["a"]},
        {"measure": "speed", "points": ["a"], "above": 1, "below": 2},
        {"measure": "region", "points": ["a"]},
        {"measure": "region", "points": ["a"], "polygon": [[0, 0], [1, 1]]},
        {"measure": "speed", "points": ["a"], "above": 1, "polygon": SQUARE},
        {"measure": "angle", "points": ["a", "b"], "above": 1},
        {"measure": "speed", "points": ["a"], "above": 1, "actions": ["none"]},
    ],
)
def test_rules_that_mean_nothing_are_refused(rule):
    with pytest.raises(ValueError, match="rules"):
        LiveSettings(rules=[{"name": "r", **rule}])


def make_walk(count):
    """Return points of an animal that walks in and out of a region, and its rendered frames."""
    x = 60 + 50 * np.sin(np.arange(count) / 9.0)
    pose = np.stack([np.stack([x, np.full(count, 40.0)], -1)] * 3, axis=1)
    pose[:, 1] += (12, 20)
    pose[:, 2] += (24, 40)
    return pose, [draw(one[None]) for one in pose]


@pytest.mark.parametrize("cropping", [0, 96])
def test_no_start_is_missed_and_none_is_false(tmp_path, monkeypatch, cropping):
    """Every frame of a rendered animal is judged, and truth is known exactly."""
    truth, images = make_walk(180)
    write_video(tmp_path / "v.mp4", images)
    region = [[80, 0], [200, 0], [200, 100], [80, 100]]
    settings = make_settings(
        cameras=[{"name": "top", "source": f"video:{tmp_path / 'v.mp4'}", "every_frame": True}],
        prediction={"cropping": cropping},
        recording={"poses": False, "video": False},
        rules=[
            {
                "name": "in",
                "measure": "region",
                "points": ["red"],
                "polygon": region,
                "actions": ["a"],
            }
        ],
        actions=[
            {"name": "a", "kind": "file", "address": str(tmp_path / "sent.jsonl"), "ends": True}
        ],
    )
    summary = run_discs(monkeypatch, settings, None, tmp_path / "live")["top"]
    assert summary["predicted"] == 180
    assert (summary["whole"] > 0) == (cropping > 0)
    assert summary["lost"] == 0
    inside = truth[:, 0, 0] > 80
    change = np.flatnonzero(np.diff(np.concatenate([[False], inside]).astype(int)))
    expected = [(int(frame), int(inside[frame])) for frame in change]
    # With the run ends what holds.
    assert inside[-1]
    expected.append((179, 0))
    sent = [json.loads(line) for line in (tmp_path / "sent.jsonl").read_text().splitlines()]
    assert [one["starts"] for one in sent] == [starts for _, starts in expected]
    # A disc's centre is known to half a px, which it walks in a tenth of a frame.
    error = [one["row"] - frame for one, (frame, _) in zip(sent, expected, strict=True)]
    assert set(error) <= {-1, 0, 1}
    assert np.mean(np.array(error) == 0) >= 0.75
    lines = (tmp_path / "live" / "triggers.tsv").read_text().splitlines()[1:]
    assert [int(line.split("\t")[1]) for line in lines] == [one["row"] for one in sent]


def test_predicted_ahead_a_start_comes_before_the_frame_that_shows_it(tmp_path, monkeypatch):
    x = 20 + 1.0 * np.arange(72)
    images = [draw([[[one, 40.0], [one, 60.0], [one, 80.0]]]) for one in x]
    write_video(tmp_path / "v.mp4", images)
    rows = {}
    for ahead in (0, 100):
        settings = make_settings(
            cameras=[{"name": "top", "source": f"video:{tmp_path / 'v.mp4'}", "every_frame": True}],
            prediction={"ahead_ms": ahead},
            recording={"video": False},
            rules=[
                {
                    "name": "in",
                    "measure": "region",
                    "points": ["red"],
                    "polygon": [[80.5, 0], [200, 0], [200, 100], [80.5, 100]],
                }
            ],
        )
        run_discs(monkeypatch, settings, None, tmp_path / str(ahead))
        lines = (tmp_path / str(ahead) / "triggers.tsv").read_text().splitlines()[1:]
        cells = [line.split("\t") for line in lines]
        rows[ahead] = [int(one[1]) for one in cells if one[4] == "start"]
    # 100 ms are 5 frames of the video.
    assert rows[0] == [61]
    assert len(rows[100]) == 1
    assert abs(rows[100][0] - 56) <= 1


def test_the_loop_goes_on_without_the_counterpart_of_an_action(tmp_path, monkeypatch):
    """A listener goes away while its action is being sent; all else is recorded as before."""
    truth, images = make_walk(180)
    write_video(tmp_path / "v.mp4", images)
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.bind(("127.0.0.1", 0))
    address = f"127.0.0.1:{listener.getsockname()[1]}"
    inner, sent = Actions.send, [0]

    def send(self, *values):
        sent[0] += 1
        if sent[0] == 3:
            listener.close()
        return inner(self, *values)

    monkeypatch.setattr(Actions, "send", send)
    settings = make_settings(
        cameras=[{"name": "top", "source": f"video:{tmp_path / 'v.mp4'}", "every_frame": True}],
        recording={"video": False},
        rules=[
            {
                "name": "in",
                "measure": "region",
                "points": ["red"],
                "polygon": [[80, 0], [200, 0], [200, 100], [80, 100]],
                "actions": ["gone", "kept"],
            }
        ],
        actions=[
            {"name": "gone", "kind": "udp", "address": address, "ends": True},
            {"name": "kept", "kind": "file", "address": str(tmp_path / "kept"), "ends": True},
        ],
    )
    summary = run_discs(monkeypatch, settings, None, tmp_path / "live")["top"]
    changes = np.diff(np.concatenate([[False], truth[:, 0, 0] > 80]).astype(int))
    # With the run ends what holds.
    assert truth[-1, 0, 0] > 80
    count = int(np.abs(changes).sum()) + 1
    assert summary["predicted"] == summary["captured"] == 180
    assert (summary["starts"], sent[0]) == (int((changes == 1).sum()), count)
    # The other action got all of them, and what the first one lost is counted and named.
    assert len((tmp_path / "kept").read_text().splitlines()) == count
    lines = (tmp_path / "live" / "triggers.tsv").read_text().splitlines()[1:]
    lost = ["gone: not sent" in line.split("\t")[-1] for line in lines]
    assert not any(lost[:3])
    assert sum(lost) == summary["failed_actions"] > 0
    assert "action gone" in (tmp_path / "live" / "events.tsv").read_text()
    poses = pipeline_lib.open_poses(tmp_path / "live" / "top-0001.zarr.zip")
    assert int((poses.frame_status.values == 0).sum()) == 180


def test_what_a_rule_has_switched_on_is_switched_off_when_the_run_ends(tmp_path, monkeypatch):
    image = draw(np.array([[[20.0, 30.0], [40.0, 50.0], [60.0, 70.0]]]))
    rules = [
        {"name": "apart", "measure": "distance", "points": ["red", "green"], "above": 9},
        {"name": "near", "measure": "distance", "points": ["red", "green"], "below": 9},
    ]
    settings = make_settings(
        rules=[{**rule, "actions": ["laser"]} for rule in rules],
        actions=[
            {
                "name": "laser",
                "kind": "file",
                "address": str(tmp_path / "laser"),
                "start": "on",
                "end": "off",
            }
        ],
    )
    run_discs(monkeypatch, settings, {"top": FakeCamera([image, 0.1, image])}, tmp_path)
    assert (tmp_path / "laser").read_text() == "on\noff\n"
    lines = (tmp_path / "triggers.tsv").read_text().splitlines()[1:]
    cells = [line.split("\t") for line in lines]
    assert [one[2:5] for one in cells] == [["apart", "animal1", kind] for kind in ("start", "end")]
    # 20 px in x and y.
    assert abs(float(cells[1][5]) - 20 * 2**0.5) < 0.5
    assert (cells[0][-1], cells[1][-1]) == ("", "the run ended")


class Halver:
    """A processor as DeepLabCut-Live has them."""

    def __init__(self, factor=0.5):
        self.factor, self.seen, self.stopped = factor, [], False

    def process(self, pose, **kwargs):
        self.seen.append((pose.copy(), kwargs))
        pose[..., :2] *= self.factor
        return pose

    def save(self, file=""):
        Path(f"{file}.txt").write_text(str(len(self.seen)))

    def stop(self):
        self.stopped = True


class Fussy(Halver):
    def process(self, pose, frame_time):
        assert frame_time < 2e9
        return super().process(pose, frame_time=frame_time)


class NoProcessor:
    pass


def install(monkeypatch, **classes):
    entries = [
        SimpleNamespace(name=name, load=lambda made=made: made) for name, made in classes.items()
    ]
    monkeypatch.setattr(processors, "entry_points", lambda **_: entries)


def test_processors_of_installed_packages_see_and_change_poses(monkeypatch, tmp_path):
    install(monkeypatch, halver=Halver, fussy=Fussy)
    given = [
        ProcessorSettings(name="halver", options={"factor": 2.0}),
        ProcessorSettings(name="fussy"),
    ]
    made = load_processors(given)
    events = Events(tmp_path / "events.tsv")
    chain = ProcessorChain(made, "top", events)
    position = np.arange(6, dtype=np.float32).reshape(1, 3, 2)
    confidence = np.full((1, 3), 0.5, np.float32)
    moment = now()
    before = time.time() - 3.0
    found = chain.process(position, confidence, moment - 3.0, moment - 2.5)
    np.testing.assert_array_equal(found, position)
    pose, named = made[0].seen[0]
    # One animal: a row per keypoint with x, y and confidence, as DeepLabCut-Live gives them.
    assert pose.tolist() == [[0, 1, 0.5], [2, 3, 0.5], [4, 5, 0.5]]
    # Times of day, which its processors compare with `time.time()`.
    assert set(named) == {"frame_time", "pose_time", "record"}
    assert named["record"] is True
    assert before - 1e-3 <= named["frame_time"] <= time.time() - 3.0 + 1e-3
    assert named["pose_time"] - named["frame_time"] == pytest.approx(0.5, abs=1e-5)
    # One that raises is passed over.
    far = moment + 4e9
    np.testing.assert_array_equal(chain.process(position, confidence, far, far), 2 * position)
    assert "Fussy: AssertionError" in (tmp_path / "events.tsv").read_text()
    chain.close(tmp_path)
    assert all(one.stopped for one in made)
    assert (tmp_path / "top-Halver.txt").read_text() == "2"


def test_processors_that_are_not_installed_or_are_none_are_told(monkeypatch):
    install(monkeypatch, halver=Halver, none=NoProcessor)
    names = ["/tmp/evil.py", "none", "halver"]  # noqa: S108 - a path is no name
    given = [
        ProcessorSettings(name=name, options={"x": 1.0} if name == "halver" else {})
        for name in names
    ]
    with pytest.raises(ConfigError) as told:
        load_processors(given)
    assert "no installed package has an entry point '/tmp/evil.py'" in str(told.value)
    assert "NoProcessor has no method `process`" in str(told.value)
    assert "halver: TypeError" in str(told.value)


def test_rules_see_what_a_processor_returns(monkeypatch, tmp_path):
    install(monkeypatch, halver=Halver)
    settings = make_settings(
        processors=[{"name": "halver"}],
        recording={"video": False},
        rules=[{"name": "in", "measure": "region", "points": ["red"], "polygon": SQUARE}],
    )
    camera = FakeCamera([draw([[[15.0, 15.0], [40.0, 50.0], [60.0, 70.0]]]), 0.05])
    summary = run_discs(monkeypatch, settings, {"top": camera}, tmp_path)["top"]
    assert summary["starts"] == 1
