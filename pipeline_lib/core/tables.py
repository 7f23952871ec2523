"""Define the columns and vocabularies of the tables on disk."""

from enum import IntEnum, StrEnum


class VideoStatus(StrEnum):
    """Name the status of a video. Every video of the sheet ends in one of the last three."""

    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"
    QUARANTINED = "quarantined"


class SessionStatus(StrEnum):
    """Name the status of a session. Every session of the sheet ends in one of the last four."""

    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"
    NO_CALIBRATION = "no calibration"
    TOO_FEW_CAMERAS = "too few cameras"


class CalibrationStatus(StrEnum):
    """Name the status of a calibration: `refused` if it was made or read, but is bad."""

    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"


class FrameStatus(IntEnum):
    """Name the status of a frame (variable ``frame_status`` of pose files, uint8)."""

    DECODED = 0
    UNDECODABLE = 1
    MISSING = 2  # the file lacks the frame: its packet was lost, or its recorder dropped it
    STILL = 3  # decoded, and nothing had moved: its pose is that of the last computed frame


class TrackStatus(IntEnum):
    """Name the status of an individual in a frame (variable ``track_status``, uint8)."""

    ABSENT = 0  # not seen, and not expected: before its first or after its last frame
    FOLLOWED = 1
    GAP = 2  # not found, between frames in which it was
    UNCERTAIN = 3  # found, but it may have been exchanged for another one near here


class PointSource(IntEnum):
    """Name where a point of corrected views comes from (variable ``point_source``, uint8)."""

    NONE = 0  # there is no point
    KEPT = 1  # as the view saw it
    CORRECTED = 2  # the view saw it elsewhere; this is where the other views see it
    FILLED = 3  # the view did not see it; this is where the other views see it
    DOUBTED = 4  # as the view saw it, though the other views see it elsewhere, but too vaguely


SHEET_REQUIRED = ("video", "path")
SHEET_OPTIONAL = ("session", "camera", "calibration", "poses")
# Columns of the sheet that tell of a row with poses what its file does not; they are metadata, too.
SHEET_FACTS = ("fps", "frames", "width", "height")

# The table of a stage's outcome for each video of a shard begins with these columns.
STAGE_COLUMNS = ("video", "status", "reason", "seconds", "key")

# What tracking reports of each video, in its table and among the attributes of the tracks: most
# animals in a frame, and frames with more animals than are kept.
MOST_ANIMALS, SURPLUS_FRAMES = "most_animals", "surplus_frames"

PLAN_COLUMNS = ("video", "shard", "state")

MANIFEST_COLUMNS = ("video", "path", "bytes", "modified_ns")
# Further columns where a row has poses that another tool found: their file or folder, its state
# (sizes and modification times), and facts that the sheet gives.
EXISTING_COLUMNS = ("poses", "poses_state", *SHEET_FACTS)

PROBE_COLUMNS = (
    *STAGE_COLUMNS,
    "path",
    "fingerprint",
    "frames",
    "fps",
    "width",
    "height",
    "duration",
    "codec",
    "pixel_format",
    "variable_frame_rate",
)

# Further columns where a row has poses that another tool found: the hash of their file or folder.
EXISTING_PROBE_COLUMNS = ("poses", "poses_fingerprint")

# A row per camera of a session, as the sheet gives them. `offset` and `timestamps` tell when its
# frames were taken; checksums are those of the calibration and of the file of times; `described` is
# that of what exports tell of the recording.
SESSION_VIEW_COLUMNS = (
    "session",
    "camera",
    "video",
    "calibration",
    "source",
    "source_checksum",
    "offset",
    "timestamps",
    "timestamps_checksum",
    "described",
)

# Errors are root mean squares over all cameras in px; coverage is the least of a camera, 0..1. The
# last two columns tell from which file and settings a row was made.
CALIBRATION_COLUMNS = (
    "calibration",
    "status",
    "reason",
    "warnings",
    "source",
    "kind",
    "cameras",
    "error",
    "coverage",
    "unit",
    "seconds",
    "key",
    "source_checksum",
    "settings",
)

# A row per camera; cells that a calibration does not tell are empty.
CAMERA_COLUMNS = (
    "camera",
    "width",
    "height",
    "model",
    "images",
    "views",
    "left_out",
    "corners",
    "rms_error",
    "median_error",
    "coverage",
    "nearest",
    "farthest",
    "focal_deviation",
)

# `cameras` lists those that were used, `missing` the others and why. `found` is the share of
# points that have a position, 0..1; `error` their median reprojection error in px, `uncertainty`
# their median uncertainty, in `unit`. `doubts` tells what may be wrong with a session that is done:
# its times, a camera that disagrees with the others, settings that could not be followed.
TRIANGULATION_COLUMNS = (
    "session",
    "status",
    "reason",
    "seconds",
    "key",
    "cameras",
    "missing",
    "calibration",
    "moments",
    "found",
    "error",
    "uncertainty",
    "unit",
    "doubts",
)
# Tables of before have no doubts.
TRIANGULATION_NEEDED = TRIANGULATION_COLUMNS[:-1]

SESSION_EXPORT_COLUMNS = ("session", "status", "reason", "seconds", "key", "source_key")

# The data dictionary of tables for other tools: `empty` tells what an empty cell means.
DICTIONARY_COLUMNS = ("table", "column", "type", "unit", "about", "empty")
# Numbers of points, over all views: see `PointSource`.
CORRECTED_VIEWS_COLUMNS = (*SESSION_EXPORT_COLUMNS, "kept", "corrected", "filled", "doubted")

LEDGER_COLUMNS = (
    "video",
    "status",
    "stage",
    "reason",
    "frames",
    "undecodable",
    SURPLUS_FRAMES,
    "still",
    "fps",
    "width",
    "height",
    "seconds",
    "key",
)

# Further columns of the ledger where videos are judged: the decision in force.
QUALITY_LEDGER_COLUMNS = ("quality", "quality_by", "quality_reason")

# A row per finding, the decision in force first and the worst finding next; a video without any has
# one row `pass`. `decided_by` is `rules`, or the name of a person, whose decision overrides.
# `seconds` are the stretches that offend.
QUALITY_COLUMNS = (
    "video",
    "decision",
    "decided_by",
    "check",
    "reason",
    "value",
    "limit",
    "seconds",
    "remedy",
)

# What was used and what it cost; an empty cell is not measured, not priced, or means nothing there.
# `kind` is `video`, `removed` (videos that left the sheet), `shared` (work for the whole cohort),
# `group` or `run`. Hours are of video, of processor time of one core, of one GPU, of all jobs, and
# from the first to the last job without the pauses. Storage is a price per month.
COST_COLUMNS = (
    "kind",
    "name",
    "group",
    "video_hours",
    "cpu_hours",
    "gpu_hours",
    "job_hours",
    "wall_hours",
    "kwh",
    "stored_gb",
    "stored_gb_per_video_hour",
    "cost",
    "cost_per_video_hour",
    "storage_per_month",
    "currency",
)

# x, y in px of the labelled image, NaN where the bodypart was not labelled. Visibility is
# `visible` or `hidden` where it was, `absent` where a correction marks it as absent, else empty.
LABEL_COLUMNS = (
    "video",
    "frame",
    "individual",
    "bodypart",
    "x",
    "y",
    "visible",
    "source",
    "split",
    "image",
    "iteration",
    "visibility",
)

# Labelled frames of later iterations that are beside test frames: they neither train nor test.
UNUSED_SPLIT = "unused"

# What corrections replaced, and which were left out. The distance is the greatest of a keypoint
# that both label, px.
CONFLICT_COLUMNS = (
    "what",
    "video",
    "frame",
    "image",
    "kept_source",
    "kept_author",
    "kept_time",
    "replaced_source",
    "replaced_author",
    "replaced_time",
    "distance",
    "reason",
)

# One predicted point per labelled image and bodypart; label_x, label_y are NaN where unlabelled.
PREDICTION_COLUMNS = (
    "image",
    "video",
    "frame",
    "split",
    "individual",
    "bodypart",
    "x",
    "y",
    "confidence",
    "label_x",
    "label_y",
)

METRIC_COLUMNS = ("bodypart", "split", "metric", "value")

# Errors in px of the members of an ensemble and of the ensemble; of the calibration of confidence,
# the share of held-out points in the region of each level and its usual radius in px.
MEMBER_COLUMNS = ("member", "seed", "split", "points", "mean_error", "median_error", "rmse")
REGION_COLUMNS = ("bodypart", "level", "points", "coverage", "radius")

HISTORY_COLUMNS = ("epoch", "step", "metric", "value")

# The only animal of a single-animal label table.
SINGLE_INDIVIDUAL = "animal"

# Has the unique bodyparts where there are several animals; DeepLabCut's name for it.
UNIQUE_INDIVIDUAL = "single"
