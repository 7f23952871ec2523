import json
from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest

from pipeline_lib.core.cameras.calibration import Calibration
from pipeline_lib.core.cohort import read_cohort
from pipeline_lib.core.errors import CohortposeError
from pipeline_lib.core.poses import Poses
from pipeline_lib.core.settings.cameras import TriangulationSettings
from pipeline_lib.core.settings.reading import read_config
from pipeline_lib.demo.render.animal import BODYPARTS, EDGES
from pipeline_lib.demo.space import measure_calibration, measure_session
from pipeline_lib.demo.truth import list_sessions, read_truth, read_truth_3d
from pipeline_lib.demo.write import build_lenses, make_settings, measure_scene, write_demo
from pipeline_lib.io.calibrations.files import read_calibration
from pipeline_lib.io.images import read_image
from pipeline_lib.io.video.reader import VideoReader, probe_video
from pipeline_lib.steps.triangulate.session import View, triangulate_session

SETTINGS = make_settings(
    videos=1, frames=24, individuals=2, cameras=3, width=96, height=96, labelled_frames=6, boards=12
)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "demo"
    write_demo(folder, SETTINGS)
    return folder


def test_the_sheet_has_a_session_to_refuse_and_a_damaged_camera(demo):
    rows = read_cohort(demo / "cohort.tsv")
    assert [(row.session, row.camera) for row in rows] == [
        (session, f"camera-{number}")
        for session in ("session-01", "session-02-refused")
        for number in range(3)
    ]
    good, bad = demo / "calibration" / "boards", demo / "calibration" / "boards-copied"
    assert {row.calibration for row in rows[:3]} == {str(good)}
    assert {row.calibration for row in rows[3:]} == {str(bad)}
    assert probe_video(rows[0].path).frames == 24
    with pytest.raises(CohortposeError):
        probe_video(rows[2].path)
    assert len(list((good / "camera-1").glob("*.png"))) == 12
    copies = [read_image(bad / f"camera-{number}" / "003.png") for number in (0, 1)]
    np.testing.assert_array_equal(*copies)
    with pytest.raises(AssertionError):
        np.testing.assert_array_equal(
            *(read_image(good / f"camera-{number}" / "003.png") for number in (0, 1))
        )


def test_the_config_triangulates_by_time_with_the_rendered_board(demo):
    config = read_config(demo / "config.yaml")
    assert config.triangulation.enabled
    assert config.triangulation.synchronisation.method == "timestamps"
    board = config.calibration.board.make_board()
    assert (board.kind, board.columns, board.rows, board.square) == ("charuco", 6, 5, 40.0)
    assert measure_scene(demo) == pytest.approx(380 * np.sqrt(2))


def test_truth_in_each_view_is_the_truth_in_space_seen_through_opencvs_lens(demo):
    calibration = read_calibration(demo / "truth" / "calibration.toml")
    assert list_sessions(demo) == ["session-01", "session-02-refused"]
    points = read_truth_3d(demo, "session-01")
    for number in (0, 1):
        truth = read_truth(demo / "truth" / f"session-01_camera-{number}.parquet")
        camera = calibration.find(f"camera-{number}")
        assert np.abs(camera.distortion[:4]).min() > 0
        expected, _ = cv2.projectPoints(
            points[: len(truth.position)].reshape(-1, 1, 3),
            cv2.Rodrigues(camera.rotation)[0],
            camera.translation,
            camera.matrix,
            camera.distortion,
        )
        np.testing.assert_allclose(truth.position.reshape(-1, 2), expected[:, 0], atol=1e-6)
        seen = truth.position[truth.visible]
        assert seen.min() > -0.5
        assert seen.max() < 95.5


def test_the_times_of_the_file_tell_which_frames_a_camera_dropped(demo):
    table = pd.read_csv(demo / "truth" / "dropped.tsv", sep="\t")
    dropped = table.frame[table.video == "session-01_camera-1"].tolist()
    assert set(table.video) == {"session-01_camera-1", "session-02-refused_camera-1"}
    assert dropped[-1] == 23
    assert 0 not in dropped
    truth = read_truth(demo / "truth" / "session-01_camera-1.parquet")
    last = max(set(range(24)) - set(dropped))
    with VideoReader(demo / "videos" / "session-01_camera-1.mp4") as reader:
        frames = dict(reader.read())
        assert len(frames) == last + 1 == len(truth.position)
        missing = [number for number, image in frames.items() if image is None]
        assert missing == [one for one in dropped if one < last]
        np.testing.assert_allclose(reader.times, np.arange(last + 1) / 30, atol=1e-3)
    assert not truth.visible[missing].any()
    assert truth.visible.any()


def see(demo, exchange=()):
    """Return true keypoints as views; in some cameras the animals have each other's slot."""
    views, truths = [], {}
    for number in range(3):
        path = demo / "truth" / f"session-02-refused_camera-{number}.parquet"
        truth = read_truth(path)
        order = [1, 0] if number in exchange else [0, 1]
        position = np.where(truth.visible[..., None], truth.position, np.nan)[:, order]
        poses = Poses(
            position.astype(np.float32),
            np.where(truth.visible, 0.9, 0.0)[:, order].astype(np.float32),
            np.zeros(len(position), np.uint8),
            np.arange(len(position)) / 30,
            BODYPARTS,
            ("a", "b"),
            {"video": path.stem, "key": "k", "fps": 30.0},
        )
        views.append(View(f"camera-{number}", poses))
        truths[f"camera-{number}"] = (truth, position)
    return views, truths


def test_the_error_in_space_and_exchanged_animals_are_measured(demo):
    calibration = read_calibration(demo / "truth" / "calibration.toml")
    settings = TriangulationSettings(
        enabled=True, match="names", synchronisation={"method": "timestamps"}
    )
    views, truths = see(demo)
    poses = triangulate_session(views, calibration, EDGES, settings, 1)
    points = read_truth_3d(demo, "session-02-refused")
    error = measure_session(poses, points, truths)
    # Exact but for float32.
    assert error.distances.max() < 0.01
    assert error.distances.size > 150
    assert (error.missed, error.exchanged, error.switches, error.misplaced) == (0, 0, 0, 0)
    # Other axes of the world are no error, a shifted point is one.
    turn = cv2.Rodrigues(np.array([0.4, -2.0, 1.0]))[0]
    moved = poses.position.astype(float) @ turn.T + [10.0, 20.0, 30.0]
    moved[5, 0, 3] += [0.0, 3.0, 4.0]
    other = measure_session(replace(poses, position=moved.astype(np.float32)), points, truths)
    assert np.sort(other.distances)[-2:] == pytest.approx([0.0, 5.0], abs=0.01)
    # The slots of one view are those of the other animal.
    slots = poses.camera_individual.copy()
    slots[:, 2] = slots[:, 2, ::-1]
    wrong = measure_session(replace(poses, camera_individual=slots), points, truths)
    assert wrong.exchanged > 20
    # A view that shows the head of one animal and the rest of the other, where both are seen.
    mixed = {camera: (truth, seen.copy()) for camera, (truth, seen) in truths.items()}
    seen = mixed["camera-1"][1]
    apart = np.linalg.norm(seen[:, 0] - seen[:, 1], axis=-1).min(axis=1) > 10
    (moment, *_) = np.flatnonzero(apart)
    seen[moment, 0, :4] = seen[moment, 1, :4]
    half = measure_session(poses, points, mixed)
    assert (half.exchanged, half.mixed) == (error.exchanged, error.mixed + 1)
    assert half.assigned == error.assigned - 1
    late = poses.camera_frame.copy()
    late[3, 0] += 1
    assert measure_session(replace(poses, camera_frame=late), points, truths).misplaced == 1
    swapped = poses.position.copy()
    swapped[10:] = swapped[10:, ::-1]
    again = measure_session(replace(poses, position=swapped), points, truths)
    assert again.switches == 2
    assert again.distances.max() < 0.01


def test_errors_of_a_calibration_are_shares():
    lenses = build_lenses(SETTINGS)
    truth = Calibration(tuple(lens.camera for lens in lenses), "mm")
    turn = cv2.Rodrigues(np.array([0.3, 0.2, 0.1]))[0]
    cameras = [
        replace(camera, rotation=camera.rotation @ turn.T, translation=camera.translation + 0.0)
        for camera in truth.cameras
    ]
    same = measure_calibration(Calibration(tuple(cameras[::-1]), "mm"), truth, 500.0)
    assert (same.focal, same.centre, same.position) == pytest.approx((0, 0, 0), abs=1e-9)
    matrix = cameras[1].matrix.copy()
    matrix[1, 1] *= 1.01
    matrix[0, 2] += 0.96
    cameras[1] = replace(cameras[1], matrix=matrix)
    off = measure_calibration(Calibration(tuple(cameras), "mm"), truth, 500.0)
    assert (off.focal, off.centre, off.position) == pytest.approx((0.01, 0.01, 0), abs=1e-9)


def test_settings_of_other_demos_are_what_they_were(tmp_path):
    with pytest.raises(CohortposeError, match=r"--boards 6 with --cameras 4: .*12 boards or more"):
        make_settings(cameras=4, boards=6)
    with pytest.raises(CohortposeError, match="3 to 8 cameras"):
        make_settings(cameras=2, boards=20)
    # A demo that was written before there were boards.
    old = make_settings(videos=1, frames=4, labelled_frames=2, width=64, height=64)
    folder = tmp_path / "old"
    write_demo(folder, old)
    marker = json.loads((folder / "demo.json").read_text())
    del marker["settings"]["boards"]
    (folder / "demo.json").write_text(json.dumps(marker))
    write_demo(folder, old)
