"""Test that predictions from a window equal those from the whole frame."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.core.errors import ModelError
from pipeline_lib.core.layout import ModelFiles
from pipeline_lib.core.settings.base import AUTO
from pipeline_lib.core.settings.network import LocatingSettings
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.models.card import ModelCard, format_card, locating_key, read_card
from pipeline_lib.models.inference.decoding import Located
from pipeline_lib.models.inference.locating.coarse_to_fine import (
    CoarseToFine,
    LookCounts,
    load_pose_predictor,
)
from pipeline_lib.models.inference.predictor import Predictor, RuntimeOptions, load_predictor
from tests.models.synthetic import write_tiny_model

SIZE = (200, 300)
SETTINGS = LocatingSettings(enabled=True, window=96, pcutoff=0.4, min_found=0.5)
ONNX = RuntimeOptions("onnx", threads=1)
CERTAIN, UNCERTAIN = np.float32(0.9), np.float32(0.1)


class FindsLight:
    """Simulate a network: bodypart k is where colour k is bright; record the sizes of frames."""

    name = "light"

    def __init__(self):
        self.sizes = []

    def locate(self, frames):
        self.sizes += [frame.shape[:2] for frame in frames]
        position = np.zeros((len(frames), 3, 2), np.float32)
        confidence = np.full((len(frames), 3), UNCERTAIN)
        for number, frame in enumerate(frames.astype(float)):
            for channel in range(3):
                light = np.where(frame[..., channel] > 5, frame[..., channel], 0.0)
                if light.any():
                    rows, columns = np.nonzero(light)
                    weights = light[rows, columns]
                    position[number, channel] = np.average([columns, rows], 1, weights)
                    confidence[number, channel] = CERTAIN
        return Located(position[:, None], confidence[:, None])


class Tells:
    """Simulate a locator: its result is given by the first pixel of each frame."""

    def __init__(self, answers):
        self.answers = np.array(answers, np.float32)
        self.asked = 0

    def predict(self, frames):
        self.asked += len(frames)
        told = self.answers[[frame[0, 0, 0] for frame in frames]]
        return Located(told[:, None, :, :2], told[:, None, :, 2])


def make_card(scale=1.0):
    return ModelCard.model_construct(
        name="pose", scale=scale, stride=8, skeleton=Skeleton(bodyparts=("red", "green", "blue"))
    )


def draw(*points, side=1, size=SIZE):
    """Draw a square of each colour around (x, y), on black."""
    frame = np.zeros((*size, 3), np.uint8)
    for channel, (x, y) in enumerate(points):
        frame[y : y + side, x : x + side, channel] = 240
    return frame


def build(answers, scale=1.0, settings=SETTINGS):
    """Return a predictor, its locator and its network's runtime."""
    locator, runtime = Tells(answers), FindsLight()
    network = Predictor(make_card(scale), runtime)
    return CoarseToFine(locator, network, settings), locator, runtime


def near(*points, confidence=0.8, off=3.0):
    """Return positions of a locator with an error of some px."""
    return [(x + off, y - off, confidence) for x, y in points]


ANIMAL = ((140, 90), (160, 110), (150, 100))

inner_x, inner_y = st.integers(0, SIZE[1] - 40), st.integers(0, SIZE[0] - 40)
inside = st.tuples(st.integers(0, 39), st.integers(0, 39))


@given(inner_x, inner_y, st.lists(inside, min_size=3, max_size=3), st.floats(-7, 7))
def test_positions_do_not_depend_on_where_the_window_lies(x, y, points, off):
    animal = [(x + dx, y + dy) for dx, dy in points]
    # The locator's frame is told by the first pixel: keep it dark.
    if (0, 0) in animal:
        return
    predictor, _, runtime = build([near(*animal, off=off)])
    position, confidence, *_ = predictor.predict([draw(*animal)])
    assert position.dtype == confidence.dtype == np.float32
    assert position.shape == (1, 1, 3, 2)
    np.testing.assert_array_equal(position[0, 0], animal)
    assert (confidence == CERTAIN).all()
    assert runtime.sizes == [(96, 96)]
    assert predictor.counts == LookCounts(frames=1)


@pytest.mark.parametrize("corner", [(100, 60), (101, 61), (102, 63), (103, 60)])
def test_windows_of_a_network_that_shrinks_frames(corner):
    """Use 96 network px, 384 frame px at a scale of 1/4; shrinking keeps the centroid."""
    x, y = corner
    animal = ((x + 40, y + 30), (x + 60, y + 55), (x + 50, y + 33))
    frame = draw(*animal, side=8, size=(400, 600))
    predictor, _, runtime = build([near(*animal)], scale=0.25)
    position, *_ = predictor.predict([frame])
    # The middle of 8 px is 3.5 px from the first.
    np.testing.assert_allclose(position[0, 0], np.array(animal) + 3.5, atol=0.05)
    assert runtime.sizes == [(96, 96)]
    # The whole frame says the same.
    plain = Predictor(make_card(0.25), FindsLight()).predict([frame])[0]
    np.testing.assert_allclose(position, plain, atol=0.05)


@pytest.mark.parametrize(
    ("told", "counts"),
    [
        # One of three bodyparts: fewer than half.
        ([*near(ANIMAL[0]), (0, 0, 0.3), (0, 0, 0.3)], LookCounts(1, not_found=1)),
        # Two are enough, wherever the third is thought to be.
        ([*near(*ANIMAL[:2]), (9, 9, 0.3)], LookCounts(1)),
        # Too far apart for a window.
        (near((20, 20), (160, 110), (150, 100)), LookCounts(1, not_found=1)),
        # Wrong by so much that the window holds no animal.
        (near((40, 30), (60, 50), (50, 40)), LookCounts(1, cut=1)),
        # Two bodyparts inside of the window, at its border, and one beyond it.
        (near((90, 70), (112, 80), (100, 75)), LookCounts(1, cut=1)),
    ],
)
def test_the_whole_frame_is_looked_at_when_in_doubt(told, counts):
    predictor, _, runtime = build([told])
    position, confidence, *_ = predictor.predict([draw(*ANIMAL)])
    np.testing.assert_array_equal(position[0, 0], ANIMAL)
    assert (confidence == CERTAIN).all()
    assert predictor.counts == counts
    whole = [(224, 320)]  # padded to multiples of 32
    assert runtime.sizes[-1:] == (whole if counts.not_found or counts.cut else [(96, 96)])
    assert len(runtime.sizes) == 1 + counts.cut


def test_a_bodypart_at_the_border_of_the_window_is_doubted():
    """Find all in the window, one of them in its outermost cells."""
    animal = ((140, 90), (160, 110), (174, 100))
    told = near((140, 90), (115, 110), off=0.0)
    # Box from 115 to 140: the window from 80 to 175.
    predictor, _, runtime = build([[*told, (0, 0, 0.1)]])
    predictor.predict([draw(*animal)])
    assert predictor.counts == LookCounts(1, cut=1)
    assert runtime.sizes == [(96, 96), (224, 320)]


def test_a_bodypart_that_neither_sees_is_not_looked_for_again():
    """Hide the blue one."""
    predictor, _, runtime = build([[*near(*ANIMAL[:2]), (5, 5, 0.2)]])
    _, confidence, *_ = predictor.predict([draw(*ANIMAL[:2])])
    assert confidence[0, 0].tolist() == [CERTAIN, CERTAIN, UNCERTAIN]
    assert runtime.sizes == [(96, 96)]


def test_frames_of_every_kind_in_one_call():
    """Predict found, not found, cut and found frames: each result is as if it were alone."""
    other = ((30, 40), (50, 60), (40, 50))
    answers = [
        near(*ANIMAL),
        [(0, 0, 0.0)] * 3,
        near((40, 30), (60, 50), (50, 40)),
        near(*other),
    ]
    frames = [draw(*ANIMAL), draw(*other), draw(*ANIMAL), draw(*other)]
    for number, frame in enumerate(frames):
        frame[0, 0] = 0
        frame[0, 0, 0] = number
    dark = build(answers)[0]
    position, confidence, *_ = dark.predict(frames)
    assert dark.counts == LookCounts(4, not_found=1, cut=1)
    for number, frame in enumerate(frames):
        alone = build(answers)[0].predict([frame])
        np.testing.assert_array_equal(position[number], alone[0][0])
        np.testing.assert_array_equal(confidence[number], alone[1][0])
    np.testing.assert_array_equal(position[0, 0], ANIMAL)
    np.testing.assert_array_equal(position[3, 0], other)


def test_small_frames_are_looked_at_as_they_are():
    predictor, locator, runtime = build([near(*ANIMAL)])
    position, *_ = predictor.predict([draw((10, 20), (30, 40), (50, 60), size=(90, 80))])
    assert position[0, 0].tolist() == [[10, 20], [30, 40], [50, 60]]
    assert locator.asked == 0
    assert runtime.sizes == [(96, 96)]
    # Only one side is smaller than the window.
    wide = ((200, 20), (220, 40), (210, 30))
    predictor, locator, runtime = build([near(*wide)])
    position, *_ = predictor.predict([draw(*wide, size=(90, 400))])
    assert position[0, 0].tolist() == [list(point) for point in wide]
    assert (locator.asked, runtime.sizes) == (1, [(96, 96)])


def test_no_frames_are_no_poses():
    position, confidence, *_ = build([near(*ANIMAL)])[0].predict([])
    assert (position.shape, confidence.shape) == ((0, 1, 3, 2), (0, 1, 3))


@pytest.mark.parametrize(
    ("size", "windows"),
    [
        # Of 192 x 192 px the locator sees a quarter, at half the size; a window is another one.
        ((192, 192), True),
        ((191, 192), False),
        ((480, 640), True),
        ((90, 90), False),
    ],
)
def test_auto_looks_at_windows_where_they_are_at_most_half_of_the_pixels(size, windows):
    settings = SETTINGS.model_copy(update={"enabled": AUTO})
    predictor, locator, runtime = build([near((40, 40), (50, 45), (45, 50))], settings=settings)
    locator.card = make_card(0.5)
    predictor.predict([draw((40, 40), (50, 45), (45, 50), size=size)])
    assert predictor.uses_windows(size) == windows
    # Frames are padded to multiples of 32.
    padded = tuple(-(-side // 32) * 32 for side in size)
    assert runtime.sizes == [(96, 96) if windows else padded]
    assert locator.asked == (1 if windows else 0)


def test_callers_in_several_threads_are_all_counted():
    predictor = build([near(*ANIMAL)])[0]
    frame = draw(*ANIMAL)
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(predictor.predict, [[frame] * 3] * 40))
    for position, *_ in results:
        np.testing.assert_array_equal(position[2, 0], ANIMAL)
    assert predictor.counts == LookCounts(120)


@pytest.fixture
def files(tmp_path):
    """Write an untrained network and its locator."""
    files = ModelFiles(tmp_path / "pose")
    write_tiny_model(files, seed=1, key="network")
    write_tiny_model(files.locator, seed=2, scale=0.25, key="locator")
    return files


def test_the_settings_choose_the_networks(files):
    plain = load_pose_predictor(files, ONNX, LocatingSettings())
    assert isinstance(plain, Predictor)
    predictor = load_pose_predictor(files, ONNX, SETTINGS)
    assert isinstance(predictor, CoarseToFine)
    auto = load_pose_predictor(files, ONNX, SETTINGS.model_copy(update={"enabled": AUTO}))
    assert isinstance(auto, CoarseToFine)
    assert predictor.card == plain.card == read_card(files.card)
    # Untrained networks find no animal: what remains is the network on whole frames.
    frames = list(np.random.default_rng(0).integers(0, 255, (2, 128, 160, 3), np.uint8))
    sure = SETTINGS.model_copy(update={"pcutoff": 1.0})
    never = load_pose_predictor(files, ONNX, sure)
    for ours, theirs in zip(never.predict(frames)[:2], plain.predict(frames)[:2], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert never.counts == LookCounts(2, not_found=2)


@pytest.mark.parametrize(("batch", "sizes"), [(None, [1, 1]), (4, [4, 4]), (32, [32, 32, 4])])
def test_few_whole_frames_do_not_fill_a_large_batch(files, monkeypatch, batch, sizes):
    loaded = []

    def load(*arguments):
        loaded.append(load_predictor(*arguments))
        return loaded[-1]

    monkeypatch.setattr(
        "pipeline_lib.models.inference.locating.coarse_to_fine.load_predictor", load
    )
    sure = SETTINGS.model_copy(update={"pcutoff": 1.0})
    predictor = load_pose_predictor(files, replace(ONNX, batch_size=batch), sure)
    assert [one.batch_size for one in loaded] == sizes
    frames = list(np.random.default_rng(0).integers(0, 255, (2, 128, 160, 3), np.uint8))
    position, *_ = predictor.predict(frames)
    # It is the network, not its locator.
    np.testing.assert_allclose(position, load_predictor(files, ONNX).predict(frames)[0], atol=1e-3)


def test_a_missing_locator_says_what_to_run(tmp_path):
    files = ModelFiles(tmp_path / "pose")
    write_tiny_model(files)
    for ask in (
        lambda: load_pose_predictor(files, ONNX, SETTINGS),
        lambda: locating_key(files, SETTINGS),
    ):
        with pytest.raises(ModelError, match="run `cohortpose make-targets --locator` and"):
            ask()


def test_a_locator_of_other_bodyparts_is_refused(files):
    card = read_card(files.locator.card)
    other = card.model_copy(update={"skeleton": Skeleton(bodyparts=("red", "green", "tail"))})
    files.locator.card.write_text(format_card(other))
    with pytest.raises(ModelError, match=r"locates red, green, tail; .* locates red, green, blue"):
        load_pose_predictor(files, ONNX, SETTINGS)


def test_the_key_is_of_what_poses_depend_on(files):
    def key(**settings):
        return locating_key(files, SETTINGS.model_copy(update=settings))

    plain = key()
    assert key(enabled=False) == key(enabled=False, window=64) == ""
    assert len({plain, key(window=64), key(pcutoff=0.5), key(min_found=0.1), ""}) == 5
    # How it was trained is in the network's own key.
    assert key(scale=0.5, epochs=3, backbone="resnet50", weights="none") == plain
    write_tiny_model(files.locator, seed=3, scale=0.25, key="locator")
    assert key() != plain
