"""The simulated camera films the light and knows when the animal entered."""

import numpy as np

from benchmarks.live.latency import REGION, ROUND, SIZE, Led, SimulatedCamera, render
from pipeline_lib.live.sources.frames import now


def test_the_camera_films_the_light_from_the_frame_after_it_is_lit():
    frames, truth = render()
    inside = truth[:, 0, 0] > REGION[0][0]
    # One entry in each round.
    assert (inside & ~np.roll(inside, 1)).sum() == 1
    led = Led()
    camera = SimulatedCamera(frames, inside, 2000.0, led)
    camera.rewind()
    read = []
    for number in range(ROUND + 5):
        frame = camera.read(0)
        read.append(frame)
        if len(camera.entered) == 1 and not led.on:
            entered = number
            led.on = True
    led.close()
    assert [frame.number for frame in read] == list(range(1, ROUND + 6))
    assert entered == int(np.flatnonzero(inside & ~np.roll(inside, 1))[0])
    assert camera.seen == [1]
    assert read[entered].image[0, 0, 0] < 255
    assert read[entered + 1].image[0, 0].tolist() == [255, 255, 255]
    assert read[0].image.shape == (*SIZE, 3)
    assert camera.entered[0] <= now()
