"""Make animals that walk and cross, and their detections."""

import numpy as np

from pipeline_lib.core.settings.individuals import TrackingSettings
from pipeline_lib.demo.render.motion import Ground, simulate_walks
from pipeline_lib.kernels.tracking.detections import Detections
from pipeline_lib.kernels.tracking.links import LinkRules
from pipeline_lib.steps.track.run import make_track_rules

NAN = np.nan
# An animal of five keypoints, px.
BODY = np.array([[0.0, 0.0], [20.0, 3.0], [40.0, -3.0], [60.0, 2.0], [-15.0, 8.0]])


def make_rules(**changes):
    """Return the rules that the settings of tracking, changed if need be, ask for."""
    return make_track_rules(TrackingSettings(**changes))


def make_link_rules(**changes):
    """Return rules by which poses are linked, at a scale that is given."""
    rules = {
        "tolerance": 10.0,
        "similarity": "oks",
        "motion": "kalman",
        "min_similarity": 0.6,
        "max_ambiguity": 0.7,
        "max_gap": 5,
    }
    return LinkRules(**{**rules, **changes})


def walk(frames, individuals=3, seed=0, ground=(150.0, 120.0)):
    """Return true positions of animals of the demo at 30 frames per second, 1 px to a mm."""
    nodes = simulate_walks(
        np.random.default_rng(seed), frames, 1 / 30, [1.0] * individuals, Ground(*ground)
    ).nodes
    return nodes[..., :2]


def slide(frames, starts, velocities, body=BODY):
    """Return true positions of animals that slide along straight lines."""
    time = np.arange(frames)[:, None, None]
    centre = np.asarray(starts, float) + time * np.asarray(velocities, float)
    return centre[:, :, None] + body


def shuffle(position, seed=0):
    """Return the animals of each frame in random places."""
    random = np.random.default_rng(seed)
    frames, individuals = position.shape[:2]
    order = random.permuted(np.tile(np.arange(individuals), (frames, 1)), axis=1)
    return np.take_along_axis(position, order[..., None, None], axis=1)


def drop(position, share, seed=1):
    """Lose a share of the keypoints."""
    lost = np.random.default_rng(seed).random(position.shape[:-1]) < share
    return np.where(lost[..., None], NAN, position)


def mislead(position, share, seed=2):
    """Put a share of the keypoints anywhere."""
    random = np.random.default_rng(seed)
    low, high = np.nanmin(position, axis=(0, 1, 2)), np.nanmax(position, axis=(0, 1, 2))
    wrong = random.random(position.shape[:-1]) < share
    wrong &= np.isfinite(position).all(-1)
    return np.where(wrong[..., None], random.uniform(low, high, position.shape), position)


def detect(position):
    """Return detections with a confidence of 1 where there is a keypoint."""
    return Detections(position, np.isfinite(position).all(-1).astype(np.float32))


def identify(tracked, truth):
    """Return for each frame and place the true animal that lies there; -1: none.

    The one with which most keypoints coincide.
    """
    same = np.isclose(tracked[:, :, None], truth[:, None], atol=1e-3).all(-1).sum(-1)
    return np.where(same.max(-1) > 0, same.argmax(-1), -1)


def count_switches(tracked, truth):
    """Count how often a place passes to another animal."""
    who = identify(tracked, truth)
    switches = 0
    for place in who.T:
        seen = place[place >= 0]
        switches += int((seen[1:] != seen[:-1]).sum())
    return switches
