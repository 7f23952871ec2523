"""Choose the edges for assembly by a measurement on the training frames."""

import logging

import numpy as np
import torch

from pipeline_lib.io.targets.store import TargetStore
from pipeline_lib.kernels.assembly.edges import choose_edges, split_pairs
from pipeline_lib.kernels.maps.part_affinity import measure_affinity
from pipeline_lib.models.network.network import PoseNetwork

logger = logging.getLogger(__name__)

# Number of frames measured: more hardly change the order of the edges.
_MOST_FRAMES = 200


@torch.inference_mode()
def choose_used_edges(network: PoseNetwork, store: TargetStore) -> tuple[int, ...]:
    """Choose the edges that connect all bodyparts and separate animals best.

    As many again as the least that connect are taken besides: where a bodypart is hidden, others
    hold the animal together.

    Parameters
    ----------
    network
        Trained, on the CPU.
    store
        The targets that it was trained on; images of the split ``train`` are measured.

    Returns
    -------
    tuple of int
        Positions among the store's edges, rising.

    References
    ----------
    .. [1] Lauer et al., Nature Methods 19:496, 2022: data-driven choice of the graph.
    """
    layout = store.layout
    animals, affinities = len(layout.animals), []
    for sample in store.of_split("train")[:_MOST_FRAMES]:
        image = torch.from_numpy(store.read("image", sample)).permute(2, 0, 1)[None] / 255.0
        maps = dict(zip(network.outputs, network(image), strict=True))
        # (keypoint, individual, 2): labelled points instead of peaks.
        points = store.read("keypoint", sample)[:animals].swapaxes(0, 1)
        affinities.append(
            measure_affinity(maps["affinity"][0].numpy(), points, layout.edges, layout.stride)
        )
    same, different = split_pairs(np.stack(affinities))
    bodyparts = sorted({keypoint for edge in layout.edges for keypoint in edge})
    choice = choose_edges(
        layout.edges, same, different, bodyparts=bodyparts, further=len(bodyparts) - 1
    )
    for number in choice.edges:
        first, second = (layout.bodyparts[keypoint] for keypoint in layout.edges[number])
        logger.debug("edge %s - %s: %.3f", first, second, choice.discriminability[number])
    return choice.edges
