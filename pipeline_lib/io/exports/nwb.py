"""Write Neurodata Without Borders files with the ndx-pose extension.

The processing module ``behavior`` has one ``PoseEstimation`` per individual, with one
``PoseEstimationSeries`` per bodypart. The estimation of a single individual has ndx-pose's default
name, ``PoseEstimation``, which movement looks for; those of several individuals have the names of
the individuals. Every series covers every frame of the video. Equally spaced frames are described
by a rate; otherwise all series link to one array of timestamps, that of the video (acquisition
``source_video``). sleap-io is not used here: its NWB files omit frames without a keypoint and
round the rate, and it reads no other NWB files.
"""

import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import pipeline_lib
from pipeline_lib.core.errors import StoreError
from pipeline_lib.io.exports.session import Subject
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

# Start of a session without a known time, since NWB requires one.
_UNKNOWN_TIME = datetime(1970, 1, 1, tzinfo=UTC)

# NWB forbids these in names, which become parts of paths.
_FORBIDDEN = str.maketrans("/:\\", "___")
_CHUNK_FRAMES = 2**14
_MODULE = "behavior"
_SKELETONS = "Skeletons"
# Default name in ndx-pose, and the name that movement looks for by default.
_ESTIMATION = "PoseEstimation"
# Fields of a `PoseEstimation`, whose names no series can have.
_ESTIMATION_FIELDS = {
    "description",
    "device",
    "dimensions",
    "labeled_video",
    "labeled_videos",
    "original_videos",
    "scorer",
    "skeleton",
    "source_software",
    "source_video",
}
# Largest difference in s between a frame's time and its time at a constant rate.
_RATE_TOLERANCE = 1e-7

_NAMESPACE = uuid.UUID("5a3c1f0e-6f0c-4f5e-9a51-2b1d6c0e9b7d")

# Creates an NWB object from its class, name and fields.
Maker = Callable[..., Any]


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
        (animal, bodypart, f"/processing/{_MODULE}/{animal_name}/{bodypart_name}")
        for animal, animal_name in enumerate(_name_estimations(source))
        for bodypart, bodypart_name in enumerate(_name_series(source))
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

    make, facts = _identify(source.key), source.session
    unknown = "" if facts.start else "; the time of the session is not known"
    subject = _describe_subject(source, make)
    session = make(
        pynwb.NWBFile,
        session_description=f"Poses found in a video{unknown}.",
        identifier=_identify_session(source),
        session_start_time=facts.start or _UNKNOWN_TIME,
        file_create_date=[_UNKNOWN_TIME],
        session_id=facts.session_id or None,
        subject=subject,
        experimenter=list(facts.experimenter) or None,
        institution=facts.institution or None,
        lab=facts.lab or None,
        experiment_description=facts.experiment_description or None,
        keywords=list(facts.keywords) or None,
    )
    times, video = _describe_times(source), None
    if not _is_lost(source):
        video = _describe_video(source, times, make)
        session.add_acquisition(video)
        if "timestamps" in times:
            times = {"timestamps": video}
    module = make(pynwb.ProcessingModule, name=_MODULE, description="Poses found by cohortpose.")
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
        edges=_describe_edges(source),
        subject=subject if len(head.individuals) == 1 else None,
    )
    yield make(ndx_pose.Skeletons, name=_SKELETONS, skeletons=[skeleton])
    for animal, name in zip(head.individuals, _name_estimations(source), strict=True):
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


def _describe_subject(source: ExportSource, make: Maker) -> Any:  # noqa: ANN401
    """Return the subject; None if the sheet does not describe one."""
    from pynwb.file import Subject as NwbSubject  # noqa: PLC0415

    subject = source.session.subject
    if subject == Subject():
        return None
    animals = "animal" if len(source.head.individuals) == 1 else "animals"
    return make(
        NwbSubject,
        subject_id=subject.subject_id or None,
        species=subject.species or None,
        sex=subject.sex or None,
        age=subject.age or None,
        date_of_birth=subject.date_of_birth,
        genotype=subject.genotype or None,
        strain=subject.strain or None,
        description=f"The {animals} of the video.",
    )


def _describe_times(source: ExportSource) -> dict[str, Any]:
    """Return the rate of equally spaced frames, else the time of each frame in s."""
    times = read_times(source.poses)
    first = float(times[0]) if len(times) else 0.0
    span = float(times[-1]) - first if len(times) else 0.0
    rate = (len(times) - 1) / span if span > 0 else source.fps
    if not rate > 0 or not np.isfinite(rate):
        return {"timestamps": times}
    expected = first + np.arange(len(times)) / rate
    if len(times) and not np.abs(times - expected).max() <= _RATE_TOLERANCE:
        return {"timestamps": times}
    return {"rate": rate, "starting_time": first}


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


def _describe_edges(source: ExportSource) -> Any:  # noqa: ANN401
    kind = np.uint8 if len(source.head.bodyparts) <= 256 else np.uint16
    return np.array(source.edges, kind).reshape(-1, 2)


def _describe_series(
    source: ExportSource, animal: str, times: dict[str, Any], make: Maker
) -> list[Any]:
    """Return the series of one animal's bodyparts; the first holds the timestamps, if any."""
    import ndx_pose  # noqa: PLC0415

    made: list[Any] = []
    for bodypart, name in zip(source.head.bodyparts, _name_series(source), strict=True):
        made.append(
            make(
                ndx_pose.PoseEstimationSeries,
                owner=animal,
                name=name,
                description=f"Position of {bodypart} in each frame; NaN: not found, or the frame "
                "could not be decoded.",
                data=_reserve(source.frames, 2),
                reference_frame=_REFERENCE_FRAME,
                confidence=_reserve(source.frames),
                confidence_definition="Height of the peak of the score map, 0 to 1.",
                **times,
            )
        )
        if isinstance(times.get("timestamps"), np.ndarray):
            times = {"timestamps": made[0]}
    return made


def _reserve(*shape: int) -> "pynwb.H5DataIO":
    """Return an empty float32 array, whose values are written later."""
    import pynwb  # noqa: PLC0415

    packing: dict[str, Any] = {}
    # HDF5 has no chunks of an array without values.
    if shape[0]:
        chunks = (min(_CHUNK_FRAMES, shape[0]), *shape[1:])
        packing = {"chunks": chunks, "compression": "gzip", "compression_opts": 4, "shuffle": True}
    return pynwb.H5DataIO(shape=shape, dtype=np.dtype("float32"), **packing)


def _identify(key: str) -> Maker:
    """Return a function that creates NWB objects with identifiers derived from a key."""

    def make(kind: type[Any], *, owner: str = "", **fields: Any) -> Any:  # noqa: ANN401
        name = f"{key}/{owner}/{kind.__name__}/{fields.get('name', '')}"
        # pynwb itself sets the identifiers of the objects that it reads in this way.
        new: Maker = kind.__new__
        made = new(kind, object_id=str(uuid.uuid5(_NAMESPACE, name)))
        made.__init__(**{name: value for name, value in fields.items() if value is not None})
        return made

    return make


def _name_estimations(source: ExportSource) -> list[str]:
    """Return the name of each individual's poses."""
    individuals = source.head.individuals
    if len(individuals) == 1:
        return [_ESTIMATION]
    return _rename(individuals, {_SKELETONS}, source)


def _name_series(source: ExportSource) -> list[str]:
    """Return the name of each bodypart's series."""
    return _rename(source.head.bodyparts, _ESTIMATION_FIELDS, source)


def _rename(names: Sequence[str], taken: Collection[str], source: ExportSource) -> list[str]:
    """Return names that NWB accepts and that are not taken."""
    renamed = [name.translate(_FORBIDDEN) for name in names]
    # In a path, names of dots alone stand for folders.
    renamed = [f"{name}_" if name in taken or not name.strip(".") else name for name in renamed]
    twice = [name for name in renamed if renamed.count(name) > 1]
    if twice:
        raise StoreError(
            f"{source.poses}: NWB takes no slashes and colons in names, and more than one of "
            f"{list(names)} is {twice[0]!r} without them; rename one of them"
        )
    return renamed
