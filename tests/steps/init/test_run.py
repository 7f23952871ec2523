"""Test that config and sheet are written from folders of videos and labelled projects."""

import logging
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.core.cohort import read_cohort
from pipeline_lib.core.errors import ConfigError, LabelError, SheetError
from pipeline_lib.core.settings.reading import read_config
from pipeline_lib.io.video.containers.formats import VIDEO_SUFFIXES
from pipeline_lib.steps.init.run import init_project
from pipeline_lib.steps.sheet.find import find_videos, name_videos, shorten_path

SHARED = os.environ.get("COHORTPOSE_DATA")


def touch(folder, *names, text=""):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def init(source, folder):
    """Return the config that was written, and path by video of the sheet as written."""
    init_project(source, folder)
    lines = (folder / "cohort.tsv").read_text().splitlines()
    assert lines[0] == "video\tpath"
    return read_config(folder / "config.yaml"), dict(line.split("\t") for line in lines[1:])


def test_folder_of_videos(tmp_path):
    source = touch(
        tmp_path / "run" / "videos", "b.MP4", "day 1/a.avi", "notes.txt", "._b.mp4", ".cache/c.mp4"
    )
    config, sheet = init(source, tmp_path / "run")
    assert sheet == {"b": "videos/b.MP4", "a": "videos/day 1/a.avi"}
    assert config.cohort == "cohort.tsv"
    assert config.labels == ()
    assert config.frames.extract
    assert [video.path for video in read_cohort(tmp_path / "run" / "cohort.tsv")] == [
        source / "b.MP4",
        source / "day 1" / "a.avi",
    ]


def test_labels_below_a_folder_of_videos_are_named(tmp_path, caplog):
    source = touch(tmp_path / "data", "a.mp4", "old.slp", "p/labeled-data/a/x.png", "p/q/r/b.slp")
    init(source, tmp_path / "run")
    (said,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert said.endswith(f"give {source / 'old.slp'}, {source / 'p'}")


@pytest.mark.parametrize("suffix", ["mp4", "avi", "mov", "mkv", "m4v", "mpg", "webm", "wmv", "MOV"])
def test_video_suffixes(tmp_path, suffix):
    source = touch(tmp_path, f"v.{suffix}", f"v.{suffix}.txt")
    assert find_videos([source]) == [source / f"v.{suffix}"]


def test_one_video(tmp_path):
    touch(tmp_path, "v.mp4", "w.mp4")
    assert init(tmp_path / "v.mp4", tmp_path / "run")[1] == {"v": "../v.mp4"}


def test_config_lists_only_what_differs(tmp_path):
    init(touch(tmp_path / "v", "a.mp4"), tmp_path)
    lines = (tmp_path / "config.yaml").read_text().splitlines()
    settings = [line for line in lines if line and not line.startswith("#")]
    assert settings == [
        "cohort: cohort.tsv",
        "frames:",
        "  extract: true",
        "quality:",
        "  enabled: true",
    ]
    # Each section stands under a comment that says what it is for.
    assert all(lines[lines.index(key) - 1].startswith("# ") for key in ("frames:", settings[0]))


def test_linked_folders_are_entered_once_and_files_listed_once(tmp_path, caplog):
    store = touch(tmp_path / "store", "a.mp4")
    source = touch(tmp_path / "source", "b.mp4")
    (source / "linked").symlink_to(store)
    (source / "circle").symlink_to(source)
    (source / "c.mp4").symlink_to(source / "b.mp4")
    with caplog.at_level(logging.INFO):
        found = find_videos([source])
    assert found == [source / "b.mp4", source / "linked" / "a.mp4"]
    assert "c.mp4 is the same file as" in caplog.text


DRAWN = [
    "aDLC_resnet50_taskMay1shuffle1_100_labeled.mp4",
    "aDLC_resnet50_taskMay1shuffle1_100_filtered_labeled.mp4",
    "aDLC_dlcrnetms5_taskMay1shuffle1_100_el_filtered_id_labeled.mp4",
    "aDLC_dlcrnetms5_taskMay1shuffle1_100_bp_labeled.mp4",
    "aDLC_dlcrnetms5_taskMay1shuffle1_100_full.mp4",
    "aDeepCut_resnet50_taskMay1shuffle1_100_labeled.mp4",
    "a_superanimal_quadruped_hrnetw32_labeled_after_adapt.mp4",
    "test_vid_labeled.mp4",
    "predictions.slp.avi",
]


def test_videos_that_are_drawn_on_are_left_out(tmp_path, caplog):
    kept = ["a.mp4", "mouse_unlabeled.mp4", "labeled.mp4", "a_full.mp4", "b_filtered.mp4"]
    source = touch(tmp_path, *kept, *DRAWN)
    with caplog.at_level("INFO"):
        assert {path.name for path in find_videos([source])} == set(kept)
    assert f"{len(DRAWN)} videos have keypoints drawn on them, by their names" in caplog.text


@pytest.mark.parametrize("suffix", [*sorted(VIDEO_SUFFIXES), ".MTS", ".Mp4"])
def test_every_container_that_is_read_is_found(tmp_path, suffix):
    named = {".mts", ".ts", ".m2ts", ".flv", ".asf", ".3gp", ".h264", ".wmv", ".mpg", ".webm"}
    assert named <= VIDEO_SUFFIXES
    source = touch(tmp_path, f"a{suffix}", "a.m3u8", "a.ffconcat", "a.png", "a.txt", "a.wav")
    assert [path.name for path in find_videos([source])] == [f"a{suffix}"]


@pytest.mark.skipif(os.name == "nt", reason="such names cannot be there")
def test_every_name_is_read_as_it_was_written(tmp_path):
    """A carriage return ends a row of a table (a folder's icon on macOS has one in its name)."""
    names = ["a\rb.mp4", "a\nc.mp4", "a\td.mp4", 'a"e.mp4', "a\r", "a\u2028f.mp4", " g.mp4"]
    paths = [tmp_path / (name if name.endswith(".mp4") else f"{name}/h.mp4") for name in names]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    init_project(tmp_path, tmp_path / "run")
    videos = read_cohort(tmp_path / "run" / "cohort.tsv")
    assert {video.path.resolve() for video in videos} == set(paths)


def test_names_are_valid_and_tell_videos_apart():
    paths = [
        "/d/cage 1/top.mp4",
        "/d/cage 2/Top.avi",
        "/d/x/top.avi",
        "/d/x/top.mp4",
        "/d/Mäuse (früh).mp4",
        "/d/...mp4",
    ]
    assert list(name_videos(map(Path, paths))) == [
        "cage-1-top",
        "cage-2-Top",
        "x-top",
        "x-top-2",
        "Mause-fruh",
        "video",
    ]


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        ("m1/day1/cam m1/day2/cam m2/day1/cam", "m1-day1-cam m1-day2-cam m2-day1-cam"),
        # What all share tells nothing, in the middle too.
        ("m1/videos/cam m2/videos/cam", "m1-cam m2-cam"),
        ("m1/x/day1/cam m1/x/day2/cam m2/x/day1/cam", "m1-day1-cam m1-day2-cam m2-day1-cam"),
        ("cam m1/cam m1/day1/cam", "d-cam m1-cam day1-cam"),
        ("M1/a/cam m1/a/cam", "a-cam a-cam-2"),
        ("a/b/c/d/e/cam A/b/c/d/f/cam z", "e-cam f-cam z"),
        ("1/a/b/c/d/cam 2/a/b/c/d/cam", "d-cam d-cam-2"),
    ],
)
def test_folders_tell_videos_of_one_name_apart(paths, expected):
    names = name_videos([Path(f"/d/{path}.mp4") for path in paths.split()])
    assert " ".join(names) == expected


@given(
    st.lists(st.text("aA.é -/", min_size=1, max_size=8).map(lambda s: f"/d/{s}.mp4"), unique=True)
)
def test_names_are_always_unique_and_valid(paths):
    names = name_videos([Path(path) for path in paths])
    assert list(names.values()) == [Path(path) for path in paths]
    assert len({name.casefold() for name in names}) == len(paths)
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", name) for name in names)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("lab/run/videos/a.mp4", "videos/a.mp4"),
        ("lab/run", "."),
        ("lab/data/a.mp4", "../data/a.mp4"),
        ("other/a.mp4", "../../other/a.mp4"),
    ],
)
def test_near_paths_are_relative(tmp_path, path, expected):
    assert shorten_path(tmp_path / path, tmp_path / "lab" / "run") == expected


def test_far_paths_are_absolute(tmp_path):
    far = tmp_path / "a.mp4"
    assert shorten_path(far, tmp_path / "1" / "2" / "3") == str(far)
    assert shorten_path(Path("/a.mp4"), Path("/tmp")) == "/a.mp4"  # noqa: S108 - not opened


def test_relative_paths_climb_from_where_a_linked_folder_is(tmp_path):
    (tmp_path / "real" / "deep").mkdir(parents=True)
    (tmp_path / "run").symlink_to(tmp_path / "real" / "deep")
    touch(tmp_path, "a.mp4")
    path = shorten_path(tmp_path / "a.mp4", tmp_path / "run")
    assert path == "../../a.mp4"
    assert (tmp_path / "run" / path).exists()


PROJECT_CONFIG = """
scorer: ann
multianimalproject: false
project_path: C:\\Users\\ann\\task
video_sets:
  {elsewhere}:
    crop: 0, 640, 0, 480
  C:\\Users\\ann\\gone.mp4:
    crop: 0, 640, 0, 480
bodyparts: [nose, tail, on]
skeleton:
- [nose, tail]
- [bodypart1, bodypart2]
"""


@pytest.fixture
def project(tmp_path):
    elsewhere = touch(tmp_path, "elsewhere.mp4") / "elsewhere.mp4"
    folder = tmp_path / "task-ann"
    touch(folder, "videos/m1.mp4", "labeled-data/m1/CollectedData_ann.csv")
    touch(folder, "config.yaml", text=PROJECT_CONFIG.format(elsewhere=elsewhere))
    return folder


@pytest.mark.parametrize("part", [".", "config.yaml"])
def test_deeplabcut_project(project, part):
    config, sheet = init(project / part, project.parent / "run")
    label = config.labels[0]
    assert (label.path, label.format) == (
        "../task-ann" if part == "." else "../task-ann/config.yaml",
        "deeplabcut",
    )
    # `on` is a name, not YAML's truth; the template's edge is gone.
    assert config.skeleton.bodyparts == ("nose", "tail", "on")
    assert config.skeleton.edges == (("nose", "tail"),)
    assert sheet == {"m1": "../task-ann/videos/m1.mp4", "elsewhere": "../elsewhere.mp4"}
    assert not config.frames.extract


def test_deeplabcut_project_without_labels(project, caplog):
    (project / "labeled-data" / "m1" / "CollectedData_ann.csv").unlink()
    config, _ = init(project, project.parent / "run")
    assert config.labels == ()
    assert config.frames.extract
    assert "no labels are named in the config" in caplog.text


def test_lightning_pose_folder_without_videos(tmp_path, caplog):
    data = touch(tmp_path / "lp", "CollectedData.csv", "labeled-data/img1.png")
    config, sheet = init(data, tmp_path)
    assert [(label.path, label.format) for label in config.labels] == [("lp", "lightning-pose")]
    assert sheet == {}
    assert "no videos found; add rows to" in caplog.text


@pytest.mark.parametrize("name", ["config.yaml", "cohort.tsv"])
def test_existing_files_are_never_overwritten(tmp_path, name):
    source = touch(tmp_path / "v", "a.mp4")
    touch(tmp_path, name, text="mine")
    with pytest.raises(ConfigError, match=f"{name} exists and is never overwritten"):
        init_project(source, tmp_path)
    assert (tmp_path / name).read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["v", name])


def test_sources_that_cannot_be_used(tmp_path):
    touch(tmp_path, "labels.slp", "empty/notes.txt")
    run = tmp_path / "run"
    with pytest.raises(SheetError, match="no such file or folder"):
        init_project(tmp_path / "nothing", run)
    with pytest.raises(SheetError, match=r"no videos found here \(264, 3g2, 3gp, asf, avi"):
        init_project(tmp_path / "empty", run)
    with pytest.raises(LabelError, match="is not readable as a SLEAP file"):
        init_project(tmp_path / "labels.slp", run)
    assert not run.exists()


@pytest.mark.skipif(os.name == "nt", reason="file names are text there")
def test_a_file_whose_name_is_not_text_is_left_out(tmp_path, caplog):
    """One file must not cost the cohort: the others are taken, and a warning names it."""
    videos = tmp_path / "videos"
    bad = videos / os.fsdecode(b"sub\xff")
    bad.mkdir(parents=True)
    for path in (videos / "a.mp4", videos / os.fsdecode(b"v\xff.mp4"), bad / "b.mp4"):
        path.touch()
    init_project(videos, tmp_path / "run")
    (video,) = read_cohort(tmp_path / "run" / "cohort.tsv")
    assert video.video == "a"
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 2
    assert all("is left out: its name" in text and "not UTF-8: rename it" in text
               for text in warnings)  # fmt: skip
    assert r"v\udcff.mp4" in warnings[1]


@pytest.mark.skipif(os.name == "nt", reason="file names are text there")
@pytest.mark.parametrize("name", [b"v\xff.mp4", b"f\xff/v.mp4"])
def test_a_source_whose_name_is_not_text(tmp_path, name):
    path = tmp_path / os.fsdecode(name)
    path.parent.mkdir(exist_ok=True)
    path.touch()
    source = path if path.parent == tmp_path else path.parent
    with pytest.raises(SheetError, match="not UTF-8: rename it"):
        init_project(source, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(os.name == "nt", reason="file names are text there")
def test_a_project_whose_name_is_not_text(tmp_path):
    project = tmp_path / os.fsdecode(b"p\xff")
    touch(project, "labeled-data/m1/CollectedData_ann.csv")
    with pytest.raises(SheetError, match="not UTF-8: rename it"):
        init_project(project, tmp_path / "run")
    # Seen from within, the name is not on the way.
    init_project(project, project)
    assert "p\\udcff" in (project / "config.yaml").read_text(encoding="utf-8")


@pytest.mark.real
@pytest.mark.skipif(not SHARED, reason="COHORTPOSE_DATA is not set")
def test_open_field(tmp_path):
    source = Path(SHARED, "openfield", "openfield-Pranav-2018-10-30")
    config, _ = init(source, tmp_path)
    assert config.skeleton.bodyparts == ("snout", "leftear", "rightear", "tailbase")
    assert (tmp_path / config.labels[0].path).samefile(source)
    (video,) = read_cohort(tmp_path / "cohort.tsv")
    assert video.video == "m3v1mp4"
    assert video.path.samefile(source / "videos" / "m3v1mp4.mp4")
