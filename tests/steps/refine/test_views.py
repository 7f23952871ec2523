"""Test the criterion `views`: frames in which the other cameras see a keypoint elsewhere."""

import logging
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from pipeline_lib.core.errors import ConfigError
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.core.tables import LABEL_COLUMNS, PROBE_COLUMNS
from pipeline_lib.io.labels.table import Labels, write_labels
from pipeline_lib.io.poses.read import read_poses
from pipeline_lib.io.poses.write import write_poses
from pipeline_lib.io.stage_tables import read_table, write_table
from pipeline_lib.steps.refine.run import REFINEMENT_COLUMNS, run_refine
from tests.steps.triangulate.scenes import BODYPARTS
from tests.steps.triangulate.session_cohort import MODEL, SessionCohort
from tests.video_corpus import encode, x264

FRAMES, FPS = 60, 25


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return encode(tmp_path_factory.mktemp("videos") / "mouse.mp4", options=x264("open-gop=1"))


@pytest.fixture
def cohort(tmp_path):
    cohort = SessionCohort(tmp_path)
    cohort.settings["inference"] = {"shard_videos": 3}
    cohort.settings["refinement"] = {"criteria": ["views"], "min_gap": 0.04, "frames": 3}
    return cohort


def finish(cohort, video, errors):
    """Triangulate, with noise; put errors in px into the raw poses alone; choose frames."""
    random = np.random.default_rng(0)
    for row in cohort.rows:
        path = cohort.results.filtered(MODEL, row["video"])
        poses = read_poses(path)
        position = poses.position + random.normal(0, 0.5, poses.position.shape)
        write_poses(path, replace(poses, position=position.astype(np.float32)))
        raw = position.copy()
        for (name, frame), (keypoint, off) in errors.items():
            if name == row["video"]:
                raw[frame, 0, keypoint] += off
        poses = replace(poses, position=raw.astype(np.float32))
        write_poses(cohort.results.poses(MODEL, row["video"]), poses)
    cohort.run()
    for path in cohort.results.shards.glob("*/probe.tsv"):
        rows = [{**row, "path": video, "fps": FPS} for row in read_table(path, PROBE_COLUMNS)]
        write_table(path, PROBE_COLUMNS, rows)
    label = {"video": "elsewhere", "frame": 0, "individual": "animal", "x": 1.0, "y": 2.0,
             "visible": True, "image": "/i.png", "iteration": 0}  # fmt: skip
    rows = [{**dict.fromkeys(LABEL_COLUMNS, ""), **label, "bodypart": part} for part in BODYPARTS]
    table = pd.DataFrame(rows, columns=list(LABEL_COLUMNS))
    labels = Labels(table, BODYPARTS, ("animal",), Skeleton(bodyparts=BODYPARTS))
    write_labels(cohort.results.labels, labels)
    run_refine(cohort.config, cohort.results)
    return read_table(cohort.results.refined_table(MODEL), REFINEMENT_COLUMNS)


def test_injected_errors_of_views_are_found(cohort, video):
    # 16 of the 8 x 60 frames have an error of 8 px: 16 times the noise.
    for name in ("m1", "m2"):
        cohort.add(name, moments=FRAMES)
    random = np.random.default_rng(1)
    errors = {}
    for row in cohort.rows:
        for frame in random.choice(FRAMES, 2, replace=False).tolist():
            turn = random.uniform(0, 2 * np.pi)
            off = 8 * np.array([np.cos(turn), np.sin(turn)])
            errors[row["video"], frame] = (int(random.integers(len(BODYPARTS))), off)
    cohort.settings["refinement"]["frames"] = 16
    chosen = finish(cohort, video, errors)
    found = {(row["video"], int(row["frame"])) for row in chosen}
    assert len(found) == 16
    assert len(found & errors.keys()) >= 15
    for row in chosen:
        assert row["criterion"] == "views"
        keypoint = errors.get((row["video"], int(row["frame"])), (None,))[0]
        if keypoint is not None:
            assert row["reason"].startswith(f"{BODYPARTS[keypoint]} is ")
    assert float(chosen[0]["score"]) > 1


def test_videos_without_a_session_and_sessions_that_changed_are_left_out(cohort, video, caplog):
    cohort.add("m1", moments=FRAMES)
    cohort.add("m2", moments=FRAMES)
    cohort.add("m3", moments=FRAMES, calibration="")
    victim = "m2-" + cohort.names[0]
    errors = {("m1-" + cohort.names[1], 20): (2, [30.0, 0.0]),
              ("m3-" + cohort.names[0], 30): (1, [90.0, 0.0])}  # fmt: skip
    run = cohort.run

    def run_and_change():
        rows = run()
        path = cohort.results.filtered(MODEL, victim)
        poses = read_poses(path)
        write_poses(path, replace(poses, attributes={**poses.attributes, "key": "other"}))
        return rows

    cohort.run = run_and_change
    with caplog.at_level(logging.WARNING):
        chosen = finish(cohort, video, errors)
    assert (chosen[0]["video"], chosen[0]["frame"]) == ("m1-" + cohort.names[1], "20")
    assert "session m2:" in caplog.text
    assert "has changed since it was triangulated" in caplog.text
    assert not {row["video"][:2] for row in chosen} - {"m1"}


def test_views_alone_need_sessions():
    settings = {"cohort": "c.tsv", "labels": [{"path": "p"}], "refinement": {"criteria": ["views"]}}
    with pytest.raises(ConfigError, match=r"`views` alone judges sessions"):
        parse_config(settings)
    parse_config({**settings, "triangulation": {"enabled": True}})
