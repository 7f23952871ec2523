"""Check that doubts lead a proofreader to every swap, and that the benchmark can tell."""

import numpy as np
import pytest

from benchmarks.labelling import proofreading as benchmark_module
from pipeline_lib.kernels.proofreading.doubts import TrackDoubt


@pytest.fixture(scope="module")
def videos():
    settings = benchmark_module.DEMO_MULTI.model_copy(update={"videos": 2})
    return list(benchmark_module.simulate(settings))


def test_every_swap_is_listed_and_corrected(videos):
    count = benchmark_module.measure(((one, one) for one in videos), 4, 30.0)
    assert (count.swaps, count.flagged, count.corrected) == (8, 8, 8)
    assert count.right_after == count.total
    assert count.right_before < 0.9 * count.total
    # Nobody is asked about what is right.
    assert count.doubts == 0
    assert count.decisions == 8


def test_noise_and_gaps_cost_few_decisions_more(videos):
    rng = np.random.default_rng(1)
    noisy = ((benchmark_module.spoil(one, rng), one) for one in videos)
    count = benchmark_module.measure(noisy, 4, 30.0)
    assert count.flagged == count.corrected == count.swaps == 8
    assert count.right_after == count.total
    assert count.decisions <= 10


def test_swaps_beyond_the_last_decision_stay(videos, monkeypatch):
    monkeypatch.setattr(benchmark_module, "MOST_DECISIONS", 1)
    count = benchmark_module.measure(iter([(videos[0], videos[0])]), 4, 30.0)
    assert (count.swaps, count.flagged, count.corrected) == (4, 1, 1)
    assert count.right_after < count.total


def test_exchanges_are_found_where_they_are(videos):
    (truth, _), number = videos, 57
    wrong = truth.copy()
    wrong[number:, [0, 2]] = wrong[number:, [2, 0]]
    state = type("ProofreadState", (), {"position": wrong})
    doubt = TrackDoubt(55, 50, 60, (0, 2), 0.5)
    assert benchmark_module.find_exchanges(state, truth, doubt) == [(number, number)]
    # While neither is seen, the exchange is the same from any frame.
    wrong[number - 2 : number, [0, 2]] = np.nan
    assert benchmark_module.find_exchanges(state, truth, doubt) == [(number - 2, number)]
    assert benchmark_module.find_exchanges(state, truth, doubt._replace(slots=(1,))) == []
