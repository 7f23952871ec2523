"""Test that labelled frames become images: written once, whole, and frame-exact."""

import av
import numpy as np
import pytest
from PIL import Image

from pipeline_lib.core.errors import LabelError, VideoError
from pipeline_lib.io.images import read_image
from pipeline_lib.io.labels.images import (
    LabelledVideo,
    image_path,
    read_image_files,
    read_video_frames,
    write_label_images,
)
from pipeline_lib.io.video.reader import VideoReader
from tests.video_corpus import HEIGHT, WIDTH, encode, read_number

FRAMES = (0, 3, 4, 30, 39)


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    return encode(tmp_path_factory.mktemp("recording") / "v.mp4", frames=40, b_frames=2)


def labelled(path, frames=FRAMES, name="v", **expected):
    return LabelledVideo(name, (path,), tuple(frames), read_video_frames(path, **expected))


def test_images_are_the_frames_bit_for_bit(tmp_path, recording):
    write_label_images(tmp_path / "images", [labelled(recording)])
    images = {frame: read_image(image_path(tmp_path / "images", "v", frame)) for frame in FRAMES}
    assert {frame: read_number(image) for frame, image in images.items()} == {f: f for f in FRAMES}
    for frame, image in VideoReader(recording).read():
        if frame in images:
            np.testing.assert_array_equal(images[frame], image)
    assert len(list((tmp_path / "images" / "v").iterdir())) == len(FRAMES)
    assert image_path(tmp_path, "v", 30) == tmp_path / "v" / "frame-0000030.png"


def test_nothing_is_written_twice(tmp_path, recording):
    folder = tmp_path / "images"

    def read(frames):
        calls.append(tuple(frames))
        return ((frame, np.zeros((4, 5, 3), np.uint8)) for frame in frames)

    calls = []
    for frames in ((1, 2), (1, 2), (1, 2, 7)):
        write_label_images(folder, [LabelledVideo("v", (recording,), frames, read)])
    assert calls == [(1, 2), (1, 2, 7)]
    # A lost image, or another file, is reason to write again.
    image_path(folder, "v", 7).unlink()
    write_label_images(folder, [LabelledVideo("v", (recording,), (1, 2, 7), read)])
    assert len(calls) == 3
    other = tmp_path / "v.mp4"
    other.write_bytes(recording.read_bytes()[:-1])
    write_label_images(folder, [LabelledVideo("v", (other,), (1,), read)])
    assert len(calls) == 4
    assert [path.name for path in (folder / "v").iterdir()] == ["frame-0000001.png"]
    # Where the same file lies does not matter.
    (tmp_path / "moved").mkdir()
    other.rename(tmp_path / "moved" / "v.mp4")
    write_label_images(folder, [LabelledVideo("v", (tmp_path / "moved" / "v.mp4",), (1,), read)])
    assert len(calls) == 4


def test_images_appear_whole_or_not_at_all(tmp_path, recording):
    folder = tmp_path / "images"
    bad = labelled(recording, (3, 40), name="bad")
    with pytest.raises(LabelError) as error:
        write_label_images(folder, [labelled(recording), bad, labelled(recording, (50,), "worse")])
    reason = f"is labelled, but {recording} has 40 frames: it is another video, or was cut"
    assert error.value.problems == (
        f"video bad: frame 40 {reason}",
        f"video worse: frame 50 {reason}",
    )
    assert list(tmp_path.iterdir()) == []


def test_another_video_of_the_same_name_is_refused(tmp_path, recording):
    write_label_images(tmp_path / "images", [labelled(recording, size=(WIDTH, HEIGHT))])
    with pytest.raises(LabelError, match=f"is {WIDTH} x {HEIGHT} px, but the labels are of a vid"):
        write_label_images(tmp_path / "images", [labelled(recording, (1,), size=(640, 480))])


def test_frames_that_are_image_files(tmp_path):
    files = []
    for number in range(3):
        files.append(tmp_path / f"{number}.png")
        Image.new("L", (6, 4), 10 * number).save(files[-1])
    (found,) = read_image_files(files)([2])
    assert found[0] == 2
    assert (found[1] == 20).all()
    with pytest.raises(VideoError, match="frame 3 is labelled, but there are 3 images"):
        list(read_image_files(files)([3]))


def test_labels_behind_a_gap_are_refused(tmp_path):
    """Refuse it: tools that count packets name other frames than rows with lost frames do."""
    whole, lossy = encode(tmp_path / "whole.mkv", frames=40), tmp_path / "lossy.mkv"
    with av.open(whole) as source, av.open(lossy, "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(source.streams.video[0])):
            if packet.dts is not None and number not in (20, 21, 22):
                packet.stream = stream
                target.mux(packet)
    write_label_images(tmp_path / "before", [labelled(lossy, (0, 5))])
    assert read_number(read_image(image_path(tmp_path / "before", "v", 5))) == 5
    with pytest.raises(LabelError) as error:
        write_label_images(tmp_path / "behind", [labelled(lossy, (0, 30))])
    assert "frame 30 is labelled, but the file lacks 3 frames before it (frame 20 first)" in str(
        error.value
    )
    assert not (tmp_path / "behind").exists()
