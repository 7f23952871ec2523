"""Ask the routes of tracks as the page does, and as it never would."""

import time

import numpy as np
import pytest

from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.core.tables import TrackStatus
from pipeline_lib.io.corrections.tracks import read_track_decisions
from pipeline_lib.io.poses.write import create_poses
from pipeline_lib.io.stage_tables import read_table, write_table
from pipeline_lib.label.project import Project
from pipeline_lib.steps.correct.cohort_doubts import COLUMNS, run_list_doubts

fastapi = pytest.importorskip("fastapi")
testclient = pytest.importorskip("fastapi.testclient")

FRAMES, EXCHANGED = 40, 20


def write_tracks(path, exchanged=EXCHANGED):
    """Write two animals that pass each other, exchanged from a frame on; one is lost at times."""
    body = np.array([[-9.0, 0.0], [0.0, 0.0], [9.0, 0.0], [0.0, 5.0]])
    position = np.zeros((FRAMES, 2, 4, 2), np.float32)
    step = np.arange(FRAMES) - EXCHANGED
    for animal, direction in enumerate((1.0, -1.0)):
        position[:, animal] = body * [direction, 1.0] + 200.0
        position[:, animal, :, 0] += (direction * 3.0 * step)[:, None]
        position[:, animal, :, 1] += animal * 6.0
    position[exchanged:] = position[exchanged:, ::-1]
    position[3, 1] = np.nan
    status = np.full((FRAMES, 2), TrackStatus.FOLLOWED, np.uint8)
    status[3, 1] = TrackStatus.GAP
    with create_poses(
        path, np.arange(FRAMES) / 25, "abcd", ("m1", "<b>m2</b>"), {"key": "k"}, tracked=True
    ) as writer:
        confidence = np.ones(position.shape[:3], np.float32)
        writer.write(0, position, confidence, np.zeros(FRAMES, np.uint8), status)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [{"video": name, "path": f"{name}.mp4"} for name in ("v", "untracked")]
    write_table(tmp_path / "cohort.tsv", ("video", "path"), rows)
    write_tracks(Results("results").tracked("pose", "v"))
    return tmp_path


@pytest.fixture
def client(folder):
    from pipeline_lib.label.proofreaders import Proofreaders  # noqa: PLC0415 - needs the extra `label`
    from pipeline_lib.label.track_routes import make_track_router  # noqa: PLC0415

    config = parse_config({"cohort": str(folder / "cohort.tsv"), "individuals": {"max": 2}})
    app = fastapi.FastAPI()
    app.include_router(make_track_router(Proofreaders(Project(config, Results("results"), "Ann"))))
    return testclient.TestClient(app)


def read(client):
    answer = client.get("/api/tracks/v")
    assert answer.status_code == 200
    return answer.json()


def decide(client, **decision):
    seen = {"seen": read(client)["version"]}
    return client.post("/api/tracks/v/decisions", json=seen | decision)


def test_a_video_is_described(client):
    assert client.get("/api/tracks").json() == [
        {"video": "v", "tracked": True},
        {"video": "untracked", "tracked": False},
    ]
    found = read(client)
    assert (found["frames"], found["fps"]) == (FRAMES, 25.0)
    assert found["individuals"] == ["m1", "<b>m2</b>"]
    assert found["lanes"][1] == [[0, 2, "followed"], [3, 3, "gap"], [4, 39, "followed"]]
    (doubt,) = found["doubts"]
    assert (doubt["frame"], doubt["slots"]) == (EXCHANGED, [0, 1])
    assert client.get("/api/tracks/v", params={"known": found["version"]}).json() == {
        "version": found["version"]
    }
    poses = client.get("/api/tracks/v/poses", params={"start": 3, "stop": 5}).json()
    assert len(poses["frames"]) == 2
    assert poses["frames"][0][1] == [None] * 4
    assert poses["frames"][0][0][1] == [149.0, 200.0]


def test_decisions_are_saved_shown_and_withdrawn(client, folder):
    made = decide(client, what="swap", frame=EXCHANGED, slots=[0, 1]).json()
    assert made["doubts"] == []
    (decision,) = made["decisions"]
    assert (decision["what"], decision["outcome"], decision["own"]) == ("swap", "applied", True)
    poses = client.get("/api/tracks/v/poses", params={"start": 30, "stop": 31}).json()
    assert poses["frames"][0][0][1] == [230.0, 200.0]
    assert poses["version"] == made["version"]
    again = client.delete("/api/tracks/v/decisions", params={"time": decision["time"]}).json()
    assert (again["withdrawn"], len(again["doubts"])) == (EXCHANGED, 1)
    assert read_track_decisions(folder / "corrections") == ()
    confirmed = decide(client, what="confirm", frame=19, last=21, slots=[0, 1]).json()
    assert confirmed["doubts"] == []


def wait_for_doubts(client):
    """Ask for the doubts of all videos until each was looked at after this call."""
    deadline = time.monotonic() + 20
    client.get("/api/doubts")
    while client.get("/api/doubts").json()["running"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return client.get("/api/doubts").json()


def test_the_worst_doubts_of_all_videos_come_first(client, folder):
    tracked = Results("results").tracked
    rows = [{"video": name, "path": f"{name}.mp4"} for name in ("a", "broken", "v", "untracked")]
    write_table(folder / "cohort.tsv", ("video", "path"), rows)
    write_tracks(tracked("pose", "a"), exchanged=FRAMES)
    tracked("pose", "broken").write_bytes(b"PK no zip")
    found = wait_for_doubts(client)
    assert (found["tracked"], found["checked"], found["total"]) == (3, 3, 1)
    (worst,) = found["doubts"]
    assert (worst["video"], worst["frame"], worst["why"]) == ("v", EXCHANGED, "m1 and <b>m2</b>")
    assert worst["probability"] > 0.9
    # A decision counts at once, and so do tracks that are made anew.
    decide(client, what="swap", frame=EXCHANGED, slots=[0, 1])
    assert client.get("/api/doubts").json()["doubts"] == []
    write_tracks(tracked("pose", "a"), exchanged=25)
    assert [(one["video"], one["frame"]) for one in wait_for_doubts(client)["doubts"]] == [
        ("a", 25)
    ]

    config = parse_config({"cohort": str(folder / "cohort.tsv"), "individuals": {"max": 2}})
    table = run_list_doubts(config, Results("results"), None)
    assert run_list_doubts(config, Results("results"), folder / "doubts.tsv") == table
    printed = table.splitlines()
    assert [line.split("\t")[:3] for line in printed] == [
        ["rank", "video", "frame"],
        ["1", "a", "25"],
    ]
    (row,) = read_table(folder / "doubts.tsv", COLUMNS)
    assert (row["individuals"], row["video"]) == ("m1 and <b>m2</b>", "a")


def test_a_new_animal_is_one_more(client):
    made = decide(client, what="new", frame=30, slots=[0]).json()
    assert made["individuals"] == ["m1", "<b>m2</b>", "individual3"]
    assert made["lanes"][2] == [[30, 39, "followed"]]
    joined = decide(client, what="join", frame=30, slots=[0, 2]).json()
    assert joined["individuals"] == ["m1", "<b>m2</b>"]
    cut = decide(client, what="cut", frame=5, last=8, slots=[1]).json()
    assert cut["lanes"][2] == [[5, 8, "followed"]]


@pytest.mark.parametrize(
    "decision",
    [
        {"what": "explode"},
        {"frame": 0},
        {"frame": FRAMES},
        {"frame": -1},
        {"frame": 10**30},
        {"frame": "4"},
        {"frame": 1.5},
        {"last": 3},
        {"last": FRAMES},
        {"slots": []},
        {"slots": [0]},
        {"slots": [0, 0]},
        {"slots": [0, 2]},
        {"slots": [0, 1, 2]},
        {"slots": [-1, 0]},
        {"what": "new"},
        {"what": "join", "last": 30},
        {"what": "cut", "slots": [0, 1]},
        {"seen": "another version"},
        {"seen": "x" * 10_000},
        {"author": "Ben"},
        {"file": "/etc/passwd"},
    ],
)
def test_impossible_decisions_are_refused(client, folder, decision):
    answer = decide(client, **{"what": "swap", "frame": 20, "slots": [0, 1], **decision})
    assert answer.status_code == 422
    assert not list(folder.rglob("corrections/**/*.tsv"))


def test_other_requests_are_refused(client):
    for video in ("gone", "..", "%2e%2e%2fv"):
        assert client.get(f"/api/tracks/{video}/poses?start=0&stop=1").status_code in (404, 422)
    assert client.get("/api/tracks/gone").status_code == 404
    assert client.get("/api/tracks/untracked").status_code == 422
    assert "run `track` first" in client.get("/api/tracks/untracked").json()["detail"]
    for query in ("start=0&stop=601", "start=5&stop=4", "start=-1&stop=4", "start=a&stop=4", ""):
        assert client.get(f"/api/tracks/v/poses?{query}").status_code == 422
    beyond = client.get("/api/tracks/v/poses?start=9999&stop=10000").json()
    assert beyond["frames"] == []
    for when in ("", "yesterday", "2026-03-01T12:00:00Z"):
        assert client.delete("/api/tracks/v/decisions", params={"time": when}).status_code == 422


def test_a_damaged_table_is_told_and_kept(client, folder):
    decide(client, what="swap", frame=EXCHANGED, slots=[0, 1])
    (table,) = folder.rglob("corrections/tracks/*/*.tsv")
    table.write_text(table.read_text().replace("swap", "explode"))
    text = table.read_text()
    answer = client.get("/api/tracks/v")
    assert answer.status_code == 422
    assert "Ann/v.tsv, line 2: what 'explode'" in answer.json()["detail"]
    seen = {"what": "swap", "frame": 5, "slots": [0, 1], "seen": "x"}
    assert client.post("/api/tracks/v/decisions", json=seen).status_code == 422
    assert table.read_text() == text


def test_tracks_made_anew_are_read_anew(client):
    version = read(client)["version"]
    write_tracks(Results("results").tracked("pose", "v"), exchanged=FRAMES)
    found = read(client)
    assert found["version"] != version
    assert found["doubts"] == []
