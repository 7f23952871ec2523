"""Compare the smoother of ensembles with the package that its authors wrote."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from pipeline_lib.kernels.ensembles.kalman import Moments, smooth_blocks
from tests.peers import ensemble_kalman as peer
from tests.peers.environments import require_peer

KEPT = Path(__file__).parent / "data" / "ensemble-kalman" / "expected.json"


@pytest.fixture(scope="module", params=["kept", "now"])
def expected(request, tmp_path_factory):
    if request.param == "kept":
        return json.loads(KEPT.read_text())
    python = require_peer("ensemble_kalman")
    path = tmp_path_factory.mktemp("eks") / "expected.json"
    subprocess.run([python, peer.__file__, path], check=True)
    return json.loads(path.read_text())


@pytest.mark.parametrize("length", [7, peer.FRAMES])
def test_it_smooths_as_the_package_does(expected, length):
    columns, values = expected["columns"], np.array(expected["values"])

    def take(*names):
        return np.stack([values[..., columns.index(name)] for name in names], axis=-1)

    members = peer.make_members()
    observed = np.median(members[..., :2], axis=0)
    noise = members[..., :2].var(axis=0) / members[..., 2:].mean(axis=0)
    np.testing.assert_allclose(observed, take("x_ens_median", "y_ens_median"), atol=1e-4)
    np.testing.assert_allclose(noise, take("x_ens_var", "y_ens_var"), rtol=1e-4, atol=1e-4)
    motion = np.array(expected["motion"])[:, None]
    rows = [slice(start, start + length) for start in range(0, peer.FRAMES, length)]
    prior = Moments.of(observed).make_prior()
    smoother = smooth_blocks(
        lambda number: (observed[rows[number]], noise[rows[number]]), len(rows), motion, prior
    )
    parts = [smoother.smooth(number) for number in range(len(rows))]
    mean = np.concatenate([part.mean for part in parts])
    variance = np.concatenate([part.variance for part in parts])
    # The package computes in single precision.
    np.testing.assert_allclose(mean, take("x", "y"), atol=2e-3)
    posterior = take("x_posterior_var", "y_posterior_var")
    np.testing.assert_allclose(variance, posterior, rtol=2e-3, atol=1e-4)
    # It smooths: the result is not the observation.
    assert np.abs(mean - observed).max() > 1.0
