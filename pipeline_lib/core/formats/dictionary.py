"""Describe every column of every table: the one data dictionary of the results.

``dictionary.tsv`` in the results folder and the page on tables of the documentation are written
from here. A test compares the names with those that are written, and fails where one is missing.
Tables of kinematics have columns by the config, and a registry of their own:
`pipeline_lib.core.formats.kinematics`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from pipeline_lib.core.formats.checks import CHECKS

ColumnType = Literal["text", "whole", "number", "truth"]

NEVER = "never empty"
_NOT_REACHED = "the video did not get that far"
_UNKNOWN = "not known"


@dataclass(frozen=True)
class Column:
    """Describe a column.

    Attributes
    ----------
    name
        Name in the table's first row.
    type
        ``text``, ``whole`` (a whole number), ``number`` or ``truth`` (true or false).
    unit
        Unit; empty: none. Counts have the unit of what is counted.
    about
        What the values are.
    empty
        What an empty cell means.
    """

    name: str
    type: ColumnType
    unit: str
    about: str
    empty: str = NEVER


@dataclass(frozen=True)
class Table:
    """Describe a table.

    Attributes
    ----------
    path
        Path below the results folder; parts in capitals stand for names (``MODEL``, ``SHARD``).
    about
        What a row is.
    columns
        Its columns, in order.
    optional
        Columns that only some of these tables have, behind the others.
    more
        What further columns are; empty: there are none.
    place
        Folder that the path counts from.
    """

    path: str
    about: str
    columns: tuple[Column, ...]
    optional: tuple[Column, ...] = ()
    more: str = ""
    place: Literal["results", "corrections", "config", "command"] = "results"

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the columns that every one of these tables has."""
        return tuple(one.name for one in self.columns)

    def knows(self, column: str) -> bool:
        """Tell whether the table may have a column."""
        return bool(self.more) or column in {*self.names, *(one.name for one in self.optional)}

    def matches(self, path: str) -> bool:
        """Tell whether a file is one of these tables, by its path below the results folder."""
        parts = re.split(r"\b[A-Z]+\b", self.path)
        return re.fullmatch("[^/]+".join(map(re.escape, parts)), path) is not None


def list_dictionary() -> Iterator[dict[str, str]]:
    """Yield the rows of ``dictionary.tsv``: a row for each column of each table."""
    for table in TABLES:
        more = Column("…", "text", "", table.more, "empty in the sheet")
        for one in (*table.columns, *table.optional, *((more,) if table.more else ())):
            yield {
                "table": table.path,
                "column": one.name,
                "type": one.type,
                "unit": one.unit,
                "about": one.about,
                "empty": one.empty,
            }


def find_table(path: str) -> Table | None:
    """Return the description of a table by its path below the results folder; None: no table."""
    found = [one for one in TABLES if one.place == "results" and one.matches(path)]
    # `correct-MODEL` also fits the files of `correct-views-MODEL`, whose name says more.
    return max(found, key=lambda one: len(re.sub(r"\b[A-Z]+\b", "", one.path)), default=None)


def _text(name: str, about: str, empty: str = NEVER) -> Column:
    return Column(name, "text", "", about, empty)


def _whole(name: str, unit: str, about: str, empty: str = NEVER) -> Column:
    return Column(name, "whole", unit, about, empty)


def _number(name: str, unit: str, about: str, empty: str = NEVER) -> Column:
    return Column(name, "number", unit, about, empty)


_VIDEO = _text("video", "name of the video in the cohort sheet")
_FRAME = _whole("frame", "frame", "number of the frame, from 0")
_AUTHOR = _text("author", "who decided or labelled")
_WHEN = _text("time", "when, ISO 8601 in UTC")
_STAGE = (
    _VIDEO,
    _text("status", "done, failed or quarantined"),
    _text("reason", "why it ended so, or what is doubtful", "nothing to say"),
    _number("seconds", "s", "time that the stage took for the video", "nothing was computed"),
    _text("key", "hash of everything that the result was made from", "there is no result"),
)
_SOURCE_KEY = _text("source_key", "key of the poses that were read", "there is no result")
_SIZE = (
    _whole("width", "px", "width of a frame", _NOT_REACHED),
    _whole("height", "px", "height of a frame", _NOT_REACHED),
)
_SURPLUS = _whole(
    "surplus_frames",
    "frame",
    "frames that show more animals than `individuals.max`",
    "individuals were not tracked",
)
_POSES_STATE = (
    _text("poses", "file or folder of poses of another tool", "the row has a video"),
    _text("poses_state", "sizes and modification times of these files", "the row has a video"),
    _number("fps", "frame/s", "as the sheet gives it", "not in the sheet"),
    _whole("frames", "frame", "as the sheet gives it", "not in the sheet"),
    _whole("width", "px", "as the sheet gives it", "not in the sheet"),
    _whole("height", "px", "as the sheet gives it", "not in the sheet"),
)
_SESSION = (
    _text("session", "name of the session in the cohort sheet"),
    _text("status", "done, failed, no calibration or too few cameras"),
    _text("reason", "why it ended so", "nothing to say"),
    _number("seconds", "s", "time that the stage took for the session", "nothing was computed"),
    _text("key", "hash of everything that the result was made from", "there is no result"),
)
_NO_POSES = "the session has no poses"
_TRIANGULATION = (
    *_SESSION,
    _text("cameras", "cameras that were used, separated by commas", "none"),
    _text("missing", "cameras that were not used, and why", "none is missing"),
    _text("calibration", "name of the calibration", "the session has none"),
    _whole("moments", "moment", "rows of the poses", _NO_POSES),
    _number("found", "1", "share of the points that have a position, 0 to 1", _NO_POSES),
    _number("error", "px", "median reprojection error of the points", _NO_POSES),
    _number("uncertainty", "`unit`", "median uncertainty of the points", _NO_POSES),
    _text("unit", "unit of lengths of the calibration", _UNKNOWN),
    _text("doubts", "what may be wrong with times, cameras or settings", "nothing"),
)
_SELECTED = (
    _FRAME,
    _number("time", "s", "presentation time of the frame"),
    _text("image", "file of the image beside the table"),
)
_IMAGE = _text("image", "path of the image, from `image_base`")
_BASE = _text(
    "image_base",
    "folder that `image` counts from: a path from the results folder, or `<working directory>`",
    "`image` is absolute",
)
_NO_LABEL = "not labelled"
_FEW_HELD_OUT = "too few points are held out to tell"
_CAMERA_UNKNOWN = "the calibration was given, and does not tell"

TABLES: tuple[Table, ...] = (
    Table(
        "ledger.tsv",
        "a video of the cohort sheet",
        (
            _VIDEO,
            _text("status", "done, pending, failed or quarantined"),
            _text("stage", "last stage that the video passed or ended in", "none yet"),
            _text("reason", "why it ended so, or what it waits for", "nothing to say"),
            _whole("frames", "frame", "frames of the video", _NOT_REACHED),
            _whole(
                "undecodable", "frame", "frames that could not be decoded or are lost", _NOT_REACHED
            ),
            _SURPLUS,
            _whole(
                "still",
                "frame",
                "frames in which nothing moved: their poses are those of earlier ones",
                "every frame was computed",
            ),
            _number("fps", "frame/s", "mean frame rate", _NOT_REACHED),
            *_SIZE,
            _number("seconds", "s", "time that all stages took", "nothing was computed"),
            _text("key", "key of the poses of the network", "there are none"),
        ),
        optional=(
            _text("quality", "decision in force: pass, warn or fail", "not judged"),
            _text("quality_by", "who decided: rules, or the name of a person", "not judged"),
            _text("quality_reason", "why, in words", "it passed, or was not judged"),
        ),
        more="columns of the cohort sheet; `sheet_` stands before the names above",
    ),
    Table(
        "qc.tsv",
        "a finding about a video, or a person's decision; a video without either has one row",
        (
            _VIDEO,
            _text("decision", "pass, warn or fail"),
            _text("decided_by", "rules, or the name of a person"),
            _text("check", "name of the check", "no finding"),
            _text("reason", "what was found, in words", "no finding"),
            _number("value", "of the check", "what was measured", "no finding, or no number"),
            _number("limit", "of the check", "what is allowed", "no finding, or no limit"),
            _text("seconds", "seconds of the finding: 12.0-13.5, 40.2-41.0", "the whole video"),
            _text("remedy", "relabel, refine, settings, drop or look", "nothing is to be done"),
        ),
    ),
    Table(
        "qc_measures.tsv",
        "a video that was judged: what was measured of it",
        (
            _VIDEO,
            _text("group", "videos that it is compared with (`quality.group`)", "none"),
            _text("decision", "decision in force: pass, warn or fail"),
            *_SIZE,
            *(
                _number(name, check.unit or "1", check.about, "it could not be measured")
                for name, check in CHECKS.items()
            ),
        ),
    ),
    Table(
        "costs.tsv",
        "a video, videos that left the sheet, shared work, a group, or the run",
        (
            _text("kind", "video, removed, shared, group or run"),
            _text("name", "the video", "the row is of no single video"),
            _text("group", "cell of the column `costs.group`; (none) where it is empty", "none"),
            _number("video_hours", "h", "length of the videos", "shared work"),
            _number("cpu_hours", "h", "processor time of one core"),
            _number("gpu_hours", "h", "time of jobs of networks times their GPUs"),
            _number("job_hours", "h", "time of jobs from begin to end"),
            _number("wall_hours", "h", "time in which a job worked", "the row is not of the run"),
            _number("kwh", "kWh", "energy by counters of the machine", "nothing measured it"),
            _number("stored_gb", "1e9 byte", "size of the results"),
            _number("stored_gb_per_video_hour", "1e9 byte/h", "size by length", "no length"),
            _number("cost", "`currency`", "hours and energy by the price list", "not priced"),
            _number(
                "cost_per_video_hour", "`currency`/h", "cost by length", "not priced, or no length"
            ),
            _number("storage_per_month", "`currency`", "storage, each month", "not priced"),
            _text("currency", "of the price list", "nothing is priced"),
        ),
    ),
    Table("sessions.tsv", "a session of the cohort sheet", _TRIANGULATION),
    Table(
        "calibrations.tsv",
        "a calibration that sessions name",
        (
            _text("calibration", "name of the calibration"),
            _text("status", "done, refused or failed"),
            _text("reason", "why it was refused or failed", "it is done"),
            _text("warnings", "what is doubtful", "nothing"),
            _text("source", "file or folder that it was made from"),
            _text("kind", "board (made from images) or file (read)", "it failed"),
            _text("cameras", "its cameras, separated by commas", "it failed"),
            _number("error", "px", "root mean square error over all cameras", _UNKNOWN),
            _number("coverage", "1", "least share of a camera's picture with corners", _UNKNOWN),
            _text("unit", "unit of lengths", _UNKNOWN),
            _number("seconds", "s", "time that it took", "nothing was computed"),
            _text("key", "hash of what it was made from", "it failed"),
            _text("source_checksum", "checksum of the source", "it could not be read"),
            _text("settings", "hash of the settings of calibrations", _UNKNOWN),
        ),
    ),
    Table(
        "calibrations/NAME.quality.tsv",
        "a camera of a calibration",
        (
            _text("camera", "name of the camera"),
            *_SIZE,
            _text("model", "model of the lens"),
            _whole("images", "image", "images that show the board", _CAMERA_UNKNOWN),
            _whole("views", "image", "images that were used", _CAMERA_UNKNOWN),
            _whole("left_out", "image", "images that were left out", _CAMERA_UNKNOWN),
            _whole("corners", "corner", "corners in these images", _CAMERA_UNKNOWN),
            _number("rms_error", "px", "root mean square reprojection error", _CAMERA_UNKNOWN),
            _number("median_error", "px", "median reprojection error", _CAMERA_UNKNOWN),
            _number("coverage", "1", "share of the picture with corners, 0 to 1", _CAMERA_UNKNOWN),
            _number("nearest", "unit of the board", "least distance of a board", _CAMERA_UNKNOWN),
            _number(
                "farthest", "unit of the board", "greatest distance of a board", _CAMERA_UNKNOWN
            ),
            _number(
                "focal_deviation", "1", "standard deviation of the focal length", _CAMERA_UNKNOWN
            ),
        ),
    ),
    Table(
        "labels/labels.parquet",
        "a bodypart of an individual in a labelled image",
        (
            _text("video", "name of the video, as the label source has it"),
            _whole("frame", "frame", "number of the frame, from 0; -1: not known"),
            _text("individual", "name of the individual; animal: the only one"),
            _text("bodypart", "name of the bodypart"),
            _number("x", "px", "to the right from the centre of the top-left pixel", _NO_LABEL),
            _number("y", "px", "down from the centre of the top-left pixel", _NO_LABEL),
            Column("visible", "truth", "", "whether the bodypart is labelled"),
            _text("source", "name of the label source"),
            _text("split", "train, validation, test or unused"),
            _IMAGE,
            _whole("iteration", "", "labelling iteration"),
            _text("visibility", "visible, hidden or absent", _NO_LABEL),
            _BASE,
        ),
    ),
    Table(
        "labels/conflicts.tsv",
        "a frame whose labels were replaced by corrections, or a correction that was left out",
        (
            _text("what", "kind of the conflict"),
            _VIDEO,
            replace(_FRAME, empty="the image is of no video"),
            _text("image", "image of the label source", "a frame of a video of the cohort"),
            _text("kept_source", "label source that is used", "none"),
            _text("kept_author", "author of what is used", "not a correction"),
            _text("kept_time", "when it was made, ISO 8601", "not a correction"),
            _text("replaced_source", "label source that is not used", "none"),
            _text("replaced_author", "author of what is not used", "not a correction"),
            _text("replaced_time", "when it was made, ISO 8601", "not a correction"),
            _number("distance", "px", "greatest distance of a keypoint in both", "none is in both"),
            _text("reason", "why, in words", "nothing to say"),
        ),
    ),
    Table(
        "evaluation/MODEL/metrics.tsv",
        "a metric of a bodypart in a split of the labelled frames",
        (
            _text("bodypart", "name of the bodypart; all: over all of them"),
            _text("split", "train, validation or test"),
            _text("metric", "name of the metric; errors are in px of the labelled image"),
            _number("value", "of the metric", "its value", "no label to measure it with"),
        ),
    ),
    Table(
        "evaluation/MODEL/predictions.parquet",
        "a bodypart that the network predicts in a labelled image",
        (
            _IMAGE,
            _text("video", "name of the video, as the label source has it"),
            _whole("frame", "frame", "number of the frame, from 0; -1: not known"),
            _text("split", "train, validation, test or unused"),
            _text("individual", "name of the labelled individual"),
            _text("bodypart", "name of the bodypart"),
            _number("x", "px", "predicted place", "not found"),
            _number("y", "px", "predicted place", "not found"),
            _number("confidence", "1", "height of the score map's peak, 0 to 1", "not found"),
            _number("label_x", "px", "labelled place", _NO_LABEL),
            _number("label_y", "px", "labelled place", _NO_LABEL),
        ),
        optional=(
            _BASE,
            _number("spread", "px", "spread of the networks of an ensemble", "not found"),
        ),
    ),
    Table(
        "evaluation/MODEL/members.tsv",
        "a network of an ensemble, or the ensemble, in a split",
        (
            _text("member", "number of the network, or ensemble"),
            _whole("seed", "", "seed of its training", "the ensemble"),
            _text("split", "train, validation or test"),
            _whole("points", "keypoint", "labelled keypoints that were compared"),
            _number("mean_error", "px", "mean distance from the labels", "no keypoint"),
            _number("median_error", "px", "median distance from the labels", "no keypoint"),
            _number("rmse", "px", "root mean square distance from the labels", "no keypoint"),
        ),
    ),
    Table(
        "evaluation/MODEL/regions.tsv",
        "a bodypart and a level of probability",
        (
            _text("bodypart", "name of the bodypart; all: over all of them"),
            _number("level", "1", "probability that a region is to contain the truth with"),
            _whole("points", "keypoint", "held-out keypoints"),
            _number("coverage", "1", "share of them that lie in their region", _FEW_HELD_OUT),
            _number("radius", "px", "median radius of the regions", _FEW_HELD_OUT),
        ),
    ),
    Table(
        "models/MODEL/history.tsv",
        "a metric after an epoch of the training",
        (
            _whole("epoch", "epoch", "number of the epoch, from 0"),
            _whole("step", "step", "steps of the optimizer until then"),
            _text("metric", "name of the metric; errors are in px of the labelled image"),
            _number("value", "of the metric", "its value", "it was not finite"),
        ),
    ),
    Table(
        "refine/MODEL/frames.tsv",
        "a frame that is worth labelling, best first",
        (
            _whole("rank", "", "place in the list, from 1"),
            _VIDEO,
            _FRAME,
            _number("time", "s", "presentation time of the frame"),
            _number("score", "of the criterion", "how conspicuous it is", "somebody listed it"),
            _text("criterion", "criterion that chose it"),
            _text("reason", "what was found, in words"),
            _text("image", "its image, from the folder of the table"),
        ),
    ),
    Table(
        "refine/MODEL/label_errors.tsv",
        "a label that is probably wrong, worst first",
        (
            _whole("rank", "", "place in the list, from 1"),
            _text("image", "labelled image"),
            _text("video", "name of the video, as the label source has it"),
            _whole("frame", "frame", "number of the frame, from 0; -1: not known"),
            _text("individual", "name of the individual", "there is only one"),
            _text("bodypart", "name of the bodypart", "the whole individual"),
            _text("what", "kind of the error"),
            _number(
                "amount",
                "px, or of the kind",
                "distance from the prediction; deviation of a pose or bone; confidence of what is "
                "missing",
            ),
            _number("severity", "1", "robust standard deviations beyond the usual, or confidence"),
            _text("suggestion", "what to do, in words"),
            _number("x", "px", "where the bodypart probably is", _UNKNOWN),
            _number("y", "px", "where the bodypart probably is", _UNKNOWN),
            _text("seen", "whether the network was trained with the image"),
            _text("network", "network that predicted it", "none: labels were compared with labels"),
        ),
    ),
    Table("refine/MODEL/frames/VIDEO/frames.tsv", "a frame of the video to label", _SELECTED),
    Table("frames/VIDEO/frames.tsv", "a selected frame of the video", _SELECTED),
    Table(
        "dictionary.tsv",
        "a column of a table",
        (
            _text("table", "path of the table below the results folder"),
            _text("column", "name of the column; …: further ones"),
            _text("type", "text, whole, number or truth"),
            _text("unit", "unit of the values", "none"),
            _text("about", "what the values are"),
            _text("empty", "what an empty cell means"),
        ),
    ),
    Table(
        "kinematics/MODEL/dictionary.tsv",
        "a column of a table of kinematics",
        (
            _text("table", "name of the table: its folder"),
            _text("column", "name of the column"),
            _text("type", "text, whole, float32, float64 or truth"),
            _text("unit", "unit of the values", "none"),
            _text("about", "what the values are"),
            _text("empty", "what an empty cell means"),
        ),
    ),
    Table(
        "shards/plan.tsv",
        "a video that was ever in the sheet",
        (
            _VIDEO,
            _text("shard", "shard that it belongs to"),
            _text("state", "planned, or what became of it"),
        ),
    ),
    Table(
        "shards/SHARD/manifest.tsv",
        "a video of the shard",
        (
            _VIDEO,
            _text("path", "file, as in the sheet"),
            _whole("bytes", "byte", "size of the file", "there is no such file"),
            _whole("modified_ns", "ns", "time of its last change since 1970", "no such file"),
        ),
        optional=_POSES_STATE,
    ),
    Table(
        "shards/SHARD/probe.tsv",
        "a video of the shard",
        (
            *_STAGE,
            _text("path", "file, as in the sheet"),
            _text("fingerprint", "checksum of the content", "it could not be read"),
            _whole("frames", "frame", "frames, the lost ones included", "it cannot be analysed"),
            _number("fps", "frame/s", "mean frame rate", "it cannot be analysed"),
            _whole("width", "px", "width of a frame, upright", "it cannot be analysed"),
            _whole("height", "px", "height of a frame, upright", "it cannot be analysed"),
            _number("duration", "s", "length of the video", "it cannot be analysed"),
            _text("codec", "name of the codec", "it cannot be analysed, or is no video"),
            _text("pixel_format", "name of the pixel format", "as for the codec"),
            Column(
                "variable_frame_rate",
                "truth",
                "",
                "whether frames are at unequal times",
                "it cannot be analysed",
            ),
        ),
        optional=(
            _text("poses", "file or folder of poses of another tool", "the row has a video"),
            _text("poses_fingerprint", "checksum of these poses", "the row has a video"),
        ),
    ),
    Table(
        "shards/SHARD/frames.tsv",
        "a video of the shard: frames selected from it",
        (*_STAGE, _whole("number", "frame", "selected frames", "none")),
    ),
    Table(
        "shards/SHARD/infer-MODEL.tsv",
        "a video of the shard: its poses",
        (
            *_STAGE,
            _whole("frames", "frame", "frames of the poses", _NOT_REACHED),
            _whole(
                "undecodable", "frame", "frames that could not be decoded or are lost", _NOT_REACHED
            ),
            _whole(
                "still",
                "frame",
                "frames in which nothing moved: their poses are those of earlier ones",
                "every frame was computed",
            ),
            _number("frames_per_second", "frame/s", "frames that a worker analysed", "not timed"),
            _number("decode_share", "1", "share of the time that decoding took", "not timed"),
            _number("network_share", "1", "share of the time that the network took", "not timed"),
            _number("wait_share", "1", "share of the time without a frame to predict", "not timed"),
        ),
    ),
    Table(
        "shards/SHARD/track-MODEL.tsv",
        "a video of the shard: its tracks",
        (
            *_STAGE,
            _whole("most_animals", "animal", "most animals in a frame", _NOT_REACHED),
            replace(_SURPLUS, empty=_NOT_REACHED),
        ),
    ),
    Table(
        "shards/SHARD/correct-MODEL.tsv",
        "a video of the shard: its corrected tracks",
        (
            *_STAGE,
            _SOURCE_KEY,
            _text("decisions_hash", "hash of the decisions about the video", _NOT_REACHED),
            _whole("applied", "decision", "decisions that changed the tracks", _NOT_REACHED),
            _whole("already_right", "decision", "decisions that hold already", _NOT_REACHED),
            _whole("replaced", "decision", "decisions that later ones replace", _NOT_REACHED),
            _whole("not_applicable", "decision", "decisions that fit no track", _NOT_REACHED),
        ),
    ),
    Table(
        "shards/SHARD/decisions-MODEL.tsv",
        "a decision about the tracks of a video",
        (
            _VIDEO,
            _text("what", "kind of the decision"),
            _whole("first_frame", "frame", "first frame that it concerns"),
            _whole("last_frame", "frame", "last frame that it concerns", "one frame"),
            _text("individual", "name of the individual", "none is named"),
            _text("other", "name of the other individual", "none is named"),
            _AUTHOR,
            _WHEN,
            _text("outcome", "what became of it"),
            _text("reason", "why, in words", "it was applied"),
        ),
    ),
    Table("shards/SHARD/filter-MODEL.tsv", "a video of the shard: its filtered poses", _STAGE),
    Table(
        "shards/SHARD/export-MODEL.tsv",
        "a video of the shard: its exports",
        (
            *_STAGE,
            _text("files", "format and size in bytes of each file: h5:1234 csv:5678", "none"),
            _SOURCE_KEY,
        ),
    ),
    Table(
        "shards/SHARD/kinematics-MODEL.tsv",
        "a video of the shard: its tables of kinematics",
        (*_STAGE, _SOURCE_KEY),
    ),
    Table(
        "shards/SHARD/quality-MODEL.tsv",
        "a video of the shard: its measures of quality",
        _STAGE,
    ),
    Table("shards/SHARD/render-MODEL.tsv", "a video of the shard: its labelled videos", _STAGE),
    Table(
        "shards/SHARD/sessions.tsv",
        "a camera of a session of the shard, as the sheet has it",
        (
            _text("session", "name of the session"),
            _text("camera", "name of the camera"),
            _VIDEO,
            _text("calibration", "name of the calibration", "none is given"),
            _text("source", "file or folder of the calibration", "none is given"),
            _text("source_checksum", "checksum of that", "it could not be read"),
            _number("offset", "s", "time of the first frame", "0"),
            _text("timestamps", "file of the times of frames", "none is given"),
            _text("timestamps_checksum", "checksum of that", "none is given"),
            _text("described", "hash of what exports tell of the recording", "nothing"),
        ),
    ),
    Table("shards/SHARD/triangulate-MODEL.tsv", "a session of the shard", _TRIANGULATION),
    Table(
        "shards/SHARD/correct-views-MODEL.tsv",
        "a session of the shard: poses corrected by the other views",
        (
            *_SESSION,
            _SOURCE_KEY,
            _whole("kept", "point", "points as the view saw them", _NO_POSES),
            _whole("corrected", "point", "points moved to where others see them", _NO_POSES),
            _whole("filled", "point", "points that only the others see", _NO_POSES),
            _whole("doubted", "point", "points that others see elsewhere, vaguely", _NO_POSES),
        ),
    ),
    Table(
        "shards/SHARD/export-sessions-MODEL.tsv",
        "a session of the shard: its exports",
        (*_SESSION, _SOURCE_KEY),
    ),
    Table(
        "shards/SHARD/render-sessions-MODEL.tsv",
        "a session of the shard: its video",
        (*_SESSION, _SOURCE_KEY),
    ),
    *(
        Table(
            path,
            about,
            (
                _text("kind", "kind of the file"),
                _text("video", "its video or session", "it is of the whole cohort"),
                _text("path", "path below the results folder"),
                _whole("bytes", "byte", "its size"),
                _whole("modified_ns", "ns", "time of its last change since 1970"),
                _text("sha256", "its checksum"),
                _text("key", "what it was made from", "it has no key"),
            ),
        )
        for path, about in (
            ("contents.tsv", "a file of the whole cohort"),
            ("shards/SHARD/contents-STAGE-MODEL.tsv", "a file that a stage published or read"),
        )
    ),
    Table(
        ".watch/arrivals.tsv",
        "a video that came in while `watch` looked",
        (
            _VIDEO,
            _text("path", "file, as in the sheet"),
            _text("arrived", "when it was first seen, ISO 8601"),
            _text("whole", "when it was found whole, ISO 8601"),
            _text("reported", "when it was in ledger and report, ISO 8601"),
            _number("seconds", "s", "from first seen to reported"),
        ),
    ),
    Table(
        "exports/MODEL/SESSION.3d.csv",
        "a bodypart of an individual at a moment of a session",
        (
            _whole("moment", "moment", "number of the moment, from 0"),
            _number("time", "s", "time of the moment"),
            _text("individual", "name of the individual"),
            _text("bodypart", "name of the bodypart"),
            _number("x", "`unit`", "in the axes of the calibration", "not found"),
            _number("y", "`unit`", "in the axes of the calibration", "not found"),
            _number("z", "`unit`", "in the axes of the calibration", "not found"),
            _text("unit", "unit of lengths of the calibration", _UNKNOWN),
            _number("confidence", "1", "of the views that were used", "not found"),
            _number("error", "px", "reprojection error", "not found"),
            _whole("views", "camera", "cameras that were used"),
            _number("uncertainty", "`unit`", "of the position", "not found"),
        ),
    ),
    Table(
        "labels/AUTHOR/VIDEO.tsv",
        "a keypoint that a person labelled or corrected",
        (
            _VIDEO,
            replace(_FRAME, empty="the image is of no video"),
            _text("image", "image of the label source", "a frame of a video of the cohort"),
            _text("individual", "name of the individual", "the frame shows no animal"),
            _text("bodypart", "name of the bodypart", "the frame shows no animal"),
            _number("x", "px", "to the right from the centre of the top-left pixel", "absent"),
            _number("y", "px", "down from the centre of the top-left pixel", "absent"),
            _text("visibility", "visible, hidden or absent", "the frame shows no animal"),
            _whole("iteration", "", "labelling iteration"),
            _AUTHOR,
            _WHEN,
        ),
        place="corrections",
    ),
    Table(
        "quality_decisions.tsv",
        "a decision of a person about a video (`quality.decisions`)",
        (
            _VIDEO,
            _text("decision", "pass, warn, fail or drop"),
            _text("name", "who decided"),
            _text("date", "when, YYYY-MM-DD", "not told"),
            _text("reason", "why, in words", "not told"),
        ),
        place="config",
    ),
    Table(
        "bodyparts.tsv",
        "a bodypart that was added or renamed",
        (
            _text("what", "added or renamed"),
            _text("bodypart", "its name"),
            _text("former", "its former name", "it was added"),
            _AUTHOR,
            _WHEN,
        ),
        place="corrections",
    ),
    Table(
        "tracks/AUTHOR/VIDEO.tsv",
        "a decision about the tracks of a video",
        (
            _VIDEO,
            _text("what", "kind of the decision"),
            _whole("first_frame", "frame", "first frame that it concerns"),
            _whole("last_frame", "frame", "last frame that it concerns", "one frame"),
            _text("individual", "name of the individual", "none is named"),
            _text("other", "name of the other individual", "none is named"),
            _text("before", "where the individual is before: x, y in px", "not needed"),
            _text("after", "where the individual is after: x, y in px", "not needed"),
            _text("other_before", "the same of the other individual", "not needed"),
            _text("other_after", "the same of the other individual", "not needed"),
            _text("end_before", "the same at the last frame", "not needed"),
            _text("end_after", "the same at the last frame", "not needed"),
            _text("end_other_before", "the same of the other at the last frame", "not needed"),
            _text("end_other_after", "the same of the other at the last frame", "not needed"),
            _AUTHOR,
            _WHEN,
        ),
        place="corrections",
    ),
    Table(
        "list-doubts",
        "a place at which tracks may be wrong, worst first",
        (
            _whole("rank", "", "place in the list, from 1"),
            _VIDEO,
            _FRAME,
            _whole("first", "frame", "first frame of the doubt"),
            _whole("last", "frame", "last frame of the doubt"),
            _text("individuals", "the individuals, joined by `and`"),
            _number("probability", "1", "that the tracks are wrong there"),
        ),
        place="command",
    ),
    Table(
        "zoo list",
        "a bundle",
        (
            _text("bundle", "its file or address"),
            _text("name", "name of the network", "it cannot be read"),
            _text("bodyparts", "names of the bodyparts", "it cannot be read"),
            _text("animals", "how many animals it finds", "it cannot be read"),
            _text("frames", "labelled frames that it learned from", "it does not say"),
            _text("licence", "its licence", "it does not say"),
            _text("problem", "why it cannot be used", "none"),
        ),
        place="command",
    ),
)
