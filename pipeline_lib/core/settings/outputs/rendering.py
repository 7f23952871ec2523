"""Settings of videos on which poses are drawn."""

from typing import Annotated

from pydantic import Field

from pipeline_lib.core.settings.base import (
    WHOLE,
    Flag,
    Fraction,
    NotNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Settings,
)


class RenderingSettings(Settings):
    """Draw the filtered poses on the videos."""

    enabled: Flag = Field(default=False, description="Write labelled videos in each run.")
    whole: Flag = Field(default=True, description="Draw on whole videos (`rendered/`).")
    worst_seconds: NotNegativeFloat = Field(
        5.0,
        description="Duration in seconds of a clip of the worst part of each video "
        "(`worst_seconds/`): findings, doubtful tracks, or the lowest confidence; 0: none.",
    )
    sessions: Flag = Field(
        default=True,
        description="Draw the views of each session beside its poses in space "
        "(`rendered_sessions/`), where sessions are triangulated.",
    )
    radius: PositiveInt | None = Field(
        None, description="Radius of points in px; null: chosen by the size of the frame."
    )
    trail: NotNegativeFloat = Field(
        1.0,
        description="Length in seconds of the path that is drawn behind each individual; 0: none.",
    )
    edges: Flag = Field(default=True, description="Draw `skeleton.edges`.")
    names: Flag = Field(default=True, description="Write the names of several individuals.")
    pcutoff: Fraction = Field(
        0.4, description="Points below this confidence are drawn as rings, others as discs."
    )
    quality: Annotated[int, Field(ge=0, le=51), WHOLE] = Field(
        23,
        description="Quantiser of H.264: a lower value gives better quality and larger files.",
    )
    segment_seconds: PositiveFloat = Field(
        30.0,
        description="Length in seconds of the parts of a video that several cores draw at the same "
        "time.",
    )
