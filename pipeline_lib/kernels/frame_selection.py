"""Select the frames of a video that are worth labelling."""

import math

import numpy as np
from numpy.typing import NDArray


def limit_range(frames: int, start: float, stop: float) -> range:
    """Convert fractions of a video to a range of at least one frame.

    Parameters
    ----------
    frames
        Frames of the video, at least 1.
    start, stop
        Fractions in 0..1, start < stop; the frame at `stop` is excluded.
    """
    # 10 * 0.7 is a little more than 7.
    first = min(math.floor(frames * start + 1e-6), frames - 1)
    return range(first, max(math.ceil(frames * stop - 1e-6), first + 1))


def select_uniform(
    frames: int, number: int, start: float, stop: float, seed: int
) -> NDArray[np.int64]:
    """Choose frames evenly spread over time, at random within their share of it.

    The range is cut into `number` equal parts and one frame is drawn from each. DeepLabCut's
    ``uniform`` draws all of them from the whole range, which may leave long stretches without
    a frame.

    Parameters
    ----------
    frames
        Frames of the video, at least 1.
    number
        Frames to choose.
    start, stop
        Fractions of the video to choose from.
    seed
        The same seed gives the same frames.

    Returns
    -------
    NDArray[np.int64]
        Ascending frame indices without repetition: `number`, or all there are if fewer.
    """
    span = limit_range(frames, start, stop)
    number = min(number, len(span))
    edges = span.start + (np.arange(number + 1) * len(span)) // number
    return np.random.default_rng(seed).integers(edges[:-1], edges[1:]).astype(np.int64)


def select_kmeans(thumbnails: NDArray[np.uint8], number: int, seed: int) -> NDArray[np.int64]:
    """Choose frames that look different from each other: one per cluster of similar ones.

    As in DeepLabCut (Nath et al., Nature Protocols 2019), mini-batch k-means runs on shrunken
    frames less their mean. DeepLabCut then draws a frame of each cluster at random; here it is
    the frame nearest to the cluster's centre, the earliest of equals, so that the choice
    depends on nothing but the frames and the seed. Where frames are too alike to fill the
    clusters, the choice is completed with the frames farthest in time from those chosen.

    Parameters
    ----------
    thumbnails
        Shape (frames, height, width) or (frames, height, width, channel), uint8.
    number
        Frames to choose.
    seed
        Seed of the clustering.

    Returns
    -------
    NDArray[np.int64]
        Ascending positions on the first axis without repetition: `number`, or all there are
        if fewer.
    """
    count = len(thumbnails)
    if count <= number:
        return np.arange(count, dtype=np.int64)
    labels, distances = cluster_images(thumbnails, number, seed)
    nearest = np.lexsort((np.arange(count), distances, labels))
    _, firsts = np.unique(labels[nearest], return_index=True)
    return _complete(nearest[firsts], count, number)


def cluster_images(
    images: NDArray[np.uint8], number: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Divide small images into clusters of similar ones by mini-batch k-means.

    Parameters
    ----------
    images
        Shape (image, height, width) or (image, height, width, channel), uint8; more than `number`.
    number
        Clusters; fewer are made where fewer images are different.
    seed
        Seed of the clustering.

    Returns
    -------
    labels, distances
        Shape (image,): number of the cluster, and distance from its centre.
    """
    # It takes two seconds, which an even choice of frames does without.
    from sklearn.cluster import MiniBatchKMeans  # noqa: PLC0415

    flat = images.reshape(len(images), -1)
    pixels = flat.astype(np.float32)
    pixels -= pixels.mean(axis=0)
    model = MiniBatchKMeans(
        n_clusters=min(number, len(np.unique(flat, axis=0))),
        batch_size=max(256, 4 * number),
        max_iter=50,
        tol=1e-3,
        n_init=3,
        # scikit-learn takes no larger ones.
        random_state=seed % 2**32,
    )
    labels = model.fit_predict(pixels)
    return labels, np.linalg.norm(pixels - model.cluster_centers_[labels], axis=1)


def _complete(chosen: NDArray[np.int64], count: int, number: int) -> NDArray[np.int64]:
    """Add positions, each farthest from those chosen so far, until there are `number`."""
    positions = np.arange(count)
    gap = np.abs(positions[:, None] - chosen[None, :]).min(axis=1)
    selection = chosen.tolist()
    while len(selection) < number:
        farthest = int(gap.argmax())
        selection.append(farthest)
        gap = np.minimum(gap, np.abs(positions - farthest))
    return np.sort(np.array(selection, dtype=np.int64))
