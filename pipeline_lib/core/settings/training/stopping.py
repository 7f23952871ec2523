"""Define the settings that end a training when it has stopped learning."""

from typing import Annotated

from pydantic import Field

from pipeline_lib.core.settings.base import FINITE, Flag, OrAuto, PositiveInt, Settings

Share = Annotated[float, Field(gt=0.0, lt=1.0), FINITE]


class StatedStop(Settings):
    """End a training at a plateau of the training loss.

    The learning rate stays at its peak until the loss of the training frames hardly falls, or
    until the last of `training.epochs` come close; then it falls linearly to zero during the
    cool-down, and the training ends. No frame that is held out or tested is looked at.
    """

    plateau: OrAuto[Flag] = Field(
        default=False,
        description="Cool down at a plateau; `training.epochs` is then the largest number of "
        "epochs. False: exactly these, and a learning rate that falls along half a cosine. `auto`:"
        " true if `training.epochs` is `auto`, too.",
    )
    span: Share = Field(
        0.2,
        description="The mean loss of the last epochs is compared with that of as many before "
        "them: each span is this share of all epochs so far, at most a half.",
    )
    gain: Share = Field(
        0.06,
        description="Plateau: the loss fell by a smaller share than this. What perfect maps would "
        "still have is taken off before.",
    )
    least_steps: PositiveInt = Field(200, description="Steps before a plateau is looked for.")
    cooldown: Share = Field(
        0.3, description="Length of the cool-down, as a share of the epochs before it."
    )


class StopSettings(StatedStop):
    """End a training at a plateau, with every value fixed."""

    plateau: Flag = False
