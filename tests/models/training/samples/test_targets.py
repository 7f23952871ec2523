"""Test which maps the settings ask of the network."""

import numpy as np
import pytest

from pipeline_lib.core.settings.network import TargetSettings
from pipeline_lib.kernels.maps.score_maps import MapShape
from pipeline_lib.models.training.samples.targets import encode_targets

POSITION = np.array([[[13.0, 13.5]]], np.float32)
SHAPE = MapShape(3, 3, 8)


def test_offsets_are_in_units_of_their_scale():
    settings = TargetSettings(pos_dist_thresh=8.0, location_refinement_scale=2.0)
    maps = encode_targets(POSITION, SHAPE, settings)
    assert maps.offset[0, :, 1, 1].tolist() == [0.75, 1.0]
    assert maps.mask[0].sum() == 3
    assert maps.score[0, 1, 1] == pytest.approx(np.exp(-6.25 / 128))


def test_a_plateau_is_as_wide_as_the_refinement():
    settings = TargetSettings(score_map="plateau", pos_dist_thresh=8.0)
    maps = encode_targets(POSITION, SHAPE, settings)
    np.testing.assert_array_equal(maps.score, maps.mask)
    assert set(np.unique(maps.score)) == {0.0, 1.0}


def test_a_shape_of_score_maps_that_is_not_drawn_is_an_error():
    settings = TargetSettings.model_construct(
        **TargetSettings().model_dump() | {"score_map": "cone"}
    )
    with pytest.raises(AssertionError, match="cone"):
        encode_targets(POSITION, SHAPE, settings)
