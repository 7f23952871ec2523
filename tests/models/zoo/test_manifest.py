"""Test what older bundles state of their use."""

import pytest

from pipeline_lib.models.zoo.manifest import UsedSettings


@pytest.mark.parametrize(
    ("assembly", "least"),
    [
        # Written before there were weak keypoints.
        ({"pcutoff": 0.3}, 0.3),
        ({"pcutoff": 0.3, "min_confidence": 0.02}, 0.02),
        ({}, 0.02),
    ],
)
def test_bundles_of_before_keep_no_weak_keypoints(assembly, least):
    assert UsedSettings.model_validate({"assembly": assembly}).assembly.lowest_confidence == least
