"""Test that each file that a SLEAP file names is found uniquely or not at all."""

import os
from pathlib import Path

import pytest

from pipeline_lib.io.labels.sleap.links import link_files


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "labels"
    path.mkdir()
    return path


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(8))


def find(folder, *recorded):
    return [link.path for link in link_files([str(one) for one in recorded], folder)]


def test_the_old_path_is_tried_first_then_the_longest_suffix(folder, tmp_path):
    was = tmp_path / "data" / "a.mp4"
    touch(was, folder / "day1" / "b.mp4", folder / "b.mp4", folder / "a.mp4")
    assert find(folder, was, "D:\\lab\\day1\\b.mp4") == [was, folder / "day1" / "b.mp4"]
    assert find(folder, "/gone/b.mp4", "/gone/c.mp4") == [folder / "b.mp4", None]


def test_one_file_for_two_videos(folder):
    touch(folder / "cam.mp4")
    links = link_files(["/old/day1/cam.mp4", "/old/day2/cam.mp4", "/old/other.mp4"], folder)
    assert [link.path for link in links] == [None] * 3
    assert links[0].problem == links[1].problem
    assert links[0].problem.startswith("/old/day1/cam.mp4 and /old/day2/cam.mp4: ")
    assert "put each beside the SLEAP file under the end of its own path (day1/cam.mp4 and " in (
        links[0].problem
    )
    assert not links[2].problem


def test_the_better_match_keeps_its_file(folder):
    touch(folder / "day1" / "cam.mp4")
    assert find(folder, "/old/day2/cam.mp4", "/old/day1/cam.mp4") == [
        None,
        folder / "day1" / "cam.mp4",
    ]
    # What the first loses it may have had by a shorter end.
    touch(folder / "cam.mp4")
    assert find(folder, "/old/day2/cam.mp4", "/old/day1/cam.mp4") == [
        folder / "cam.mp4",
        folder / "day1" / "cam.mp4",
    ]


def test_a_file_where_it_was_is_no_match_for_another(folder):
    was = folder / "cam.mp4"
    touch(was)
    assert find(folder, "/old/day2/cam.mp4", was) == [None, was]


def test_three_of_one_name(folder):
    touch(folder / "cam.mp4", folder / "1" / "cam.mp4")
    links = link_files([f"/old/{n}/cam.mp4" for n in (1, 2, 3)], folder)
    assert [link.path for link in links] == [folder / "1" / "cam.mp4", None, None]
    assert "/old/2/cam.mp4 and /old/3/cam.mp4" in links[1].problem


@pytest.mark.parametrize("make", [os.symlink, os.link])
def test_links_to_one_file_are_one_file(folder, make):
    touch(folder / "a.mp4")
    make(folder / "a.mp4", folder / "b.mp4")
    links = link_files(["/old/a.mp4", "/old/b.mp4"], folder)
    assert [link.path for link in links] == [None, None]
    assert "/old/a.mp4 and /old/b.mp4" in links[0].problem


def test_the_same_video_twice(folder):
    touch(folder / "a.mp4")
    links = link_files([str(folder / "a.mp4")] * 2, folder)
    assert [link.path for link in links] == [None, None]
    assert "occurs 2 times" in links[0].problem
    assert "merge these videos in SLEAP" in links[0].problem


def test_images_of_two_lists(folder):
    touch(folder / "1.png", folder / "b" / "2.png")
    recorded = ["/old/a/1.png", "/old/a/2.png", "/old/b/1.png", "/old/b/2.png"]
    links = link_files(recorded, folder)
    assert [link.path for link in links] == [None, None, None, folder / "b" / "2.png"]
    assert "/old/a/1.png and /old/b/1.png" in links[0].problem


@pytest.mark.parametrize(
    "recorded",
    ["../a.mp4", "/old/../a.mp4", "x/../../a.mp4", "..\\a.mp4", "C:\\x\\..\\..\\a.mp4", "~/a.mp4"],
)
def test_paths_do_not_lead_out_of_the_folder(folder, recorded):
    touch(folder.parent / "a.mp4")
    assert find(folder, recorded) == [None]
    touch(folder / "a.mp4")
    assert find(folder, recorded) == [folder / "a.mp4"]


@pytest.mark.parametrize(
    "name", ["passwd", "id_rsa", "notes.txt", "x.mp4.txt", "a.pickle", "..", ""]
)
def test_only_videos_and_images_are_looked_for(folder, tmp_path, name):
    if name not in ("", ".."):
        touch(tmp_path / name, folder / name)
    links = link_files([f"{tmp_path}/{name}", name], folder)
    assert [link.path for link in links] == [None, None]
    assert all("is no name of a video or an image" in link.problem for link in links)


@pytest.mark.parametrize(
    "name", ["a\0b.mp4", "x" * 300 + ".mp4", "loop.mp4", "fifo.mp4", "folder.mp4"]
)
def test_names_that_are_no_files(folder, name):
    (folder / "loop.mp4").symlink_to(folder / "loop.mp4")
    os.mkfifo(folder / "fifo.mp4")
    (folder / "folder.mp4").mkdir()
    assert find(folder, f"{folder}/{name}", f"/x/{name}") == [None, None]


def test_many_images(folder):
    recorded = [f"/old/{n}.png" for n in range(2000)]
    touch(*(folder / Path(one).name for one in recorded))
    assert find(folder, *recorded) == [folder / Path(one).name for one in recorded]
