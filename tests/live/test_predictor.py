"""Live poses are those of the offline run; windows follow the animal and find it again."""

import numpy as np
import pytest

import pipeline_lib
from pipeline_lib.core.errors import ModelError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.individuals import AssemblySettings
from pipeline_lib.kernels.windows import cut_window
from pipeline_lib.live.cropping import CroppingRules
from pipeline_lib.live.networks import LiveNetworks
from pipeline_lib.live.predictor import LivePredictor
from pipeline_lib.models.card import CropLayout
from pipeline_lib.models.inference.detector import Boxes
from pipeline_lib.models.inference.locating.boxed import BoxedTopDown
from pipeline_lib.models.inference.predictor import RuntimeOptions, load_predictor
from tests.live.discs import DiscFinder, draw, make_predictor
from tests.models.synthetic import draw_discs, draw_points


@pytest.fixture(scope="module")
def frames():
    size = (128, 192)
    return [draw_discs(points, size) for points in draw_points(6, size)]


def load_offline(bundle, runtime):
    files = Results(bundle.parent / "results-pose").model("pose")
    return load_predictor(files, RuntimeOptions(runtime, threads=1))


@pytest.mark.parametrize("runtime", ["openvino", "onnx", "torch"])
def test_whole_frames_have_the_points_of_the_offline_run(bundle, frames, runtime):
    live = pipeline_lib.LivePredictor(bundle, runtime=runtime)
    offline = load_offline(bundle, runtime).predict(frames)
    for number, frame in enumerate(frames):
        found = live.predict(frame, number / 50)
        np.testing.assert_allclose(found.position, offline.position[number], atol=1e-3, rtol=0)
        np.testing.assert_allclose(found.confidence, offline.confidence[number], atol=1e-5)
        assert found.window is None


def test_windows_have_the_points_of_the_offline_run_in_the_same_windows(bundle, frames):
    # An untrained network is sure of nothing: every point counts, wherever it is.
    live = LivePredictor(bundle, cropping=96, pcutoff=0.0)
    offline = load_offline(bundle, "openvino")
    windows = set()
    for number, frame in enumerate(frames):
        found = live.predict(frame, number / 50)
        seen = frame
        shift = np.zeros(2)
        if found.window is not None:
            x, y, width, height = found.window
            shift = np.array([x, y])
            seen = cut_window(frame, shift, (height, width))
        windows.add(found.window)
        expected = offline.predict([seen]).position[0] + shift
        np.testing.assert_allclose(found.position, expected, atol=1e-3, rtol=0)
    assert len(windows) > 1
    assert None in windows


def test_parts_of_the_time_are_told(bundle, frames):
    live = LivePredictor(bundle, runtime="onnx")
    live.warm_up((128, 192))
    parts = live.predict(frames[0]).timings
    known = (parts.preprocess, parts.network, parts.decode, parts.ahead)
    assert min(known) > 0
    assert sum(known) <= parts.total


def test_what_cannot_be_is_refused(bundle, frames):
    with pytest.raises(ValueError, match="cropping is 100"):
        LivePredictor(bundle, cropping=100)
    with pytest.raises(ValueError, match="ahead_ms"):
        LivePredictor(bundle, ahead_ms=float("nan"))
    with pytest.raises(ModelError, match="give no `model`"):
        LivePredictor(bundle, model="pose")
    live = LivePredictor(bundle, runtime="onnx")
    for wrong in (frames[0][..., 0], frames[0].astype(float), frames[0][:0]):
        with pytest.raises(ValueError, match="expected a frame of shape"):
            live.predict(wrong)


class FixedBoxes:
    """Stands for a detector of DeepLabCut: boxes of 64 x 64 px, best first."""

    def __init__(self, corners):
        self.card = DiscFinder(2).card
        self._corners = corners

    def find(self, frames, most):
        corners = np.array(self._corners, np.float32).reshape(-1, 2)[:most]
        box = np.concatenate([corners, corners + 64], axis=1)
        return [Boxes(box, np.linspace(0.9, 0.8, len(box), dtype=np.float32)) for _ in frames]


def make_boxed(corners, **rules):
    """Return a live predictor of a network of DeepLabCut that sees the boxes of a detector."""
    network = DiscFinder()
    network.card = network.card.model_copy(update={"window": 64})
    crop = CropLayout(width=64, height=64)
    whole = BoxedTopDown(FixedBoxes(corners), network, crop, 0.5, AssemblySettings(surplus=0))
    predictor = LivePredictor.__new__(LivePredictor)
    predictor._set_up(LiveNetworks(whole, None, "boxed"), CroppingRules(**rules))
    predictor.ahead_ms, predictor._noise, predictor._acceleration = 0.0, 1.0, 3000.0
    return predictor, network


def test_a_detector_of_deeplabcut_finds_the_animals_and_windows_are_refused():
    points = np.concatenate([walk((60.0, 20.0), (0, 0), 1)[0], walk((10.0, 70.0), (0, 0), 1)[0]])
    image = draw(points[:1]) + draw(points[1:]) - np.uint8(90)
    predictor, network = make_boxed([(50, 5), (0, 50)])
    predictor.warm_up((120, 160))
    # Black frames have no boxes, and yet the network has computed.
    assert set(network.sizes) == {(64, 64)}
    found = predictor.predict(image, 0.0)
    assert predictor.individuals == ("animal1", "animal2")
    np.testing.assert_allclose(found.position, points, atol=0.5)
    # An animal keeps its slot though the other box is the best now.
    predictor._cropper._networks.whole._finder._corners = [(0, 50), (50, 5)]
    np.testing.assert_allclose(predictor.predict(image, 0.02).position, points, atol=0.5)
    predictor._cropper._networks.whole._finder._corners = []
    assert np.isnan(predictor.predict(image, 0.04).position).all()
    with pytest.raises(ModelError, match=r"top-down.*detector finds: leave `cropping` out"):
        make_boxed([], side=96)


def walk(start, step, count):
    """Return points (frame, 1, keypoint, 2) of an animal that walks straight."""
    pose = np.array([[0.0, 0.0], [12.0, 0.0], [24.0, 6.0]])
    return start + np.arange(count)[:, None, None, None] * np.array(step) + pose


def test_windows_follow_the_animal():
    predictor, finder = make_predictor(side=96)
    for number, points in enumerate(walk((20.0, 20.0), (5.0, 2.0), 16)):
        found = predictor.predict(draw(points), number / 50)
        np.testing.assert_allclose(found.position, points, atol=0.5)
        assert not found.lost
    assert finder.sizes == [(120, 160)] + 15 * [(96, 96)]


def test_a_lost_animal_is_found_again_in_the_next_frame():
    predictor, finder = make_predictor(side=96)
    for number in range(3):
        predictor.predict(draw(walk((20.0, 20.0), (0, 0), 1)[0]), number / 50)
    far = draw(walk((110.0, 90.0), (0, 0), 1)[0])
    lost = predictor.predict(far, 3 / 50)
    assert lost.lost
    assert np.isnan(lost.position).all()
    again = predictor.predict(far, 4 / 50)
    assert again.position[0, 0].tolist() == [110.0, 90.0]
    assert predictor.predict(far, 5 / 50).window is not None
    assert finder.sizes[-3:] == [(96, 96), (120, 160), (96, 96)]


def test_a_lost_animal_is_found_in_the_same_frame_if_asked():
    predictor, finder = make_predictor(side=96, same_frame=True)
    for number, corner in enumerate([(20.0, 20.0), (20.0, 20.0), (110.0, 90.0)]):
        points = walk(corner, (0, 0), 1)[0]
        found = predictor.predict(draw(points), number / 50)
        np.testing.assert_allclose(found.position, points, atol=0.5)
    assert found.lost
    assert finder.sizes == [(120, 160), (96, 96), (96, 96), (120, 160)]


def test_an_empty_arena_is_seen_whole_until_there_is_an_animal():
    predictor, _ = make_predictor(side=96)
    empty = draw(np.empty((0, 3, 2)))
    for number in range(4):
        assert predictor.predict(empty, number / 50).window is None
    predictor.predict(draw(walk((20.0, 20.0), (0, 0), 1)[0]), 4 / 50)
    assert predictor.predict(draw(walk((20.0, 20.0), (0, 0), 1)[0]), 5 / 50).window is not None


def test_two_animals_keep_their_slots_though_the_network_finds_them_in_any_order():
    predictor, _ = make_predictor(animals=2)
    # They pass each other on two lanes, so that the one further left changes.
    lanes = np.concatenate(
        [walk((10.0, 20.0), (6.0, 0.0), 18), walk((115.0, 80.0), (-6.0, 0.0), 18)], axis=1
    )
    for number, points in enumerate(lanes):
        found = predictor.predict(draw(points), number / 50)
        np.testing.assert_allclose(found.position, points, atol=0.5)


def test_a_returning_animal_gets_the_free_slot():
    predictor, _ = make_predictor(animals=2)
    both = np.concatenate([walk((30.0, 20.0), (0, 0), 1), walk((90.0, 80.0), (0, 0), 1)], 1)[0]
    alone = both.copy()
    alone[0] = np.nan
    for number in range(40):
        found = predictor.predict(draw(both if number < 3 else alone), number / 50)
    assert np.isnan(found.position[0]).all()
    np.testing.assert_allclose(found.position[1], both[1], atol=0.5)
    back = predictor.predict(draw(both), 41 / 50)
    np.testing.assert_allclose(back.position, both, atol=0.5)


@pytest.mark.parametrize("ahead_ms", [0.0, 20.0, 60.0])
def test_points_are_predicted_ahead(ahead_ms):
    predictor, _ = make_predictor(ahead_ms=ahead_ms)
    # 200 px/s along x, -100 px/s along y, at times that are not even.
    stream = np.random.default_rng(0)
    times = np.cumsum(stream.uniform(0.01, 0.03, 30))
    pose = np.array([[[30.0, 90.0], [50.0, 100.0], [60.0, 110.0]]])
    speed = np.array([200.0, -100.0])
    for time in times:
        found = predictor.predict(draw(pose + speed * time, (160, 260)), time)
    expected = pose + speed * (times[-1] + ahead_ms / 1000)
    # A disc's centre is known to half a px.
    np.testing.assert_allclose(found.ahead, expected, atol=0.6 + ahead_ms / 40)
    np.testing.assert_allclose(found.velocity, np.broadcast_to(speed, (1, 3, 2)), atol=25)


def test_a_clock_that_runs_backwards_does_not_end_it():
    predictor, _ = make_predictor(ahead_ms=10.0)
    for time in (1.0, 1.02, 0.5, 1.04, 1.04):
        found = predictor.predict(draw(walk((20.0, 20.0), (0, 0), 1)[0]), time)
        assert np.isfinite(found.ahead).all()
        np.testing.assert_allclose(found.ahead, found.position, atol=0.01)
