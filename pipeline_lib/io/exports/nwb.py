"""Neurodata Without Borders files with the ndx-pose extension, as pynwb opens them.

In the processing module ``behavior`` there is one ``PoseEstimation`` for each individual, named
after it, with one ``PoseEstimationSeries`` for each bodypart. All series have every frame of the
video, and link to the one array of timestamps, that of the video itself (acquisition
``source_video``). sleap-io's own NWB files have frames without a point left out and rates rounded,
and it reads no others: it is not used here.
"""

import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import pipeline_lib
from pipeline_lib.core.errors import StoreError
from pipeline_lib.io.exports.source import ExportSource
from pipeline_lib.io.poses.read import read_times
from pipeline_lib.io.publish import publish_file

if TYPE_CHECKING:
    import pynwb

# pynwb is imported where it is used: it takes seconds to load.

# Added to our coordinates on export, in px; `_REFERENCE_FRAME` tells readers what they are.
PIXEL_OFFSET = 0.0
_REFERENCE_FRAME = (
    "x to the right and y down, in pixels of the video frame; (0, 0) is the centre of the top-left "
    "pixel"
)

# NWB asks for the time when the recording began, which a video file does not tell.
_UNKNOWN_TIME = datetime(1970, 1, 1, tzinfo=UTC)

# Names in NWB become parts of paths.
_FORBIDDEN = str.maketrans("/:", "__")
_CHUNK_FRAMES = 2**14
_MODULE = "behavior"

_NAMESPACE = uuid.UUID("5a3c1f0e-6f0c-4f5e-9a51-2b1d6c0e9b7d")

# Makes an object of NWB from its class, name and fields.
Maker = Callable[..., Any]


def write_nwb(path: Path, source: ExportSource) -> None:
    """Publish the poses of one video as an NWB file.

    The time of the session, which NWB demands, is not known and is given as the first second of
    1970. The same poses give the same bytes: identifiers are made from the key. Memory is one
    block of frames and 8 bytes for each frame of the video.

    Parameters
    ----------
    path
        The file; its suffix is ``.nwb``.
    source
        Poses of the video and what NWB asks for besides.

    Raises
    ------
    StoreError
        If the poses are missing or damaged, or two bodyparts or individuals have the same name
        once ``/`` and ``:``, which NWB forbids, are underscores.
    """
    import h5py  # noqa: PLC0415
    import pynwb  # noqa: PLC0415

    head, offset = source.head, np.float32(PIXEL_OFFSET)
    places = [
        (animal, bodypart, f"/processing/{_MODULE}/{animal_name}/{bodypart_name}")
        for animal, animal_name in enumerate(_rename(head.individuals, source))
        for bodypart, bodypart_name in enumerate(_rename(head.bodyparts, source))
    ]
    # Before the writer is made: it knows of the extensions that have been imported by then.
    session = _describe_session(source)
    with publish_file(path) as part:
        with pynwb.NWBHDF5IO(str(part), "w") as writer:
            writer.write(session)
        with h5py.File(part, "r+") as file:
            start = 0
            for block in source.read_blocks():
                frames = slice(start, start + len(block.time))
                for animal, bodypart, group in places:
                    point = (..., bodypart, animal)
                    file[f"{group}/data"][frames] = block.position[point] + offset
                    file[f"{group}/confidence"][frames] = block.confidence[point]
                start = frames.stop


def _describe_session(source: ExportSource) -> "pynwb.NWBFile":
    """Return the session with room for values."""
    import ndx_pose  # noqa: PLC0415
    import pynwb  # noqa: PLC0415

    make = _identify(source.key)
    session = make(
        pynwb.NWBFile,
        session_description="Poses found in a video; the time of the session is not known.",
        identifier=source.key or source.poses.name,
        session_start_time=_UNKNOWN_TIME,
        file_create_date=[_UNKNOWN_TIME],
    )
    video = _describe_video(source, make)
    session.add_acquisition(video)
    behavior = make(pynwb.ProcessingModule, name=_MODULE, description="Poses found by cohortpose.")
    session.add_processing_module(behavior)
    skeleton = make(
        ndx_pose.Skeleton,
        name="skeleton",
        nodes=list(source.head.bodyparts),
        edges=np.array(source.edges, np.uint8).reshape(-1, 2),
    )
    behavior.add(make(ndx_pose.Skeletons, name="Skeletons", skeletons=[skeleton]))
    for animal, name in zip(
        source.head.individuals, _rename(source.head.individuals, source), strict=True
    ):
        poses = make(
            ndx_pose.PoseEstimation,
            name=name,
            description=f"Keypoints of {animal} in each frame.",
            pose_estimation_series=_describe_series(source, animal, video, make),
            scorer=source.scorer,
            source_software="cohortpose",
            source_software_version=pipeline_lib.__version__,
            skeleton=skeleton,
            source_video=video,
        )
        behavior.add(poses)
    return session


def _describe_video(source: ExportSource, make: Maker) -> "pynwb.image.ImageSeries":
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
        timestamps=read_times(source.poses),
    )


def _describe_series(
    source: ExportSource, animal: str, video: "pynwb.image.ImageSeries", make: Maker
) -> list[Any]:
    import ndx_pose  # noqa: PLC0415

    names = _rename(source.head.bodyparts, source)
    return [
        make(
            ndx_pose.PoseEstimationSeries,
            owner=animal,
            name=name,
            description=f"Position of {bodypart} in each frame; NaN: not found, or the frame could "
            "not be decoded.",
            data=_reserve(source.frames, 2),
            reference_frame=_REFERENCE_FRAME,
            confidence=_reserve(source.frames),
            confidence_definition="Height of the peak of the score map, 0 to 1.",
            timestamps=video,
        )
        for bodypart, name in zip(source.head.bodyparts, names, strict=True)
    ]


def _reserve(*shape: int) -> "pynwb.H5DataIO":
    """Return an array to be, whose values are written later."""
    import pynwb  # noqa: PLC0415

    packing: dict[str, Any] = {}
    # HDF5 has no chunks of an array without values.
    if shape[0]:
        chunks = (min(_CHUNK_FRAMES, shape[0]), *shape[1:])
        packing = {"chunks": chunks, "compression": "gzip", "compression_opts": 4, "shuffle": True}
    return pynwb.H5DataIO(shape=shape, dtype=np.dtype("float32"), **packing)


def _identify(key: str) -> Maker:
    """Return a maker of NWB objects whose identifiers follow from a key, not from chance."""

    def make(kind: type[Any], *, owner: str = "", **fields: Any) -> Any:  # noqa: ANN401
        name = f"{key}/{owner}/{kind.__name__}/{fields.get('name', '')}"
        # As pynwb makes the objects that it reads, with the identifiers that they have.
        new: Maker = kind.__new__
        made = new(kind, object_id=str(uuid.uuid5(_NAMESPACE, name)))
        made.__init__(**{name: value for name, value in fields.items() if value is not None})
        return made

    return make


def _rename(names: Sequence[str], source: ExportSource) -> list[str]:
    """Return names that NWB can hold."""
    renamed = [name.translate(_FORBIDDEN) for name in names]
    twice = [name for name in renamed if renamed.count(name) > 1]
    if twice:
        raise StoreError(
            f"{source.poses}: NWB takes no / or : in names, and more than one of {list(names)} is "
            f"{twice[0]!r} without; rename one of them"
        )
    return renamed
