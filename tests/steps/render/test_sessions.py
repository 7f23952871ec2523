"""Test videos of sessions: each view beside the poses in space, moment by moment."""

import numpy as np

from pipeline_lib.core.tables import SESSION_EXPORT_COLUMNS
from pipeline_lib.demo.video import write_video
from pipeline_lib.io.poses.session import read_session_poses
from pipeline_lib.io.stage_tables import read_table
from pipeline_lib.io.video.encode import read_video_key
from pipeline_lib.io.video.reader import VideoReader
from pipeline_lib.kernels.drawing.poses import COLOURS
from pipeline_lib.kernels.geometry.projection import project
from pipeline_lib.steps.render.sessions import run_render_sessions, session_rendering_key
from tests.steps.triangulate.session_cohort import SessionCohort

MOMENTS = 12


def make_film(path, size):
    """Write a film whose frames grow brighter."""
    frames = (np.full((size[1], size[0], 3), 60 + 10 * n, np.uint8) for n in range(MOMENTS))
    write_video(path, frames, 50)


def test_views_and_space_show_the_same_moment(tmp_path):
    cohort = SessionCohort(tmp_path)
    cohort.add("walk", MOMENTS)
    cohort.settings["rendering"] = {
        "enabled": True, "trail": 0, "quality": 10, "radius": 4, "segment_seconds": 0.1,
    }  # fmt: skip
    filmed = cohort.rig.cameras[0]
    make_film(tmp_path / f"walk-{filmed.name}.mp4", filmed.size)
    assert cohort.run()["walk"]["status"] == "done"
    (shard,) = {path.parent.name for path in cohort.results.shards.glob("*/triangulate-*.tsv")}
    run_render_sessions(cohort.config, cohort.results, shard)
    table = cohort.results.shard(shard).table("render-sessions", "pose")
    (row,) = read_table(table, SESSION_EXPORT_COLUMNS)
    assert (row["status"], row["reason"]) == ("done", "")
    path = cohort.results.rendered_session("pose", "walk")
    poses = read_session_poses(cohort.results.triangulated("pose", "walk"))
    key = session_rendering_key(cohort.config, poses.attributes["key"])
    assert read_video_key(path) == row["key"] == key

    with VideoReader(path) as reader:
        images = [image for _, image in reader.read()]
        np.testing.assert_allclose(reader.times, poses.time, atol=1e-4)
    # Four cameras and the space, three in a row.
    width, height = images[0].shape[1] // 3, images[0].shape[0] // 2
    scale = width / filmed.size[0]
    drawn = []
    for moment in (0, 5, MOMENTS - 1):
        image = images[moment]
        # The film of the first camera, not yet covered by points; others have none.
        assert abs(int(image[height - 4, width // 2].mean()) - (60 + 10 * moment)) <= 3
        assert abs(int(image[height // 4, width + 4].mean()) - 96) <= 3
        for place, name in enumerate(poses.cameras[:2]):
            point = poses.position[moment, 0, 0].astype(float)
            x, y = (project(cohort.rig.find(name), point) + 0.5) * scale - 0.5
            shown = image[round(float(y)), round(float(x)) + place * width].astype(int)
            assert np.abs(shown - COLOURS[0]).sum() < 90, (moment, name)
        # The space fills the rest of the second row, and its middle is that of the points.
        space = image[height:, width:].astype(int)
        near = np.abs(space - COLOURS[0]).sum(axis=-1) < 90
        assert near.sum() > 20
        drawn.append(np.flatnonzero(near.any(axis=0)).mean())
    assert abs(np.median(drawn) - width) < width / 2

    # It stays as it is; without the view's poses it is not drawn at all.
    before = path.stat().st_mtime_ns
    run_render_sessions(cohort.config, cohort.results, shard)
    assert path.stat().st_mtime_ns == before
