"""Write the poses of a session as Neurodata Without Borders, with the ndx-pose extension.

The layout is that of the file of one video (`pipeline_lib.io.exports.nwb`), with x, y and z. Values
are in the unit of the calibration; ``conversion`` makes metres of them, as NWB has it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import pipeline_lib
from pipeline_lib.core.cameras.calibration import UNITS
from pipeline_lib.io.exports.nwb_parts import (
    MODULE,
    SKELETONS,
    Maker,
    describe_edges,
    describe_session,
    describe_subject,
    describe_times,
    identify,
    name_estimations,
    name_series,
    reserve,
)
from pipeline_lib.io.exports.sessions.source import SessionSource
from pipeline_lib.io.publish import publish_file

if TYPE_CHECKING:
    import pynwb

# pynwb is imported where it is used: it takes seconds to load.


def write_session_nwb(path: Path, source: SessionSource) -> None:
    """Publish the poses of one session as an NWB file (a `registry.Writer`).

    The same poses give the same bytes, because identifiers are derived from the key. Memory holds
    one block of moments and 8 bytes per moment of the session. NWB forbids slashes and colons in
    names; they become underscores. If two names are then equal, a `StoreError` says so.
    """
    import h5py  # noqa: PLC0415
    import pynwb  # noqa: PLC0415

    head = source.head
    groups = [
        (animal, bodypart, f"/processing/{MODULE}/{animal_name}/{bodypart_name}")
        for animal, animal_name in enumerate(name_estimations(head.individuals, source.poses))
        for bodypart, bodypart_name in enumerate(name_series(head.bodyparts, source.poses))
    ]
    # Before the writer is opened: it knows only the extensions imported by then.
    session = _describe_session(source)
    with publish_file(path) as part:
        with pynwb.NWBHDF5IO(str(part), "w") as writer:
            writer.write(session)
        with h5py.File(part, "r+") as file:
            for moments, block in source.read_blocks():
                for animal, bodypart, group in groups:
                    point = (slice(None), animal, bodypart)
                    file[f"{group}/data"][moments] = block.position[point]
                    file[f"{group}/confidence"][moments] = block.confidence[point]


def _describe_session(source: SessionSource) -> "pynwb.NWBFile":
    """Return the session with empty arrays for the poses."""
    import pynwb  # noqa: PLC0415

    make, head = identify(source.key), source.head
    subject = describe_subject(source.session.subject, len(head.individuals), "session", make)
    identifier = f"{source.name}-{source.key}" if source.key else source.name
    about = "Poses triangulated from several cameras"
    session = describe_session(source.session, identifier, about, subject, make)
    module = make(pynwb.ProcessingModule, name=MODULE, description="Poses found by cohortpose.")
    session.add_processing_module(module)
    for part in _describe_poses(source, subject, make):
        module.add(part)
    return session


def _describe_poses(source: SessionSource, subject: object, make: Maker) -> Iterator[Any]:
    """Yield the skeleton, and the poses of each individual."""
    import ndx_pose  # noqa: PLC0415

    head, times = source.head, describe_times(source.times, source.fps)
    skeleton = make(
        ndx_pose.Skeleton,
        name="skeleton",
        nodes=list(head.bodyparts),
        edges=describe_edges(source.edge_places, len(head.bodyparts)),
        subject=subject if len(head.individuals) == 1 else None,
    )
    yield make(ndx_pose.Skeletons, name=SKELETONS, skeletons=[skeleton])
    names = name_estimations(head.individuals, source.poses)
    for animal, name in zip(head.individuals, names, strict=True):
        series = _describe_series(source, animal, times, make)
        yield make(
            ndx_pose.PoseEstimation,
            name=name,
            description=f"Keypoints of {animal} in each moment of session {source.name}, "
            f"triangulated from the cameras {', '.join(head.cameras)}.",
            pose_estimation_series=series,
            scorer=source.scorer,
            source_software="cohortpose",
            source_software_version=pipeline_lib.__version__,
            skeleton=skeleton,
        )
        if series and isinstance(times.get("timestamps"), np.ndarray):
            times = {"timestamps": series[0]}


def _describe_series(
    source: SessionSource, animal: str, times: dict[str, Any], make: Maker
) -> list[Any]:
    """Return the series of one animal's bodyparts; the first holds the timestamps, if any."""
    import ndx_pose  # noqa: PLC0415

    head = source.head
    unit = {"unit": "meters", "conversion": UNITS[head.unit]} if head.unit else {"unit": "unknown"}
    made: list[Any] = []
    for bodypart, name in zip(
        head.bodyparts, name_series(head.bodyparts, source.poses), strict=True
    ):
        made.append(
            make(
                ndx_pose.PoseEstimationSeries,
                owner=animal,
                name=name,
                description=f"Position of {bodypart} in each moment; NaN: not found.",
                data=reserve(source.frames, 3),
                reference_frame=f"x, y and z of the calibration, in {head.unit or 'its unit'}",
                confidence=reserve(source.frames),
                confidence_definition="Mean confidence, 0 to 1, of the views that were used.",
                **unit,
                **times,
            )
        )
        if isinstance(times.get("timestamps"), np.ndarray):
            times = {"timestamps": made[0]}
    return made
