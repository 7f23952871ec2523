"""Load a trained network and predict frames with it."""

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.api.places import find_results
from pipeline_lib.core.errors import ModelError
from pipeline_lib.core.settings.reading import read_config
from pipeline_lib.io.poses.format import SPACE, order_for_file
from pipeline_lib.models.inference.coarse_to_fine import load_pose_predictor
from pipeline_lib.models.inference.decoding import name_slots
from pipeline_lib.models.inference.predictor import PosePredictor, RuntimeOptions
from pipeline_lib.models.members import count_members, read_member_cards
from pipeline_lib.models.precision import in_float32, settle_precision
from pipeline_lib.models.regions import ConfidenceRegions, read_regions_file

if TYPE_CHECKING:
    import xarray as xr


Runtime = Literal["auto", "openvino", "onnx", "torch"]


class Network:
    """A trained network that predicts poses of frames; `load_network` makes it.

    Attributes
    ----------
    name
        Name of the network.
    keypoints, individuals
        Names along the axes of what it predicts.
    """

    def __init__(self, predictor: PosePredictor) -> None:
        self._predictor = predictor
        card = predictor.card
        self.name = card.name
        self.keypoints = tuple(card.skeleton.bodyparts)
        self.individuals = tuple(name_slots(card, predictor.surplus))

    def __repr__(self) -> str:
        return (
            f"<Network {self.name!r}: {len(self.keypoints)} keypoints, "
            f"{len(self.individuals)} individuals>"
        )

    def predict(self, frames: NDArray[np.uint8] | Sequence[NDArray[np.uint8]]) -> "xr.Dataset":
        """Predict the poses in frames of one size.

        What is predicted of a frame does not depend on the frames beside it.

        Parameters
        ----------
        frames
            Shape (frame, height, width, 3), uint8, RGB.

        Returns
        -------
        Dataset
            ``position`` (frame, space, keypoint, individual), float32, px of the frame, NaN where
            a keypoint was not found; ``confidence`` (frame, keypoint, individual), float32 in
            0..1; of an ensemble also ``spread`` (frame, keypoint, individual), float32, px, see
            `open_poses`. Individuals are not tracked: their order in a frame says nothing of who
            they are.

        Raises
        ------
        ValueError
            If the frames are no such images, or differ in size.
        """
        import xarray as xr  # noqa: PLC0415 - seconds

        images = [np.asarray(frame) for frame in frames]
        for image in images:
            _check_image(image)
        found = self._predictor.predict(images)
        spread = {}
        if found.spread is not None:
            axes = ("frame", "keypoint", "individual")
            spread["spread"] = (axes, order_for_file("spread", found.spread), {"units": "px"})
        return xr.Dataset(
            {
                **spread,
                "position": (
                    ("frame", "space", "keypoint", "individual"),
                    order_for_file("position", found.position),
                    {"units": "px"},
                ),
                "confidence": (
                    ("frame", "keypoint", "individual"),
                    order_for_file("confidence", found.confidence),
                ),
            },
            coords={
                "frame": np.arange(len(images)),
                "space": list(SPACE),
                "keypoint": list(self.keypoints),
                "individual": list(self.individuals),
            },
        )


def _check_image(image: NDArray[np.uint8]) -> None:
    right = image.ndim == 3 and image.shape[-1] == 3 and image.dtype == np.uint8
    if right and image.size:
        return
    one = image.ndim == 2 and image.shape[-1] == 3
    hint = "; of a single frame give frame[None]" if one else ""
    raise ValueError(
        "expected frames of shape (height, width, 3), uint8, with pixels, found "
        f"{image.shape}, {image.dtype}{hint}"
    )


def load_network(
    results: str | PathLike[str],
    *,
    model: str | None = None,
    runtime: Runtime | None = None,
) -> Network:
    """Load a trained network from a results folder, with the settings of its run.

    Parameters
    ----------
    results
        The results folder.
    model
        Name of the network; None: the one of the run that ended last. Of an ensemble of another
        run, it is the first network alone.
    runtime
        What runs the network; None: as the run's config says.

    Returns
    -------
    Network
        It predicts what the stage `infer` of the run predicts.

    Raises
    ------
    ConfigError
        If the folder holds no settings of a run, or the runtime lacks their precision.
    ModelError
        If there is no such network, it cannot be loaded, or the runtime is not installed.
    StoreError
        If the folder is no results folder.
    ValueError
        If there is no such runtime.

    Examples
    --------
    >>> import numpy as np
    >>> import pipeline_lib
    >>> network = pipeline_lib.load_network("results")
    >>> poses = network.predict(np.zeros((2, 96, 96, 3), np.uint8))
    >>> poses.position.dims
    ('frame', 'space', 'keypoint', 'individual')
    >>> poses.position.shape == (2, 2, len(network.keypoints), 1)
    True
    """
    if runtime is not None and runtime not in get_args(Runtime):
        raise ValueError(f"runtime {runtime!r} is none of {', '.join(get_args(Runtime))}")
    folder = find_results(results)
    config = read_config(folder.config)
    name = config.training.name if model is None else model
    if not folder.model(name).card.is_file():
        known = folder.model(name).folder.parent
        names = sorted(entry.name for entry in known.iterdir()) if known.is_dir() else []
        raise ModelError(
            f"{known}: no network {name!r}, found {', '.join(names) or 'none'}; run Snakemake first"
        )
    # Networks of other runs are taken by themselves.
    several = name == config.training.name
    settled = settle_precision(config, folder) if several else in_float32(config)
    inference = settled.inference
    if runtime is not None:
        inference = inference.model_copy(update={"runtime": runtime})
    options = RuntimeOptions.of(inference)
    files = folder.model(name)
    members = files.list_members(count_members(config, folder)) if several else ()
    return Network(load_pose_predictor(files, options, config.locating, config.assembly, members))


def read_confidence_regions(
    results: str | PathLike[str], *, model: str | None = None
) -> ConfidenceRegions:
    """Read the calibration of confidence: how far from the truth a keypoint may lie.

    Parameters
    ----------
    results
        The results folder.
    model
        Name of the network; None: the one of the run that ended last. Of an ensemble of another
        run, it is the first network alone.

    Returns
    -------
    ConfidenceRegions
        `ConfidenceRegions.find_radius` returns the radius in px of the region that contains the
        truth with a probability, given confidence and spread.

    Raises
    ------
    ModelError
        If there is no such network, or it was not calibrated.
    StoreError
        If the folder is no results folder.

    Examples
    --------
    >>> regions = pipeline_lib.read_confidence_regions("results")  # doctest: +SKIP
    """
    folder = find_results(results)
    config = read_config(folder.config)
    name = config.training.name if model is None else model
    count = count_members(config, folder) if name == config.training.name else 1
    files = folder.model(name)
    return read_regions_file(files.regions, read_member_cards(files, count))
