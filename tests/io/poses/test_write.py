"""Test writing pose files: whole or not at all, the same bytes by every way, few files."""

import hashlib
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pipeline_lib.io.poses.format as subject
from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.tables import FrameStatus, TrackStatus
from pipeline_lib.io.poses.read import read_poses, read_times
from pipeline_lib.io.poses.write import copy_poses, create_poses, write_poses
from tests.io.poses.pose_examples import ATTRIBUTES, assert_same, make_poses, make_tracked

SUFFIXES = (".zarr", ".zarr.zip")


def list_files(folder):
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


@settings(max_examples=25, deadline=None)
@given(data=st.data(), frames=st.integers(1, 40), suffix=st.sampled_from(SUFFIXES))
def test_blocks_of_any_length_make_the_same_file(data, frames, suffix):
    poses = make_tracked(frames)
    cuts = data.draw(st.lists(st.integers(0, frames), max_size=5).map(sorted))
    # Two frames a chunk and four a shard, so that forty frames need several of both.
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(subject, "_CHUNK_BYTES", 4 * 16)
        patch.setattr(subject, "_CHUNKS_PER_SHARD", 2)
        path = Path(folder, f"v{suffix}")
        with create_poses(
            path,
            poses.time,
            poses.bodyparts,
            poses.individuals,
            poses.attributes,
            tracked=True,
            identities=poses.attributes["identities"],
        ) as writer:
            arrays = (poses.position, poses.confidence, poses.frame_status, poses.track_status)
            for start, stop in zip([0, *cuts], [*cuts, frames], strict=True):
                blocks = (values[start:stop] for values in (*arrays, poses.identity))
                writer.write(start, *blocks)
        assert_same(read_poses(path), poses)
        start, stop = sorted(data.draw(st.tuples(*[st.integers(0, frames)] * 2)))
        np.testing.assert_array_equal(
            read_poses(path, start, stop).position, poses.position[start:stop]
        )
        np.testing.assert_array_equal(read_times(path), poses.time)


def test_constant_chunks_have_no_file(tmp_path):
    write_poses(tmp_path / "v.zarr", make_poses(300))
    assert list_files(tmp_path / "v.zarr") == [
        "confidence/c.0.0.0",
        "keypoint/c.0",
        "position/c.0.0.0.0",
        "space/c.0",
        "time/c.0",
        "zarr.json",
    ]
    full = make_poses(300, individuals=("a", "b"))
    full.frame_status[7] = FrameStatus.UNDECODABLE
    write_poses(tmp_path / "full.zarr", full)
    assert len(list_files(tmp_path / "full.zarr")) == 8
    assert_same(read_poses(tmp_path / "full.zarr"), full)
    write_poses(tmp_path / "full.zarr.zip", full)
    assert (tmp_path / "full.zarr.zip").is_file()


def test_files_of_one_animal_are_what_they_were_before_there_were_several(tmp_path):
    """Compare with recorded bytes, since runs from before several animals are not repeated."""
    write_poses(tmp_path / "v.zarr", make_poses(30))
    metadata = (tmp_path / "v.zarr" / "zarr.json").read_bytes()
    assert hashlib.sha256(metadata).hexdigest() == (
        "c9bc3dbfa2c2451580b9ba6abeb89f1987ab099e4501bab7e052e82465a4f457"
    )


def test_tracks_and_identities_add_three_files_at_most(tmp_path):
    several = {"keypoint/c.0", "individual/c.0", "space/c.0", "time/c.0", "zarr.json"}
    several |= {"position/c.0.0.0.0", "confidence/c.0.0.0"}
    write_poses(tmp_path / "v.zarr", make_tracked(30))
    assert set(list_files(tmp_path / "v.zarr")) - several == {
        "track_status/c.0.0",
        "identity_confidence/c.0.0.0",
        "identity/c.0",
    }
    # Followed throughout, like nobody, who is compared with one.
    same = make_tracked(
        30,
        identities=("ann",),
        track_status=np.full((30, 2), TrackStatus.FOLLOWED, np.uint8),
        identity=np.full((30, 2, 1), np.nan, np.float32),
    )
    write_poses(tmp_path / "same.zarr", same)
    assert set(list_files(tmp_path / "same.zarr")) == several
    assert_same(read_poses(tmp_path / "same.zarr"), same)


def test_a_copy_has_tracks_and_identities(tmp_path):
    write_poses(tmp_path / "v1.zarr", make_tracked())
    copy_poses(tmp_path / "v1.zarr", tmp_path / "v2.zarr", {"video": "v2"})
    expected = make_tracked()
    expected.attributes["video"] = "v2"
    assert_same(read_poses(tmp_path / "v2.zarr"), expected)


def test_identities_name_themselves_in_the_attributes(tmp_path):
    poses = make_tracked()
    path, axes = tmp_path / "v.zarr", (poses.time, poses.bodyparts, poses.individuals)
    with create_poses(path, *axes, {"fps": 5.0}, identities=("ann", "bob", "cy")) as writer:
        arrays = (poses.position, poses.confidence, poses.frame_status)
        writer.write(0, *arrays, identity=poses.identity)
    found = read_poses(path)
    assert found.attributes == {"fps": 5.0, "identities": ["ann", "bob", "cy"]}
    assert found.track_status is None
    np.testing.assert_array_equal(found.identity, poses.identity)
    others = {"identities": ["dan"]}
    with (
        pytest.raises(ValueError, match=r"`identities` is \['dan'\], expected \['ann'\]"),
        create_poses(path, *axes, others, identities=("ann",)),
    ):
        pass


@pytest.mark.parametrize(
    ("tracked", "identities", "given"),
    [
        (True, (), {}),
        (False, (), {"track_status": make_tracked(2).track_status}),
        (False, ("ann",), {}),
        (True, ("ann", "bob"), {"track_status": make_tracked(2).track_status}),
    ],
)
def test_blocks_bring_what_the_file_was_created_for(tmp_path, tracked, identities, given):
    poses = make_tracked(2)

    def write_block():
        axes = (poses.time, poses.bodyparts, poses.individuals)
        named = {"tracked": tracked, "identities": identities}
        with create_poses(tmp_path / "v.zarr", *axes, {}, **named) as writer:
            writer.write(0, poses.position, poses.confidence, poses.frame_status, **given)

    with pytest.raises(ValueError, match=r"block has position, confidence, frame_status.*expected"):
        write_block()
    assert list(tmp_path.iterdir()) == []


def test_long_videos_are_cut_into_chunks_inside_of_shards():
    # Two keypoints: 16 bytes a frame, 65536 frames a chunk; 27 hours at 30 frames per second.
    assert subject.choose_chunks(2_900_000, 4) == (65536, 45 * 65536)
    # 150 points: 873 frames are 2**20 bytes, cut to 512; 64 chunks make a shard.
    assert subject.choose_chunks(2_900_000, 300) == (512, 64 * 512)
    assert subject.choose_chunks(0, 0) == (1, 1)


def test_an_hour_is_one_file_for_each_array(tmp_path):
    frames, bodyparts = 60 * 60 * 30, tuple("abcdefghijkl")
    attributes = {"key": "k"}
    with create_poses(
        tmp_path / "v.zarr", np.arange(frames) / 30, bodyparts, "i", attributes
    ) as writer:
        for start in range(0, frames, 20_000):
            count = min(20_000, frames - start)
            writer.write(
                start,
                np.full((count, 1, 12, 2), start, np.float32),
                np.full((count, 1, 12), 0.5, np.float32),
                np.full(count, start == 0, np.uint8),
            )
    assert len(list_files(tmp_path / "v.zarr")) == 7
    # 60,000 lies in the chunk of frames 57,344 to 65,535.
    found = read_poses(tmp_path / "v.zarr", 59_999, 60_001)
    assert found.position[:, 0, 0, 0].tolist() == [40_000, 60_000]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_same_poses_make_the_same_bytes(tmp_path, suffix, monkeypatch):
    paths = [tmp_path / f"{name}{suffix}" for name in "ab"]
    for path, now in zip(paths, (1e9, 1.5e9), strict=True):
        monkeypatch.setattr("time.time", lambda now=now: now)
        write_poses(path, make_poses(30))
    if suffix == ".zarr":
        first, second = paths
        paths = [first / "zarr.json", second / "zarr.json"]
        assert list_files(first) == list_files(second)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_copy_has_the_bytes_of_what_is_written_under_its_name(tmp_path):
    write_poses(tmp_path / "v1.zarr", make_poses())
    copy_poses(tmp_path / "v1.zarr", tmp_path / "v2.zarr", {"video": "v2"})
    write_poses(tmp_path / "w.zarr", make_poses(attributes={**ATTRIBUTES, "video": "v2"}))
    assert list_files(tmp_path / "v2.zarr") == list_files(tmp_path / "w.zarr")
    for name in list_files(tmp_path / "w.zarr"):
        assert (tmp_path / "v2.zarr" / name).read_bytes() == (
            tmp_path / "w.zarr" / name
        ).read_bytes()


def test_nothing_is_published_when_the_block_raises(tmp_path):
    path = tmp_path / "v.zarr"
    write_poses(path, make_poses(3))
    with pytest.raises(RuntimeError, match="lost"), create_poses(path, np.zeros(9), "a", "b", {}):
        raise RuntimeError("lost")
    assert_same(read_poses(path), make_poses(3))
    assert [entry.name for entry in tmp_path.iterdir()] == ["v.zarr"]


def test_nothing_is_published_when_frames_are_missing(tmp_path):
    path, poses = tmp_path / "v.zarr", make_poses(3)

    def write_three_of_four():
        with create_poses(path, np.zeros(4), poses.bodyparts, poses.individuals, {}) as writer:
            writer.write(0, poses.position, poses.confidence, poses.frame_status)

    with pytest.raises(StoreError, match="3 of 4 frames"):
        write_three_of_four()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("start", "frames", "bodyparts", "message"),
    [
        (1, 2, "ab", "block starts at frame 1, expected 0"),
        (0, 3, "ab", "block ends at frame 3 of a video of 2"),
        (0, 2, "abc", r"position has shape \(2, 1, 3, 2\), expected \(2, 1, 2, 2\)"),
    ],
)
def test_blocks_must_follow_each_other_and_fit(tmp_path, start, frames, bodyparts, message):
    block = make_poses(frames, bodyparts, "c")
    path, expected = tmp_path / "v.zarr", make_poses(2, "ab", "c")
    with create_poses(path, expected.time, "ab", "c", ATTRIBUTES) as writer:
        with pytest.raises(ValueError, match=message):
            writer.write(start, block.position, block.confidence, block.frame_status)
        # A block that was refused leaves no trace.
        writer.write(0, expected.position, expected.confidence, expected.frame_status)
    assert_same(read_poses(path), expected)


def test_attributes_cannot_pose_as_the_format(tmp_path):
    with pytest.raises(ValueError, match="units are reserved"):
        write_poses(tmp_path / "v.zarr", make_poses(attributes={"units": "mm"}))
