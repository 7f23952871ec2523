"""Test SLEAP files: instances, tracks, moved videos, embedded frames, mistakes."""

import json
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from pipeline_lib.core.errors import LabelError
from pipeline_lib.core.untrusted.names import find_part_problem
from pipeline_lib.io.images import read_image
from pipeline_lib.io.labels.points import POINT_COLUMNS
from pipeline_lib.io.labels.sleap.file import open_sleap_file
from pipeline_lib.io.labels.sleap.read import read_sleap
from pipeline_lib.io.video.reader import VideoReader
from tests.io.labels.slp_examples import Project
from tests.video_corpus import encode, read_number

SHARED = os.environ.get("COHORTPOSE_DATA")


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    return encode(tmp_path_factory.mktemp("recording") / "v.mp4", frames=12)


@pytest.fixture
def folder(tmp_path, recording):
    """Make a folder with the video ``v.mp4`` of 96 x 64 px."""
    (tmp_path / "v.mp4").symlink_to(recording)
    return tmp_path


def read(path, **options):
    return read_sleap(path, path.parent / "images", **options)


def rows_of(source):
    columns = ["frame", "individual", "named", "bodypart", "x", "y"]
    return [tuple(row) for row in source.points[columns].fillna(-1).itertuples(index=False)]


def problems_of(path, **options):
    with pytest.raises(LabelError) as error:
        read(path, **options)
    assert error.value.where == str(path)
    assert not (path.parent / "images").exists()
    return error.value.problems


def test_points_of_instances(folder):
    project = Project(symmetries=[("nose", "tail")])
    project.add("v.mp4", 7, [(1, 2), None], "F")
    project.add("v.mp4", 7, [(3, 4), (5, 6)])
    source = read(project.save(folder / "a.slp"))
    assert tuple(source.points.columns) == POINT_COLUMNS
    assert rows_of(source) == [
        (7, "F", True, "nose", 1, 2),
        (7, "F", True, "tail", -1, -1),
        (7, "individual2", False, "nose", 3, 4),
        (7, "individual2", False, "tail", 5, 6),
    ]
    assert source.points["visible"].tolist() == [True, False, True, True]
    assert set(source.points["video"]) == {"v"}
    assert set(source.points["source"]) == {str(folder / "a.slp")}
    assert set(source.points["image"]) == {str(folder / "images" / "v" / "frame-0000007.png")}
    assert read_number(read_image(Path(source.points["image"][0]))) == 7
    assert source.skeleton.bodyparts == ("nose", "tail")
    assert source.skeleton.edges == source.skeleton.symmetries == (("nose", "tail"),)
    assert source.kind == "sleap"
    assert list(source.origins.values()) == [f"{(folder / 'v.mp4').resolve()}#7"]


@pytest.mark.parametrize(("version", "shift"), [(1.0, -0.5), (1.2, 0.0)])
def test_pixel_centres_are_at_integers(folder, version, shift):
    """Pin the convention: SLEAP's since format 1.1; before, (0, 0) was a pixel's corner."""
    project = Project()
    project.add("v.mp4", 0, [(3, 4), (0.25, 10)])
    path = project.save(folder / "a.slp")
    with h5py.File(path, "r+") as file:
        file["metadata"].attrs["format_id"] = version
        if version < 1.2:
            table = file["instances"][:]
            names = [name for name in table.dtype.names if name != "tracking_score"]
            del file["instances"]
            file["instances"] = table[names].astype([(n, table.dtype[n]) for n in names])
    points = read(path).points
    np.testing.assert_array_equal(points[["x", "y"]], np.array([[3, 4], [0.25, 10]]) + shift)


def test_a_bright_pixel_lies_under_its_label(tmp_path):
    image = np.zeros((8, 10), np.uint8)
    image[3, 6] = 255
    Image.fromarray(image).save(tmp_path / "0.png")
    project = Project(("dot",), ())
    project.add([str(tmp_path / "0.png")], 0, [(6, 3)])
    points = read(project.save(tmp_path / "a.slp")).points
    found = read_image(Path(points["image"][0]))
    assert found[int(points["y"][0]), int(points["x"][0])].tolist() == [255, 255, 255]


def test_user_instances_win(folder):
    project = Project()
    guess = project.add("v.mp4", 1, [(1, 1), (2, 2)], predicted=True)
    project.add("v.mp4", 1, [(1.5, 1), (2, 2)], source=guess)
    project.add("v.mp4", 1, [(30, 1), (30, 2)], "M", predicted=True)
    project.add("v.mp4", 1, [(31, 1), (31, 2)], "M")
    project.add("v.mp4", 1, [(60, 1), (60, 2)], "F", predicted=True)
    project.add("v.mp4", 2, [(9, 9), (8, 8)], predicted=True)
    path = project.save(folder / "a.slp")
    points = read(path).points
    assert points.loc[points["bodypart"] == "nose", "x"].tolist() == [1.5, 31]
    assert set(points["frame"]) == {1}
    assert open_sleap_file(path).unused == 4
    # Asked for, they complete what no user corrected.
    points = read(path, predicted=True).points
    nose = points[points["bodypart"] == "nose"]
    assert nose["x"].tolist() == [1.5, 31, 60, 9]
    assert nose["frame"].tolist() == [1, 1, 1, 2]
    assert nose["individual"].tolist() == ["individual1", "M", "F", "individual1"]


def test_only_predictions(folder):
    project = Project()
    project.add("v.mp4", 2, [(9, 9), (8, 8)], predicted=True)
    (problem,) = problems_of(project.save(folder / "a.slp"))
    hint = "its 1 predicted instances are taken with `predicted: true`"
    assert problem == f"no frame has a user instance; {hint}"


def test_instances_without_a_point_are_none(folder):
    project = Project()
    project.add("v.mp4", 1, [None, None])
    project.add("v.mp4", 2, [None, None], "F")
    project.add("v.mp4", 2, [(3, 3), None], "M")
    assert rows_of(read(project.save(folder / "a.slp"))) == [
        (2, "M", True, "nose", 3, 3),
        (2, "M", True, "tail", -1, -1),
    ]


def test_a_frame_marked_as_empty_is_an_image_without_animals(folder):
    project = Project()
    project.add("v.mp4", 1, [(3, 3), None])
    project.add("v.mp4", 5, [None, None])
    frame = list(project.frames.values())[1]
    frame.instances.clear()
    frame.is_negative = True
    source = read(project.save(folder / "a.slp"))
    assert rows_of(source)[2:] == [
        (5, "individual1", False, "nose", -1, -1),
        (5, "individual1", False, "tail", -1, -1),
    ]
    assert not source.points["visible"][2:].any()


def test_one_node(folder):
    project = Project(("centroid",), ())
    project.add("v.mp4", 0, [(5, 6)])
    project.add("v.mp4", 0, [(50, 6)])
    source = read(project.save(folder / "a.slp"))
    assert source.skeleton.edges == ()
    assert [row[3:] for row in rows_of(source)] == [("centroid", 5, 6), ("centroid", 50, 6)]


@pytest.mark.parametrize(
    "recorded",
    [
        "v.mp4",
        "C:\\Users\\ann\\videos\\v.mp4",
        "C:/Users/ann/videos/v.mp4",
        "/root/nowhere/v.mp4",
        "../gone/v.mp4",
        "\\\\server\\share\\v.mp4",
    ],
)
def test_a_video_is_found_beside_the_file(folder, recorded):
    project = Project()
    project.add(recorded, 4, [(3, 3), None])
    source = read(project.save(folder / "a.slp"))
    assert set(source.points["video"]) == {"v"}
    assert read_number(read_image(Path(source.points["image"][0]))) == 4


def test_a_video_is_found_where_it_was_and_at_the_longest_end_of_its_path(tmp_path, recording):
    (tmp_path / "videos" / "day1").mkdir(parents=True)
    inside = tmp_path / "videos" / "day1" / "v.mp4"
    inside.write_bytes(recording.read_bytes())
    encode(tmp_path / "v.mp4", frames=3)
    project = Project()
    project.add("D:\\lab\\videos\\day1\\v.mp4", 4, [(3, 3), None])
    file = open_sleap_file(project.save(tmp_path / "a.slp"))
    assert file.videos[0].source == inside
    project = Project()
    project.add(str(recording), 4, [(3, 3), None])
    assert open_sleap_file(project.save(tmp_path / "b.slp")).videos[0].source == recording


def test_labels_of_a_region_are_counted_in_the_whole_frame(folder):
    project = Project()
    whole = project.video(str(folder / "v.mp4"), there=True)
    project.add(str(folder / "v.mp4"), 4, [(3, 4), None])
    next(iter(project.frames.values())).video = region = whole.crop((10, 20, 50, 60))
    project.videos = {"region": region}
    source = read(project.save(folder / "a.slp"))
    assert source.points[["x", "y"]].to_numpy()[0].tolist() == [13, 24]
    assert read_image(Path(source.points["image"][0])).shape == (64, 96, 3)


def test_videos_of_one_name_keep_apart(tmp_path, recording):
    project = Project()
    for number, day in enumerate(("day1", "day2")):
        (tmp_path / day).mkdir()
        (tmp_path / day / "v.mp4").write_bytes(recording.read_bytes())
        project.add(f"/data/{day}/v.mp4", number, [(3, 3), None])
    source = read(project.save(tmp_path / "a.slp"))
    assert source.points["video"].tolist() == ["v", "v", "v-2", "v-2"]
    assert source.points["frame"].tolist() == [0, 0, 1, 1]
    assert len(set(source.origins.values())) == 2


def test_videos_that_are_not_here(tmp_path):
    project = Project()
    project.add("C:\\lab\\gone.mp4", 4, [(3, 3), None])
    project.add("/lab/unlabelled.mp4", 4, [(3, 3), None], predicted=True)
    (problem,) = problems_of(project.save(tmp_path / "a.slp"))
    assert problem == (
        f"video C:/lab/gone.mp4: not found there, nor in {tmp_path}; put it (or a link to it) "
        "beside the SLEAP file under its own name, or save the labels with their images "
        "(.pkg.slp)"
    )


def test_embedded_images(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (5, 8, 10, 3), dtype=np.uint8)
    files = []
    for number, image in enumerate(images):
        files.append(str(tmp_path / f"{number}.png"))
        Image.fromarray(image).save(files[-1])
    project = Project()
    project.add(files, 1, [(3, 3), None])
    project.add(files, 4, [(4, 3), (1, 2)])
    path = project.save(tmp_path / "labels.pkg.slp", embed=True)
    for file in files:
        Path(file).unlink()
    source = read(path)
    assert sorted(set(source.points["frame"])) == [1, 4]
    for frame, image in zip(source.points["frame"], source.points["image"], strict=True):
        np.testing.assert_array_equal(read_image(Path(image)), images[frame])


def test_embedded_frames_are_named_after_their_video(folder, recording):
    project = Project()
    project.video(str(recording), there=True)
    project.add(str(recording), 3, [(3, 3), None])
    path = project.save(folder / "labels.pkg.slp", embed=True)
    source = read(path)
    assert set(source.points["video"]) == {"v"}
    assert read_number(read_image(Path(source.points["image"][0]))) == 3
    # The same frame of the same video as in a file without images.
    plain = read_sleap(project.save(folder / "plain.slp"), folder / "other")
    assert list(plain.origins.values()) == list(source.origins.values())


def test_mistakes_are_reported_together(folder):
    project = Project()
    project.add("v.mp4", 1, [(3, 3), None], "F")
    second = project.add("v.mp4", 1, [(9, 3), None])
    import sleap_io  # noqa: PLC0415

    second.track = sleap_io.Track("F")
    assert problems_of(project.save(folder / "a.slp")) == (
        "v, frame 1: 2 instances have the track F",
    )


def test_points_outside_the_image(folder):
    project = Project()
    project.add("v.mp4", 1, [(-1.5, 64.5), (96.5, 3)], "F")
    project.add("v.mp4", 1, [(3, 3), (96.6, 3)], "M")
    path = project.save(folder / "a.slp")
    with pytest.raises(LabelError) as error:
        read(path)
    # The image covers -0.5 .. 95.5; a point a pixel beyond is a slip of the hand.
    assert error.value.problems == (
        "v, frame 1, M tail: x 96.6, y 3 is outside its image of 96 x 64 px",
    )


def test_files_that_are_none(tmp_path):
    (tmp_path / "text.slp").write_text("no HDF5")
    (problem,) = problems_of(tmp_path / "text.slp")
    assert problem.startswith("is not readable as a SLEAP file: ")
    assert problems_of(tmp_path / "gone.slp") == ("no such file",)


def test_symmetries_that_contradict_each_other(folder):
    project = Project(("a", "b", "c"), (), [("a", "b"), ("b", "c")])
    project.add("v.mp4", 1, [(3, 3), None, None])
    (problem,) = problems_of(project.save(folder / "a.slp"))
    assert problem == "skeleton: symmetries name b twice"


@pytest.mark.real
@pytest.mark.skipif(not SHARED, reason="COHORTPOSE_DATA is not set")
def test_real_file_with_the_path_of_another_machine(tmp_path):
    path = Path(SHARED, "flies-dreem", "two_flies_noisy_detections.slp")
    with h5py.File(path) as file:
        recorded = json.loads(file["videos_json"][0])["backend"]["filename"]
    assert recorded == "/Users/main/Downloads/two_flies.mp4"
    source = read_sleap(path, tmp_path / "images")
    counts = source.points.drop_duplicates(["frame", "individual"]).groupby("frame").size()
    assert counts.sum() == 259
    assert counts.max() == 3
    assert (~source.points["named"]).sum() == 3 * 13
    assert set(source.points["video"]) == {"two_flies"}
    frames = dict(VideoReader(path.with_name("two_flies.mp4")).read(0, 128, step=50))
    for frame, image in frames.items():
        written = read_image(tmp_path / "images" / "two_flies" / f"frame-{frame:07d}.png")
        np.testing.assert_array_equal(written, image)


def test_two_videos_of_one_name_and_one_file(folder, recording):
    """Label day1/cam.mp4 and day2/cam.mp4, one of which is here: nobody can tell which."""
    (folder / "cam.mp4").symlink_to(recording)
    project = Project()
    project.add("/old/day1/cam.mp4", 1, [(1, 1), (2, 2)])
    project.add("/old/day2/cam.mp4", 1, [(3, 3), (4, 4)])
    path = project.save(folder / "a.slp")
    (problem,) = problems_of(path)
    assert problem.startswith("/old/day1/cam.mp4 and /old/day2/cam.mp4: ")
    # Told apart by their folders, each has its own.
    (folder / "day1").mkdir()
    (folder / "cam.mp4").rename(folder / "day1" / "cam.mp4")
    (problem,) = problems_of(path)
    assert problem.startswith("video /old/day2/cam.mp4: not found")
    (folder / "day2").mkdir()
    encode(folder / "day2" / "cam.mp4", frames=3)
    assert read(path).points["video"].unique().tolist() == ["cam", "cam-2"]


def test_an_unlabelled_video_of_the_same_name_counts_too(folder, recording):
    (folder / "cam.mp4").symlink_to(recording)
    project = Project()
    project.add("/old/day1/cam.mp4", 1, [(1, 1), (2, 2)])
    project.video("/old/day2/cam.mp4")
    (problem,) = problems_of(project.save(folder / "a.slp"))
    assert problem.startswith("/old/day1/cam.mp4 and /old/day2/cam.mp4: ")


def test_two_lists_and_one_image(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for one in ("a", "b"):
        Image.new("L", (20, 10)).save(tmp_path / one / "1.png")
    project = Project()
    for n, one in enumerate(("a", "b")):
        project.add([str(tmp_path / one / "1.png")], 0, [(n, 1), (2, 2)])
    (tmp_path / "labels").mkdir()
    path = project.save(tmp_path / "labels" / "a.slp")
    (tmp_path / "a" / "1.png").rename(tmp_path / "labels" / "1.png")
    (tmp_path / "b" / "1.png").unlink()
    (problem,) = problems_of(path)
    assert f"{tmp_path}/a/1.png and {tmp_path}/b/1.png" in problem


@pytest.mark.parametrize("name", ["..", "...", "images.json", ".part-x", "a\tb", "CON:x"])
def test_names_of_videos_become_folders_of_their_own(tmp_path, name):
    """Check that foreign names neither leave the image folder nor overwrite its files."""
    Image.new("L", (20, 10)).save(tmp_path / "0.png")
    project = Project()
    project.add([str(tmp_path / "0.png")], 0, [(1, 1), (2, 2)])
    path = project.save(tmp_path / "a.slp")
    with h5py.File(path, "a") as file:
        record = json.loads(file["videos_json"][0])
        record["backend"]["filenames"] = [f"/old/{name}/0.png"]
        record["backend"]["filename"] = f"/old/{name}/0.png"
        file["videos_json"][0] = json.dumps(record)
    points = read(path).points
    (folder,) = [one for one in (tmp_path / "images").iterdir() if one.is_dir()]
    assert folder.parent == tmp_path / "images"
    assert find_part_problem(folder.name) is None
    assert points["video"].unique().tolist() == [folder.name]
    assert (tmp_path / "images" / "images.json").is_file()


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
@pytest.mark.parametrize(("shape", "good"), [([1, 10, 20, 1], False), ([1, 20, 10, 1], True)])
def test_images_that_were_labelled_as_stored(tmp_path, orientation, shape, good):
    """Use SLEAP's size of the images, 20 x 10 px, which EXIF turns to 10 x 20 px."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("L", (20, 10)).save(tmp_path / "0.png", exif=exif)
    project = Project()
    project.add([str(tmp_path / "0.png")], 0, [(1, 1), (2, 2)])
    path = project.save(tmp_path / "a.slp")
    with h5py.File(path, "a") as file:
        record = json.loads(file["videos_json"][0])
        record["backend"]["shape"] = shape
        file["videos_json"][0] = json.dumps(record)
    if good:
        assert read_image(Path(read(path).points["image"][0])).shape == (20, 10, 3)
    else:
        (problem,) = problems_of(path)
        assert f"EXIF orientation ({orientation}) turns it to 10 x 20 px" in problem


def damage(path, change):
    with h5py.File(path, "a") as file:
        change(file)


def remove(name):
    return lambda file: file.__delitem__(name)


def empty(name):
    def change(file):
        nothing = file[name][:0]
        del file[name]
        file[name] = nothing

    return change


def write(name, field, value):
    def change(file):
        rows = file[name][:]
        rows[field] = value
        file[name][...] = rows

    return change


def rename(name):
    def change(file):
        video = json.loads(file["videos_json"][0])
        video["filename"] = video["backend"]["filename"] = name
        del file["videos_json"]
        file["videos_json"] = np.array([json.dumps(video)], h5py.string_dtype())

    return change


def describe(**changes):
    def change(file):
        metadata = json.loads(file["metadata"].attrs["json"]) | changes
        file["metadata"].attrs["json"] = json.dumps(metadata)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (empty("videos_json"), "no video, so that frames are of none"),
        *(
            (remove(name), f"no dataset `{name}`")
            for name in ("videos_json", "tracks_json", "frames", "instances", "points")
        ),
        (remove("metadata"), "no `metadata` with its attribute `json`"),
        (lambda file: file["metadata"].attrs.__delitem__("json"), "no `metadata` with its"),
        (describe(skeletons=[]), "no skeleton"),
        (describe(skeletons=[{"nodes": [], "links": []}], nodes=[]), "a skeleton without a node"),
        (describe(skeletons=3), "TypeError"),
        (empty("instances"), r"frame 0 has instance 0 to 1 \(excluded\), of which there are 0"),
        (empty("points"), r"instance 0 has row of `points` 0 to 2 \(excluded\), .* are 0"),
        (write("frames", "video", 7), "a frame of video 7, of which there are 1"),
        (write("frames", "instance_id_end", 7), "frame 0 has instance 0 to 7"),
        (write("frames", "instance_id_start", 7), "frame 0 has instance 7 to 1"),
        (write("instances", "point_id_end", 700), "instance 0 has row of `points` 0 to 700"),
        (write("instances", "skeleton", 7), "an instance of a skeleton that is not there, of 1"),
        (write("instances", "track", 7), "an instance of a track that is not there, of 0"),
        (write("instances", "instance_type", 7), "an instance of type 7"),
    ],
)
def test_files_without_what_they_need(folder, change, message):
    """Each names what is missing, and says what to do; none is an index of Python's lists."""
    project = Project()
    project.add("/x/a.mp4", 3, [(1, 2), (3, 4)])
    path = project.save(folder / "labels.slp")
    damage(path, change)
    with pytest.raises(LabelError, match=message) as caught:
        open_sleap_file(path)
    assert "is not readable as a SLEAP file" in str(caught.value)
    assert "save the labels again in SLEAP" in str(caught.value)
    assert "list index" not in str(caught.value)


def set_signed(table, column, row, value):
    """Make all columns of a table signed, and set one cell."""

    def change(file):
        rows = file[table][:]
        floats = {name for name in rows.dtype.names if rows[name].dtype.kind == "f"}
        kinds = [(name, "f8" if name in floats else "i8") for name in rows.dtype.names]
        rows = rows.astype(kinds)
        rows[column][row] = value
        del file[table]
        file[table] = rows

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_signed("frames", "video", 1, -1), "a frame of video -1, of which there are 1"),
        (set_signed("frames", "instance_id_start", 1, -1), "frame 1 has instance -1 to 2"),
        (set_signed("frames", "instance_id_start", 1, 0), "two frames, 0 and 1, have instance 0"),
        (set_signed("frames", "instance_id_end", 0, 2), "two frames, 0 and 1, have instance 1"),
        (set_signed("instances", "skeleton", 1, -1), "a skeleton that is not there, of 1"),
        (set_signed("instances", "instance_type", 1, -1), "an instance of type -1"),
        (
            set_signed("instances", "point_id_start", 1, -2),
            "has row of `points` -2 to 4",
        ),
        (
            set_signed("instances", "point_id_start", 1, 1),
            "two instances, 0 and 1, have row of `points` 1",
        ),
    ],
)
def test_no_animal_is_taken_for_that_of_another_frame(folder, change, message):
    """Rows before the first would be the last ones, and shared rows one animal in two frames."""
    project = Project()
    project.add("/x/a.mp4", 3, [(1, 2), (3, 4)])
    project.add("/x/a.mp4", 5, [(5, 6), (7, 8)])
    path = project.save(folder / "labels.slp")
    assert [frame.frame for frame in open_sleap_file(path).frames] == [3, 5]
    damage(path, change)
    with pytest.raises(LabelError, match=message):
        open_sleap_file(path)


def test_a_file_without_a_labelled_frame(folder):
    project = Project()
    project.add("/x/a.mp4", 3, [(1, 2), (3, 4)])
    path = project.save(folder / "labels.slp")
    for name in ("frames", "instances", "points"):
        damage(path, empty(name))
    assert open_sleap_file(path).frames == ()
    with pytest.raises(LabelError, match="no frame has a user instance"):
        read_sleap(path, folder / "images")


@pytest.mark.parametrize(
    "name",
    [
        "/" + "a" * 300_000 + ".mp4",
        "/a" * 100_000 + "/b.mp4",
        "../" * 10_000 + "b.mp4",
        "x/" * 16_000,
    ],
)
def test_a_name_of_a_video_that_is_too_long(folder, monkeypatch, name):
    """Its parts are not looked for one by one, and a message has its end alone."""
    project = Project()
    project.add("/x/a.mp4", 3, [(1, 2), (3, 4)])
    path = project.save(folder / "labels.slp")
    damage(path, rename(name))
    looked_for, is_file = [], os.path.isfile

    def look_for(path):
        looked_for.append(path)
        return is_file(path)

    monkeypatch.setattr(os.path, "isfile", look_for)
    (video,) = open_sleap_file(path).videos
    assert len(looked_for) <= 202
    assert len(video.name) <= 200
    monkeypatch.undo()
    with pytest.raises(LabelError) as caught:
        read_sleap(path, folder / "images")
    assert len(str(caught.value)) < 1000
