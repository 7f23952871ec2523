"""Test the inference benchmark: ratios, targets, and facts about processes and poses."""

import argparse
import math
import sys

import numpy as np
import pytest

from benchmarks.inference import figures, networks, throughput
from benchmarks.inference import overheads as inference_overheads
from benchmarks.inference import run as inference
from benchmarks.inference import timed_runs as runs
from pipeline_lib.core.errors import CohortposeError
from pipeline_lib.io.publish import publish_text
from pipeline_lib.io.stage_tables import read_table, write_table


def test_running_rate_leaves_the_start_out():
    # 5 s to start, then 20 frames/s: 8 frames take 5.4 s and 808 frames take 45.4 s.
    assert throughput.compute_running_rate(8, 5.4, 808, 45.4) == pytest.approx(20)
    assert math.isnan(throughput.compute_running_rate(8, 5.4, 9, 5.4))


def make_round(engine, ceiling, loop):
    turn = throughput.Turn(
        engine=engine,
        running=2 * engine,
        ceiling=ceiling,
        best_ceiling=2 * ceiling,
        own_ceiling=4 * ceiling,
    )
    return throughput.Round(turn, loop)


def test_ratios_are_taken_within_rounds():
    # The machine is twice as slow in the second round, for all alike: no ratio changes.
    rounds = [make_round(9.0, 10.0, 3.0), make_round(4.5, 5.0, 1.5)]
    rounds.append(make_round(8.0, 10.0, 1.0))
    row = throughput.summarise_rounds(rounds)
    assert row["engine"] == 8.0
    assert row["ceiling"] == 10.0
    # 0.9, 0.9, 0.8; 9 / 3, 4.5 / 1.5, 8 / 1. Of the medians it would be 8 / 10 and 8 / 1.5.
    assert row["engine_of_ceiling"] == pytest.approx(0.9)
    assert row["running_of_ceiling"] == pytest.approx(1.8)
    assert row["running_of_best"] == pytest.approx(0.9)
    assert row["running_of_own"] == pytest.approx(0.45)
    assert row["engine_of_loop"] == pytest.approx(3.0)
    assert set(row) < set(throughput.THROUGHPUT_COLUMNS)


def test_ceiling_is_the_fastest_batch_of_each_runtime_and_layout():
    way = networks.Way
    rates = {
        way("onnx", 1): 10.0,
        way("onnx", 4): 12.0,
        way("onnx", 16): 11.0,
        way("onnx", 1, 2): 20.0,
        way("openvino", 8): 9.0,
    }
    best = throughput.choose_best(rates)
    assert set(best) == {way("onnx", 4), way("onnx", 1, 2), way("openvino", 8)}


def test_ways_have_every_batch_size_and_lanes_only_with_several_cores():
    alone = throughput.list_ways(["openvino"], cores=1)
    assert [(way.runtime, way.batch) for way in alone] == [
        (runtime, batch) for runtime in ("onnx", "openvino") for batch in (1, 2, 4, 8, 16)
    ]
    assert {way.lanes for way in alone} == {1}
    shared = set(throughput.list_ways(["onnx"], cores=3)) - set(alone)
    assert shared == {networks.Way("onnx", 1, 3), networks.Way("onnx", 4, 3)}


def test_rate_counts_the_frames_of_all_lanes(monkeypatch):
    clock = iter([0.0, 0.25, 0.5, 1.0, 1.0, 1.0])
    monkeypatch.setattr(networks.time, "perf_counter", lambda: next(clock))
    passed = []
    batch = np.zeros((4, 2, 2, 3), np.uint8)
    # Three passes of 4 frames: after 0.25 s, 0.5 s and 1 s.
    rate = networks.measure_rate([passed.append], batch, 1.0)
    assert len(passed) == 3
    assert rate == pytest.approx(12.0)


def test_rate_of_lanes_is_their_sum_and_one_pass_is_the_least():
    batch = np.zeros((2, 2, 2, 3), np.uint8)
    calls = []
    networks.measure_rate([calls.append, calls.append, calls.append], batch, 0.0)
    assert len(calls) == 3


def test_figure_compares_with_its_target():
    assert figures.Figure("share", 0.9, 0.9).reached
    assert not figures.Figure("share", 0.89, 0.9).reached
    assert figures.Figure("ratio", 1.3, 1.3, at_most=True).reached
    assert not figures.Figure("ratio", 1.31, 1.3, at_most=True).reached
    # What could not be measured has not been reached.
    assert not figures.Figure("share", math.nan, 0.9).reached
    assert not figures.Figure("ratio", math.nan, 1.3, at_most=True).reached


def test_table_of_figures_says_which_targets_were_missed(tmp_path, capsys):
    bench = figures.Bench(tmp_path, tmp_path / "video.mp4", argparse.Namespace())
    found = [figures.Figure("a", 2.0, 3.0), figures.Figure("b", 2.0, 3.0, at_most=True)]
    bench.report("figures", figures.FIGURE_COLUMNS, [figure.describe() for figure in found])
    rows = read_table(tmp_path / "figures.tsv", figures.FIGURE_COLUMNS)
    assert [(row["target"], row["reached"]) for row in rows] == [
        ("at least 3", "false"),
        ("at most 3", "true"),
    ]
    assert "NO" in capsys.readouterr().out


def test_peak_is_read_in_bytes():
    status = "Name:\tpython\nVmPeak:\t  999 kB\nVmHWM:\t   2048 kB\nVmRSS:\t 1024 kB\n"
    assert runs.parse_peak(status) == 2048 * 1024
    assert runs.parse_peak("Name:\tpython\nState:\tZ (zombie)\n") is None


@pytest.fixture
def run(tmp_path):
    """Write two shards as the workflow leaves them: three videos, poses of two files."""
    one = runs.Run(tmp_path, {"workers": 2})
    for shard, videos in (("0001", ("a", "b")), ("0002", ("c",))):
        files = one.results.shard(shard)
        write_table(files.manifest, ("video",), [{"video": video} for video in videos])
        rows = [{"video": video, "status": "done", "frames": 20} for video in videos]
        write_table(files.probe, runs.PROBE_COLUMNS, rows)
        write_table(files.infer("pose"), runs.STAGE_COLUMNS, [])
    for name in ("a.zarr/position/c/0", "b.zarr/zarr.json", ".segments/k.lock"):
        publish_text(tmp_path / "results/poses/pose" / name, name)
    return one


def test_frames_are_counted_over_shards(run):
    assert run.count_frames() == 60


def test_forgetting_keeps_the_probe(run):
    run.forget_outcomes()
    assert not list(run.results.shards.glob("*/infer-*.tsv"))
    assert len(run.identify_poses()) == 2
    run.forget()
    assert not run.identify_poses()
    assert run.count_frames() == 60


def test_poses_written_again_are_told_from_those_left_alone(run):
    before = run.identify_poses()
    assert set(before) == {"a.zarr/position/c/0", "b.zarr/zarr.json"}
    # The same bytes, but another file.
    again = run.folder / "results/poses/pose/b.zarr/again"
    again.write_text("b.zarr/zarr.json")
    again.replace(again.with_name("zarr.json"))
    after = run.identify_poses()
    assert {name for name in before if before[name] != after[name]} == {"b.zarr/zarr.json"}


@pytest.fixture
def stub(monkeypatch):
    """Run a line of Python in place of the command line."""

    def place(code):
        monkeypatch.setattr(runs, "command", lambda _: [sys.executable, "-c", code])

    return place


def test_failed_command_is_no_measurement(run, stub):
    stub("import sys; print('no space left'); sys.exit(3)")
    with pytest.raises(CohortposeError, match=r"(?s)status 3.*no space left"):
        run.infer()


WRITE_ENDS = """
from pathlib import Path
first = "a\\tdone\\t\\t\\t\\nb\\t{status}\\tno frames\\t\\t\\n"
for shard, rows in (("0001", first), ("0002", "c\\tdone\\t\\t\\t\\n")):
    path = Path("results/shards") / shard / "infer-pose.tsv"
    path.write_text("video\\tstatus\\treason\\tseconds\\tkey\\n" + rows)
"""


def test_video_that_is_not_done_is_no_measurement(run, stub):
    stub(WRITE_ENDS.replace("{status}", "quarantined"))
    with pytest.raises(CohortposeError, match="1 of 3 videos are not done, b first: no frames"):
        run.infer()
    stub(WRITE_ENDS.replace("{status}", "done"))
    assert run.infer() > 0


def test_settings_of_a_run_reach_its_config(run, stub):
    stub(WRITE_ENDS.replace("{status}", "done"))
    run.infer(runtime="onnx")
    text = (run.folder / "config.yaml").read_text()
    assert "workers: 2" in text
    assert "runtime: onnx" in text


def test_restart_counts_what_was_written_again(run, stub):

    done = WRITE_ENDS.replace("{status}", "done")
    stub(done)
    assert inference_overheads.restart_run(run)[1] == 0
    stub(
        done + "Path('results/poses/pose/c.zarr').mkdir()\n"
        "Path('results/poses/pose/c.zarr/zarr.json').write_text('')\n"
    )
    assert inference_overheads.restart_run(run)[1] == 1


def test_peak_memory_is_that_of_the_workers(run, stub):
    # The worker holds 200 MB more than a bare interpreter; the process that starts it 400 MB.
    stub(
        "import multiprocessing\n"
        "hold = bytearray(400_000_000)\n"
        "pool = multiprocessing.get_context('spawn').Pool(1)\n"
        "pool.apply(eval, ('len(bytearray(200_000_000)) and __import__(\"time\").sleep(0.5)',))\n"
        "pool.close(); pool.join()\n" + WRITE_ENDS.replace("{status}", "done")
    )
    assert 200e6 < run.infer_watched() < 350e6


def test_watching_a_run_without_workers_is_refused(run, stub):
    stub(WRITE_ENDS.replace("{status}", "done"))
    with pytest.raises(CohortposeError, match="no worker process"):
        run.infer_watched()


def test_settings_of_the_command_line_are_yaml():
    given = inference.parse_arguments(
        ["many", "out", "--set", "workers=1", "--set", "runtime=onnx", "--set", "crop=[0, 8, 0, 8]"]
    )
    assert given.settings == {"workers": 1, "runtime": "onnx", "crop": [0, 8, 0, 8]}
    with pytest.raises(SystemExit):
        inference.parse_arguments(["many", "out", "--set", "workers"])


def test_all_measures_each_with_its_own_defaults(monkeypatch, tmp_path):
    seen = {}

    def record(name):
        def measure(bench):
            seen[name] = vars(bench.given)
            return [name]

        return measure

    monkeypatch.setattr(inference, "MEASURES", {name: record(name) for name in inference.MEASURES})
    given = inference.parse_arguments(["all", str(tmp_path), "--set", "workers=1"])
    bench = inference.Bench(tmp_path, tmp_path / "v.mp4", given)
    assert inference.measure_all(bench) == ["throughput", "precision", "memory", "many"]
    assert seen["throughput"]["videos"] == 8
    assert (seen["many"]["many"], seen["many"]["short"]) == (500, 60)
    assert (seen["memory"]["short"], seen["memory"]["long"]) == (1000, 200_000)
    assert all(values["settings"] == {"workers": 1} for values in seen.values())


def test_table_may_stand_upright(tmp_path, capsys):
    bench = figures.Bench(tmp_path, tmp_path / "video.mp4", argparse.Namespace())
    bench.report(
        "rates", ("engine", "loop_rate"), [{"engine": 2.5, "loop_rate": 1.0}], upright=True
    )
    printed = capsys.readouterr().out.splitlines()
    assert any("engine" in line and "2.5" in line for line in printed)
    assert any("loop rate" in line and "1" in line for line in printed)
    assert (tmp_path / "rates.tsv").read_text() == "engine\tloop_rate\n2.5\t1\n"
