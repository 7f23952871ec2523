"""Write Neurodata Without Borders files with the ndx-pose extension.

The processing module ``behavior`` has one ``PoseEstimation`` per individual, with one
``PoseEstimationSeries`` per bodypart. The estimation of a single individual has ndx-pose's default
name, ``PoseEstimation``, which movement looks for; those of several individuals have the names of
the individuals. Every series covers every frame of the video. Equally spaced frames are described
by a rate; otherwise all series link to one array of timestamps, that of the video (acquisition
``source_video``). sleap-io is not used here: its NWB files omit frames without a keypoint and
round the rate, and it reads no other NWB files.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import pipeline_lib
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
from pipeline_lib.io.exports.source import ExportSource
from pipeline_lib.io.poses.read import read_times
from pipeline_lib.io.publish import publish_file

if TYPE_CHECKING:
    import pynwb

# pynwb is imported where it is used: it takes seconds to load.

# Offset in px that is added to our coordinates on export; `_REFERENCE_FRAME` describes them.
PIXEL_OFFSET = 0.0
_REFERENCE_FRAME = (
    "x to the right and y down, in pixels of the video frame; (0, 0) is the centre of the top-left "
    "pixel"
)


def write_nwb(path: Path, source: ExportSource) -> None:
    """Publish the poses of one video as an NWB file.

    Session and subject come from the cohort sheet. A session without a known time starts on
    1970-01-01, since NWB requires a time. The same poses give the same bytes, because identifiers
    are derived from the key. Memory holds one block of frames and 8 bytes per frame of the video.

    Parameters
    ----------
    path
        File to write; its suffix is ``.nwb``.
    source
        Poses of the video and the metadata that NWB needs.

    Raises
    ------
    StoreError
        If the poses are missing or damaged, or if two bodyparts or individuals have the same name
        after slashes and colons, which NWB forbids, became underscores.
    """
    import h5py  # noqa: PLC0415
    import pynwb  # noqa: PLC0415

    offset = np.float32(PIXEL_OFFSET)
    series = [
        (animal, bodypart, f"/processing/{MODULE}/{animal_name}/{bodypart_name}")
        for animal, animal_name in enumerate(
            name_estimations(source.head.individuals, source.poses)
        )
        for bodypart, bodypart_name in enumerate(name_series(source.head.bodyparts, source.poses))
    ]
    # Before the writer is opened: it knows only the extensions imported by then.
    session = _describe_session(source)
    with publish_file(path) as part:
        with pynwb.NWBHDF5IO(str(part), "w") as writer:
            writer.write(session)
        with h5py.File(part, "r+") as file:
            start = 0
            for block in source.read_blocks():
                frames = slice(start, start + len(block.time))
                for animal, bodypart, group in series:
                    point = (slice(None), animal, bodypart)
                    file[f"{group}/data"][frames] = block.position[point] + offset
                    file[f"{group}/confidence"][frames] = block.confidence[point]
                start = frames.stop


def _describe_session(source: ExportSource) -> "pynwb.NWBFile":
    """Return the session with empty arrays for the poses."""
    import pynwb  # noqa: PLC0415

    make, head = identify(source.key), source.head
    subject = describe_subject(source.session.subject, len(head.individuals), "video", make)
    session = describe_session(
        source.session, _identify_session(source), "Poses found in a video", subject, make
    )
    times, video = describe_times(read_times(source.poses), source.fps), None
    if not _is_lost(source):
        video = _describe_video(source, times, make)
        session.add_acquisition(video)
        if "timestamps" in times:
            times = {"timestamps": video}
    module = make(pynwb.ProcessingModule, name=MODULE, description="Poses found by cohortpose.")
    session.add_processing_module(module)
    for part in _describe_poses(source, subject, video, times, make):
        module.add(part)
    return session


def _describe_poses(
    source: ExportSource, subject: object, video: object, times: dict[str, Any], make: Maker
) -> Iterator[Any]:
    """Yield the skeleton, and the poses of each individual."""
    import ndx_pose  # noqa: PLC0415

    head = source.head
    skeleton = make(
        ndx_pose.Skeleton,
        name="skeleton",
        nodes=list(head.bodyparts),
        edges=describe_edges(source.edges, len(head.bodyparts)),
        subject=subject if len(head.individuals) == 1 else None,
    )
    yield make(ndx_pose.Skeletons, name=SKELETONS, skeletons=[skeleton])
    for animal, name in zip(
        head.individuals, name_estimations(source.head.individuals, source.poses), strict=True
    ):
        series = _describe_series(source, animal, times, make)
        yield make(
            ndx_pose.PoseEstimation,
            name=name,
            # Name the video here, since not every file can link to it.
            description=f"Keypoints of {animal} in each frame of {source.video.name}.",
            pose_estimation_series=series,
            scorer=source.scorer,
            source_software="cohortpose",
            source_software_version=pipeline_lib.__version__,
            skeleton=skeleton,
            source_video=video,
        )
        if isinstance(times.get("timestamps"), np.ndarray):
            times = {"timestamps": series[0]}


def _identify_session(source: ExportSource) -> str:
    """Return an identifier unique to the file; movement shows it as the animal's name."""
    video = source.poses.name.removesuffix(".zip").removesuffix(".zarr")
    return f"{video}-{source.key}" if source.key else video


def _is_lost(source: ExportSource) -> bool:
    """Return whether the path of the video is a bare name; see `name_video`."""
    return source.video.parent == Path()


def _describe_video(
    source: ExportSource, times: dict[str, Any], make: Maker
) -> "pynwb.image.ImageSeries":
    from pynwb.image import ImageSeries  # noqa: PLC0415

    size = [source.width, source.height] if source.width and source.height else None
    return make(
        ImageSeries,
        name="source_video",
        description="The video in which the poses were found.",
        external_file=[source.video.as_posix()],
        format="external",
        starting_frame=[0],
        dimension=size,
        unit="n.a.",
        num_samples=source.frames if "rate" in times else None,
        **times,
    )


def _describe_series(
    source: ExportSource, animal: str, times: dict[str, Any], make: Maker
) -> list[Any]:
    """Return the series of one animal's bodyparts; the first holds the timestamps, if any."""
    import ndx_pose  # noqa: PLC0415

    made: list[Any] = []
    for bodypart, name in zip(
        source.head.bodyparts, name_series(source.head.bodyparts, source.poses), strict=True
    ):
        made.append(
            make(
                ndx_pose.PoseEstimationSeries,
                owner=animal,
                name=name,
                description=f"Position of {bodypart} in each frame; NaN: not found, or the frame "
                "could not be decoded.",
                data=reserve(source.frames, 2),
                reference_frame=_REFERENCE_FRAME,
                confidence=reserve(source.frames),
                confidence_definition="Height of the peak of the score map, 0 to 1.",
                **times,
            )
        )
        if isinstance(times.get("timestamps"), np.ndarray):
            times = {"timestamps": made[0]}
    return made
