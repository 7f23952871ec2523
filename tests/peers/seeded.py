"""Draw the weights of a network from the names of its layers, alike in every environment."""

import math
import zlib

import numpy as np

# Layers of detectors whose outputs would be far too large, by a part of their names.
_SMALLER = {
    ".fpn.inner_blocks": 1e-4,
    ".rpn.head.bbox_pred": 0.1,
    "regression_head.module_list": 0.3,
    "classification_head.module_list": 0.2,
    "box_predictor.bbox_pred": 0.3,
}


def draw_head(kind, name, shape):
    """Return the values of a tensor of a network of Lightning Pose, whose maps have broad peaks."""
    values = draw_weights(name, shape)
    if "upsampling_layers" in name and len(shape) > 1:
        values = values * np.float32({"resnet": 0.06, "efficientnet": 0.62}[kind])
    return values


def draw_weights(name, shape):
    """Return the values of a tensor of a network of DeepLabCut, or of its detector."""
    values = _draw(name, shape)
    for part, factor in _SMALLER.items():
        if part in name and name.endswith("weight") and len(shape) > 1:
            values = (values * factor).astype(values.dtype)
    return values


def _draw(name, shape):
    stream = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if name.endswith("running_var") or (name.endswith("weight") and len(shape) == 1):
        return stream.uniform(0.5, 1.5, shape).astype(np.float32)
    if name.startswith("heads."):
        return (stream.standard_normal(shape) * 3e-4).astype(np.float32)
    if name.endswith("weight"):
        spread = math.sqrt(2 / math.prod(shape[1:]))
        return (stream.standard_normal(shape) * spread).astype(np.float32)
    return (stream.standard_normal(shape) * 0.1).astype(np.float32)
