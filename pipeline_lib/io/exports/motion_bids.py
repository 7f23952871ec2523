"""Write a data set of Motion-BIDS, a folder for each video: experimental.

The layout is that of BIDS 1.10 for motion (https://bids-specification.readthedocs.io, "Motion"):
one subject, the recording's times, positions and confidences as a table without a header, and what
each of its columns is. What the cohort sheet does not tell is ``n/a``. BIDS has no unit for pixels
of a picture; the channels say ``px``.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import pipeline_lib
from pipeline_lib.core.poses import Poses
from pipeline_lib.core.tables import UNIQUE_INDIVIDUAL
from pipeline_lib.io.exports.session import Subject
from pipeline_lib.io.exports.source import ExportSource
from pipeline_lib.io.poses.read import read_times
from pipeline_lib.io.publish import publish_folder

BIDS_VERSION = "1.10.0"
_ABSENT = "n/a"
_FRAME = "picture"
_TASK = "recording"
_CHANNEL_COLUMNS = ("name", "component", "type", "tracked_point", "units", "reference_frame")
_KINDS = ("ACCEL", "ANGACCEL", "GYRO", "JNTANG", "LATENCY", "MAGN", "MISC", "ORNT", "POS", "VEL")
_SEXES = {"M": "male", "F": "female", "O": "other"}
# Days of the units of a duration, on average.
_DAYS = {"Y": 365.25, "M": 30.4375, "W": 7.0, "D": 1.0}
_AGE = re.compile(r"P(?:[\d.]+[YMWD])+")
_README = """\
Poses of animals, found in a video by cohortpose {version}.

Positions are in pixels of the upright picture: x to the right and y down from the centre of the
top-left pixel. A row is a frame of the video. {absent}: not found, or the frame could not be
decoded.
The layout is experimental: Motion-BIDS was not made for pixels.
"""


class _Channel(NamedTuple):
    """Describe a column of the recording."""

    name: str
    component: str
    type: str
    tracked_point: str
    units: str
    reference_frame: str


def write_motion_bids(path: Path, source: ExportSource) -> None:
    """Publish the poses of one video as a data set of Motion-BIDS.

    Parameters
    ----------
    path
        Folder to write.
    source
        Poses of the video, and what the sheet tells of the recording.

    Raises
    ------
    StoreError
        If the poses are missing or damaged.
    """
    video = _name_video(source)
    subject = _label(source.session.subject.subject_id) or _label(video) or "unknown"
    session = _label(source.session.session_id)
    place = [f"sub-{subject}", *([f"ses-{session}"] if session else [])]
    stem = "_".join([*place, f"task-{_TASK}", "tracksys-video", f"acq-{_label(video) or 'video'}"])
    channels = _list_channels(source)
    with publish_folder(path) as folder:
        _describe_data_set(folder, source, f"sub-{subject}")
        own = folder.joinpath(*place)
        motion = own / "motion"
        motion.mkdir(parents=True)
        _write_scans(own / f"{'_'.join(place)}_scans.tsv", f"motion/{stem}_motion.tsv", source)
        _write_json(motion / f"{stem}_motion.json", _describe_motion(source, channels))
        _write_rows(motion / f"{stem}_channels.tsv", _CHANNEL_COLUMNS, channels)
        _write_json(motion / f"{stem}_channels.json", _describe_channels())
        _write_motion(motion / f"{stem}_motion.tsv", source)


def _describe_data_set(folder: Path, source: ExportSource, participant: str) -> None:
    subject = source.session.subject
    _write_json(
        folder / "dataset_description.json",
        {
            "Name": f"Poses of {_name_video(source)}",
            "BIDSVersion": BIDS_VERSION,
            "DatasetType": "raw",
            **(
                {"Authors": list(source.session.experimenter)}
                if source.session.experimenter
                else {}
            ),
            "GeneratedBy": [{"Name": "cohortpose", "Version": pipeline_lib.__version__}],
        },
    )
    (folder / "README").write_text(
        _README.format(version=pipeline_lib.__version__, absent=_ABSENT), encoding="utf-8"
    )
    facts = {
        "species": subject.species or _ABSENT,
        "sex": _SEXES.get(subject.sex, _ABSENT),
        "age": _measure_age(subject),
        "strain": subject.strain or _ABSENT,
        "genotype": subject.genotype or _ABSENT,
    }
    _write_rows(
        folder / "participants.tsv", ("participant_id", *facts), [(participant, *facts.values())]
    )
    _write_json(
        folder / "participants.json",
        {
            "species": {"Description": "Latin name, or link to NCBI's taxonomy"},
            "sex": {"Description": "Sex of the animal"},
            "age": {"Description": "Age at the recording", "Units": "year"},
            "strain": {"Description": "Strain, as in the cohort sheet"},
            "genotype": {"Description": "Genotype, as in the cohort sheet"},
        },
    )


def _list_channels(source: ExportSource) -> list[_Channel]:
    """Return the channels in the order of the columns: the time, then x, y, confidence by point."""
    channels = [_Channel("time", _ABSENT, "LATENCY", _ABSENT, "s", _ABSENT)]
    for individual, bodypart in _list_points(source.head):
        point = _name_point(source.head, individual, bodypart)
        channels += [
            _Channel(f"{point}_{axis}", axis, "POS", point, "px", _FRAME) for axis in ("x", "y")
        ]
        channels.append(_Channel(f"{point}_confidence", _ABSENT, "MISC", point, _ABSENT, _ABSENT))
    return channels


def _list_points(head: Poses) -> list[tuple[int, int]]:
    return [(i, k) for i in range(len(head.individuals)) for k in range(len(head.bodyparts))]


def _name_point(head: Poses, individual: int, bodypart: int) -> str:
    """Return the name of a point; those of several animals begin with the animal's."""
    name, part = head.individuals[individual], head.bodyparts[bodypart]
    alone = len(head.individuals) == 1 and name != UNIQUE_INDIVIDUAL
    return part if alone else f"{name}_{part}"


def _describe_motion(source: ExportSource, channels: Sequence[_Channel]) -> dict[str, object]:
    times = read_times(source.poses)
    span = float(times[-1] - times[0]) if len(times) > 1 else 0.0
    # The rate of the recorder, and the one that the times of the frames show.
    effective = (len(times) - 1) / span if span > 0 else source.fps
    kinds = [one.type for one in channels]
    facts: dict[str, object] = {
        "TaskName": _TASK,
        "TaskDescription": source.session.experiment_description or None,
        "InstitutionName": source.session.institution or None,
        "SamplingFrequency": source.fps or effective or _ABSENT,
        "SamplingFrequencyEffective": effective or None,
        "TrackingSystemName": f"video, {source.scorer}",
        "SoftwareVersions": f"cohortpose {pipeline_lib.__version__}",
        "RecordingDuration": span + (1 / effective if effective else 0),
        "RecordingType": "continuous",
        "MissingValues": _ABSENT,
        "MotionChannelCount": len(channels),
        "TrackedPointsCount": len(_list_points(source.head)),
        **{f"{kind}ChannelCount": kinds.count(kind) for kind in _KINDS},
    }
    return {name: value for name, value in facts.items() if value is not None}


def _describe_channels() -> dict[str, object]:
    return {
        "reference_frame": {
            "Description": "Axes that positions are in",
            "Levels": {
                _FRAME: {
                    "SpatialAxes": "RD_",
                    "Description": "Pixels of the upright picture: x to the right and y down; (0, "
                    "0) is the centre of the top-left pixel",
                }
            },
        }
    }


def _write_scans(path: Path, recording: str, source: ExportSource) -> None:
    start = source.session.start
    moment = start.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if start else _ABSENT
    _write_rows(path, ("filename", "acq_time"), [(recording, moment)])


def _write_motion(path: Path, source: ExportSource) -> None:
    """Write a row per frame, without a header; unknown values are n/a."""
    import pandas as pd  # noqa: PLC0415

    with path.open("w", encoding="utf-8", newline="") as file:
        for block in _arrange(source):
            table = pd.DataFrame(block)
            table.to_csv(
                file, sep="\t", header=False, index=False, na_rep=_ABSENT, lineterminator="\n"
            )


def _arrange(source: ExportSource) -> Iterator[dict[int, NDArray[np.floating[Any]]]]:
    """Yield the columns of consecutive frames by their number."""
    points = _list_points(source.head)
    for poses in source.read_blocks():
        columns: list[NDArray[np.floating[Any]]] = [poses.time]
        for individual, bodypart in points:
            place = poses.position[:, individual, bodypart]
            columns += [place[:, 0], place[:, 1], poses.confidence[:, individual, bodypart]]
        yield dict(enumerate(columns))


def _measure_age(subject: Subject) -> str:
    """Return an age in years, as BIDS wants it; n/a for a range, and without an age."""
    if not _AGE.fullmatch(subject.age):
        return _ABSENT
    parts = re.findall(r"([\d.]+)([YMWD])", subject.age)
    years = sum(float(amount) * _DAYS[unit] for amount, unit in parts) / _DAYS["Y"]
    return f"{years:.4g}"


def _name_video(source: ExportSource) -> str:
    return source.poses.name.removesuffix(".zip").removesuffix(".zarr")


def _label(name: str) -> str:
    # Labels of BIDS have letters and digits alone.
    return re.sub(r"[^A-Za-z0-9]", "", name)


def _write_rows(path: Path, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    lines = ["\t".join(" ".join(cell.split()) for cell in row) for row in (columns, *rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _write_json(path: Path, content: Mapping[str, object]) -> None:
    text = json.dumps(content, ensure_ascii=False, indent=2)
    path.write_text(text + "\n", encoding="utf-8")
