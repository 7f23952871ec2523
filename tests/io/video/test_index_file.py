"""Test that an index is read unchanged from its file, or not at all."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline_lib.core.errors import StoreError
from pipeline_lib.io.video.index_file import read_index, write_index
from pipeline_lib.io.video.reader import VideoFacts, VideoIndex, VideoReader
from tests.video_corpus import RECIPES, damage_packet

_FIELDS = [field.name for field in dataclasses.fields(VideoIndex)]
_OTHERS = ("strict", "damage", "doubt")
_ARRAYS = [name for name in _FIELDS[1:] if name not in _OTHERS]
_IN_ONE_FOLDER = [HealthCheck.function_scoped_fixture]


@st.composite
def make_index(draw):
    frames, hidden, keyframes, breaks = (draw(st.integers(0, 6)) for _ in range(4))
    lengths = {"shown": frames + hidden, "offsets": frames + hidden}
    lengths |= dict.fromkeys(("times", "order", "misplaced"), frames)
    lengths |= dict.fromkeys(("keyframes", "keyframe_pts", "clean"), keyframes)
    lengths |= {"breaks": breaks, "corrupt": breaks + 1}
    types = {"times": np.float64, "offsets": np.int64, "keyframe_pts": np.int64}
    types |= {"clean": np.bool_, "misplaced": np.bool_}
    facts = VideoFacts(
        frames=frames,
        fps=draw(st.floats()),
        width=draw(st.integers(1, 10_000)),
        height=draw(st.integers(1, 10_000)),
        duration=draw(st.floats(0)),
        codec=draw(st.text()),
        pixel_format=draw(st.text()),
        variable_frame_rate=draw(st.booleans()),
    )
    contents = {
        name: draw(arrays(types.get(name, np.int32), length)) for name, length in lengths.items()
    }
    said = {"damage": draw(st.text()), "doubt": draw(st.text())}
    return VideoIndex(facts, **contents, strict=draw(st.booleans()), **said)


def assert_same(found: VideoIndex, expected: VideoIndex) -> None:
    # NaN is no frame rate, and unequal to itself.
    assert repr(found.facts) == repr(expected.facts)
    for name in _OTHERS:
        assert getattr(found, name) == getattr(expected, name), name
    for name in _ARRAYS:
        ours, theirs = getattr(found, name), getattr(expected, name)
        assert ours.dtype == theirs.dtype, name
        np.testing.assert_array_equal(ours, theirs, err_msg=name)


@settings(suppress_health_check=_IN_ONE_FOLDER)
@given(index=make_index())
def test_a_written_index_is_read_back(tmp_path, index):
    write_index(tmp_path / "index.npz", index)
    assert_same(read_index(tmp_path / "index.npz"), index)
    assert [file.name for file in tmp_path.iterdir()] == ["index.npz"]


def test_a_stored_index_reads_what_the_file_holds(tmp_path):
    file, write, _ = RECIPES["h264-open-gop"]
    path = write(tmp_path / file)
    damage_packet(path, 17)
    reader = VideoReader(path)
    write_index(tmp_path / "deep" / "index.npz", reader.index)
    stored = read_index(tmp_path / "deep" / "index.npz")
    assert_same(stored, reader.index)
    pairs = list(zip(VideoReader(path, index=stored).read(), reader.read(), strict=True))
    assert len(pairs) == 60
    for (frame, image), (expected_frame, expected) in pairs:
        assert frame == expected_frame
        np.testing.assert_array_equal(image, expected)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Return the bytes of a stored index, and the index."""
    folder = tmp_path_factory.mktemp("stored")
    file, write, _ = RECIPES["edit-list"]
    index = VideoReader(write(folder / file)).index
    write_index(folder / "index.npz", index)
    return (folder / "index.npz").read_bytes(), index


@settings(max_examples=300, suppress_health_check=_IN_ONE_FOLDER)
@given(data=st.data())
def test_changed_bytes_are_found(tmp_path, stored, data):
    content, index = stored
    at = data.draw(st.integers(0, len(content) - 1))
    changed = bytearray(content)
    changed[at] ^= data.draw(st.integers(1, 255))
    path = tmp_path / "index.npz"
    path.write_bytes(changed)
    try:
        found = read_index(path)
    except StoreError as error:
        assert str(error).startswith(f"{path}: ")  # noqa: PT017 - not every byte matters
    else:
        # Dates and permissions in the container mean nothing.
        assert_same(found, index)


@pytest.mark.parametrize("keep", [0, 1, 100, -1, -30])
def test_a_shorter_file_is_damaged(tmp_path, stored, keep):
    path = tmp_path / "index.npz"
    path.write_bytes(stored[0][:keep])
    with pytest.raises(StoreError, match=r"a damaged index .*: remove it"):
        read_index(path)


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(StoreError, match=r"index\.npz: no such file"):
        read_index(tmp_path / "index.npz")


def test_arrays_that_do_not_fit_each_other_are_refused(tmp_path, stored):
    index = dataclasses.replace(stored[1], times=stored[1].times[:-1])
    write_index(tmp_path / "index.npz", index)
    with pytest.raises(StoreError, match=r"times is float64 \(59,\), expected float64 \(60,\)"):
        read_index(tmp_path / "index.npz")


def test_another_version_is_refused(tmp_path, stored):
    path = tmp_path / "index.npz"
    described = {"version": 99, "facts": dataclasses.asdict(stored[1].facts), "damage": ""}
    np.savez(path, description=np.frombuffer(json.dumps(described).encode(), np.uint8))
    with pytest.raises(StoreError, match="an index of version 99, expected 2: remove it"):
        read_index(path)
