"""Test the simulated schedule on cases made by hand, and on properties of any."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.scale import simulation as subject
from pipeline_lib.core.settings.videos import InferenceSettings


def quiet(**changes):
    """Set ten frames per second, five seconds to start, and no failures."""
    values = {"frames_per_second": 10.0, "start_seconds": 5.0, "straggling": 0.0}
    return subject.Workload(**values | {"losses_per_hour": 0.0} | changes)


def frames(*counts):
    return np.array(counts, np.int64)


def simulate(how, shards, load, gpus, **limits):
    run = {"jobs": subject.simulate_jobs, "pool": subject.simulate_pool}[how]
    return run(shards, load, gpus, InferenceSettings(**limits), np.random.default_rng(0))


@pytest.mark.parametrize("how", ["jobs", "pool"])
def test_one_gpu_does_everything_in_turn(how):
    # 5 + (100 + 50) / 10 and 5 + 200 / 10.
    tally = simulate(how, [frames(100, 50), frames(200)], quiet(), 1)
    assert (tally.makespan, tally.work, tally.overhead) == (45.0, 35.0, 10.0)
    assert tally.failed == 0


def test_jobs_share_gpus_by_shard():
    shards = [frames(100)] * 3
    # Two of 15 s at once, then the third one.
    assert simulate("jobs", shards, quiet(), 2).makespan == 30.0
    # More GPUs than shards help no more.
    assert simulate("jobs", shards, quiet(), 8).makespan == 15.0


def test_a_pool_shares_gpus_by_segment():
    # 4000 frames in segments of 2000 / (8 * 2) frames at least 200, which is 250: 16 of them.
    tally = simulate("pool", [frames(4000)], quiet(), 2)
    assert (tally.makespan, tally.work, tally.overhead) == (205.0, 400.0, 10.0)
    # Three workers: 4000 / 24 is below 200, so 20 segments of 200: seven rounds of 20 s.
    assert simulate("pool", [frames(4000)], quiet(), 3).makespan == 145.0


def test_segments_come_longest_video_first():
    lengths = subject.cut_shard(frames(300, 2500, 700), 1, InferenceSettings(segment_frames=1000))
    # 3500 frames over 8 segments at least are 438 frames each.
    assert lengths == [416, 417, 417, 416, 417, 417, 350, 350, 300]
    assert sum(lengths) == 3500


def test_a_shard_that_is_always_lost_is_given_up():
    load = quiet(losses_per_hour=1e12, retries=2)
    tally = simulate("jobs", [frames(100), frames(100)], load, 1)
    assert tally.failed == 2
    assert tally.work == 0.0
    # Three tries of two shards, and nothing but starts.
    assert tally.overhead == pytest.approx(6 * 5.0)


@given(
    counts=st.lists(st.lists(st.integers(1, 5000), min_size=1, max_size=5), min_size=1, max_size=6),
    gpus=st.integers(1, 9),
    how=st.sampled_from(["jobs", "pool"]),
    losses=st.sampled_from([0.0, 20.0]),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_gpu_is_held_longer_than_the_run(counts, gpus, how, losses):
    load = quiet(losses_per_hour=losses, retries=10_000)
    tally = simulate(how, [frames(*c) for c in counts], load, gpus)
    # Nothing of the work is left out, done twice or done for nothing.
    assert tally.work == pytest.approx(sum(map(sum, counts)) / 10.0)
    starts = len(counts) * 5.0
    assert tally.overhead >= starts - 1e-9 or losses
    assert tally.makespan * gpus >= tally.work - 1e-9
    assert tally.failed == 0


def test_the_table():
    load = quiet(videos=128, median_frames=1000, spread=0.0)
    rows = subject.tabulate_simulation(load, [1, 2, 4])
    assert [(row["arrangement"], row["gpus"]) for row in rows] == [
        (how, gpus) for how in ("jobs", "pool") for gpus in (1, 2, 4)
    ]
    # Two shards of 64,000 frames: 6405 s each; a third GPU has nothing to do.
    assert [row["hours"] * 3600 for row in rows[:3]] == pytest.approx([12810, 6405, 6405])
    assert [row["speed_up"] for row in rows[:3]] == pytest.approx([1, 2, 2])
    assert [row["idle_share"] for row in rows[:3]] == pytest.approx([0, 0, 0.5])
    assert [row["overhead_share"] for row in rows[:3]] == pytest.approx([5 / 6405] * 3)
    assert rows[5]["speed_up"] > 3.9
