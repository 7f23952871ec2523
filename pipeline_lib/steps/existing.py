"""Take over poses that another tool found: the files that the column ``poses`` names."""

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core import versions
from pipeline_lib.core.errors import CohortposeError, StoreError
from pipeline_lib.core.poses import Poses
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.tables import (
    EXISTING_COLUMNS,
    SHEET_FACTS,
    SINGLE_INDIVIDUAL,
    FrameStatus,
    VideoStatus,
)
from pipeline_lib.io.checksums import describe_state, hash_path
from pipeline_lib.io.foreign_poses.files import find_status, read_foreign_poses
from pipeline_lib.io.poses.write import write_poses

_LOG = logging.getLogger(__name__)

# Attribute of poses: number of individuals beyond `individuals.max`, from which tracking chooses.
SURPLUS = "surplus"

# Bounds of what the sheet may say of a video: arrays and times beyond them cannot be made.
_BOUNDS = {
    "fps": (1e-6, 1_000_000),
    "frames": (1, 2**31 - 1),
    "width": (1, 2**20),
    "height": (1, 2**20),
}

Row = Mapping[str, str]


def request_examination(planned: Row, video: Mapping[str, Any] | None) -> str:
    """Return the argument of `examine_existing` for a row of a manifest.

    Parameters
    ----------
    planned
        The row, which has poses.
    video
        Facts of its video as the probe found them; None: there is none that can be used.
    """
    given = {name: planned.get(name, "") for name in EXISTING_COLUMNS}
    facts = None if video is None else {name: video[name] for name in SHEET_FACTS}
    return json.dumps({**given, "video": facts})


def examine_existing(request: str) -> dict[str, Any]:
    """Fingerprint and read the poses of one row; return cells of its row of the probe's table.

    Facts of the video count before cells of the sheet, and these before what the file tells.
    """
    given = json.loads(request)
    path = Path(given["poses"])
    try:
        return _examine(given, path)
    except CohortposeError as error:
        reason = str(error)
    except MemoryError:
        reason = f"{path}: takes more memory than `reading.gigabytes` allows"
    except OSError as error:
        # One that vanishes or may not be read is this row's fate alone.
        reason = f"{path}: {error.strerror or error}"
    except Exception as error:  # noqa: BLE001 - one odd file must not end the others
        _LOG.exception("%s: reading poses failed", path)
        reason = f"{path}: unexpected {type(error).__name__}: {error}"
    return {"status": VideoStatus.QUARANTINED, "reason": reason}


def _examine(given: Mapping[str, Any], path: Path) -> dict[str, Any]:
    if given["poses_state"] == "missing":
        raise StoreError(f"{path}: no such file or folder")
    if describe_state(path) != given["poses_state"]:
        raise StoreError(f"{path}: has changed since the run was planned; run again")
    facts = given["video"] or _parse_facts(given)
    fingerprint = hash_path(path)
    poses = read_foreign_poses(path, fps=facts["fps"], frames=facts["frames"])
    cells: dict[str, Any] = {"poses": given["poses"], "poses_fingerprint": fingerprint}
    if given["video"] is not None:
        return cells
    frames, fps = len(poses.time), facts["fps"] or poses.attributes.get("fps")
    known = {"frames": frames, "fps": fps, "width": facts["width"], "height": facts["height"]}
    return {**cells, **known, "duration": frames / fps if fps else None}


def _parse_facts(cells: Row) -> dict[str, Any]:
    """Return frames per second, frames and size that the sheet gives; None: it gives none.

    Raises
    ------
    StoreError
        If a cell is no number, or one that no video has.
    """
    facts: dict[str, Any] = {}
    for name in SHEET_FACTS:
        text = cells[name]
        try:
            value = float(text) if text else None
        except ValueError:
            value = math.nan
        whole = value is None or name == "fps" or value.is_integer()
        least, most = _BOUNDS[name]
        if value is not None and not (least <= value <= most and whole):
            kind = "a number" if name == "fps" else "a whole number"
            raise StoreError(
                f"the sheet's cell `{name}` is {text!r}, expected {kind} from {least:,} to {most:,}"
            )
        facts[name] = value if value is None or name == "fps" else int(value)
    return facts


def take_over(config: Config, row: Row, key: str, output: Path) -> None:
    """Publish the poses of a row as if a network had found them.

    Parameters
    ----------
    config
        Settings of the run: `skeleton.bodyparts` chooses and orders the bodyparts,
        `individuals.max` bounds the animals.
    row
        Its row of the probe's table.
    key
        Key of the poses.
    output
        Receives the pose file.

    Raises
    ------
    StoreError
        If the file has changed since it was probed, lacks a bodypart, or shows too many animals.
    """
    path = Path(row["poses"])
    try:
        found = hash_path(path)
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror or error}") from None
    if found != row["poses_fingerprint"]:
        raise StoreError(f"{path}: has changed since it was probed; run again")
    fps = float(row["fps"]) if row["fps"] else None
    index, frames = _index_video(row), int(row["frames"])
    poses = read_foreign_poses(
        path, fps=_choose_rate(row, fps), frames=frames, shown=None if index is None else index[1]
    )
    poses = replace(poses, identity=None, spread=None)
    poses = _choose_bodyparts(path, poses, config.skeleton.bodyparts)
    poses, surplus = _bound_individuals(path, poses, config.individuals.max)
    if index is not None:
        times, shown = index
        status = np.where(shown, poses.frame_status, FrameStatus.MISSING).astype(np.uint8)
        poses = replace(poses, time=times, frame_status=status)
    attributes: dict[str, Any] = {
        "video": row["video"],
        "key": key,
        "fingerprint": row["poses_fingerprint"],
        "source": poses.attributes["source"],
        "versions": {"existing": versions.EXISTING_POSES},
        **({"fps": fps} if fps else {}),
        **({SURPLUS: surplus} if surplus else {}),
    }
    write_poses(output, replace(poses, attributes=attributes))


def _choose_rate(row: Row, fps: float | None) -> float | None:
    """Return the frame rate that times follow; None: those of the file, ours may be unequal."""
    own = not row["fingerprint"] and Path(row["poses"]).name.endswith((".zarr", ".zarr.zip"))
    return None if own else fps


def _choose_bodyparts(path: Path, poses: Poses, wanted: tuple[str, ...]) -> Poses:
    if not wanted or wanted == poses.bodyparts:
        return poses
    missing = [name for name in wanted if name not in poses.bodyparts]
    if missing:
        raise StoreError(
            f"{path}: has no {', '.join(missing)} of `skeleton.bodyparts`; it has "
            f"{', '.join(poses.bodyparts)}"
        )
    order = [poses.bodyparts.index(name) for name in wanted]
    return replace(
        poses,
        position=poses.position[:, :, order],
        confidence=poses.confidence[:, :, order],
        bodyparts=wanted,
    )


def _bound_individuals(path: Path, poses: Poses, most: int) -> tuple[Poses, int]:
    """Return poses with the individuals that a run expects, and the number of those beyond.

    Raises
    ------
    StoreError
        If a file that says who is who has more than `individuals.max`, or a run of single
        animals gets several.
    """
    count, tracked = len(poses.individuals), poses.track_status is not None
    if count > most and (tracked or most == 1):
        named = f"the individuals {', '.join(poses.individuals[:10])}" if tracked else f"{count}"
        raise StoreError(
            f"{path}: shows {named}{'' if tracked else ' individuals in a frame'}, and "
            f"`individuals.max` is {most}: set it to {count}"
        )
    if most == 1:
        return replace(poses, individuals=(SINGLE_INDIVIDUAL,), track_status=None), 0
    if count == 1 and not tracked:
        present = np.asarray(np.isfinite(poses.position).all(axis=-1).any(axis=-1))
        return replace(poses, track_status=find_status(present)), 0
    if tracked or count >= most:
        if tracked:
            return poses, 0
        surplus = tuple(f"{SURPLUS}{number}" for number in range(1, count - most + 1))
        return replace(poses, individuals=(*_number(most), *surplus)), len(surplus)
    # Tracks get as many slots in every video.
    return replace(
        poses,
        position=_widen(poses.position, most - count, np.nan),
        confidence=_widen(poses.confidence, most - count, 0.0),
        individuals=_number(most),
    ), 0


def _number(count: int) -> tuple[str, ...]:
    return tuple(f"individual{number}" for number in range(1, count + 1))


def _widen(values: NDArray[np.float32], more: int, fill: float) -> NDArray[np.float32]:
    shape = (len(values), more, *values.shape[2:])
    return np.concatenate([values, np.full(shape, fill, values.dtype)], axis=1)


def _index_video(row: Row) -> tuple[NDArray[np.float64], NDArray[np.bool_]] | None:
    """Return times of a video's frames, and which it has; None: all, at equal intervals."""
    if not row["fingerprint"] or not (row["variable_frame_rate"] == "true" or row["reason"]):
        return None
    # Imported here: OpenCV and FFmpeg take long to load.
    from pipeline_lib.io.video.reader import check_video  # noqa: PLC0415

    index = check_video(Path(row["path"]))
    if len(index.times) != int(row["frames"]):
        raise StoreError(f"{row['path']}: has changed since it was probed; run again")
    return np.asarray(index.times, np.float64), ~np.asarray(index.missing)
