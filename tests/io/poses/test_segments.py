"""Test that segments survive, join without gaps or repeats, and belong to one run at a time."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from pipeline_lib.core.errors import StoreError
from pipeline_lib.io.poses.segments import KeyLock, SegmentFolder, SegmentPoses, Timings


def make_segment(start, stop, timings=Timings(seconds=1.0)):  # noqa: B008 - frozen
    frames = np.arange(start, stop, dtype=np.float32)
    position = np.broadcast_to(frames[:, None, None, None], (stop - start, 1, 3, 2)).copy()
    confidence = np.broadcast_to(frames[:, None, None] / 1000, (stop - start, 1, 3)).copy()
    status = (np.arange(start, stop) % 2).astype(np.uint8)
    position[status == 1] = np.nan
    return SegmentPoses(start, position, confidence, status, timings)


def test_written_segments_are_read_back(tmp_path):
    folder = SegmentFolder(tmp_path / "key")
    written = make_segment(4, 9, Timings(2.0, 0.5, 1.25, 0.25))
    folder.write(written)
    read = folder.read(4, 9)
    np.testing.assert_array_equal(read.position, written.position)
    np.testing.assert_array_equal(read.confidence, written.confidence)
    np.testing.assert_array_equal(read.frame_status, written.frame_status)
    assert read.position.dtype == read.confidence.dtype == np.float32
    assert read.timings == Timings(2.0, 0.5, 1.25, 0.25)
    assert (read.start, read.stop) == (4, 9)


def test_a_segment_lies_on_disk_in_the_order_of_pose_files(tmp_path):
    """So that what an earlier version left, and a killed run needs, is read as it was meant."""
    numbers = np.arange(2 * 2 * 3 * 4, dtype=np.float32)
    position, confidence = numbers.reshape(2, 2, 3, 4), numbers[:24].reshape(2, 3, 4)
    folder = SegmentFolder(tmp_path / "key")
    folder.write(
        SegmentPoses(
            0,
            position.transpose(0, 3, 2, 1),
            confidence.transpose(0, 2, 1),
            np.zeros(2, np.uint8),
            Timings(),
        )
    )
    (file,) = folder.path.iterdir()
    with np.load(file) as arrays:
        np.testing.assert_array_equal(arrays["position"], position)
        np.testing.assert_array_equal(arrays["confidence"], confidence)
        assert arrays["position"].flags.c_contiguous
    read = folder.read(0, 2)
    # Frame 1, third animal, second keypoint: x is the number 24 + 4 + 2, y is 12 further.
    assert read.position[1, 2, 1].tolist() == [30.0, 42.0]
    assert read.confidence[1, 2, 1] == 18.0


def test_identities_are_kept_and_joined(tmp_path):
    folder = SegmentFolder(tmp_path / "key")
    identity = np.arange(6 * 2 * 3, dtype=np.float32).reshape(6, 2, 3)
    for start, stop in ((0, 4), (2, 6)):
        folder.write(replace(make_segment(start, stop), identity=identity[start:stop]))
    np.testing.assert_array_equal(folder.read(2, 6).identity, identity[2:6])
    joined = [one.identity for one in folder.read_joined()]
    assert [len(one) for one in joined] == [4, 2]
    np.testing.assert_array_equal(np.concatenate(joined), identity)
    folder.write(make_segment(6, 8))
    assert folder.read(6, 8).identity is None


def test_the_list_knows_finished_segments_only(tmp_path):
    folder = SegmentFolder(tmp_path / "key")
    assert folder.list_finished() == []
    folder.write(make_segment(1_000_000_000, 1_000_000_002))
    folder.write(make_segment(3, 5))
    folder.write(make_segment(0, 3))
    (folder.path / ".part-abc.npz").write_bytes(b"half")
    folder.index.write_bytes(b"")
    assert folder.list_finished() == [(0, 3), (3, 5), (1_000_000_000, 1_000_000_002)]


def test_joined_segments_have_each_frame_once(tmp_path):
    folder = SegmentFolder(tmp_path / "key")
    for start, stop in ((0, 4), (2, 6), (3, 5), (6, 9)):
        folder.write(make_segment(start, stop))
    joined = list(folder.read_joined())
    assert [(one.start, one.stop) for one in joined] == [(0, 4), (4, 6), (6, 9)]
    expected = make_segment(0, 9)
    for name in ("position", "confidence", "frame_status"):
        whole = np.concatenate([getattr(one, name) for one in joined])
        np.testing.assert_array_equal(whole, getattr(expected, name))


@pytest.mark.parametrize("damage", [lambda data: data[:-20], lambda _: b"", lambda _: b"text"])
def test_a_damaged_segment_is_removed_and_said(tmp_path, damage):
    folder = SegmentFolder(tmp_path / "key")
    folder.write(make_segment(0, 3))
    (file,) = folder.path.iterdir()
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(StoreError, match="damaged segment"):
        folder.read(0, 3)
    assert folder.list_finished() == []


def test_a_segment_of_another_length_is_refused(tmp_path):
    folder = SegmentFolder(tmp_path / "key")
    folder.write(make_segment(0, 3))
    (file,) = folder.path.iterdir()
    file.rename(folder.path / "000000000-000000004.npz")
    with pytest.raises(StoreError, match="holds frames up to 3"):
        folder.read(0, 4)
    assert folder.list_finished() == []


def test_timings_are_added():
    assert Timings(1, 2, 3, 4) + Timings(0.5, 0.25, 1, 0) == Timings(1.5, 2.25, 4, 4)


HOLD = """
import sys
from pathlib import Path
from pipeline_lib.io.poses.segments import KeyLock
lock = KeyLock(Path(sys.argv[1]))
assert lock.try_acquire()
print("held", flush=True)
sys.stdin.read()
"""


def test_one_run_holds_a_lock_until_its_process_ends(tmp_path):
    path = tmp_path / "folder" / "key.lock"
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        lock = KeyLock(path)
        assert not lock.try_acquire()
        other.kill()
    assert path.exists()
    assert lock.try_acquire()
    lock.release()
    # Not even the folder is left.
    assert not path.parent.exists()
    assert lock.try_acquire()
    lock.release()


def test_a_lock_that_was_removed_meanwhile_is_not_held(tmp_path):
    """Remove the file as its owner does: who opened it before must not believe to have the lock."""
    path = tmp_path / "key.lock"
    first, second = KeyLock(path), KeyLock(path)
    assert first.try_acquire()
    assert not second.try_acquire()
    first.release()
    assert second.try_acquire()
    assert not first.try_acquire()
    second.release()
