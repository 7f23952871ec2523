"""Test the criterion `peaks`: strong surplus peaks that others do not have."""

import numpy as np

from pipeline_lib.kernels.refinement import peaks
from pipeline_lib.kernels.refinement.blocks import PoseNames

NAMES = PoseNames(("nose", "left", "right"), ("",), ())


def test_a_strong_surplus_peak_is_scored_in_spreads_of_the_sample():
    sample = np.random.default_rng(0).uniform(0, 0.05, (200, 3)).astype(np.float32)
    usual = peaks.fit(sample, NAMES)
    frames = np.float32([[0, 0, 0], [0.04, 0.02, 0.03], [0.02, 0.19, 0], [0.02, 0.6, 0.3]])
    scored = peaks.score(frames, usual)
    assert scored.score[:3].tolist() == [0, 0, 0]
    assert scored.culprit[3] == 1
    spread = (0.6 - usual.median[1]) / usual.spread[1]
    np.testing.assert_allclose(scored.score[3], spread, rtol=1e-5)
    words = peaks.explain(float(scored.score[3]), 1, NAMES)
    assert words.startswith("left has a surplus peak ")


def test_where_all_frames_have_surplus_peaks_one_more_is_usual():
    sample = np.random.default_rng(0).uniform(0.3, 0.5, (200, 3)).astype(np.float32)
    usual = peaks.fit(sample, NAMES)
    scored = peaks.score(sample, usual)
    assert scored.score.max() < 4
    assert peaks.score(np.float32([[0.4, 0.4, 0.98]]), usual).score[0] > 4
