import numpy as np
import pytest

from pipeline_lib.demo.render.texture import make_noise, paint_coat, paint_floor


def test_noise_has_unit_spread_and_its_grain():
    noise = make_noise(np.random.default_rng(0), (256, 256), (16,))
    assert noise.std() == pytest.approx(1.0, abs=0.01)
    # Neighbours within a grain are alike, those of other grains are not.
    assert np.corrcoef(noise[:, :-1].ravel(), noise[:, 1:].ravel())[0, 1] > 0.95
    assert abs(np.corrcoef(noise[:, :-64].ravel(), noise[:, 64:].ravel())[0, 1]) < 0.3


@pytest.mark.parametrize("kind", ["bedding", "planks", "tiles", "painted"])
def test_floors_keep_their_colour(kind):
    colour = np.array([0.6, 0.4, 0.2], np.float32)
    floor = paint_floor(np.random.default_rng(1), kind, colour, 200)
    assert floor.shape == (200, 200, 3)
    np.testing.assert_allclose(floor.mean(axis=(0, 1)), colour, rtol=0.12)
    assert floor.std(axis=(0, 1)).min() > 0.005


def test_coats_differ_as_they_should():
    colours = np.array([[0.1, 0.1, 0.1], [0.9, 0.9, 0.9]], np.float32)
    plain, *others = paint_coat(np.random.default_rng(2), "plain", colours)
    hooded, *_ = paint_coat(np.random.default_rng(2), "hooded", colours)
    length, across = plain.shape[:2]
    assert plain.mean() == pytest.approx(0.1, abs=0.01)
    head, flank = hooded[: length // 4], hooded[length // 2 :, : across // 8]
    assert head.mean() == pytest.approx(0.1, abs=0.02)
    assert flank.mean() == pytest.approx(0.9, abs=0.05)
    assert len(others) == 4
    dyed, *_ = paint_coat(
        np.random.default_rng(2), "plain", colours, np.array([0.8, 0.1, 0.1], np.float32)
    )
    rump = dyed[round(0.72 * length), across // 2]
    assert rump[0] > 4 * rump[1]
