import tomllib
from dataclasses import replace

import av
import cv2
import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from pipeline_lib.core.cohort import read_cohort
from pipeline_lib.core.errors import CohortposeError, StoreError, VideoError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.poses import Poses
from pipeline_lib.core.settings.reading import read_config
from pipeline_lib.demo.project import PROJECT
from pipeline_lib.demo.render.animal import BODYPARTS
from pipeline_lib.demo.truth import measure_demo_error, read_truth
from pipeline_lib.demo.video import cut_video, write_video
from pipeline_lib.demo.write import DemoSettings, make_settings, write_demo
from pipeline_lib.io.images import read_image
from pipeline_lib.io.labels.deeplabcut import read_deeplabcut
from pipeline_lib.io.poses.write import write_poses
from pipeline_lib.io.video.reader import VideoReader, probe_video

SMALL = DemoSettings(videos=3, frames=12, width=96, height=80, labelled_frames=7, seed=5)
CAMERAS = DemoSettings(
    videos=1, frames=5, individuals=2, cameras=2, width=96, height=96, labelled_frames=4,
    damaged=False,
)  # fmt: skip


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    write_demo(folder, SMALL)
    return folder


@pytest.fixture(scope="module")
def cameras(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cameras")
    write_demo(folder, CAMERAS)
    return folder


def frames_of(path):
    with VideoReader(path) as reader:
        return np.stack([image for _, image in reader.read()])


def test_the_sheet_lists_good_videos_and_a_damaged_one(demo):
    videos = read_cohort(demo / "cohort.tsv")
    assert [video.video for video in videos] == [
        "mouse-01", "mouse-02", "mouse-03", "mouse-04-damaged",
    ]  # fmt: skip
    assert set(videos[0].metadata) == {"group", "sex", "dose"}
    for video in videos[:3]:
        facts = probe_video(video.path)
        assert (facts.frames, facts.width, facts.height) == (12, 96, 80)
        assert facts.fps == pytest.approx(30.0)
    with pytest.raises(VideoError):
        probe_video(videos[3].path)


def test_the_config_is_valid_and_finds_its_files(demo):
    config = read_config(demo / "config.yaml")
    assert config.skeleton.bodyparts == BODYPARTS
    assert (demo / config.cohort).is_file()
    assert (demo / config.labels[0].path / "config.yaml").is_file()


def test_labels_are_the_truth_of_the_frames_they_show(demo):
    points = read_deeplabcut(demo / PROJECT)
    # Two of three recordings are labelled: 4 and 3 frames.
    images = sorted((demo / PROJECT).glob("labeled-data/*/*.png"))
    assert [image.parent.name for image in images] == ["mouse-01"] * 4 + ["mouse-02"] * 3
    assert len(points) == 7 * len(BODYPARTS)
    for video in ("mouse-01", "mouse-02"):
        truth = read_truth(demo / "truth" / f"{video}.parquet")
        decoded = frames_of(demo / "videos" / f"{video}.mp4")
        table = pd.read_hdf(demo / PROJECT / "labeled-data" / video / "CollectedData_cohortpose.h5")
        assert list(table.columns.names) == ["scorer", "bodyparts", "coords"]
        for index, row in table.iterrows():
            assert index[:2] == ("labeled-data", video)
            frame = int(index[2][3:7])
            np.testing.assert_array_equal(
                read_image(demo / PROJECT / "labeled-data" / video / index[2]), decoded[frame]
            )
            expected = np.where(truth.visible[frame, 0, :, None], truth.position[frame, 0], np.nan)
            np.testing.assert_array_equal(row.to_numpy().reshape(-1, 2), expected)


def test_csv_and_hdf5_hold_the_same_labels(demo):
    for path in (demo / PROJECT).glob("labeled-data/*/*.h5"):
        table = pd.read_hdf(path)
        text = pd.read_csv(path.with_suffix(".csv"), header=[0, 1, 2], index_col=[0, 1, 2])
        np.testing.assert_allclose(text.to_numpy(), table.to_numpy(), rtol=1e-12)
        assert list(text.index) == list(table.index)


def test_the_same_settings_give_the_same_demo(demo, tmp_path):
    write_demo(tmp_path / "again", SMALL)
    for path in sorted(demo.glob("truth/*.parquet")):
        again = pd.read_parquet(tmp_path / "again" / "truth" / path.name)
        pd.testing.assert_frame_equal(pd.read_parquet(path), again, check_exact=True)
    first, second = (folder / "videos" / "mouse-02.mp4" for folder in (demo, tmp_path / "again"))
    np.testing.assert_array_equal(frames_of(first), frames_of(second))


def test_videos_differ_from_each_other(demo):
    first, second = (frames_of(demo / "videos" / f"mouse-0{n}.mp4")[0] for n in (1, 2))
    assert np.abs(first.astype(float) - second).mean() > 10.0


def test_a_written_demo_is_kept(demo):
    before = {path: path.stat().st_mtime_ns for path in demo.rglob("*")}
    write_demo(demo, SMALL)
    assert {path: path.stat().st_mtime_ns for path in demo.rglob("*")} == before


def test_an_interrupted_demo_is_completed(demo, tmp_path):
    folder = tmp_path / "demo"
    folder.mkdir()
    marker = (demo / "demo.json").read_text()
    (folder / "demo.json").write_text(marker.replace('"complete": true', '"complete": false'))
    (folder / "videos").mkdir()
    (folder / "videos" / "mouse-01.mp4").write_bytes(b"half")
    write_demo(folder, SMALL)
    assert probe_video(folder / "videos" / "mouse-01.mp4").frames == 12
    assert (folder / "demo.json").read_text() == marker


def test_other_settings_and_other_folders_are_refused(demo, tmp_path):
    with pytest.raises(CohortposeError, match=r"other settings: frames 12 \(now 13\)"):
        write_demo(demo, SMALL.model_copy(update={"frames": 13}))
    (tmp_path / "thesis.docx").write_text("mine")
    with pytest.raises(CohortposeError, match="not empty and not a demo folder"):
        write_demo(tmp_path, SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.docx"]


def test_more_labels_than_frames_is_an_error():
    message = (
        r"^--labelled-frames 70 is more than the 10 frames .*: give --labelled-frames 10 or less"
    )
    with pytest.raises(CohortposeError, match=message):
        make_settings(videos=1, frames=10)
    with pytest.raises(CohortposeError, match=r"^--width: .*; --seed: .*expected a whole"):
        make_settings(width=97, seed=True)
    with pytest.raises(ValidationError):
        DemoSettings(width=97)


def test_of_fewer_labelled_frames_than_videos_some_videos_have_none(tmp_path):
    write_demo(tmp_path, CAMERAS.model_copy(update={"labelled_frames": 1}))
    assert len(set(read_deeplabcut(tmp_path / PROJECT)["image"])) == 1
    labelled = [path.name for path in (tmp_path / PROJECT / "labeled-data").iterdir()]
    assert labelled == [read_cohort(tmp_path / "cohort.tsv")[0].video]


def test_cameras_agree_with_the_calibration_and_the_truth_in_space(cameras):
    rows = read_cohort(cameras / "cohort.tsv")
    assert [row.video for row in rows] == ["session-01_camera-0", "session-01_camera-1"]
    calibration = tomllib.loads((cameras / "calibration" / "session-01.toml").read_text())
    space = pd.read_parquet(cameras / "truth" / "session-01_3d.parquet")
    points = space[["X", "Y", "Z"]].to_numpy()
    for index, row in enumerate(rows):
        assert row.calibration == str(cameras / "calibration" / "session-01.toml")
        camera = calibration[f"cam_{index}"]
        assert camera["name"] == row.camera
        assert camera["size"] == [96, 96]
        projected, _ = cv2.projectPoints(
            points,
            np.array(camera["rotation"]),
            np.array(camera["translation"]),
            np.array(camera["matrix"]),
            np.array(camera["distortions"]),
        )
        truth = pd.read_parquet(cameras / "truth" / f"{row.video}.parquet")
        keys = ["frame", "individual", "bodypart"]
        assert (truth[keys] == space[keys]).all(axis=None)
        np.testing.assert_allclose(truth[["x", "y"]], projected[:, 0], atol=1e-6)


def test_several_individuals_are_labelled_in_four_levels(cameras):
    path = cameras / PROJECT / "labeled-data" / "session-01_camera-1"
    table = pd.read_hdf(path / "CollectedData_cohortpose.h5")
    assert list(table.columns.names) == ["scorer", "individuals", "bodyparts", "coords"]
    assert list(table.columns.unique("individuals")) == ["mouse1", "mouse2"]
    points = read_deeplabcut(cameras / PROJECT)
    assert len(points) == 4 * 2 * len(BODYPARTS)


def test_the_config_of_several_animals_joins_all_bodyparts(cameras, demo):
    config = read_config(cameras / "config.yaml")
    assert config.individuals.max == 2
    assert config.targets.part_affinity_width == 6.0
    reached = {BODYPARTS[0]}
    for _ in BODYPARTS:
        reached |= {name for edge in config.skeleton.edges if reached & set(edge) for name in edge}
    assert reached == set(BODYPARTS)
    assert read_config(demo / "config.yaml").individuals.max == 1


def write_shifted(results, demo, video, shift, miss=False):
    truth = read_truth(demo / "truth" / f"{video}.parquet")
    position = (truth.position + shift).astype(np.float32)
    if miss:
        position[0] = np.nan
    frames = len(position)
    poses = Poses(
        position=position[:, :, ::-1],
        confidence=np.ones((frames, 1, len(BODYPARTS)), np.float32),
        frame_status=np.zeros(frames, np.uint8),
        time=np.arange(frames) / 30.0,
        bodyparts=truth.bodyparts[::-1],
        individuals=("animal",),
        attributes={"key": "0", "video": video},
    )
    write_poses(Results(results).poses("pose", video), poses)
    return truth


def test_the_error_is_measured_by_group_of_videos(demo, tmp_path):
    first = write_shifted(tmp_path, demo, "mouse-01", (3.0, 4.0), miss=True)
    second = write_shifted(tmp_path, demo, "mouse-02", (3.0, 4.0))
    third = write_shifted(tmp_path, demo, "mouse-03", (0.0, -1.0))
    error = measure_demo_error(demo, tmp_path, "pose")
    assert error.labelled.median == pytest.approx(5.0, abs=1e-4)
    assert error.labelled.visible == first.visible.sum() + second.visible.sum()
    assert error.labelled.missed == first.visible[0].sum()
    assert error.unlabelled.mean == pytest.approx(1.0, abs=1e-4)
    found = error.labelled.visible - error.labelled.missed
    expected = (5 * found + third.visible.sum()) / (found + third.visible.sum())
    assert error.all_videos.mean == pytest.approx(expected, abs=1e-4)


def test_poses_of_other_length_are_an_error(demo, tmp_path):
    for video in ("mouse-01", "mouse-02", "mouse-03"):
        write_shifted(tmp_path, demo, video, (0.0, 0.0))
    path = Results(tmp_path).poses("pose", "mouse-02")
    empty = Poses(
        np.empty((0, 1, 8, 2), np.float32), np.empty((0, 1, 8), np.float32),
        np.empty(0, np.uint8), np.empty(0), BODYPARTS, ("animal",), {"key": "0"},
    )  # fmt: skip
    write_poses(path, replace(empty, attributes={"key": "0", "video": "mouse-02"}))
    with pytest.raises(StoreError, match="0 frames, but the video has 12"):
        measure_demo_error(demo, tmp_path, "pose")
    with pytest.raises(StoreError, match="no truth"):
        measure_demo_error(tmp_path, tmp_path, "pose")


def test_swapped_individuals_are_matched(cameras, tmp_path):
    for video in ("session-01_camera-0", "session-01_camera-1"):
        truth = read_truth(cameras / "truth" / f"{video}.parquet")
        frames = len(truth.position)
        write_poses(
            Results(tmp_path).poses("pose", video),
            Poses(
                position=truth.position[:, ::-1].astype(np.float32),
                confidence=np.ones((frames, 2, len(BODYPARTS)), np.float32),
                frame_status=np.zeros(frames, np.uint8),
                time=np.arange(frames) / 30.0,
                bodyparts=BODYPARTS,
                individuals=("a", "b"),
                attributes={"key": "0", "video": video},
            ),
        )
    error = measure_demo_error(cameras, tmp_path, "pose")
    assert error.all_videos.mean == pytest.approx(0.0, abs=1e-4)
    assert error.unlabelled.visible == 0
    assert np.isnan(error.unlabelled.median)


def test_a_marker_survives_the_video_where_it_was(tmp_path):
    rows, columns = np.mgrid[:64, :64]
    centres = np.array([[20.0 + 0.37 * n, 40.0 - 0.61 * n] for n in range(20)])
    frames = [
        np.repeat(
            np.rint(220 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 18.0))[..., None], 3, -1
        ).astype(np.uint8)
        for x, y in centres
    ]
    write_video(tmp_path / "marker.mp4", frames, 30)
    decoded = frames_of(tmp_path / "marker.mp4")[..., 1].astype(float)
    decoded[decoded < 10] = 0.0
    total = decoded.sum(axis=(1, 2))
    found = np.stack(
        [(decoded * columns).sum(axis=(1, 2)), (decoded * rows).sum(axis=(1, 2))], axis=-1
    )
    offsets = found / total[:, None] - centres
    # Compression blurs each frame in its own way, but shifts none.
    assert np.abs(offsets).max() < 0.3
    assert np.abs(offsets.mean(axis=0)).max() < 0.05


def test_videos_have_reordered_frames_and_a_cut_one_opens_but_ends_early(demo, tmp_path):
    good = demo / "videos" / "mouse-01.mp4"
    with av.open(str(good)) as container:
        pts = [packet.pts for packet in container.demux(video=0) if packet.size]
    assert len(pts) == 12
    assert pts != sorted(pts)
    cut_video(good, tmp_path / "cut.mp4")
    with av.open(str(tmp_path / "cut.mp4")) as container:
        assert container.streams.video[0].frames == 12
    with pytest.raises(VideoError):
        probe_video(tmp_path / "cut.mp4")
