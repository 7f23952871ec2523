"""Count the networks of an ensemble, and check that they belong together."""

from collections.abc import Sequence

from pipeline_lib.core.errors import ModelError
from pipeline_lib.core.layout import ModelFiles, Results
from pipeline_lib.core.settings.run import Config
from pipeline_lib.models.card import ModelCard, read_card

# What poses of members must have in common to be compared.
_SHARED = ("skeleton", "individuals", "identities", "window", "stride", "scale")
# Settings that the division of the labelled frames depends on.
_DRAWN = ("split", "validation_fraction")


def count_members(config: Config, results: Results) -> int:
    """Return the number of networks of a run: of a bundle, as many as it has.

    Raises
    ------
    ModelError
        If the network of a bundle was not imported.
    """
    if config.model.bundle is None:
        return config.training.ensemble
    record = read_card(results.model(config.training.name).card).bundle
    return 1 if record is None else record.members


def check_members(cards: Sequence[tuple[str, ModelCard]]) -> None:
    """Raise an error if networks cannot be members of one ensemble.

    Parameters
    ----------
    cards
        Name of each network in messages, and its card; the first is what the others must equal.

    Raises
    ------
    ModelError
        If their bodyparts, individuals or maps differ, or the frames that they were trained on.
    """
    first, wanted = cards[0]
    for name, card in cards[1:]:
        for field in _SHARED:
            own, other = getattr(card, field), getattr(wanted, field)
            if own == other:
                continue
            if field == "skeleton" and own.bodyparts != other.bodyparts:
                own, other = ", ".join(own.bodyparts), ", ".join(other.bodyparts)
            raise ModelError(
                f"{name}: members of an ensemble must have the same {field}, found {own}, but "
                f"{first} has {other}: train this member again, or leave it out"
            )
        if not _share_frames(card, wanted):
            raise ModelError(
                f"{name}: members of an ensemble must be trained on the same frames, but {first} "
                "was trained on others: train this member again, or leave it out"
            )


def _share_frames(card: ModelCard, other: ModelCard) -> bool:
    """Tell whether neither of two networks was trained on a test frame of the other.

    Cards of older versions do not name the targets; numbers of frames and settings must do.
    """
    own, theirs = card.training, other.training
    if own.targets_key and theirs.targets_key and own.targets_key != theirs.targets_key:
        return False
    drawn = (own.settings.get(name) == theirs.settings.get(name) for name in _DRAWN)
    return own.frames == theirs.frames and all(drawn)


def read_member_cards(files: ModelFiles, count: int) -> list[ModelCard]:
    """Return the cards of the members of an ensemble.

    Parameters
    ----------
    files
        Files of the first member.
    count
        Number of members.

    Raises
    ------
    ModelError
        If a member is missing, or cannot be one with the others.
    """
    members = files.list_members(count)
    cards = [read_card(one.card) for one in members]
    check_members([(str(one.card), card) for one, card in zip(members, cards, strict=True)])
    return cards
