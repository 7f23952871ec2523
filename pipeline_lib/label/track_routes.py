"""Answer the page's requests about tracks; videos are named as in the sheet."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Query
from pydantic import BaseModel, ConfigDict, Field

from pipeline_lib.core.track_decisions import DecisionKind
from pipeline_lib.label.proofreaders import Proofreaders
from pipeline_lib.label.routes import PREFIX, Name, answer

_LARGEST = 10**12
_MOST_FRAMES = 600
_MOST_SLOTS = 1000

Frame = Annotated[int, Field(ge=0, le=_LARGEST, strict=True)]
Slot = Annotated[int, Field(ge=0, le=_MOST_SLOTS, strict=True)]


class DecisionEdit(BaseModel):
    """Hold a decision, and the version of the tracks on which it was made."""

    model_config = ConfigDict(extra="forbid")

    what: Literal["swap", "new", "cut", "join", "confirm"]
    frame: Frame
    last: Frame | None = None
    slots: Annotated[list[Slot], Field(min_length=1, max_length=2)]
    seen: Name


def make_track_router(proofreaders: Proofreaders) -> APIRouter:
    """Return the routes of the view of tracks."""
    router = APIRouter(prefix=PREFIX)

    def check(video: str) -> None:
        if video not in proofreaders.project.videos:
            raise HTTPException(404, "the cohort has no such video")

    @router.get("/tracks")
    def list_videos() -> list[dict[str, Any]]:
        return proofreaders.list_videos()

    @router.get("/doubts")
    def list_doubts() -> dict[str, Any]:
        return answer(proofreaders.list_doubts)

    @router.get("/tracks/{video}")
    def describe(video: str, known: Annotated[Name, Query()] = "") -> dict[str, Any]:
        check(video)
        return answer(lambda: proofreaders.describe(video, known))

    @router.get("/tracks/{video}/poses")
    def read_poses(
        video: str,
        start: Annotated[int, Query(ge=0, le=_LARGEST)],
        stop: Annotated[int, Query(ge=0, le=_LARGEST)],
    ) -> dict[str, Any]:
        check(video)
        if not start <= stop <= start + _MOST_FRAMES:
            raise HTTPException(422, f"expected at most {_MOST_FRAMES} frames")
        return answer(lambda: proofreaders.read_poses(video, start, stop))

    @router.post("/tracks/{video}/decisions")
    def decide(video: str, made: DecisionEdit) -> dict[str, Any]:
        check(video)
        what, frames = DecisionKind(made.what), (made.frame, made.last)
        return answer(lambda: proofreaders.decide(video, what, frames, made.slots, made.seen))

    @router.delete("/tracks/{video}/decisions")
    def withdraw(video: str, time: Annotated[Name, Query()]) -> dict[str, Any]:
        check(video)
        return answer(lambda: proofreaders.withdraw(video, time))

    return router
