"""Test what an encoder says of frames: embeddings, and peaks beyond the number of animals."""

import numpy as np
import pytest
import torch

from pipeline_lib.core.errors import ModelError
from pipeline_lib.core.layout import ModelFiles
from pipeline_lib.models.inference.encoder import FrameEncoder
from tests.models.synthetic import BODYPARTS, write_tiny_model


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    files = ModelFiles(tmp_path_factory.mktemp("model"))
    write_tiny_model(files)
    return FrameEncoder(files)


def draw_frames(count, size=(60, 90)):
    random = np.random.default_rng(3)
    return list(random.integers(0, 255, (count, *size, 3), dtype=np.uint8))


def test_what_is_said_of_a_frame_depends_on_it_alone(encoder):
    frames = draw_frames(5)
    together = encoder.encode(frames)
    for frame, one in zip(frames, together, strict=True):
        (alone,) = encoder.encode([frame])
        np.testing.assert_array_equal(alone.embedding, one.embedding)
        np.testing.assert_array_equal(alone.surplus, one.surplus)
    assert {one.embedding.shape for one in together} == {together[0].embedding.shape}
    assert together[0].surplus.shape == (len(BODYPARTS),)
    assert np.linalg.norm(together[0].embedding - together[1].embedding) > 1e-3
    assert encoder.encode([]) == []


def test_frames_of_all_sizes_have_embeddings_of_one_length(encoder):
    small, large = (encoder.encode(draw_frames(1, size))[0] for size in ((40, 40), (130, 70)))
    assert small.embedding.shape == large.embedding.shape
    assert np.isfinite(small.embedding).all()


def draw_map(*peaks):
    rows, columns = np.mgrid[:24, :24]
    score = np.zeros((24, 24), np.float32)
    for row, column, height in peaks:
        gap = (rows - row) ** 2 + (columns - column) ** 2
        score = np.maximum(score, height * np.exp(-gap / 3))
    return score


def test_the_surplus_peak_is_the_best_one_beyond_the_number_of_animals(encoder):
    maps = [draw_map((5, 5, 0.9), (15, 15, 0.6), (5, 18, 0.3)), draw_map((5, 5, 0.9))]
    # A shoulder of the same peak is none of its own.
    maps.append(draw_map((5, 5, 0.9), (7, 5, 0.8)))
    maps = np.stack([*maps, *(maps[:1] * len(BODYPARTS))][: len(BODYPARTS)]).astype(np.float32)
    found = encoder._measure_surplus(torch.from_numpy(maps))
    expected = [0.6, 0.0, 0.0, *([0.6] * len(BODYPARTS))][: len(BODYPARTS)]
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize("name", ["weights", "card"])
def test_a_network_that_is_not_there_is_an_error(tmp_path, name):
    files = ModelFiles(tmp_path)
    write_tiny_model(files)
    getattr(files, name).unlink()
    with pytest.raises(ModelError):
        FrameEncoder(files)
