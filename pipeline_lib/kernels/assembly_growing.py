"""Growing individuals link by link, as DeepLabCut's assembler does; many frames in lockstep.

The strongest link of a frame begins an individual, which takes in, one after another, the peak at
the end of the strongest link that leaves it, unless it has that bodypart already; then comes the
strongest of the links that are left. It is Prim's algorithm for a spanning tree of the greatest
sum, with the bodyparts as a constraint, and what `Assembler.build_assemblies` of DeepLabCut (Lauer
et al., Nature Methods 19:496, 2022) comes to without its calibration.
"""

import numpy as np

from pipeline_lib.kernels.assembly_links import BoolArray, FloatArray, Graph, IntArray


def grow_by_links(links: FloatArray, present: BoolArray, graph: Graph) -> IntArray:
    """Cluster peaks by their strongest links, one link being as good as many.

    Parameters
    ----------
    links
        Shape (frame, edge, peak, peak), float32: affinities; 0 where not linked.
    present
        Shape (frame, bodypart, peak).
    graph
        The edges.

    Returns
    -------
    ndarray
        Shape (frame, node), int64, nodes being peaks, bodypart by bodypart: the lowest node of
        each one's cluster; its own number where it is alone or missing.
    """
    frames, bodyparts, count = present.shape
    weight = _weigh(links, present, graph)
    bodypart = np.arange(bodyparts).repeat(count)
    label = np.tile(np.arange(bodyparts * count), (frames, 1))
    free = present.reshape(label.shape).copy()
    frame = np.arange(frames)
    while frame.size:
        left = np.where(free[frame][:, :, None] & free[frame][:, None], weight[frame], 0)
        first, second = np.divmod(left.reshape(frame.size, -1).argmax(axis=1), bodypart.size)
        going = left[np.arange(frame.size), first, second] > 0
        frame, first, second = frame[going], first[going], second[going]
        inside = _grow(weight[frame], free[frame], bodypart, (first, second))
        free[frame] &= ~inside
        label[frame] = np.where(inside, inside.argmax(axis=1)[:, None], label[frame])
    return label


def _weigh(links: FloatArray, present: BoolArray, graph: Graph) -> FloatArray:
    """Return weights (frame, node, node): the affinity of linked peaks, else 0."""
    frames, bodyparts, count = present.shape
    blocks = np.zeros((frames, bodyparts, count, bodyparts, count), np.float32)
    blocks[:, graph.first, :, graph.second, :] = links.transpose(1, 0, 2, 3)
    blocks[:, graph.second, :, graph.first, :] = links.transpose(1, 0, 3, 2)
    return blocks.reshape(frames, bodyparts * count, bodyparts * count)


def _grow(
    weight: FloatArray, free: BoolArray, bodypart: IntArray, seed: tuple[IntArray, IntArray]
) -> BoolArray:
    """Return which nodes (frame, node) belong to the individual that grows from each seed."""
    inside = np.zeros(free.shape, bool)
    wanted = free.copy()
    # Strongest link from the individual to each node.
    reach = np.zeros(free.shape, np.float32)
    going = np.arange(len(free))
    for node in seed:
        _take_in(going, node, (inside, wanted, reach), weight, bodypart)
    while going.size:
        offer = np.where(wanted[going], reach[going], 0)
        best = offer.argmax(axis=1)
        grows = offer[np.arange(going.size), best] > 0
        going, best = going[grows], best[grows]
        _take_in(going, best, (inside, wanted, reach), weight, bodypart)
    return inside


def _take_in(
    line: IntArray,
    node: IntArray,
    state: tuple[BoolArray, BoolArray, FloatArray],
    weight: FloatArray,
    bodypart: IntArray,
) -> None:
    """Take a node of each line in: its bodypart is there now, its links lead on."""
    inside, wanted, reach = state
    inside[line, node] = True
    wanted[line] &= bodypart != bodypart[node][:, None]
    reach[line] = np.maximum(reach[line], weight[line, node])
