"""Pack a network of SLEAP-NN as the members of a bundle."""

from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.models.card import ModelCard
from pipeline_lib.models.zoo.foreign_pack import describe_origin, pack_foreign
from pipeline_lib.models.zoo.sleap_nn import SleapModel


def pack_sleap(model: SleapModel, name: str, program: str) -> tuple[ModelCard, dict[str, bytes]]:
    """Return the card of a network of SLEAP-NN, and the members of its bundle.

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
        **describe_origin(model.snapshot, model.epochs, name, program, "SLEAP-NN")
        # It does not normalise its input.
        | {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)},
        backbone="unet",
        # It tells positions itself, not by cells.
        stride=1,
        refinement_scale=1.0,
        skeleton=Skeleton(bodyparts=model.bodyparts),
        sleap_nn=model.layout,
    )
    return pack_foreign(card, model.state, model.snapshot)
