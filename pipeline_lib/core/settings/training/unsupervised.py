"""Define what a network learns from frames without labels."""

from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from pipeline_lib.core.settings.base import (
    FINITE,
    WHOLE,
    Name,
    NotNegativeFloat,
    PositiveInt,
    Settings,
)

Share = Annotated[float, Field(gt=0.0, le=1.0), FINITE]
ClipLength = Annotated[int, Field(ge=2), WHOLE]

# Settings that decide which frames are learned from, and those that their losses do not depend on.
_CLIPS = ("videos", "frames", "clip")


class UnsupervisedSettings(Settings):
    """Learn from frames without labels, too (one animal; each loss is off with weight 0).

    The losses are in cells of the score maps, so that weights mean the same in all sizes. 0.0001
    is a weight to begin with: 0.01 outweighs the labels.
    """

    temporal: NotNegativeFloat = Field(
        0.0, description="Weight of jumps between neighbouring frames, beyond `max_jump`."
    )
    pose_pca: NotNegativeFloat = Field(
        0.0,
        description="Weight of the distance from the poses that the labels span: the principal "
        "components of whole labelled poses. For a fixed view.",
    )
    view_pca: NotNegativeFloat = Field(
        0.0,
        description="Weight of contradictions between the views in one image: the distance from "
        "the three principal components of each bodypart's positions in all `views`.",
    )
    max_jump: NotNegativeFloat = Field(
        20.0,
        description="Largest movement between neighbouring frames, in px of the frame, that is not "
        "penalised.",
    )
    variance: Share = Field(
        0.99, description="Share of the variance of labelled poses that `pose_pca` keeps."
    )
    bodyparts: tuple[str, ...] = Field(
        (),
        description="Bodyparts of `pose_pca`; empty: all. Only frames in which all of them are "
        "labelled are used, so leave out bodyparts that are often hidden.",
    )
    views: tuple[tuple[str, ...], ...] = Field(
        (),
        description="The same bodyparts in each view, in the same order: `[[paw_top, nose_top], "
        "[paw_bottom, nose_bottom]]`.",
    )
    videos: tuple[Name, ...] | None = Field(
        None,
        description="Videos of the sheet to take frames from; null: all, but then another video in "
        "the sheet trains the network again.",
    )
    frames: PositiveInt = Field(
        400, description="Number of frames without labels, over all videos."
    )
    clip: ClipLength = Field(
        4, description="Number of neighbouring frames that each step learns from together."
    )

    @property
    def enabled(self) -> bool:
        """Tell whether anything is learned from frames without labels."""
        return max(self.temporal, self.pose_pca, self.view_pca) > 0.0

    def clip_settings(self) -> dict[str, Any]:
        """Return the settings that the stored clips depend on."""
        return self.model_dump(mode="json", include=set(_CLIPS))

    def loss_settings(self) -> dict[str, Any]:
        """Return the settings that the losses depend on, besides the clips."""
        return self.model_dump(mode="json", exclude=set(_CLIPS))

    @model_validator(mode="after")
    def _check_views(self) -> Self:
        if self.view_pca and len(self.views) < 2:
            raise ValueError("view_pca needs `views`: the bodyparts of at least two views")
        if self.views and len({len(view) for view in self.views}) > 1:
            raise ValueError("views must have the same number of bodyparts, in the same order")
        if any(not view for view in self.views):
            raise ValueError("views must name bodyparts")
        named = [name for view in self.views for name in view]
        for given, names in (("views", named), ("bodyparts", list(self.bodyparts))):
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise ValueError(f"{given} names {twice} twice")
        if self.frames < self.clip:
            raise ValueError(f"frames ({self.frames}) must be at least clip ({self.clip})")
        return self
