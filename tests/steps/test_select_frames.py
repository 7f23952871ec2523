"""Test frame selection of a shard: the right images under the right names, once."""

from pathlib import Path

import numpy as np
import pytest

from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.core.tables import PROBE_COLUMNS
from pipeline_lib.io.images import read_image
from pipeline_lib.io.stage_tables import read_table, write_table
from pipeline_lib.steps.select_frames import (
    FRAME_COLUMNS,
    SELECTION_COLUMNS,
    run_select_frames,
)
from tests.video_corpus import RECIPES, damage_packet, encode, read_number, x264


@pytest.fixture
def results(tmp_path):
    return Results(tmp_path / "results")


def publish_probe(results: Results, *paths: Path, **changes: str) -> None:
    rows = [
        {"video": path.stem, "status": "done", "path": path, "fingerprint": "f0", **changes}
        for path in paths
    ]
    write_table(results.shard("s0").probe, PROBE_COLUMNS, rows)


def select(results: Results, **frames: object) -> dict[str, dict[str, str]]:
    config = parse_config({"cohort": "cohort.tsv", "frames": {"number": 5, **frames}})
    run_select_frames(config, results, "s0")
    rows = read_table(results.shard("s0").frames, SELECTION_COLUMNS)
    return {row["video"]: row for row in rows}


def read_selection(results: Results, video: str) -> dict[int, np.ndarray]:
    folder = results.frames(video)
    rows = read_table(folder / "frames.tsv", FRAME_COLUMNS)
    images = {path.name for path in folder.glob("*.png")}
    assert images == {row["image"] for row in rows}
    assert all(row["image"] == f"frame-{int(row['frame']):07d}.png" for row in rows)
    assert all(float(row["time"]) == pytest.approx(int(row["frame"]) / 25) for row in rows)
    return {int(row["frame"]): read_image(folder / row["image"]) for row in rows}


@pytest.mark.parametrize("method", ["uniform", "kmeans"])
def test_files_hold_the_frames_they_are_named_after(tmp_path, results, method):
    path = encode(tmp_path / "mouse.mp4", options=x264("open-gop=1"))
    publish_probe(results, path)
    row = select(results, method=method)["mouse"]
    assert (row["status"], row["reason"], row["number"]) == ("done", "", "5")
    selection = read_selection(results, "mouse")
    assert len(selection) == 5
    assert [read_number(image) for image in selection.values()] == list(selection)
    assert list(selection) == sorted(selection)


@pytest.mark.parametrize("method", ["uniform", "kmeans"])
def test_start_and_stop_bound_the_choice(tmp_path, results, method):
    publish_probe(results, encode(tmp_path / "a.mp4", options=x264()))
    select(results, method=method, start=0.5, stop=0.75, number=60)
    # More are asked for than there are: all of them.
    assert list(read_selection(results, "a")) == list(range(30, 45))


def test_kmeans_looks_at_every_step_th_frame(tmp_path, results):
    publish_probe(results, encode(tmp_path / "a.mp4", options=x264()))
    select(results, step=7, number=60)
    assert list(read_selection(results, "a")) == list(range(0, 60, 7))


@pytest.mark.parametrize("method", ["uniform", "kmeans"])
def test_crop_is_cut_out_and_clipped(tmp_path, results, method):
    publish_probe(results, encode(tmp_path / "a.mp4", options=x264()))
    select(results, method=method)
    whole = read_selection(results, "a")
    select(results, method=method, crop=[10, 500, 40, 60])
    for frame, image in read_selection(results, "a").items():
        assert image.shape == (20, 86, 3)
        if frame in whole:
            np.testing.assert_array_equal(image, whole[frame][40:60, 10:96])


def test_kmeans_sees_the_crop_alone(tmp_path, results):
    # The ramp between the moving square and the number never changes: all frames are alike
    # there, and the choice is spread over time.
    path = encode(tmp_path / "a.mkv", "ffv1", 9, pixel_format="gray")
    publish_probe(results, path)
    select(results, number=3, crop=[0, 96, 30, 40], kmeans_width=96)
    assert list(read_selection(results, "a")) == [0, 4, 8]


def test_a_crop_outside_the_frame_fails_that_video_only(tmp_path, results):
    small = encode(tmp_path / "small.mp4", options=x264())
    gone = tmp_path / "gone.mp4"
    publish_probe(results, gone, small)
    rows = select(results, crop=[0, 96, 0, 64])
    assert (rows["gone"]["status"], rows["small"]["status"]) == ("failed", "done")
    assert rows["gone"]["reason"].startswith("no such file")
    rows = select(results, crop=[96, 200, 0, 10])
    assert rows["small"]["status"] == "failed"
    assert rows["small"]["reason"] == (
        "`frames.crop` [96, 200, 0, 10] (x1, x2, y1, y2) lies outside the frame, which is "
        "96 x 64 px: change it, or leave it out"
    )
    assert not results.frames("gone").exists()


def test_quarantined_videos_are_passed_on(tmp_path, results):
    publish_probe(results, tmp_path / "a.mp4", status="quarantined", reason="empty")
    row = select(results)["a"]
    assert (row["status"], row["reason"], row["number"]) == ("quarantined", "empty", "")


def test_work_is_done_once_and_again_when_settings_change(tmp_path, results):
    path = encode(tmp_path / "a.mp4", options=x264())
    publish_probe(results, path)
    first = select(results)["a"]
    table = results.shard("s0").frames.read_bytes()
    # The video is not even opened again.
    path.unlink()
    assert select(results, extract=True)["a"] == first
    assert results.shard("s0").frames.read_bytes() == table
    assert select(results, seed=1)["a"]["status"] == "failed"
    # What was there stays.
    assert len(read_selection(results, "a")) == 5


def test_another_video_of_the_same_name_is_selected_anew(tmp_path, results):
    path = encode(tmp_path / "a.mp4", frames=60, options=x264())
    publish_probe(results, path)
    select(results, method="uniform", number=60)
    encode(path, frames=10, options=x264())
    publish_probe(results, path, fingerprint="f1")
    select(results, method="uniform", number=60)
    assert list(read_selection(results, "a")) == list(range(10))


def test_files_of_the_user_are_never_replaced(tmp_path, results):
    publish_probe(results, encode(tmp_path / "a.mp4", options=x264()))
    select(results)
    labels = results.frames("a") / "CollectedData_me.csv"
    labels.write_text("hours of work")
    row = select(results, seed=1)["a"]
    assert row["status"] == "failed"
    assert "holds files of yours (CollectedData_me.csv)" in row["reason"]
    assert labels.read_text() == "hours of work"
    assert select(results)["a"]["status"] == "done"


@pytest.mark.parametrize("method", ["uniform", "kmeans"])
def test_undecodable_frames_are_not_selected(tmp_path, results, method):
    path = RECIPES["mpeg4-avi"][1](tmp_path / "a.avi")
    damage_packet(path, 17)
    publish_probe(results, path)
    row = select(results, method=method, number=60)["a"]
    # All that can be decoded: 17 and what depends on it, up to the keyframe at 24, cannot.
    assert list(read_selection(results, "a")) == [*range(17), *range(24, 60)]
    assert row["number"] == "53"
