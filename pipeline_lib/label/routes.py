"""Answer the requests of the page; each names frames and videos by the lists of the project."""

from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, HTTPException, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from pipeline_lib.core.errors import CohortposeError
from pipeline_lib.label.annotations import Annotations, OldNamesError, Version

Result = TypeVar("Result")

PREFIX = "/api"
_LARGEST = 10**12
_MOST_POINTS = 50_000

Name = Annotated[str, Field(max_length=400)]
Number = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False, strict=True)]
Place = Annotated[int, Path(ge=0, le=_LARGEST)]
Frame = Annotated[int, Field(ge=0, le=_LARGEST)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class SeenVersion(_Body):
    """Name the correction that the author saw."""

    author: Name = ""
    time: Name = ""


class FrameEdit(_Body):
    """Hold the correction of a frame."""

    base: SeenVersion
    # Version of the bodyparts' names in the keypoints, as the project was described.
    names: Name
    keypoints: Annotated[
        list[
            tuple[Name, Name, Number | None, Number | None, Literal["visible", "hidden", "absent"]]
        ],
        Field(max_length=_MOST_POINTS),
    ]


class NewFrame(_Body):
    """Name a frame of a video."""

    video: Name
    frame: Frame


class BodypartEdit(_Body):
    """Name a bodypart to add or rename."""

    what: Literal["add", "rename"]
    bodypart: Name
    former: Name = ""


def make_router(annotations: Annotations) -> APIRouter:
    """Return the routes of the page.

    Frames of the list are named by their place in it and videos by their names in the sheet: no
    request names a file.
    """
    router = APIRouter(prefix=PREFIX)
    _add_project(router, annotations)
    _add_frames(router, annotations)
    _add_corrections(router, annotations)
    _add_images(router, annotations)
    return router


def explain_request(_: Request, error: Exception) -> Response:
    """Answer an invalid request with its problems, without repeating its content."""
    problems = error.errors() if isinstance(error, RequestValidationError) else []
    shown = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in problems[:5]]
    return JSONResponse({"detail": "; ".join(shown)}, 422)


def _add_project(router: APIRouter, annotations: Annotations) -> None:
    @router.get("/project")
    def describe() -> dict[str, Any]:
        return describe_project(annotations)

    @router.post("/bodyparts")
    def change(edit: BodypartEdit) -> dict[str, Any]:
        answer(lambda: annotations.change_bodypart(edit.what, edit.bodypart, edit.former))
        return describe_project(annotations)


def _add_frames(router: APIRouter, annotations: Annotations) -> None:
    @router.get("/frames")
    def list_all() -> list[dict[str, Any]]:
        return [annotations.describe(place) for place in range(len(annotations.frames))]

    @router.post("/frames")
    def add(frame: NewFrame) -> dict[str, Any]:
        return answer(lambda: annotations.describe(annotations.add(frame.video, frame.frame)))

    @router.get("/frames/{place}")
    def read(place: Place) -> dict[str, Any]:
        _check_place(annotations, place)
        return answer(lambda: annotations.read(place))

    @router.get("/frames/{place}/others")
    def read_others(place: Place) -> list[dict[str, Any]]:
        _check_place(annotations, place)
        return annotations.read_others(place)


def _add_corrections(router: APIRouter, annotations: Annotations) -> None:
    @router.put("/frames/{place}")
    def save(place: Place, saved: FrameEdit) -> dict[str, Any]:
        _check_place(annotations, place)
        base = Version(saved.base.author, saved.base.time)
        return answer(lambda: annotations.save(place, saved.keypoints, base, saved.names))

    @router.delete("/frames/{place}")
    def withdraw(place: Place) -> dict[str, Any]:
        _check_place(annotations, place)
        return answer(lambda: annotations.withdraw(place))


def _add_images(router: APIRouter, annotations: Annotations) -> None:
    reader = annotations.project.frames

    @router.get("/frames/{place}/image")
    def read_frame(place: Place) -> Response:
        _check_place(annotations, place)
        frame = annotations.frames[place]
        if frame.path is not None:
            path = frame.path
            return show(lambda: reader.read_image(path))
        return show(lambda: reader.read(frame.key.video, frame.key.frame))

    @router.get("/videos/{video}")
    def measure(video: str) -> dict[str, int]:
        check_video(annotations, video)
        frames, width, height = answer(lambda: reader.measure(video))
        return {"frames": frames, "width": width, "height": height}

    @router.get("/videos/{video}/{frame}")
    def read_neighbour(
        video: str,
        frame: Annotated[int, Path(ge=0, le=_LARGEST)],
        width: Annotated[int | None, Query(ge=16, le=8192)] = None,
    ) -> Response:
        check_video(annotations, video)
        return show(lambda: reader.read(video, frame, block=True, width=width))


def describe_project(annotations: Annotations) -> dict[str, Any]:
    """Return what the page needs to know before it shows a frame."""
    skeleton, config = annotations.skeleton, annotations.project.config
    return {
        "author": annotations.project.author,
        "bodyparts": skeleton.bodyparts,
        "names": annotations.names_version,
        "edges": skeleton.edges,
        "symmetries": skeleton.symmetries,
        "unique": skeleton.unique_bodyparts,
        "individuals": annotations.individuals,
        "several": config.individuals.max > 1,
        "pcutoff": config.refinement.pcutoff,
        "iteration": annotations.project.iteration,
        "videos": list(annotations.project.videos),
        "problems": [*annotations.problems, *filter(None, [annotations.problem])],
    }


def _check_place(annotations: Annotations, place: int) -> None:
    if place >= len(annotations.frames):
        raise HTTPException(404, "the list has no such frame")


def check_video(annotations: Annotations, video: str) -> None:
    """Answer 404 unless the cohort has a video of this name."""
    if video not in annotations.project.videos:
        raise HTTPException(404, "the cohort has no such video")


def answer(work: Callable[[], Result]) -> Result:
    """Return the result of work; an error of ours becomes an answer that people can read."""
    try:
        return work()
    except OldNamesError as error:
        raise HTTPException(409, str(error)) from None
    except CohortposeError as error:
        raise HTTPException(422, str(error)) from None
    except OSError as error:
        # A full disk, a folder that cannot be written.
        what = error.strerror or type(error).__name__
        # Where writing fails, other than opening, the system does not name the file.
        where = f"{error.filename}: " if error.filename else ""
        raise HTTPException(500, f"{where}{what}") from None


def show(work: Callable[[], bytes]) -> Response:
    """Return a frame, which the browser keeps in memory only, not on a disk."""
    return Response(answer(work), media_type="image/jpeg", headers={"Cache-Control": "no-store"})
