"""Choose settings of targets and training from measured labels, each with its reason.

Every rule is a function of a few numbers. Results are rounded coarsely, so that a few more labels
rarely change a choice, which would train the network anew. A number that could not be measured is
NaN; a rule then returns what suits most projects, and says so.
"""

import math
from typing import NamedTuple

# A network px of training takes about this much memory, bytes, by stride: measured with
# EfficientNet-Lite0 in single precision.
_BYTES_PER_PX = {4: 3200, 8: 2400}
_MEMORY = 8 * 2**30
_BATCH = 8

# Distances in network px that bodyparts need at least to be told apart.
_TOLD_APART = 12.0
_FINE_BELOW = 10.0
_TOLD_APART_FINE = 6.0  # in cells of half the size, which `choose_stride` then chooses
# Length in network px that an animal may have: the backbones were pretrained on objects that fill
# images of 224 px, and tell the limbs of longer animals apart worse (docs/benchmarks.md).
_SEEN_AROUND = 224.0
# Animals longer than this are shrunk further, and have fine cells.
_TOO_LONG = 2 * _SEEN_AROUND
# Network px that whole frames may have without being shrunk.
_FRAME_PX = 640 * 640
_SCALES = (0.25, 0.375, 0.5, 0.625, 0.75, 1.0)
# The locator needs the centres of animals this far apart, px of its small frames, and animals
# this long.
_CENTRES_APART = 16.0
_SMALLEST_ANIMAL = 24.0

_STEPS_OF_100 = 2400
_LEAST_STEPS, _MOST_STEPS = 1200, 12000

_GRID = 32
_LEAST_WINDOW, _LEAST_CROP = 96, 192
_DEFAULT_WINDOW = 224
_WINDOW_MARGIN = 1.3
_CROP_LENGTHS = 2.0
# A crop with more of the frame's area than this is not worth it.
_CROP_SHARE = 0.6


class Choice(NamedTuple):
    """Hold a chosen value and the reason in one sentence."""

    value: float | int | bool | str | None
    reason: str


def format_count(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless it is one."""
    return f"{number} {noun}{'s' if number != 1 else ''}"


def choose_backbone(light: str, *, live: bool) -> Choice:
    """Choose the backbone, by what the network is for; labels do not tell it.

    Parameters
    ----------
    light
        Name of the lightest with pretrained weights.
    live
        Whether the network is for live cameras.

    Returns
    -------
    Choice
        Name of a timm model.
    """
    named = "the lightest network whose pretrained weights come with cohortpose"
    return Choice(light, f"for live cameras: {named}" if live else named)


def choose_scale(closest: float, length: float, area: float, *, fine: bool = True) -> Choice:
    """Choose the factor by which frames are shrunk.

    Animals are shrunk to what the network sees around a point, and frames to what it has time
    for, but never so far that bodyparts cannot be told apart.

    Parameters
    ----------
    closest
        Smallest distance to be told apart, px of the image; NaN if unknown.
    length
        Length of the largest animals, px of the image; NaN if unknown.
    area
        Px of the largest labelled image; NaN if unknown, or if the network sees windows only.
    fine
        Whether `choose_stride` may choose fine cells.

    Returns
    -------
    Choice
        One of a few factors up to 1.
    """
    limits = {
        f"animals are {length:.0f} px long": _divide(_SEEN_AROUND, length),
        f"images have {area / 1e6:.2f} megapixels": math.sqrt(_divide(_FRAME_PX, area)),
    }
    reasons = {reason: limit for reason, limit in limits.items() if limit < 1}
    if not reasons:
        return Choice(1.0, "animals and images are small enough")
    reason = min(reasons, key=lambda one: reasons[one])
    wanted = max((one for one in _SCALES if one <= reasons[reason]), default=_SCALES[0])
    if math.isnan(closest):
        return Choice(1.0, f"{reason}, but no distance between bodyparts is known")
    needed = _find_scale(_TOLD_APART, closest)
    if wanted >= needed:
        return Choice(wanted, f"{reason}, and bodyparts at least {closest:.1f} px apart")
    why = f"bodyparts {closest:.1f} px apart must stay some {_TOLD_APART:.0f} network px apart"
    if not fine or length * needed <= _TOO_LONG:
        return Choice(needed, f"{reason}, but {why}")
    short = max((one for one in _SCALES if one * length <= _TOO_LONG), default=wanted)
    value = max(short, _find_scale(_TOLD_APART_FINE, closest))
    return Choice(value, f"{reason}, too long for a network if {why}: finer cells tell them apart")


def _find_scale(apart: float, closest: float) -> float:
    """Return the smallest scale that leaves bodyparts this many network px apart."""
    return next((one for one in _SCALES if one >= _divide(apart, closest)), 1.0)


def choose_locating_scale(length: float, centres: float, *, below: float | None = None) -> Choice:
    """Choose the factor by which frames are shrunk to find the animals in them.

    Parameters
    ----------
    length
        Length of the largest animals, px of the image; NaN if unknown.
    centres
        Distance between the centres of animals that meet, px; NaN for one animal.
    below
        The scale must be below this one; None: any up to 1.
    """
    needs = {
        f"animals are up to {length:.0f} px long": _divide(_SMALLEST_ANIMAL, length),
        f"centres of animals that meet are {centres:.0f} px apart": _divide(
            _CENTRES_APART, centres
        ),
    }
    known = {reason: scale for reason, scale in needs.items() if not math.isnan(scale)}
    allowed = [one for one in (_SCALES[0] / 2, *_SCALES) if below is None or one < below]
    usual = [one for one in allowed if one >= _SCALES[0]] or allowed
    if not known:
        return Choice(usual[0], "the size of the animals is unknown")
    reason = max(known, key=lambda one: known[one])
    value = next((one for one in usual if one >= known[reason] - 1e-9), usual[-1])
    return Choice(value, reason)


def choose_stride(closest: float, scale: float) -> Choice:
    """Choose the network px of a score-map cell.

    Parameters
    ----------
    closest
        Smallest distance to be told apart, px of the image; NaN if unknown.
    scale
        Factor by which frames are shrunk.
    """
    if math.isnan(closest):
        return Choice(8, "no distance between bodyparts is known")
    distance = closest * scale
    if distance < _FINE_BELOW:
        return Choice(4, f"bodyparts {distance:.1f} network px apart need fine cells")
    return Choice(8, f"bodyparts are {distance:.1f} network px apart or more")


def choose_sigma(closest: float, scale: float, stride: int) -> Choice:
    """Choose the standard deviation of score maps.

    Parameters
    ----------
    closest
        Usual distance of the two closest bodyparts, px of the image; NaN if unknown.
    scale, stride
        Factor by which frames are shrunk, and network px per cell.

    Returns
    -------
    Choice
        Network px, a multiple of 0.5 between three quarters of a cell and a whole one.
    """
    if math.isnan(closest):
        return Choice(float(stride), "no distance between bodyparts is known: a cell")
    distance = closest * scale
    low, high = 0.75 * stride, float(stride)
    value = round(2 * min(max(distance / 6, low), high)) / 2
    reason = f"the closest bodyparts are {distance:.1f} network px apart: "
    if distance / 6 <= low:
        return Choice(value, reason + "the narrowest map that cells resolve")
    if distance / 6 >= high:
        return Choice(value, reason + "a cell, as wider maps add nothing")
    return Choice(value, reason + "three deviations to each side do not overlap")


def choose_radius(sigma: float) -> Choice:
    """Choose the radius of plateau and location refinement, network px."""
    return Choice(2 * sigma, f"twice the deviation of the score maps ({sigma:g})")


def choose_window(size: float, scale: float) -> Choice:
    """Choose the side of the window around an animal.

    Parameters
    ----------
    size
        Side of the square that holds the largest animals, px of the image; NaN if unknown.
    scale
        Factor by which frames are shrunk.

    Returns
    -------
    Choice
        Network px, a multiple of 32.
    """
    if math.isnan(size):
        return Choice(_DEFAULT_WINDOW, "no pose has two labelled bodyparts: of usual size")
    value = max(_LEAST_WINDOW, _round_up(_WINDOW_MARGIN * size * scale))
    return Choice(
        value, f"the largest animals need {size * scale:.0f} network px, and a margin of 30 %"
    )


def choose_crop(
    length: float, size: tuple[float, float], scale: float, *, top_down: bool = False
) -> Choice:
    """Choose the side of the crops to train on.

    Parameters
    ----------
    length
        Length of the largest animals, px of the image; NaN if unknown.
    size
        Width and height of the largest image, px; NaN if unknown.
    scale
        Factor by which frames are shrunk.
    top_down
        Whether the network sees windows only.

    Returns
    -------
    Choice
        Network px, a multiple of 32; None: whole frames.
    """
    if top_down:
        return Choice(None, "top-down, the window takes its place")
    if math.isnan(length) or math.isnan(size[0]):
        return Choice(None, "the size of the animals in the images is unknown: whole frames")
    side = max(_LEAST_CROP, _round_up(_CROP_LENGTHS * length * scale))
    animals = f"animals are up to {length * scale:.0f} network px long"
    share = side**2 / (size[0] * size[1] * scale**2)
    if share > _CROP_SHARE or side > min(size) * scale:
        return Choice(None, f"{animals}: a crop around one would be most of the frame")
    return Choice(side, f"{animals}: twice that shows an animal with its surroundings")


def choose_batch(pixels: float, stride: int) -> Choice:
    """Choose the number of frames per optimiser step.

    The memory is a fixed amount, so that the choice is the same on every machine.

    Parameters
    ----------
    pixels
        Network px of one training sample; NaN if unknown.
    stride
        Network px per cell.

    Returns
    -------
    Choice
        A power of two up to 8.
    """
    if math.isnan(pixels):
        return Choice(_BATCH, "the size of images is unknown")
    each = pixels * _BYTES_PER_PX[stride]
    value = 1
    while value < _BATCH and 2 * value * each <= _MEMORY:
        value *= 2
    fit = f"{value} fit" if value == _BATCH else f"no more than {value} fit"
    return Choice(value, f"a training sample needs some {each / 2**30:.2g} GiB, so {fit} in 8 GiB")


def choose_epochs(samples: int, batch: int) -> Choice:
    """Choose the passes over the training samples.

    The steps grow with the root of the number of samples: more labels need more steps, but fewer
    repetitions of each.

    Parameters
    ----------
    samples
        Number of training samples: frames, or animals where each has a window.
    batch
        Samples per step.
    """
    steps = _STEPS_OF_100 * math.sqrt(samples / 100)
    steps = min(max(steps, _LEAST_STEPS), _MOST_STEPS)
    exact = steps / math.ceil(max(samples, 1) / batch)
    grid = 10 if exact >= 50 else 1
    value = max(1, round(exact / grid) * grid)
    made = value * math.ceil(max(samples, 1) / batch)
    return Choice(value, f"{format_count(samples, 'training sample')}: {made} steps")


def choose_plateau() -> Choice:
    """Choose whether a plateau of the training loss ends the training."""
    return Choice(value=True, reason="the number of epochs is the largest, not the usual one")


def choose_freezing(*, pretrained: bool) -> Choice:
    """Choose whether the first stages of the backbone are kept as they are."""
    if pretrained:
        return Choice(value=True, reason="they are pretrained, and a step takes 0.6 of the time")
    return Choice(value=False, reason="the weights are not pretrained")


def _divide(need: float, there: float) -> float:
    """Return the ratio; infinite where there is nothing, NaN where it is unknown."""
    return math.inf if there == 0 else need / there


def _round_up(length: float) -> int:
    return _GRID * math.ceil(length / _GRID - 1e-9)
