"""Choose the settings that are `auto` from the imported labels."""

import logging
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.formats.backbones import LIGHT
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.chosen import (
    TUNABLE,
    ChosenSetting,
    fits_start,
    list_auto,
    list_upstream,
    replace_auto,
)
from pipeline_lib.core.settings.run import Config, ResolvedConfig
from pipeline_lib.io.chosen_settings import write_choices
from pipeline_lib.io.image_header import read_header
from pipeline_lib.io.labels.table import Labels, label_arrays
from pipeline_lib.kernels.label_statistics import augmentation, orientation, sizes
from pipeline_lib.kernels.label_statistics import choices as rules
from pipeline_lib.kernels.tracking.similarity import centre_poses
from pipeline_lib.kernels.windows import are_worth_windows, measure_window_share
from pipeline_lib.steps.runs.networks.start_network import read_start_backbone, read_start_card

_log = logging.getLogger(__name__)

# Images whose size is read; more of one project hardly differ.
_MOST_IMAGES = 500
_SAME_POSE = 0.02  # of the animal's length
_SAME_POSTURE = 0.1
_MIDLINE = 0.25
_LEAST_SHARE = 0.1
_FINE_STRIDE = 4
_TRAINED = ("train", "validation")
_FROM_START = "that of the network that the training starts from"


@dataclass(frozen=True)
class LabelFacts:
    """Hold what is measured in the labels of training frames; px of the images, NaN if unknown.

    Attributes
    ----------
    frames, animals
        Number of labelled frames, and of labelled animals in them.
    size
        Width and height of the largest image.
    length, reach
        Length of the largest animals, and how far keypoints are from their mean.
    closest
        Usual distance of the two closest bodyparts of an animal.
    told_apart
        Smallest distance to be told apart, of bodyparts or of animals that meet.
    centres
        Distance between the centres of animals that meet.
    distinct
        Number of poses that differ, counted up to what rules need.
    places
        Number of places of all videos, counted up to what rules need; places of one video are
        farther apart than an animal is long.
    in_place
        Whether animals stay in one place.
    turning
        Turning of the animals, degrees.
    both_ways
        Whether animals in profile face left and right.
    unpaired
        Bodyparts of one side without a partner in the symmetries.
    pairs
        Number of left-right pairs.
    """

    frames: int
    animals: int
    size: tuple[float, float]
    length: float
    reach: float
    closest: float
    told_apart: float
    centres: float
    distinct: int
    places: int
    in_place: bool
    turning: float
    both_ways: bool
    unpaired: tuple[str, ...]
    pairs: int


def publish_choices(config: Config, results: Results, labels: Labels) -> None:
    """Write ``labels/chosen_settings.yaml``, or remove it where no setting is `auto`."""
    if list_auto(config):
        facts = measure_labels(labels)
        chosen = choose_settings(config, facts)
        write_choices(results.chosen_settings, chosen)
        if advice := advise_windows(replace_auto(config, chosen), facts):
            _log.info(advice)
    else:
        results.chosen_settings.unlink(missing_ok=True)


def advise_windows(config: ResolvedConfig, facts: LabelFacts) -> str:
    """Return the advice to predict in windows where animals are small; empty otherwise.

    Parameters
    ----------
    config
        Settings with every value fixed.
    facts
        The measured labels.
    """
    if config.uses_locator:
        return ""
    animals, window = config.individuals.max, config.locating.window
    seen = (facts.size, config.targets.scale, config.locating.scale, animals * window**2)
    if not are_worth_windows(*seen):
        return ""
    share = measure_window_share(*seen)
    if animals == 1:
        setting, small = "locating.enabled: auto", "the animal is small"
    else:
        setting, small = "individuals.method: top-down", "animals are small"
    return (
        f"{small}: with `{setting}` the networks would see {100 * share:.0f} % of the pixels that "
        "whole frames have, which is faster by about as much"
    )


def measure_labels(labels: Labels) -> LabelFacts:
    """Measure the labels of the frames that a network is trained on.

    Test frames do not count, so that no choice depends on what it is tested with.
    """
    images, position = label_arrays(labels)
    trained = images["split"].isin(_TRAINED).to_numpy()
    # Unique bodyparts belong to no animal.
    own = list(labels.skeleton.animal_indices)
    position = position[trained][:, : len(labels.individuals)][:, :, own]
    if not own:
        # As if they had a bodypart that is labelled nowhere.
        position = np.full((*position.shape[:2], 1, 2), np.nan)
    poses, video = _list_poses(position, pd.factorize(images.loc[trained, "video"])[0])
    length = sizes.measure_length(poses)
    moving = orientation.find_moving(poses, 0.0 if math.isnan(length) else length)
    moved = poses[:, moving]
    partner = _list_partners(labels, own)
    unpaired = orientation.find_unpaired(poses, partner, _MIDLINE)
    closest = sizes.measure_closest_pair(poses)
    meeting = sizes.measure_closest_animals(position)
    return LabelFacts(
        frames=int(trained.sum()),
        animals=len(poses),
        size=_measure_images([Path(name) for name in images.loc[trained, "image"]]),
        length=length,
        reach=sizes.measure_reach(poses),
        closest=closest,
        told_apart=float(np.fmin(closest, meeting / 2)),
        centres=sizes.measure_closest_animals(centre_poses(position)[:, :, None]),
        distinct=_count_distinct(moved, _SAME_POSE * length, augmentation.least_distinct()),
        places=orientation.count_places(
            centre_poses(poses), video, float(np.nan_to_num(length)), augmentation.least_places()
        ),
        in_place=_stays_in_place(moved, video),
        turning=orientation.measure_turning(poses, moving),
        both_ways=orientation.faces_both_ways(poses, moving, _LEAST_SHARE),
        unpaired=tuple(labels.bodyparts[own[place]] for place in np.flatnonzero(unpaired)),
        pairs=sum(one < other for one, other in enumerate(partner)),
    )


def _list_poses(
    position: NDArray[np.float64], video: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the poses with a keypoint (pose, keypoint, 2), and the number of the video of each."""
    frame, _ = np.nonzero(np.isfinite(position).all(axis=-1).any(axis=-1))
    return sizes.list_poses(position), video[frame]


def _stays_in_place(moved: NDArray[np.float64], video: NDArray[np.int64]) -> bool:
    """Tell whether animals stay in one place, or in one of each video, from moving keypoints."""
    if not moved.size:
        return False
    poses, video = _list_poses(moved[:, None], video)
    length = sizes.measure_length(poses)
    each = augmentation.least_postures(len(np.unique(video)))
    postures = _count_distinct(poses, _SAME_POSTURE * length, each)
    return any(
        postures >= least
        and augmentation.stays_in_place(
            orientation.measure_roaming(poses, video, apart=apart), length
        )
        for apart, least in ((False, augmentation.least_postures(1)), (True, each))
    )


def _count_distinct(moved: NDArray[np.float64], tolerance: float, enough: int) -> int:
    """Count the poses of moving keypoints that differ; none where fewer than two move."""
    if moved.shape[1] < 2 or math.isnan(tolerance):
        return 0
    several = moved[np.isfinite(moved).all(axis=-1).sum(axis=-1) > 1]
    return orientation.count_distinct(several, tolerance, enough)


def _list_partners(labels: Labels, own: list[int]) -> tuple[int, ...]:
    """Return the mirrored partner of each bodypart of an animal, by place among these."""
    order = labels.skeleton.mirrored_order
    return tuple(
        own.index(order[place]) if order[place] in own else n for n, place in enumerate(own)
    )


def _measure_images(images: list[Path]) -> tuple[float, float]:
    """Return the largest width and the largest height of images; NaN if none can be read."""
    places = np.linspace(0, len(images) - 1, min(len(images), _MOST_IMAGES)).round().astype(int)
    found = []
    for place in places.tolist():
        try:
            found.append(read_header(images[place]).upright)
        except StoreError:
            # `make-targets` reports it.
            continue
    if not found:
        return (math.nan, math.nan)
    width, height = np.array(found, np.float64).max(axis=0).tolist()
    return width, height


def choose_settings(config: Config, facts: LabelFacts) -> dict[str, ChosenSetting]:
    """Choose a value for every setting that labels can decide, whether it is `auto` or not.

    Parameters
    ----------
    config
        Choices are made for the values that it states (`list_upstream`).
    facts
        The measured labels.
    """
    made = _Choosing(config, facts)
    return {name: made.choices[name] for name in TUNABLE}


class _Choosing:
    """Choose one setting after the other: later ones depend on earlier ones."""

    def __init__(self, config: Config, facts: LabelFacts) -> None:
        self._config, self._facts, self._upstream = config, facts, list_upstream(config)
        self.choices: dict[str, ChosenSetting] = {}
        self._choose_backbone()
        rotation = self._settle(
            "training.augmentation.rotation",
            augmentation.choose_rotation(
                facts.turning, facts.distinct, facts.places, in_place=facts.in_place
            ),
        )
        self._settle(
            "training.augmentation.mirror",
            augmentation.choose_mirror(
                facts.pairs, rotation, facts.unpaired, both_ways=facts.both_ways
            ),
        )
        scale, stride = self._choose_grid()
        sigma = self._settle("targets.sigma", rules.choose_sigma(facts.closest, scale, int(stride)))
        self._settle("targets.pos_dist_thresh", rules.choose_radius(sigma))
        self._settle("locating.scale", self._choose_locating_scale(scale))
        window = self._settle("locating.window", rules.choose_window(self._size(), scale))
        self._choose_training(scale, int(stride), window)

    def _keep(self, name: str, choice: rules.Choice) -> None:
        self.choices[name] = ChosenSetting(value=choice.value, reason=choice.reason)

    def _choose_backbone(self) -> None:
        config = self._config
        choice = rules.choose_backbone(LIGHT, live=config.training.goal == "live")
        if fits_start(config) and (start := read_start_backbone(config)) is not None:
            choice = rules.Choice(start, _FROM_START)
        self._keep("training.backbone", choice)

    def _settle(self, name: str, choice: rules.Choice) -> float:
        """Keep a choice, and return the value that later ones are made for."""
        self._keep(name, choice)
        value = self._upstream.get(name, choice.value)
        return math.nan if value is None else float(value)

    def _size(self) -> float:
        """Return the side of the square that holds the largest animals, px of the images."""
        return 2 * self._facts.reach if self._config.top_down else self._facts.length

    def _choose_grid(self) -> tuple[float, float]:
        """Choose scale and stride; those of a network to start from, whose maps must fit."""
        config, facts = self._config, self._facts
        card = read_start_card(config) if fits_start(config) else None
        if card is not None:
            scale = self._settle("targets.scale", rules.Choice(card.scale, _FROM_START))
            return scale, self._settle("targets.stride", rules.Choice(card.stride, _FROM_START))
        width, height = facts.size
        scale = self._settle(
            "targets.scale",
            rules.choose_scale(
                facts.told_apart,
                facts.length,
                math.nan if config.top_down else width * height,
                fine=self._upstream.get("targets.stride") in {None, _FINE_STRIDE},
            ),
        )
        stride = rules.choose_stride(facts.told_apart, scale)
        return scale, self._settle("targets.stride", stride)

    def _choose_locating_scale(self, scale: float) -> rules.Choice:
        config, facts = self._config, self._facts
        if fits_start(config):
            locator = read_start_card(config, locator=True)
            if locator is not None:
                return rules.Choice(locator.scale, _FROM_START)
        below = None if config.individuals.max > 1 else scale
        return rules.choose_locating_scale(facts.length, facts.centres, below=below)

    def _choose_training(self, scale: float, stride: int, window: float) -> None:
        config, facts = self._config, self._facts
        top_down = config.top_down
        crop = self._settle(
            "training.crop",
            rules.choose_crop(facts.length, facts.size, scale, top_down=top_down),
        )
        side = window if top_down else crop
        width, height = facts.size
        pixels = width * height * scale**2 if math.isnan(side) else side**2
        batch = self._settle("training.batch_size", rules.choose_batch(pixels, stride))
        samples = facts.animals if top_down else facts.frames
        self._settle("training.epochs", rules.choose_epochs(samples, int(batch)))
        self._settle("training.stop.plateau", rules.choose_plateau())
        pretrained = config.training.weights != "none" or config.training.start_from is not None
        self._settle("training.freeze", rules.choose_freezing(pretrained=pretrained))
