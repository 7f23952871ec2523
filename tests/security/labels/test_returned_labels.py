"""Labels that come back from strangers: LEAP's files, other videos of the same name, odd times."""

import fcntl
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import sleap_io
from scipy.io import savemat

from pipeline_lib.core.errors import LabelError
from pipeline_lib.io.corrections import tracks
from pipeline_lib.io.corrections.files import lock_folder, parse_time
from pipeline_lib.io.corrections.labels import read_label_corrections
from pipeline_lib.io.corrections.tracks import hash_tables
from pipeline_lib.io.labels import leap
from pipeline_lib.io.stage_tables import write_table
from pipeline_lib.label.frame_list import _list_refined
from tests.io.corrections.test_labels import correct
from tests.security.labels.test_label_projects import annotate, run  # noqa: F401 - a fixture


def write_leap(path, **more):
    pytest.importorskip("pymatreader")
    skeleton = {"nodes": np.array(["a", "b"], dtype=object), "edges": np.array([[1, 2]])}
    values = {"skeleton": skeleton, "positions": np.ones((2, 2, 3)), **more}
    savemat(path, values, do_compression=True)
    return path


def test_the_video_beside_a_leap_file_is_not_opened(tmp_path):
    path = write_leap(tmp_path / "labels.mat")
    os.mkfifo(path.with_suffix(".mp4"))  # opening it would wait for ever
    assert len(leap.open_leap_file(path).frames) == 3


def test_a_second_path_of_a_leap_video_is_checked_too(tmp_path):
    path = write_leap(tmp_path / "labels.mat", boxPath="v.mp4")
    other = write_leap(tmp_path / "other.mat", boxPath="http://127.0.0.1:9/x.mp4")
    path.write_bytes(path.read_bytes() + other.read_bytes()[128:])
    with pytest.raises(LabelError, match="expected the path of a video"):
        leap.open_leap_file(path)


def test_a_leap_file_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(leap, "_MOST_UNPACKED", 2**20)
    path = write_leap(tmp_path / "labels.mat", box=np.zeros(2**22, np.uint8))
    with pytest.raises(LabelError, match="unpacks to more than 1 MiB"):
        leap.open_leap_file(path)


def write_slp(path, videos):
    skeleton = sleap_io.Skeleton(["nose", "ear", "tail"])
    frames = []
    for frame, name in enumerate(videos, 9):
        points = np.array([(3.0, 4), (5, 6), (7, 8)])
        frames.append(
            sleap_io.LabeledFrame(
                video=sleap_io.Video(name, open_backend=False),
                frame_idx=frame,
                instances=[sleap_io.Instance.from_numpy(points, skeleton=skeleton)],
            )
        )
    sleap_io.Labels(frames).save(str(path), verbose=False)
    return path


@pytest.mark.parametrize("first", ["day1", "day2"])
def test_two_videos_of_one_name_are_not_taken_for_one(run, first):  # noqa: F811
    (run.folder / "cohort.tsv").write_text("video\tpath\nday1-cam\tday1/cam.mp4\n")
    run.write_plan(("day1-cam",))
    path = write_slp(run.folder / "x.slp", [f"/lab/{first}/cam.mp4", "/lab/day3/cam.mp4"])
    with pytest.raises(LabelError, match="would both be video day1-cam"):
        run.merge(path)
    assert not (run.folder / "corrections").exists()


def test_one_video_of_two_computers_is_one(run):  # noqa: F811
    names = ["/lab/day1/cam.mp4", "C:\\data\\day1\\cam.mp4"]
    assert run.merge(write_slp(run.folder / "x.slp", names)).corrected == 2


@pytest.mark.parametrize(
    "time",
    ["9999-12-31T23:59:59.9999-05:00", "0001-01-01T00:00:00+05:00", "2999-01-01T00:00:00Z"],
)
def test_no_time_of_a_file_is_later_than_now(run, time):  # noqa: F811
    path = annotate(run.hand_over("label-studio"), completed_by="Eve", updated_at=time)
    run.merge(path)
    (found,) = read_label_corrections(Path("corrections"))
    assert abs(found.time - datetime.now(UTC)) < timedelta(minutes=10)


def test_a_time_at_the_end_of_the_calendar_is_refused():
    with pytest.raises(ValueError, match="expected a year"):
        parse_time("9999-12-31T23:59:59.999999Z")
    with pytest.raises(LabelError, match="expected a year"):
        correct(time=datetime.max.replace(tzinfo=UTC))


def test_a_huge_table_of_decisions_is_not_hashed(tmp_path, monkeypatch):
    path = tmp_path / "Ann" / "m1.tsv"
    path.parent.mkdir()
    with path.open("wb") as file:
        file.truncate(tracks.MOST_BYTES + 1)
    monkeypatch.setattr(Path, "read_bytes", None)
    assert hash_tables([path])


def test_a_lock_that_somebody_else_made_can_be_taken(tmp_path, monkeypatch):
    lock, plain = tmp_path / ".lock", os.open
    lock.touch()

    def refuse_writing(path, flags, *mode):
        # As for everybody but root, where the mode is 0644.
        if path == lock and flags & os.O_RDWR:
            raise PermissionError(13, "Permission denied")
        return plain(path, flags, *mode)

    monkeypatch.setattr(os, "open", refuse_writing)
    with lock_folder(tmp_path, tmp_path):
        other = plain(lock, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(other)


def test_a_number_without_end_is_no_frame(tmp_path):
    rows = [{"video": "m1", "frame": frame, "reason": ""} for frame in ("9" * 5000, "7")]
    write_table(tmp_path / "refined.tsv", ("video", "frame", "reason"), rows)
    assert [key.frame for key, _ in _list_refined(tmp_path / "refined.tsv")] == [7]
