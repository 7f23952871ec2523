"""Run the inference benchmark with the engine on a cohort of seconds."""

import numpy as np
import pytest

from benchmarks.inference import networks, overheads
from benchmarks.inference import networks as inference_networks
from benchmarks.inference.timed_runs import prepare_run
from benchmarks.inference.videos import copy_video, read_images
from pipeline_lib.core.layout import ModelFiles
from tests.video_corpus import encode


@pytest.fixture(scope="module")
def network(tmp_path_factory):

    files = ModelFiles(tmp_path_factory.mktemp("networks") / "tiny")
    inference_networks.write_model(files, "mobilenetv3_small_050", "none")
    return files


@pytest.fixture
def source(tmp_path):
    return encode(tmp_path / "source.mp4", frames=12, gop=6, b_frames=2)


def test_runtimes_alone_run_the_same_network(network, source):

    batch = networks.stack_frames(read_images(source, 2), network)
    scores = []
    for way in (networks.Way("onnx", 2), networks.Way("openvino", 2, lanes=2)):
        lanes = networks.open_lanes(network.network, way, batch.shape)
        assert len(lanes) == way.lanes
        for forward in lanes:
            found = forward(batch)
            scores.append(np.asarray(found[0]))
    eager = networks._load_eager(network)
    import torch  # noqa: PLC0415 - only here

    with torch.inference_mode():
        scores.append(eager(torch.from_numpy(batch))[0].numpy())
    assert scores[0].shape == (2, 4, 8, 12)
    for score in scores[1:]:
        np.testing.assert_allclose(score, scores[0], atol=1e-4)


def test_cohort_is_inferred_watched_and_found_again(network, source, tmp_path):

    paths = copy_video(source, tmp_path / "videos", 3)
    run = prepare_run(tmp_path / "run", paths, network, scale=0.5, settings={"workers": 1})
    assert run.count_frames() == 36
    peak = run.infer_watched(runtime="onnx")
    assert 50e6 < peak < 4e9
    poses = run.identify_poses()
    assert {name.partition("/")[0] for name in poses} == {f"{path.stem}.zarr" for path in paths}
    assert overheads.restart_run(run)[1] == 0
    # From nothing, every file is another one.
    run.infer(runtime="onnx")
    assert not set(poses.items()) & set(run.identify_poses().items())
