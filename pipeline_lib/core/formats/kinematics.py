"""Register the columns of the tables of kinematics: the one data dictionary.

The writers take names, types and units from here, and so do the documentation and the table
``dictionary.tsv`` of a run. To add a column, add its record and compute it in
`pipeline_lib.steps.kinematics.tables`.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

TableName = Literal["frames", "pairs", "bins", "bouts"]
ColumnType = Literal["text", "whole", "float32", "float64", "truth"]

# Names that columns are made for: by subject, the texts that replace {0}, {1} ... in a template.
Subjects = Mapping[str, Sequence[tuple[str, ...]]]


@dataclass(frozen=True)
class KinematicsTable:
    """Describe one of the tables.

    Attributes
    ----------
    about
        What a row is.
    needs
        Subject without which there is no such table; empty: it is always written.
    """

    about: str
    needs: str = ""


TABLES: Mapping[TableName, KinematicsTable] = {
    "frames": KinematicsTable("an individual in a frame"),
    "pairs": KinematicsTable("an individual and another one in a frame", "pairs"),
    "bins": KinematicsTable("an individual in a bin of time, or in the whole video"),
    "bouts": KinematicsTable("a bout in which an individual is still", "still"),
}

# Subject of columns that every table has.
ALWAYS = ""
_NOT_FOUND = "the bodyparts were not found"
_NO_DERIVATIVE = "not found, or in a stretch without a gap that is shorter than the window"


@dataclass(frozen=True)
class Column:
    """Describe a column.

    Attributes
    ----------
    table
        Table that has it.
    name
        Name, or a template of names: ``speed_{0}``.
    type
        Type of the values.
    unit
        Unit; ``{length}`` is px or mm. Empty: none.
    about
        What the values are.
    empty
        What an empty cell means.
    each
        Subject for each of whose names there is such a column.
    """

    table: TableName
    name: str
    type: ColumnType
    unit: str
    about: str
    empty: str = "never empty"
    each: str = ALWAYS


COLUMNS: tuple[Column, ...] = (
    Column("frames", "video", "text", "", "name of the video in the cohort sheet"),
    Column("frames", "individual", "text", "", "name of the individual in the pose file"),
    Column("frames", "frame", "whole", "frame", "number of the frame, from 0"),
    Column("frames", "time", "float64", "s", "presentation time of the frame"),
    Column("frames", "x", "float32", "{length}", "x of the centre, smoothed", _NOT_FOUND),
    Column("frames", "y", "float32", "{length}", "y of the centre, smoothed", _NOT_FOUND),
    Column("frames", "found", "float32", "1", "share of the centre's bodyparts that were found"),
    Column("frames", "velocity_x", "float32", "{length}/s", "d x / d t", _NO_DERIVATIVE),
    Column("frames", "velocity_y", "float32", "{length}/s", "d y / d t", _NO_DERIVATIVE),
    Column("frames", "speed", "float32", "{length}/s", "length of the velocity", _NO_DERIVATIVE),
    Column(
        "frames",
        "acceleration",
        "float32",
        "{length}/s2",
        "length of the second derivative of the centre",
        _NO_DERIVATIVE,
    ),
    Column(
        "frames",
        "heading",
        "float32",
        "deg",
        "direction from the first bodypart of `heading` to the second: 0 along x, 90 along y "
        "(down in the picture), -180 to 180",
        _NOT_FOUND,
        "heading",
    ),
    Column(
        "frames",
        "turning",
        "float32",
        "deg/s",
        "derivative of the heading; positive from x to y, clockwise in the picture",
        _NO_DERIVATIVE,
        "heading",
    ),
    Column(
        "frames",
        "speed_{0}",
        "float32",
        "{length}/s",
        "speed of the bodypart {0}",
        _NO_DERIVATIVE,
        "speeds",
    ),
    Column(
        "frames",
        "acceleration_{0}",
        "float32",
        "{length}/s2",
        "length of the second derivative of the bodypart {0}",
        _NO_DERIVATIVE,
        "speeds",
    ),
    Column(
        "frames",
        "distance_{0}_{1}",
        "float32",
        "{length}",
        "distance between {0} and {1} of the same individual",
        _NOT_FOUND,
        "distances",
    ),
    Column(
        "frames",
        "angle_{0}",
        "float32",
        "deg",
        "angle {0} at its second bodypart, 0 (folded) to 180 (straight)",
        "a bodypart was not found, or two are at one place",
        "angles",
    ),
    Column(
        "frames",
        "nearest",
        "text",
        "",
        "individual whose centre is nearest",
        "this or every other individual was not found",
        "several",
    ),
    Column(
        "frames",
        "nearest_distance",
        "float32",
        "{length}",
        "distance to the centre of the nearest individual",
        "this or every other individual was not found",
        "several",
    ),
    Column(
        "frames",
        "in_{0}",
        "truth",
        "",
        "whether the point of `regions_point` lies in region {0}",
        "the point was not found, or the region is not one of this video",
        "regions",
    ),
    Column(
        "frames",
        "still",
        "truth",
        "",
        "whether the frame belongs to a bout of stillness",
        "the speed is not known",
        "still",
    ),
    Column("pairs", "video", "text", "", "name of the video in the cohort sheet"),
    Column("pairs", "individual", "text", "", "name of the individual"),
    Column("pairs", "other", "text", "", "name of the other individual"),
    Column("pairs", "frame", "whole", "frame", "number of the frame, from 0"),
    Column("pairs", "time", "float64", "s", "presentation time of the frame"),
    Column(
        "pairs",
        "distance",
        "float32",
        "{length}",
        "distance between the two centres",
        "one of them was not found",
    ),
    Column(
        "pairs",
        "distance_{0}_{1}",
        "float32",
        "{length}",
        "distance from {0} of the individual to {1} of the other",
        "one of them was not found",
        "between",
    ),
    Column("bins", "video", "text", "", "name of the video in the cohort sheet"),
    Column("bins", "individual", "text", "", "name of the individual in the pose file"),
    Column(
        "bins", "bin", "whole", "", "number of the bin, from 0; bins without a frame are left out"
    ),
    Column("bins", "start", "float64", "s", "beginning of the bin"),
    Column("bins", "stop", "float64", "s", "end of the bin; of the last one, end of the video"),
    Column("bins", "frames", "whole", "frame", "frames of the bin"),
    Column("bins", "found_frames", "whole", "frame", "frames in which the centre is known"),
    Column(
        "bins",
        "distance",
        "float32",
        "{length}",
        "length of the way of the centre, over consecutive frames in which it is known; a step "
        "counts in the bin where it ends",
    ),
    Column("bins", "speed_mean", "float32", "{length}/s", "mean of `speed`", "no known value"),
    Column("bins", "speed_max", "float32", "{length}/s", "largest `speed`", "no known value"),
    Column(
        "bins",
        "acceleration_mean",
        "float32",
        "{length}/s2",
        "mean of `acceleration`",
        "no known value",
    ),
    Column(
        "bins",
        "heading_mean",
        "float32",
        "deg",
        "mean direction: that of the sum of unit vectors",
        "no known value",
        "heading",
    ),
    Column(
        "bins",
        "turning_mean",
        "float32",
        "deg/s",
        "mean of the absolute value of `turning`",
        "no known value",
        "heading",
    ),
    Column(
        "bins",
        "speed_{0}_mean",
        "float32",
        "{length}/s",
        "mean of `speed_{0}`",
        "no known value",
        "speeds",
    ),
    Column(
        "bins",
        "acceleration_{0}_mean",
        "float32",
        "{length}/s2",
        "mean of `acceleration_{0}`",
        "no known value",
        "speeds",
    ),
    Column(
        "bins",
        "distance_{0}_{1}_mean",
        "float32",
        "{length}",
        "mean of `distance_{0}_{1}`",
        "no known value",
        "distances",
    ),
    Column(
        "bins",
        "angle_{0}_mean",
        "float32",
        "deg",
        "mean of `angle_{0}`",
        "no known value",
        "angles",
    ),
    Column(
        "bins",
        "nearest_distance_mean",
        "float32",
        "{length}",
        "mean of `nearest_distance`",
        "no known value",
        "several",
    ),
    Column(
        "bins",
        "seconds_in_{0}",
        "float32",
        "s",
        "time in region {0}: the durations of the frames in which the point lies there",
        "the region is not one of this video",
        "regions",
    ),
    Column(
        "bins",
        "share_in_{0}",
        "float32",
        "1",
        "`seconds_in_{0}` over the time in which the point is known",
        "the point is never known, or the region is not one of this video",
        "regions",
    ),
    Column(
        "bins",
        "entries_{0}",
        "whole",
        "",
        "visits of region {0} that begin in the bin, after the point was seen outside; stays "
        "inside or outside that are shorter than `min_visit` do not count",
        "the region is not one of this video",
        "regions",
    ),
    Column("bins", "still_seconds", "float32", "s", "time in bouts of stillness", each="still"),
    Column(
        "bins", "still_bouts", "whole", "", "bouts of stillness that begin in the bin", each="still"
    ),
    Column("bouts", "video", "text", "", "name of the video in the cohort sheet"),
    Column("bouts", "individual", "text", "", "name of the individual in the pose file"),
    Column("bouts", "bout", "whole", "", "number of the bout, from 0"),
    Column("bouts", "first_frame", "whole", "frame", "first frame of the bout"),
    Column("bouts", "last_frame", "whole", "frame", "last frame of the bout"),
    Column("bouts", "start", "float64", "s", "time of the first frame"),
    Column("bouts", "stop", "float64", "s", "end of the last frame"),
    Column("bouts", "seconds", "float32", "s", "duration"),
    Column("bouts", "x", "float32", "{length}", "mean x of the centre"),
    Column("bouts", "y", "float32", "{length}", "mean y of the centre"),
)

# A column of the sheet with the name of one of these has this added to its own.
SHEET_SUFFIX = "_sheet"


def list_tables(subjects: Subjects) -> tuple[TableName, ...]:
    """Return the tables that are written for these subjects."""
    return tuple(name for name, one in TABLES.items() if not one.needs or subjects.get(one.needs))


def list_columns(
    table: TableName, subjects: Subjects, length: str, sheet: Sequence[str] = ()
) -> tuple[Column, ...]:
    """Return the columns of a table, each with its name and unit.

    Parameters
    ----------
    table
        The table.
    subjects
        What columns are made for.
    length
        Unit of length.
    sheet
        Columns of the cohort sheet, which every table has at its end.

    Raises
    ------
    ValueError
        If two columns have one name.
    """
    own = tuple(_expand(table, subjects, length))
    twice = [name for name, count in Counter(one.name for one in own).items() if count > 1]
    if twice:
        raise ValueError(f"two columns of {table} would have the name {twice[0]!r}: rename one")
    taken = {one.name for one in own}
    joined = []
    for name in sheet:
        new = name
        while new in taken:
            new += SHEET_SUFFIX
        taken.add(new)
        about = f"column `{name}` of the cohort sheet"
        joined.append(Column(table, new, "text", "", about, "empty in the sheet"))
    return (*own, *joined)


def _expand(table: TableName, subjects: Subjects, length: str) -> Iterator[Column]:
    for column in COLUMNS:
        if column.table != table:
            continue
        for names in subjects.get(column.each, ()) if column.each else ((),):
            yield replace(
                column,
                name=column.name.format(*names),
                unit=column.unit.replace("{length}", length),
                about=column.about.format(*names),
                each=ALWAYS,
            )
