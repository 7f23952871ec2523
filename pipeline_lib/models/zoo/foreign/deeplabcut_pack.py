"""Pack a network of DeepLabCut as the members of a bundle."""

from pipeline_lib.core.skeleton import CENTRE, Skeleton
from pipeline_lib.core.tables import SINGLE_INDIVIDUAL
from pipeline_lib.models.card import ModelCard
from pipeline_lib.models.network.detector import complete_counts
from pipeline_lib.models.zoo.foreign.deeplabcut import DeepLabCutDetector, DeepLabCutModel
from pipeline_lib.models.zoo.foreign.pack import describe_origin, pack_foreign
from pipeline_lib.models.zoo.manifest import LOCATOR


def pack_deeplabcut(
    model: DeepLabCutModel, name: str, program: str
) -> tuple[ModelCard, ModelCard | None, dict[str, bytes]]:
    """Return the card of a network of DeepLabCut, that of its detector, and the bundle's members.

    Parameters
    ----------
    model
        The network.
    name
        Name of the network.
    program
        Program that packs it, for the card.

    Raises
    ------
    ModelError
        If its weights are not those of the network that its config describes.
    """
    card, members = pack_foreign(_describe(model, name, program), model.state, model.snapshot)
    if model.detector is None:
        return card, None, members
    told = _describe_detector(model.detector, model.individuals, name, program)
    locator, more = pack_foreign(
        told, model.detector.state, model.detector.snapshot, complete=complete_counts
    )
    return card, locator, members | {LOCATOR + key: value for key, value in more.items()}


def _describe(model: DeepLabCutModel, name: str, program: str) -> ModelCard:
    crop = model.layout.crop
    return ModelCard(
        **describe_origin(model.snapshot, model.epochs, name, program, "DeepLabCut"),
        backbone=model.layout.model_name,
        # Checked against the layout.
        stride=round(model.layout.stride),
        refinement_scale=model.refinement_scale,
        skeleton=Skeleton(bodyparts=model.bodyparts),
        window=None if crop is None else max(crop.width, crop.height),
        deeplabcut=model.layout,
    )


def _describe_detector(
    detector: DeepLabCutDetector, individuals: int, name: str, program: str
) -> ModelCard:
    several = tuple(f"individual{number}" for number in range(1, individuals + 1))
    return ModelCard(
        **describe_origin(detector.snapshot, detector.epochs, name, program, "DeepLabCut"),
        backbone=detector.layout.variant,
        stride=1,
        refinement_scale=1.0,
        skeleton=Skeleton(bodyparts=(CENTRE,)),
        individuals=(SINGLE_INDIVIDUAL,) if individuals == 1 else several,
        detector=detector.layout,
    )
