"""Test labelled videos: frame i shows the pose of frame i, in parts, and the worst seconds."""

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange

from pipeline_lib.core.layout import Results
from pipeline_lib.core.poses import Poses
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.core.stages import STAGES
from pipeline_lib.core.tables import PROBE_COLUMNS, QUALITY_COLUMNS, STAGE_COLUMNS, TrackStatus
from pipeline_lib.demo.video import write_video
from pipeline_lib.io.poses.write import write_poses
from pipeline_lib.io.stage_tables import read_table, write_table
from pipeline_lib.io.video.encode import read_video_key
from pipeline_lib.io.video.reader import VideoReader, index_video
from pipeline_lib.kernels.drawing.poses import (
    COLOURS,
    Style,
    draw_poses,
    draw_trails,
    find_regions,
    find_worst,
    mark_missing,
)
from pipeline_lib.steps.render import parts, worst
from pipeline_lib.steps.render import run as subject
from pipeline_lib.steps.render.run import run_render

NAN = np.nan
SHARD = "0001"
FRAMES, FPS = 50, 25
WIDTH, HEIGHT = 161, 96
BITS = 6


def number_frame(number):
    """Return an image whose upper left carries its number, in squares that survive H.264."""
    image = np.full((HEIGHT, WIDTH + 1, 3), 40, np.uint8)
    for bit in range(BITS):
        image[:12, 12 * bit : 12 * bit + 12] = 255 * (number >> bit & 1)
    return image


def read_number(image):
    return sum(int(image[6, 12 * bit + 6].mean() > 127) << bit for bit in range(BITS))


def place(frame):
    """Return where the animal is in a frame: each frame at another place."""
    return 20.0 + 2.4 * frame, 40.0 + 0.8 * (frame % 7)


def make_poses(individuals=("animal",)):
    position = np.array([[[place(frame)]] * len(individuals) for frame in range(FRAMES)])
    position[:, 1:, :, 1] += 30
    confidence = np.full(position.shape[:3], 0.9)
    confidence[30:35] = 0.1
    return Poses(
        position=position.astype(np.float32),
        confidence=confidence.astype(np.float32),
        frame_status=np.zeros(FRAMES, np.uint8),
        time=np.arange(FRAMES) / FPS,
        bodyparts=("nose",),
        individuals=individuals,
        attributes={"key": "pose-key"},
        track_status=np.ones((FRAMES, len(individuals)), np.uint8)
        if len(individuals) > 1
        else None,
    )


def configure(**settings):
    rendering = {"enabled": True, "radius": 4, "trail": 0, "quality": 10, **settings}
    return parse_config({"cohort": "c.tsv", "labels": [{"path": "p"}], "rendering": rendering})


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    path = tmp_path_factory.mktemp("film") / "v.mp4"
    write_video(path, map(number_frame, range(FRAMES)), FPS)
    return path


@pytest.fixture
def results(tmp_path, film):
    results = Results(tmp_path / "results")
    files = results.shard(SHARD)
    rows = [{"video": "v", "status": "done", "key": "k"}, {"video": "gone", "status": "done"}]
    write_table(files.filter("pose"), STAGE_COLUMNS, rows)
    paths = {"v": film, "gone": tmp_path / "gone.mp4"}
    write_table(
        files.probe, PROBE_COLUMNS, [{"video": name, "path": path} for name, path in paths.items()]
    )
    for video in paths:
        write_poses(results.filtered("pose", video), make_poses())
    return results


def run(results, config):
    run_render(config, results, SHARD)
    rows = read_table(results.shard(SHARD).table("render", "pose"), STAGE_COLUMNS)
    return {row["video"]: row for row in rows}


def decode(path):
    with VideoReader(path) as reader:
        return [image for _, image in reader.read()], reader.times


def find_point(image):
    """Return the centre of what has the colour of the first bodypart."""
    near = np.abs(image[20:].astype(int) - COLOURS[0]).sum(axis=-1) < 120
    y, x = np.nonzero(near)
    return x.mean(), y.mean() + 20


# One after the other, by threads, and by processes.
@pytest.mark.parametrize(("cores", "threads"), [(1, 4), (2, 4), (2, 1)])
def test_frame_i_shows_the_pose_of_frame_i(results, monkeypatch, cores, threads):
    monkeypatch.setattr(parts, "count_cores", lambda: cores)
    monkeypatch.setattr(parts, "_MOST_THREADS", threads)
    # Parts of 17 frames: three, of which the last is shorter.
    rows = run(results, configure(segment_seconds=17 / FPS))
    assert rows["v"]["status"] == "done"
    images, times = decode(results.rendered("pose", "v"))
    assert len(images) == FRAMES
    np.testing.assert_allclose(times, np.arange(FRAMES) / FPS, atol=1e-4)
    assert [read_number(image) for image in images] == list(range(FRAMES))
    # The last frame lasts as long as the others.
    assert index_video(results.rendered("pose", "v")).facts.fps == FPS
    for frame in (*range(30), *range(35, FRAMES)):
        np.testing.assert_allclose(find_point(images[frame]), place(frame), atol=0.75)
    assert not list(results.root.rglob(".part-*"))
    assert rows["gone"]["status"] == "failed"
    assert "its file is not there" in rows["gone"]["reason"]


def test_uneven_times_are_kept_in_parts_and_clips_begin_at_once(results, tmp_path):
    film = tmp_path / "uneven.mp4"
    ticks = np.cumsum([7 + 11 * (frame % 5) + 40 * (frame == 20) for frame in range(FRAMES)])
    write_video(film, map(number_frame, range(FRAMES)), 600, [int(tick) for tick in ticks])
    row = {"video": "v", "path": film}
    write_table(results.shard(SHARD).probe, PROBE_COLUMNS, [row])
    run(results, configure(segment_seconds=0.3, worst_seconds=0.2))
    images, times = decode(results.rendered("pose", "v"))
    assert [read_number(image) for image in images] == list(range(FRAMES))
    # To a tick of 1 / 90,000 s: parts have not each been rounded to the millisecond.
    np.testing.assert_allclose(times, (ticks - ticks[0]) / 600, atol=2e-5)
    images, _ = decode(results.worst_seconds("pose", "v"))
    assert read_number(images[0]) > 20
    with av.open(str(results.worst_seconds("pose", "v"))) as container:
        assert next(packet.pts for packet in container.demux(video=0)) == 0
        assert container.streams.video[0].start_time == 0


def test_the_clip_has_the_frames_of_lowest_confidence(results, monkeypatch):
    monkeypatch.setattr(worst, "_BLOCK_FRAMES", 32)
    run(results, configure(whole=False, worst_seconds=0.2))
    images, _ = decode(results.worst_seconds("pose", "v"))
    assert [read_number(image) for image in images] == [30, 31, 32, 33, 34]
    assert not results.rendered("pose", "v").exists()


def decide(results, *findings):
    rows = [
        {
            "video": "v",
            "decision": "warn",
            "decided_by": "rules",
            "check": "jumps",
            "reason": "jumps",
            "seconds": seconds,
        }
        for seconds in findings
    ]
    write_table(results.quality, QUALITY_COLUMNS, rows)


def test_the_clip_has_the_seconds_of_the_worst_finding(results):
    config = configure(whole=False, worst_seconds=0.2)
    path = results.worst_seconds("pose", "v")
    decide(results, "", "99.0-100.0", "0.44-0.48, 1.00-1.12", "1.6-1.8")
    run(results, config)
    # Frames 25 to 28 lie in the longer stretch of the first finding that this video has.
    assert {25, 26, 27, 28} < {read_number(image) for image in decode(path)[0]}
    before = path.read_bytes()
    run(results, config)
    assert path.read_bytes() == before
    # Other decisions, another clip, and none: that of the lowest confidence.
    decide(results, "1.8-1.92")
    row = run(results, config)["v"]
    assert {45, 46, 47, 48} < {read_number(image) for image in decode(path)[0]}
    results.quality.write_text("damaged")
    assert run(results, config)["v"]["key"] == row["key"]
    assert [read_number(image) for image in decode(path)[0]] == [30, 31, 32, 33, 34]


def test_doubtful_tracks_count_before_confidence(results):
    poses = make_poses(("m1", "m2"))
    poses.track_status[11:14, 1] = TrackStatus.UNCERTAIN
    write_poses(results.filtered("pose", "v"), poses)
    run(results, configure(whole=False, worst_seconds=0.2))
    shown = [read_number(image) for image in decode(results.worst_seconds("pose", "v"))[0]]
    assert {11, 12, 13} < set(shown)


def test_videos_are_drawn_again_only_if_poses_or_settings_changed(results, monkeypatch):
    config = configure(worst_seconds=0.2)
    key = run(results, config)["v"]["key"]
    assert key == STAGES["render"].videos.key(config, "pose-key")
    assert read_video_key(results.rendered("pose", "v")) == key

    def refuse(*_args):
        pytest.fail("drawn again")

    with monkeypatch.context() as patch:
        patch.setattr(subject, "_draw_video", refuse)
        assert run(results, config)["v"]["key"] == key
    other = configure(worst_seconds=0.2, radius=6)
    assert run(results, other)["v"]["key"] != key
    # A file that is cut has no key.
    path = results.rendered("pose", "v")
    path.write_bytes(path.read_bytes()[:100])
    assert read_video_key(path) is None
    run(results, other)
    assert len(decode(path)[0]) == FRAMES


def test_several_animals_have_colours_and_names(results):
    write_poses(results.filtered("pose", "v"), make_poses(("m1", "m2")))
    run(results, configure(worst_seconds=0))
    image = decode(results.rendered("pose", "v"))[0][10]
    x, y = (round(value) for value in place(10))
    for slot, down in enumerate((0, 30)):
        assert np.abs(image[y + down, x].astype(int) - COLOURS[slot]).sum() < 60
    assert (image[20:].astype(int).std(axis=-1) > 20).sum() > 2 * 60


def test_poses_of_another_length_are_refused(results):
    poses = make_poses()
    short = Poses(
        poses.position[:9],
        poses.confidence[:9],
        poses.frame_status[:9],
        poses.time[:9],
        poses.bodyparts,
        poses.individuals,
        {"key": "short"},
    )
    write_poses(results.filtered("pose", "v"), short)
    row = run(results, configure())["v"]
    assert row["status"] == "failed"
    assert "has 9 frames" in row["reason"]
    assert not results.rendered("pose", "v").exists()


@pytest.mark.parametrize(
    ("pixels", "full_range", "matrix"),
    [
        ("yuv420p", False, 2),
        ("yuv420p", False, 1),
        ("yuv420p", True, 1),
        ("yuv422p", False, 2),
        ("yuv444p", True, 2),
        ("gray", True, 2),
        ("bgr0", False, 2),
    ],
)
def test_pictures_and_colours_stay_as_the_video_means_them(results, tmp_path, pixels, full_range,
                                                           matrix):  # fmt: skip
    film = tmp_path / "film.mkv"
    ground = (90, 90, 90) if pixels == "gray" else (40, 120, 200)
    frame = np.full((HEIGHT, WIDTH + 1, 3), ground, np.uint8)
    reach = ColorRange.JPEG if full_range else ColorRange.MPEG
    with av.open(str(film), "w") as container:
        stream = container.add_stream("ffv1", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH + 1, HEIGHT, pixels
        if pixels.startswith("yuv"):
            stream.codec_context.color_range = int(reach)
            stream.codec_context.colorspace = matrix
        for _ in range(FRAMES):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            if pixels.startswith("yuv"):
                picture = picture.reformat(
                    format=pixels, dst_colorspace=matrix, dst_color_range=reach
                )
                picture.colorspace, picture.color_range = matrix, reach
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    row = {"video": "v", "path": film}
    write_table(results.shard(SHARD).probe, PROBE_COLUMNS, [row])
    before = decode(film)[0][7]
    np.testing.assert_allclose(before[60, 150], ground, atol=4)
    assert run(results, configure(worst_seconds=0))["v"]["status"] == "done"
    image = decode(results.rendered("pose", "v"))[0][7]
    np.testing.assert_allclose(image[60:, 100:].mean(axis=(0, 1)), ground, atol=4)
    x, y = (round(value) for value in place(7))
    np.testing.assert_allclose(image[y, x], COLOURS[0], atol=12)


def test_parts_that_are_drawn_on_hold_all_that_is_drawn():
    rng = np.random.default_rng(0)
    size, trail = (200, 120), 4
    position = rng.uniform(-30, 220, (30, 2, 3, 2))
    position[3:9, 0], position[15:22] = NAN, NAN
    centre = np.nanmean(np.where(np.isnan(position), 1e3, position), axis=2)
    centre[np.isnan(position).all(axis=(2, 3))] = NAN
    style = Style(3, 0.4, ((0, 1), (1, 2)), ("first", "second"))
    regions = find_regions(position, centre, trail, style, size)
    for frame, region in enumerate(regions):
        image = np.zeros((size[1], size[0], 3), np.uint8)
        draw_trails(image, centre[max(0, frame - trail) : frame + 1], style)
        draw_poses(image, position[frame], np.ones((2, 3)), style)
        if region is not None:
            x1, x2, y1, y2 = region
            assert not any(edge % 2 for edge in region)
            image[y1:y2, x1:x2] = 0
        assert not image.any(), frame
    # The trail still shows for some frames; then there is nothing.
    assert regions[18] is not None
    assert regions[20] is None


def test_points_edges_rings_and_gaps():
    image = np.zeros((60, 60, 3), np.uint8)
    position = np.array([[[10, 10], [50, 10], [30, 50], [NAN, 5], [1e9, 5]]], float)
    confidence = np.array([[0.9, 0.9, 0.1, 0.9, 0.9]])
    draw_poses(image, position, confidence, Style(5, 0.4, edges=((0, 1), (0, 3))))
    assert tuple(image[10, 10]) == COLOURS[0]
    assert tuple(image[10, 50]) == COLOURS[1]
    # The edge has the colour of its first bodypart; low confidence is a ring.
    assert tuple(image[10, 30]) == COLOURS[0]
    assert image[50, 30].sum() == 0
    assert image[50, 25].sum() > 0
    before = image.copy()
    draw_poses(image, np.full((1, 5, 2), NAN), confidence, Style(5, 0.4))
    assert (image == before).all()


def test_trails_are_broken_by_gaps():
    image = np.zeros((20, 60, 3), np.uint8)
    way = np.array([[5, 10], [20, 10], [NAN, NAN], [40, 10], [55, 10]], float)
    draw_trails(image, way[:, None], Style(2, 0.4))
    drawn = image[10].sum(axis=-1) > 0
    assert drawn[5:20].all()
    assert not drawn[23:38].any()
    assert drawn[41:55].all()


def test_worst_frames_and_missing_frames():
    confidence = np.ones((20, 1, 2))
    confidence[12:15] = NAN
    assert find_worst(confidence, 3) == 12
    assert find_worst(np.ones((20, 1, 2)), 3) == 0
    assert find_worst(confidence, 99) == 0
    image = np.zeros((40, 200, 3), np.uint8)
    mark_missing(image, "frame 3")
    assert (image[0] == 96).all()
    assert (image == 255).any()
