"""Pack a network of Lightning Pose as the members of a bundle."""

from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.models.card import ModelCard
from pipeline_lib.models.zoo.foreign_pack import describe_origin, pack_foreign
from pipeline_lib.models.zoo.lightning_pose import LightningPoseModel


def pack_lightning_pose(
    model: LightningPoseModel, name: str, program: str
) -> tuple[ModelCard, dict[str, bytes]]:
    """Return the card of a network of Lightning Pose, and the members of its bundle.

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
    card = ModelCard(
        **describe_origin(model.snapshot, model.epochs, name, program, "Lightning Pose"),
        backbone=model.layout.backbone,
        # It tells positions itself, not by cells.
        stride=1,
        refinement_scale=1.0,
        skeleton=Skeleton(bodyparts=model.bodyparts),
        lightning_pose=model.layout,
    )
    return pack_foreign(card, model.state, model.snapshot)
