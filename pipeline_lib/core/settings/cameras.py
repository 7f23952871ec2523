"""Settings of three dimensions: calibrations of cameras, and triangulation of sessions."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, WithJsonSchema, field_validator, model_validator

from pipeline_lib.core.cameras.basics import UNITS, Model
from pipeline_lib.core.cameras.boards import DICTIONARIES, Board, Kind
from pipeline_lib.core.formats.session_exports import FORMATS, find_format
from pipeline_lib.core.settings.base import (
    FINITE,
    WHOLE,
    Flag,
    Fraction,
    NotNegativeFloat,
    PathText,
    PositiveFloat,
    PositiveInt,
    Settings,
)

_Squares = Annotated[int, Field(ge=4, le=100), WHOLE]
_Coefficients = Annotated[int, Field(ge=0, le=12), WHOLE]
# Side of a marker where none is given, as a share of the side of a square.
_MARKER_SHARE = 0.75


class BoardSettings(Settings):
    """Describe the board that was filmed."""

    kind: Kind = Field("charuco", description="Kind of board: `charuco` or `chessboard`.")
    columns: _Squares = Field(10, description="Squares (not corners) in one direction.")
    rows: _Squares = Field(7, description="Squares in the other direction.")
    square: PositiveFloat = Field(25.0, description="Side of a square as measured, in `unit`.")
    marker: PositiveFloat | None = Field(
        None, description="Side of a marker of a ChArUco board; null: three quarters of a square."
    )
    dictionary: Literal[DICTIONARIES] = Field(  # type: ignore[valid-type]
        "4X4_250", description="Markers of a ChArUco board: bits and number, as in OpenCV."
    )
    unit: Literal[tuple(UNITS)] = Field(  # type: ignore[valid-type]
        "mm", description="Unit of the sides."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        self.make_board()
        return self

    def make_board(self) -> Board:
        """Return the board.

        Raises
        ------
        ValueError
            If squares, markers and dictionary make none.
        """
        marker = self.square * _MARKER_SHARE if self.marker is None else self.marker
        return Board(
            self.kind,
            self.columns,
            self.rows,
            self.square,
            marker if self.kind == "charuco" else 0.0,
            self.dictionary,
        )


class CalibrationSettings(Settings):
    """Calibrate cameras from images of a board, and judge calibrations that are given."""

    path: PathText | None = Field(
        None,
        description="Calibration of every session whose cell `calibration` in the sheet is empty: "
        "a file of any format that `cohortpose calibrate --check` reads, or a folder with images "
        "or videos of a board. Null: such sessions have none.",
    )
    board: BoardSettings = BoardSettings()
    lens: Model = Field("pinhole", description="Model of the lenses: `pinhole` or `fisheye`.")
    coefficients: _Coefficients = Field(
        5,
        description="Coefficients of distortion to estimate, in OpenCV's order; a fisheye has at "
        "most 4.",
    )
    every: PositiveInt | None = Field(
        None, description="Use every Nth frame of board videos; null: at most 300 frames."
    )
    max_error: PositiveFloat = Field(
        2.0, description="Reprojection error in px above which a calibration is refused."
    )


_Place = Annotated[int, Field(ge=0, le=100_000), WHOLE]
_Length = Annotated[int, Field(ge=1, le=100_000), WHOLE]
# Left, top, width and height in px.
Rectangle = tuple[_Place, _Place, _Length, _Length]


class SynchronisationSettings(Settings):
    """Find the frames of the cameras that show the same moment."""

    method: Literal["frames", "timestamps", "light", "sound"] = Field(
        "frames",
        description="`frames`: match frames of the same number. `timestamps`: match frames of the "
        "same time, as given by the videos or by text files. `light`: the same, after "
        "the clocks are aligned by a blinking light that all cameras see. `sound`: the "
        "same, after the clocks are aligned by the sound of the videos.",
    )
    light: dict[str, Rectangle] = Field(
        {},
        description="Rectangle of each camera's image that contains the light of `method: light`: "
        "left, top, width and height in px, by the camera's name.",
    )
    offset_column: str | None = Field(
        None,
        description="Column of the sheet with the time in seconds (`timestamps`) or the number of "
        "frames (`frames`) by which a camera started late; null: all started at once.",
    )
    timestamps_column: str | None = Field(
        None,
        description="Column of the sheet that names a text file with the time of each frame in "
        "seconds, one line per frame; null: times are those of the video.",
    )
    tolerance: PositiveFloat | None = Field(
        None,
        description="Largest difference in seconds between frames of one moment; null: half the "
        "time between two frames.",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        signals = self.method in ("light", "sound")
        if (self.method == "light") != bool(self.light):
            raise ValueError(
                "`light` says where the light is: expected one rectangle for each camera with "
                "`method: light`, and none otherwise"
            )
        if signals and self.offset_column is not None:
            raise ValueError(
                f"`offset_column`: with `method: {self.method}` offsets are found from the "
                f"{self.method}: leave it out"
            )
        if self.method == "sound" and self.timestamps_column is not None:
            raise ValueError(
                "`timestamps_column`: sounds have the clock of the video: leave it out"
            )
        return self

    def result_settings(self) -> dict[str, Any]:
        """Return the settings as they were before there was a light, where there is none."""
        return self.model_dump(mode="json", exclude=None if self.light else {"light"})


class SmoothingSettings(Settings):
    """Smooth the points of a session over space and time."""

    enabled: Flag = Field(default=False, description="Smooth the points.")
    method: Literal["space-time", "ensemble-kalman"] = Field(
        "space-time",
        description="`space-time`: paths, lengths of edges and reprojection errors are optimised "
        "together. `ensemble-kalman`: a Kalman smoother that trusts a view as far as the members "
        "of the ensemble agree on it (`training.ensemble`).",
    )
    smoothness: NotNegativeFloat = Field(
        1.0, description="Weight of smooth movement against reprojection errors (`space-time`)."
    )
    bone_length: NotNegativeFloat = Field(
        1.0, description="Weight of constant lengths of the skeleton's edges (`space-time`)."
    )

    def result_settings(self) -> dict[str, Any]:
        """Return the settings that points depend on, as they were before there were methods."""
        if self.method == "space-time":
            return self.model_dump(mode="json", exclude={"method"})
        return self.model_dump(mode="json", include={"enabled", "method"})


def _check_format(name: str) -> str:
    find_format(name)
    return name


SessionFormatName = Annotated[
    str,
    AfterValidator(_check_format),
    WithJsonSchema({"enum": list(FORMATS), "type": "string"}),
]


class ScaleSettings(Settings):
    """Set the scale of a session by a known distance of two bodyparts of one individual."""

    between: tuple[str, str] = Field(description="The two bodyparts.")
    distance: PositiveFloat = Field(description="Their distance in the unit of the calibration.")

    @field_validator("between")
    @classmethod
    def _check_between(cls, names: tuple[str, str]) -> tuple[str, str]:
        if names[0] == names[1]:
            raise ValueError(f"names {names[0]} twice: expected two bodyparts")
        return names


class CorrectedViewsSettings(Settings):
    """Correct the poses of each video by what the other cameras of its session saw."""

    enabled: Flag = Field(
        default=False,
        description="Write corrected poses of each video of a session, in files of their own.",
    )
    fewest_views: Annotated[int, Field(ge=2, le=100), WHOLE] = Field(
        2, description="Other views that must agree on a point before it fills or corrects a view."
    )


class TriangulationSettings(Settings):
    """Triangulate the poses of sessions: videos with the same `session` in the sheet."""

    enabled: Flag = Field(
        default=False, description="Calibrate and triangulate the sessions of the sheet."
    )
    source: Literal["filtered", "raw"] = Field(
        "filtered",
        description="Poses to triangulate: `filtered`, or `raw` (before filtering).",
    )
    pcutoff: Fraction = Field(
        0.3, description="Keypoints of a view below this confidence are not used."
    )
    gate: Literal["auto"] | Annotated[float, Field(gt=0.0), FINITE] = Field(
        "auto",
        description="Largest reprojection error in px with which a view is used; `auto`: estimated "
        "from the errors of the session.",
    )
    choose_views: Flag = Field(
        default=True,
        description="Leave out views that disagree with the others.",
    )
    match: Literal["views", "names"] = Field(
        "views",
        description="How individuals of several views are matched (several animals): `views`, by "
        "their agreement in space, or `names`, by equal names.",
    )
    synchronisation: SynchronisationSettings = SynchronisationSettings()
    smoothing: SmoothingSettings = SmoothingSettings()
    refine_cameras: Flag = Field(
        default=False,
        description="Move the cameras of each session so that they agree best on the animals. The "
        "moved cameras are kept only if points that were not used for this agree "
        "better, too.",
    )
    scale: ScaleSettings | None = Field(
        None, description="Scale each session by a known distance; null: as calibrated."
    )
    floor: tuple[str, ...] = Field(
        (),
        description="Bodyparts that lie on the floor, three or more points in all. The floor "
        "becomes the plane z = 0, and z points up towards the cameras. Empty: axes as "
        "calibrated.",
    )
    corrected_views: CorrectedViewsSettings = CorrectedViewsSettings()
    exports: tuple[SessionFormatName, ...] = Field(
        ("csv",),
        description="Formats of sessions for other tools. "
        + "; ".join(f"`{name}`: {one.about}" for name, one in FORMATS.items())
        + ".",
    )

    def result_settings(self) -> dict[str, Any]:
        """Return the settings that poses depend on: not what runs make of them."""
        dumped = self.model_dump(mode="json", exclude={"enabled", "corrected_views", "exports"})
        smoothing = self.smoothing.result_settings()
        synchronisation = self.synchronisation.result_settings()
        return {**dumped, "smoothing": smoothing, "synchronisation": synchronisation}

    @property
    def linked(self) -> bool:
        """Tell whether a format draws the edges of the skeleton, which poses do not hold."""
        return any(FORMATS[name].linked for name in self.exports)

    @property
    def described(self) -> bool:
        """Tell whether a format describes session and subject, as the cohort sheet does."""
        return any(FORMATS[name].described for name in self.exports)
