"""Test several animals, each in its own window, at any position."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.core.settings.individuals import AssemblySettings
from pipeline_lib.core.settings.network import LocatingSettings
from pipeline_lib.core.skeleton import CENTRE, Skeleton
from pipeline_lib.kernels.maps.score_maps import encode_gaussian, map_shape
from pipeline_lib.models.card import ModelCard
from pipeline_lib.models.inference.decoding import Located, MapDecoder
from pipeline_lib.models.inference.locating.top_down import TopDown
from pipeline_lib.models.inference.predictor import Predictor
from pipeline_lib.models.inference.shared import SharedPredictor

SIZE = (200, 300)
PLACES = ("individual1", "individual2", "individual3")
LOCATING = LocatingSettings(window=64, pcutoff=0.4)
ASSEMBLY = AssemblySettings(pcutoff=0.2, min_keypoints=2, surplus=0)
# Relative to the centre, in the order red, green, blue.
ANIMAL = np.array([(-12, -6), (12, -3), (0, 9)])


class FindsMiddle:
    """Simulate a network: find the animal closest to the middle of the window.

    An animal's lights are of one brightness, a colour for each bodypart; the brighter, the more
    certain. Notes how many windows of which size it was given.
    """

    name = "middle"

    def __init__(self):
        self.asked = []

    def locate(self, frames):
        self.asked.append(frames.shape[:3])
        position = np.zeros((len(frames), 1, 3, 2), np.float32)
        confidence = np.zeros((len(frames), 1, 3), np.float32)
        middle = (np.array(frames.shape[2:0:-1]) - 1) / 2
        for number, frame in enumerate(frames):
            lights = np.argwhere(frame)[:, [1, 0, 2]]
            brightness = frame[frame > 0]
            animals = [lights[brightness == value] for value in np.unique(brightness)]
            if animals:
                ways = [np.linalg.norm(one[:, :2].mean(0) - middle) for one in animals]
                for x, y, channel in animals[int(np.argmin(ways))]:
                    position[number, 0, channel] = x, y
                    confidence[number, 0, channel] = frame[y, x, channel] / 255
        return Located(position, confidence)


class Tells:
    """Simulate a locator: its result is given by the last pixel of each frame."""

    surplus = 0
    card = ModelCard.model_construct(
        name="pose", individuals=PLACES, skeleton=Skeleton(bodyparts=(CENTRE,))
    )

    def __init__(self, *answers):
        room = np.full((len(answers), len(PLACES), 3), np.nan, np.float32)
        room[..., 2] = 0.0
        for row, answer in zip(room, answers, strict=True):
            for place, point in zip(row, answer, strict=False):
                place[:] = point if len(point) == 3 else (*point, 0.9)
        self.answers = room

    def predict(self, frames):
        told = self.answers[np.array([frame[-1, -1, 0] for frame in frames], np.intp)]
        return Located(told[:, :, None, :2], told[:, :, None, 2])


def make_card(scale=1.0):
    return ModelCard.model_construct(
        name="pose",
        scale=scale,
        stride=8,
        window=LOCATING.window,
        skeleton=Skeleton(bodyparts=("red", "green", "blue")),
    )


def at(x, y):
    """Return the animal with its centre there."""
    return np.add(ANIMAL, (x, y))


def draw(*animals, size=SIZE, number=0, side=1):
    """Draw animals, each of a brightness of its own; the last pixel says which frame it is."""
    frame = np.zeros((*size, 3), np.uint8)
    for brightness, centre in zip((250, 200, 150, 100), animals, strict=False):
        for channel, (x, y) in enumerate(at(*centre)):
            if 0 <= x < size[1] and 0 <= y < size[0]:
                frame[y : y + side, x : x + side, channel] = brightness
    frame[-1, -1] = (number, 0, 0)
    return frame


def build(*answers, scale=1.0, batch_size=1, assembly=ASSEMBLY):
    """Return a predictor and its network's runtime."""
    runtime = FindsMiddle()
    network = Predictor(make_card(scale), runtime, batch_size)
    return TopDown(Tells(*answers), [network], LOCATING, assembly), runtime


def poses_of(located, frame=0):
    """Return the poses of a frame that are there."""
    return [pose for pose in located.position[frame] if np.isfinite(pose).any()]


def test_each_animal_is_found_in_its_window():
    centres = [(200, 120), (60, 50)]
    predictor, runtime = build(centres)
    located = predictor.predict([draw((60, 50), (200, 120))])
    assert located.position.dtype == located.confidence.dtype == np.float32
    assert located.position.shape == (1, 3, 3, 2)
    assert located.confidence.shape == (1, 3, 3)
    assert located.identity is None
    # The brighter one first, whatever the locator's order.
    first, second = poses_of(located)
    np.testing.assert_array_equal(first, at(60, 50))
    np.testing.assert_array_equal(second, at(200, 120))
    np.testing.assert_allclose(located.confidence[0, :, 0], [250 / 255, 200 / 255, 0.0])
    assert np.isnan(located.position[:, 2]).all()
    assert runtime.asked == [(1, 64, 64)] * 2


class TakesBrightest:
    """Find the animal in the middle, but the brightest red light; the own one is the next peak."""

    name = "brightest"

    def locate(self, frames):
        found = FindsMiddle().locate(frames)
        position = np.concatenate([found.position] * 2, axis=1)
        confidence = np.concatenate([found.confidence, found.confidence / 2], axis=1)
        for number, frame in enumerate(frames):
            y, x = np.argwhere(frame[..., 0] == frame[..., 0].max())[0]
            position[number, 0, 0] = x, y
        return Located(position, confidence)


def test_a_keypoint_that_two_windows_found_belongs_to_one_animal():
    """Both windows show both animals, whose red lights are at x = 48 and 64."""
    network = Predictor(make_card(), TakesBrightest(), 1, surplus=1)
    predictor = TopDown(Tells([(60, 50), (76, 50)]), [network], LOCATING, ASSEMBLY)
    found = poses_of(predictor.predict([draw((60, 50), (76, 50))]))
    np.testing.assert_array_equal(found, [at(60, 50), at(76, 50)])


class LosesBlue(FindsMiddle):
    """Find blue with little confidence in the corner of the window; note where red is in it."""

    def __init__(self):
        super().__init__()
        self.red = []

    def locate(self, frames):
        found = super().locate(frames)
        self.red += found.position[:, 0, 0].tolist()
        found.position[:, 0, 2], found.confidence[:, 0, 2] = 0.0, 0.1
        return found


def test_weak_keypoints_do_not_move_the_window_of_the_next_frame():
    """The corner would draw the centre to the left by a third of 28 px."""
    runtime = LosesBlue()
    network = Predictor(make_card(), runtime, 1)
    predictor = TopDown(Tells([(100, 106)], []), [network], LOCATING, ASSEMBLY)
    frames = [draw((100, 106)), draw((100, 106), number=1)]
    located = predictor.predict(frames, [True, False])
    # Windows begin at (72, 72): (100, 106) - 31.5 px, on a grid of 8 px. Red is at (88, 100).
    assert runtime.red == [[16, 28]] * 2
    np.testing.assert_array_equal(located.position[:, 0, 2], [[72, 72]] * 2)


def test_its_card_is_the_networks_with_the_individuals_of_the_locator():
    predictor, _ = build([])
    assert predictor.card.individuals == PLACES
    assert predictor.card.animals == 3
    assert predictor.card.skeleton.bodyparts == ("red", "green", "blue")


@given(st.integers(-6, SIZE[1] + 5), st.integers(-6, SIZE[0] + 5), st.floats(-9, 9))
def test_animals_at_a_border_are_in_the_middle_of_their_window(x, y, off):
    """Check that windows are black beyond the frame and positions are frame coordinates."""
    frame = draw((x, y))
    frame[-1, -1] = 0
    assembly = AssemblySettings(pcutoff=0.2, min_keypoints=1, surplus=0)
    predictor, runtime = build([(x + off, y - off)], assembly=assembly)
    located = predictor.predict([frame])
    expected = (at(x, y)).astype(float)
    seen = ((expected >= 0) & (expected < SIZE[::-1])).all(1)
    seen &= ~(expected == (SIZE[1] - 1, SIZE[0] - 1)).all(1)
    assert runtime.asked == [(1, 64, 64)]
    expected[~seen] = np.nan
    np.testing.assert_array_equal(located.position[0, 0], expected)
    np.testing.assert_array_equal(located.confidence[0, 0] > 0, seen)


def test_animals_closer_than_a_window_are_told_apart():
    """Show both in both windows: the one in the middle counts."""
    predictor, _ = build([(150, 100), (166, 104)])
    found = poses_of(predictor.predict([draw((150, 100), (166, 104))]))
    np.testing.assert_array_equal(found, [at(150, 100), at(166, 104)])


def test_two_windows_that_found_one_animal_give_one():
    predictor, runtime = build([(150, 100), (157, 96), (40, 30)])
    found = poses_of(predictor.predict([draw((150, 100), (40, 30))]))
    np.testing.assert_array_equal(found, [at(150, 100), at(40, 30)])
    assert len(runtime.asked) == 3


def test_a_centre_that_is_not_certain_is_no_animal():
    predictor, runtime = build([(60, 50, 0.39), (200, 120, 0.4)])
    found = poses_of(predictor.predict([draw((60, 50), (200, 120))]))
    np.testing.assert_array_equal(found, [at(200, 120)])
    assert len(runtime.asked) == 1


def test_a_window_without_an_animal_gives_none():
    located = build([(60, 50), (200, 120)])[0].predict([draw((60, 50))])
    np.testing.assert_array_equal(poses_of(located), [at(60, 50)])
    assert np.isnan(located.position[0, 1:]).all()
    assert (located.confidence[0, 1:] == 0).all()


def test_no_animal_is_no_pose():
    predictor, runtime = build([], [])
    located = predictor.predict([draw(), draw(number=1)])
    assert np.isnan(located.position).all()
    assert (located.confidence == 0).all()
    assert runtime.asked == []


def test_no_frames_are_no_poses():
    """Pass no frame, as when no frame of a group could be decoded."""
    located = build()[0].predict([])
    assert (located.position.shape, located.confidence.shape) == ((0, 3, 3, 2), (0, 3, 3))


@pytest.mark.parametrize("corner", [(100, 60), (101, 61), (103, 62)])
def test_windows_of_a_network_that_shrinks_frames(corner):
    """Check that 64 network px at a scale of 1/4 are 256 frame px."""
    runtime = FindsMiddle()
    network = Predictor(make_card(0.25), runtime)
    predictor = TopDown(Tells([np.add(corner, 50)]), [network], LOCATING, ASSEMBLY)
    frame = np.zeros((400, 600, 3), np.uint8)
    for channel, (dx, dy) in enumerate([(20, 16), (60, 40), (40, 76)]):
        x, y = ((value + d) // 4 * 4 for value, d in zip(corner, (dx, dy), strict=True))
        frame[y : y + 4, x : x + 4, channel] = 250
    # Windows lie on a grid of 8 network px: 32 frame px, so that 4 px shrink to one.
    position = predictor.predict([frame]).position[0, 0]
    rows = [np.argwhere(frame[..., channel]).mean(0)[::-1] for channel in range(3)]
    np.testing.assert_allclose(position, rows, atol=1e-3)
    assert runtime.asked == [(1, 64, 64)]


ANSWERS = (
    [(60, 50), (200, 120)],
    [],
    [(200, 120), (60, 50), (216, 124)],
    [(10, 190)],
    [(150, 100), (152, 101)],
)
FRAMES = [
    draw((60, 50), (200, 120), number=0),
    draw((60, 50), number=1),
    draw((60, 50), (200, 120), (216, 124), number=2),
    draw((10, 190), number=3),
    draw((150, 100), number=4),
]


@pytest.mark.parametrize("batch_size", [1, 4, 32])
def test_windows_of_all_frames_go_together_and_each_frame_is_as_if_alone(batch_size):
    predictor, runtime = build(*ANSWERS, batch_size=batch_size)
    located = predictor.predict(FRAMES)
    # 2 + 0 + 3 + 1 + 2 windows in batches that are filled up.
    assert len(runtime.asked) == -(-8 // batch_size)
    assert {size[0] for size in runtime.asked} == {batch_size}
    assert [len(poses_of(located, frame)) for frame in range(5)] == [2, 0, 3, 1, 1]
    shuffled = [3, 0, 4, 2, 1]
    other = predictor.predict([FRAMES[frame] for frame in shuffled])
    for place, frame in enumerate(shuffled):
        alone = build(*ANSWERS)[0].predict([FRAMES[frame]])
        for part in range(2):
            bytes_alone = alone[part][0].tobytes()
            assert located[part][frame].tobytes() == bytes_alone
            assert other[part][place].tobytes() == bytes_alone


def test_decoders_share_a_top_down_predictor():
    predictor, _ = build(*ANSWERS, batch_size=4)
    shared = SharedPredictor(predictor, 32)
    assert shared.card.individuals == PLACES
    located = shared.predict(FRAMES)
    for part, own in zip(located[:2], predictor.predict(FRAMES)[:2], strict=True):
        np.testing.assert_array_equal(part, own)


def test_the_order_of_the_centres_does_not_matter():
    frame = draw((60, 50), (200, 120), (216, 124))
    centres = [(60, 50), (200, 120), (216, 124)]
    first = build(centres)[0].predict([frame])
    for order in ([2, 1, 0], [1, 2, 0]):
        other = build([centres[place] for place in order])[0].predict([frame])
        assert other.position.tobytes() == first.position.tobytes()
        assert other.confidence.tobytes() == first.confidence.tobytes()


class DrawsCentres:
    """Simulate the network of a locator: draw a peak of given height at each given centre."""

    name = "centres"
    card = Tells.card.model_copy(update={"scale": 0.5, "stride": 4})

    def __init__(self, *peaks, surplus=0):
        self.peaks = peaks
        self.decoder = MapDecoder(
            self.card, AssemblySettings(pcutoff=0.4, min_keypoints=1, surplus=surplus)
        )

    def locate(self, frames):
        count, height, width = frames.shape[:3]
        shape = map_shape(height, width, 4)
        score = np.zeros((count, 1, shape.rows, shape.columns), np.float32)
        for x, y, peak in self.peaks:
            at_half = (np.array([[[[x, y]]]]) + 0.5) / 2 - 0.5
            score = np.maximum(score, peak * encode_gaussian(at_half, shape, 4.0))
        offset = np.zeros((count, 1, 2, shape.rows, shape.columns), np.float32)
        return self.decoder.decode({"score": score.astype(np.float32), "offset": offset})


def test_the_best_of_too_many_peaks_get_windows():
    peaks = [(40, 40, 0.7), (120, 40, 0.6), (200, 40, 0.9), (40, 120, 0.95), (120, 120, 0.45)]
    locator = Predictor(DrawsCentres.card, DrawsCentres(*peaks))
    runtime = FindsMiddle()
    predictor = TopDown(locator, [Predictor(make_card(), runtime)], LOCATING, ASSEMBLY)
    frame = draw((40, 40), (200, 40), (40, 120), (120, 120))
    found = poses_of(predictor.predict([frame]))
    np.testing.assert_array_equal(found, [at(40, 40), at(200, 40), at(40, 120)])
    assert len(runtime.asked) == 3


def test_surplus_animals_get_windows_too():
    """Find five centres for three animals: one is not certain, so one more has a slot."""
    peaks = [(40, 40, 0.7), (120, 40, 0.6), (200, 40, 0.9), (40, 120, 0.95), (120, 120, 0.35)]
    locator = Predictor(DrawsCentres.card, DrawsCentres(*peaks, surplus=4), surplus=4)
    runtime = FindsMiddle()
    predictor = TopDown(locator, [Predictor(make_card(), runtime)], LOCATING, ASSEMBLY)
    assert predictor.surplus == 4
    assert len(predictor.card.individuals) == 3
    located = predictor.predict([draw((40, 40), (200, 40), (40, 120), (120, 40))])
    assert located.position.shape == (1, 7, 3, 2)
    np.testing.assert_array_equal(
        poses_of(located), [at(40, 40), at(200, 40), at(40, 120), at(120, 40)]
    )
    assert len(runtime.asked) == 4


def test_neighbours_are_two_from_three_cells_of_the_locator_on():
    """Check that 12 px of small frames are 24 px of frames."""
    locator = Predictor(DrawsCentres.card, DrawsCentres((100, 60, 0.9), (126, 60, 0.8)))
    predictor = TopDown(locator, [Predictor(make_card(), FindsMiddle())], LOCATING, ASSEMBLY)
    found = poses_of(predictor.predict([draw((100, 60), (126, 60))]))
    np.testing.assert_array_equal(found, [at(100, 60), at(126, 60)])
