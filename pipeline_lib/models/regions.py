"""Read and write the calibration of confidence of a network or of an ensemble.

`status` and Snakemake read bundles with it: array libraries are imported where they compute.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipeline_lib.core.errors import ModelError
from pipeline_lib.models.card import ModelCard

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pipeline_lib.kernels.ensembles.regions import Calibration, Scale

_Number = Annotated[float, Field(allow_inf_nan=False)]
_Share = Annotated[float, Field(ge=0.0, le=1.0)]
_MOST_BYTES = 2**20


class ConfidenceRegions(BaseModel):
    """Tell how far from the truth a keypoint may lie: the content of ``confidence.json``.

    Attributes
    ----------
    networks
        Hash of the networks that it is of.
    bodyparts
        Names, in the order of `factors`.
    spread_weight, confidence_weight, factors, usual_spread
        As in `pipeline_lib.kernels.ensembles.regions.Scale`.
    levels, quantiles
        Probabilities, and how many scales contain the error; null where it is not known.
    coverage
        Share of held-out points within the region of each level, measured on images that the
        calibration of a fold does not know.
    points, images
        Held-out points and images.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    networks: str
    bodyparts: tuple[str, ...]
    spread_weight: Annotated[_Number, Field(ge=0.0)]
    confidence_weight: Annotated[_Number, Field(ge=0.0)]
    factors: tuple[_Number, ...]
    usual_spread: Annotated[_Number, Field(ge=0.0)]
    levels: tuple[_Share, ...]
    quantiles: tuple[Annotated[_Number, Field(ge=0.0)] | None, ...]
    coverage: tuple[_Share, ...]
    points: int
    images: int

    @model_validator(mode="after")
    def _check_lengths(self) -> "ConfidenceRegions":
        if len(self.factors) != len(self.bodyparts):
            raise ValueError(f"{len(self.factors)} factors of {len(self.bodyparts)} bodyparts")
        if not len(self.levels) == len(self.quantiles) == len(self.coverage):
            raise ValueError("levels, quantiles and coverage differ in number")
        return self

    def find_radius(
        self,
        confidence: "NDArray[np.floating]",
        spread: "NDArray[np.floating] | None" = None,
        *,
        level: float = 0.9,
    ) -> "NDArray[np.float64]":
        """Return the radius of the region that contains the truth with a probability.

        Parameters
        ----------
        confidence
            Shape (..., keypoint), 0..1, keypoints in the order of `bodyparts`.
        spread
            Same shape, px; None for a single network.
        level
            One of `levels`.

        Returns
        -------
        ndarray
            Shape (..., keypoint), px; infinite where there were too few held-out points to tell;
            NaN where the keypoint was not found (confidence 0 or NaN).

        Raises
        ------
        ValueError
            If there is no such level, or the last axis has another length than `bodyparts`.
        """
        import numpy as np  # noqa: PLC0415

        if level not in self.levels:
            raise ValueError(f"level {level} is none of {', '.join(map(str, self.levels))}")
        sure = np.asarray(confidence, np.float64)
        if sure.ndim == 0 or sure.shape[-1] != len(self.bodyparts):
            raise ValueError(
                f"confidence has shape {sure.shape}, expected {len(self.bodyparts)} keypoints "
                "on its last axis"
            )
        width = np.full(sure.shape, np.nan) if spread is None else np.asarray(spread, np.float64)
        scale = self._scale.measure(sure, width, np.arange(len(self.bodyparts)))
        quantile = self.quantiles[self.levels.index(level)]
        radius = scale * (math.inf if quantile is None else quantile)
        return np.where(sure > 0.0, radius, np.nan)

    @property
    def _scale(self) -> "Scale":
        from pipeline_lib.kernels.ensembles.regions import Scale  # noqa: PLC0415

        return Scale(self.spread_weight, self.confidence_weight, self.factors, self.usual_spread)


def make_regions(
    cards: Sequence[ModelCard],
    calibration: "Calibration",
    coverage: Sequence[float],
    *,
    points: int,
    images: int,
) -> ConfidenceRegions:
    """Return the record of a calibration.

    Parameters
    ----------
    cards
        Cards of the networks.
    calibration
        What was fitted.
    coverage
        Share of held-out points within the region of each level.
    points, images
        Held-out points and images.
    """
    from pipeline_lib.kernels.ensembles.regions import LEVELS  # noqa: PLC0415

    scale = calibration.scale
    return ConfidenceRegions(
        networks=identify_networks(cards),
        bodyparts=cards[0].skeleton.bodyparts,
        spread_weight=scale.spread_weight,
        confidence_weight=scale.confidence_weight,
        factors=scale.factors,
        usual_spread=scale.usual_spread,
        levels=LEVELS,
        quantiles=tuple(None if math.isinf(one) else one for one in calibration.quantiles),
        coverage=tuple(coverage),
        points=points,
        images=images,
    )


def identify_networks(cards: Sequence[ModelCard]) -> str:
    """Return a hash of networks that predict together."""
    text = "\n".join(card.network_sha256 for card in cards)
    return hashlib.sha256(text.encode()).hexdigest()


def format_regions(regions: ConfidenceRegions) -> str:
    """Return the JSON text of a calibration."""
    return json.dumps(regions.model_dump(mode="json"), indent=2) + "\n"


def read_regions_file(path: Path, cards: Sequence[ModelCard]) -> ConfidenceRegions:
    """Read and check the calibration of networks.

    Raises
    ------
    ModelError
        If it is missing, damaged, or of other networks.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        raise ModelError(
            f"{path}: no calibration of confidence; ensembles have one once they were evaluated "
            "on enough held-out points, single networks with `evaluation.confidence_regions: true`"
        ) from None
    return parse_regions(content, cards, str(path))


def parse_regions(content: bytes, cards: Sequence[ModelCard], where: str) -> ConfidenceRegions:
    """Parse and check the JSON text of a calibration, which may come from a stranger.

    Raises
    ------
    ModelError
        If it is damaged, or of other networks.
    """
    if len(content) > _MOST_BYTES:
        raise ModelError(f"{where}: more than {_MOST_BYTES} bytes; expected a calibration")
    try:
        regions = ConfidenceRegions.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ModelError(f"{where}: not a calibration: `{key}`: {first['msg']}") from None
    if regions.networks != identify_networks(cards):
        raise ModelError(f"{where}: is of other networks; run `cohortpose evaluate` again")
    if regions.bodyparts != cards[0].skeleton.bodyparts:
        raise ModelError(f"{where}: is of other bodyparts than the network")
    return regions
