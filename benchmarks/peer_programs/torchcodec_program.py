"""Drive TorchCodec, in its own environment: read all frames of videos by their numbers.

    PYTHON torchcodec_program.py read OUTPUT.npz VIDEO
    PYTHON torchcodec_program.py time VIDEO

``read`` writes ``image``, shape (frame, height, width, 3), uint8, and ``given``, shape (frame,),
bool: whether there was an image. ``time`` prints processor milliseconds per frame, read in batches
of 64 in their order, with one thread.
"""

import sys
import time

import numpy as np
from torchcodec.decoders import VideoDecoder

_BATCH = 64


def read(output, path):
    decoder = VideoDecoder(path)
    images, given = [], []
    for number in range(decoder.metadata.num_frames):
        try:
            images.append(decoder.get_frame_at(number).data.permute(1, 2, 0).numpy())
            given.append(True)
        except (RuntimeError, ValueError, IndexError):
            images.append(None)
            given.append(False)
    shape = next((one.shape for one in images if one is not None), (1, 1, 3))
    empty = np.zeros(shape, np.uint8)
    filled = [empty if one is None else one for one in images]
    np.savez(output, image=np.stack(filled or [empty])[: len(filled)], given=np.array(given, bool))


def time_reading(path):
    decoder = VideoDecoder(path, num_ffmpeg_threads=1)
    frames = decoder.metadata.num_frames
    began = time.process_time()
    for start in range(0, frames, _BATCH):
        decoder.get_frames_in_range(start, min(start + _BATCH, frames))
    print(1000 * (time.process_time() - began) / frames)


if __name__ == "__main__":
    if sys.argv[1] == "read":
        read(*sys.argv[2:])
    else:
        time_reading(*sys.argv[2:])
