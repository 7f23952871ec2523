"""Predict videos as many scripts do: OpenCV reads, PyTorch computes batches, the peaks are taken.

python -m benchmarks.peer_programs.plain_loop MODEL OUTPUT BATCH VIDEO ...
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from pipeline_lib.core.layout import ModelFiles
from pipeline_lib.models.card import read_card
from pipeline_lib.models.inference.decoding import MapDecoder, keep_arrays
from pipeline_lib.models.inference.torch_runtime import deploy_network, load_network


def read_batches(video: Path, size: int) -> Iterator[NDArray[np.uint8]]:
    """Yield batches of frames, RGB, shape (frame, height, width, 3)."""
    capture = cv2.VideoCapture(str(video))
    frames: list[NDArray[np.uint8]] = []
    while (read := capture.read())[0]:
        frames.append(np.asarray(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB), np.uint8))
        if len(frames) == size:
            yield np.stack(frames)
            frames = []
    capture.release()
    if frames:
        yield np.stack(frames)


def predict_videos(folder: Path, output: Path, size: int, videos: list[Path]) -> None:
    """Write ``OUTPUT/VIDEO.npy`` for each video, shape (frame, keypoint, 2), px.

    Parameters
    ----------
    folder
        Folder of a network of ours.
    output
        Folder for the poses.
    size
        Frames per batch.
    videos
        The videos.
    """
    files = ModelFiles(folder)
    card = read_card(files.card)
    network = deploy_network(load_network(files.weights, card), card.refinement_scale).eval()
    decoder = MapDecoder(card)
    output.mkdir(parents=True, exist_ok=True)
    for video in videos:
        found = []
        for batch in read_batches(video, size):
            with torch.inference_mode():
                maps = dict(zip(network.outputs, network(torch.from_numpy(batch)), strict=True))
                arrays = {name: values.numpy() for name, values in maps.items()}
            found.append(decoder.decode(arrays, keep_arrays).position[:, 0])
        np.save(output / f"{video.stem}.npy", np.concatenate(found))


if __name__ == "__main__":
    model, target, batch_size, *given = sys.argv[1:]
    predict_videos(Path(model), Path(target), int(batch_size), [Path(one) for one in given])
