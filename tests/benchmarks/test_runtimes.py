"""Test the data of the comparison of runtimes."""

import numpy as np
import onnxruntime
import torch

from benchmarks.inference import runtimes as subject
from pipeline_lib.core.layout import ModelFiles
from pipeline_lib.models.inference.predictor import RuntimeOptions, load_predictor
from tests.models.synthetic import draw_discs, draw_points, write_tiny_model


def test_shrinking_moves_points_by_half_pixels():
    """Check that the centre of a 2 x 2 block is the centre of its shrunk pixel."""
    scene = subject.Scene([np.zeros((48, 64, 3), np.uint8)], np.array([[[0.5, 2.5]]]))
    half = scene.shrink(24, 32)
    assert half.frames[0].shape == (24, 32, 3)
    assert half.points.tolist() == [[[0.0, 1.0]]]


def test_the_fit_is_the_weighted_line(monkeypatch):
    features = torch.tensor([[0.0], [1.0], [2.0], [5.0]])
    wanted = torch.tensor([1.0, 3.0, 5.0, -100.0])
    weight = torch.tensor([1.0, 1.0, 1.0, 0.0])
    monkeypatch.setattr(subject, "RIDGE", 0.0)
    np.testing.assert_allclose(subject._fit_ridge(features, wanted, weight), [2, 1], atol=1e-9)


def test_fitted_layers_score_high_where_the_points_are(tmp_path):
    """Check both files of the network: weights and export."""
    files = ModelFiles(tmp_path)
    write_tiny_model(files)
    points = draw_points(6, (64, 96))
    frames = [draw_discs(image_points, (64, 96)) for image_points in points]
    subject.fit_last_layers(files, subject.Scene(frames, points))
    found = [
        load_predictor(files, RuntimeOptions(name, threads=1)).predict(frames)[0]
        for name in ("onnx", "torch")
    ]
    np.testing.assert_allclose(found[0], found[1], atol=1e-3)
    session = onnxruntime.InferenceSession(str(files.network))
    score, _ = session.run(["score", "offset"], {"frames": np.stack(frames)})
    column, row = np.moveaxis((points // 8).astype(int), -1, 0)
    image, keypoint = np.indices(row.shape)
    assert score[image, keypoint, row, column].mean() > 3 * score.mean()


def test_ratios_are_to_the_first_choice_without_openvino():
    unit = subject.describe(subject.UNIT)
    table = subject.make_table("t", {unit: 20.0, "other": 30.0}, {"other": np.array([0.5, 1, 3])})
    cells = [list(column.cells) for column in table.columns]
    assert cells[1:] == [["20.0", "30.0"], ["1.00", "1.50"], ["", "3.0e+00"], ["", "1.0e+00"]]
