"""Test the benchmark on flies: the split of labels, and the summary of a finished run."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml

from benchmarks.several_animals import flies
from benchmarks.several_animals import flies_runs as runs
from pipeline_lib.core.layout import Results
from pipeline_lib.core.poses import Poses
from pipeline_lib.core.settings.reading import parse_config, read_config
from pipeline_lib.core.tables import METRIC_COLUMNS
from pipeline_lib.io.labels.sleap.file import open_sleap_file
from pipeline_lib.io.stage_tables import write_table
from pipeline_lib.steps.evaluate.tracks import TrueTracks
from pipeline_lib.steps.import_labels.splits import assign_splits


def test_config_is_valid_and_names_what_the_labels_have():
    config = parse_config(yaml.safe_load(runs.CONFIG))
    assert config.individuals.max == 3
    assert len(config.skeleton.bodyparts) == 13
    assert len(config.skeleton.edges) == 12


@pytest.mark.parametrize("name", ["block", "clip", "sexes"])
def test_the_split_tests_exactly_the_frames_meant_to(name):
    division = runs.DIVISIONS[name]
    rows = [
        (f"{source}/{clip.name}", frame, frame in clip.test)
        for source, clip in enumerate(division.clips)
        for frame in sorted({*clip.train, *clip.test})
    ]
    assert all(not {*clip.train} & {*clip.test} for clip in division.clips)
    assert {frame for _, frame, _ in rows} <= set(range(runs.FRAMES))
    videos, frames, wanted = zip(*rows, strict=True)
    split = division.find_split()
    found = assign_splits(pd.Series(videos), np.array(frames), split, 0.0)
    assert (found == "test").tolist() == list(wanted)
    assert sum(wanted) in {32, 128}


@pytest.mark.parametrize("name", ["block", "sexes"])
def test_training_frames_and_test_frames_of_one_clip_are_apart(name):
    (clip,) = [clip for clip in runs.DIVISIONS[name].clips if clip.test]
    assert min(clip.test) - max(clip.train) > 16


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "way", "videos"),
    [("block", "skeleton", 3), ("clip", "top-down", 3), ("sexes", "complete", 1)],
)
def test_a_prepared_run_has_the_labels_that_it_names(name, way, videos, tmp_path, data_folder):
    runs.prepare_run(tmp_path, name, way, {"training": {"epochs": 2}})
    config = read_config(tmp_path / "config.yaml")
    assert config.training.epochs == 2
    assert (config.individuals.method == "top-down") is (way == "top-down")
    assert config.assembly.graph == ("complete" if way == "complete" else "skeleton")
    assert config.individuals.identity is (name == "sexes")
    sheet = pd.read_csv(tmp_path / "cohort.tsv", sep="\t")
    assert [Path(path).is_file() for path in sheet["path"]] == [True] * videos
    for source, clip in zip(config.labels, runs.DIVISIONS[name].clips, strict=True):
        file = open_sleap_file(tmp_path / source.path)
        frames = [frame.frame for frame in file.frames]
        assert sorted(frames) == sorted({*clip.train, *clip.test})
        assert [video.name for video in file.videos] == [clip.name]
        assert file.videos[0].source == data_folder.absolute() / f"flies-dreem/{clip.name}.mp4"
        assert file.skeleton.bodyparts == config.skeleton.bodyparts
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.slp")}
    runs.prepare_run(tmp_path, name, way, {"training": {"epochs": 2}})
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.real
def test_true_tracks_are_those_of_the_labels(data_folder):
    truth = flies.read_true_tracks(data_folder / "flies-dreem", "three_flies")
    assert truth.position.shape == (128, 3, 13, 2)
    assert truth.bodyparts == parse_config(yaml.safe_load(runs.CONFIG)).skeleton.bodyparts


def test_errors_of_test_frames_are_told(tmp_path):
    config = parse_config(yaml.safe_load(runs.CONFIG))
    results = Results(tmp_path)
    values = {
        "oks_map": 0.81234,
        "oks_mar": 0.9,
        "individuals_missed": 2.0,
        "individuals_false": 1.0,
        "keypoints_missed": 60.0,
        "mean_error": 3.256,
        "rmse": 4.5,
        "median_error": 2.0,
        "points": 1000.0,
    }
    rows = [("all", "test", metric, value) for metric, value in values.items()]
    rows += [("all", "train", metric, 0.0) for metric in values]
    rows += [(part, "test", "mean_error", 1.5) for part in config.skeleton.bodyparts]
    table = [dict(zip(METRIC_COLUMNS, row, strict=True)) for row in rows]
    write_table(results.metrics("pose"), METRIC_COLUMNS, table)
    lines = list(flies.describe_errors(config, results))
    assert lines[0] == "Test frames: OKS mAP 0.812, mAR 0.900"
    assert "2 flies missed, 1 false" in lines[1]
    assert "mean error 3.26 px, true RMSE 4.50 px, median 2.00 px, over 1000" in lines[2]
    assert lines[2].endswith("of which 60 were not found")
    assert lines[3] == "  head: mean error 1.50 px"
    assert len(lines) == 3 + 13


def test_tracks_of_every_clip_are_told_and_of_test_frames_apart(tmp_path, monkeypatch):
    config = parse_config(yaml.safe_load(runs.CONFIG))
    parts = config.skeleton.bodyparts
    truth = np.random.default_rng(0).uniform(0, 80, (10, 2, 13, 2))
    truth[:, 1] += 500
    exchanged = truth.copy()
    exchanged[4:] = truth[4:, ::-1]
    poses = Poses(
        position=exchanged.astype(np.float32),
        confidence=np.ones((10, 2, 13), np.float32),
        frame_status=np.zeros(10, np.uint8),
        time=np.arange(10.0),
        bodyparts=parts,
        individuals=("individual1", "individual2"),
    )
    images = pd.DataFrame(
        {
            "image": [str(frame) for frame in range(10)],
            "video": "three_flies",
            "frame": range(10),
            "split": ["train"] * 6 + ["test"] * 4,
        }
    )
    monkeypatch.setattr(flies, "locate_project", lambda _: tmp_path)
    monkeypatch.setattr(flies, "read_labels", lambda _: SimpleNamespace(table=images))
    monkeypatch.setattr(flies, "read_poses", lambda _: poses)
    monkeypatch.setattr(
        flies, "read_true_tracks", lambda *_: TrueTracks(np.arange(10), truth, parts)
    )
    lines = list(
        flies.describe_tracks(config, Results(tmp_path), ["single_fly", "two_flies", "three_flies"])
    )
    assert [line.split(":")[0] for line in lines] == [
        "Tracks of single_fly, all frames (10)",
        "Tracks of two_flies, all frames (10)",
        "Tracks of three_flies, all frames (10)",
        "Tracks of three_flies, test frames (4)",
    ]
    assert "MOTA 0.900, IDF1 0.600, 2 switches" in lines[2]
    assert "MOTA 1.000, IDF1 1.000, 0 switches, HOTA 1.000, 0 missed, 0 false" in lines[3]


def test_names_are_counted_in_frames_by_their_looks_and_in_tracks_by_their_places():
    """Let the first fly look like the male that it is, the second like a female in frame 0."""
    position = np.zeros((2, 2, 13, 2))
    position[...] = np.stack([10.0 * np.arange(13), 50.0 * (np.arange(13) % 2)], axis=-1)
    position[:, 1, :, 1] += 500.0
    parts = tuple(f"part{number}" for number in range(13))
    poses = Poses(
        position=position.astype(np.float32),
        confidence=np.ones((2, 2, 13), np.float32),
        frame_status=np.zeros(2, np.uint8),
        time=np.arange(2.0),
        bodyparts=parts,
        individuals=("F", "M"),
        attributes={"identities": ["F", "M"]},
        identity=np.array([[[0.1, 0.9], [0.8, 0.2]], [[0.4, 0.6], [0.3, 0.7]]], np.float32),
    )
    truth = TrueTracks(np.arange(2), position, parts)
    assert flies.count_names(poses, truth, ["M", "F"]) == (3, 4)
    assert flies.count_names(poses, truth.between(0, 1), ["M", "F"]) == (2, 2)
    tracks = replace(poses, track_status=np.ones((2, 2), np.uint8))
    assert flies.count_names(tracks, truth, ["F", "M"]) == (4, 4)
    # One that is too far away to be the same is not counted.
    truth.position[0, 1] += 300.0
    assert flies.count_names(tracks, truth, ["M", "F"]) == (0, 3)


def test_command_line():
    options = ["--test", "clip", "--set", "training.epochs=3"]
    given = flies.parse_arguments(["run", "DIR", *options])
    assert (given.command, given.folder, given.test) == ("run", Path("DIR"), "clip")
    assert given.changes == ["training.epochs=3"]
    usual = flies.parse_arguments(["prepare", "DIR"])
    assert (usual.test, usual.way) == ("block", "skeleton")
    with pytest.raises(SystemExit):
        flies.parse_arguments(["prepare", "DIR", "--test", "none"])


@pytest.mark.real
@pytest.mark.usefixtures("data_folder")
def test_the_labels_decide_what_is_not_stated(tmp_path):
    given = {"training": {"epochs": 2}}
    runs.prepare_run(tmp_path, "block", "top-down", given, automatic=True)
    config = read_config(tmp_path / "config.yaml")
    assert (config.training.epochs, config.targets.scale, config.locating.window) == (
        2,
        "auto",
        "auto",
    )
    assert config.individuals.method == "top-down"
