"""Build the parts that all our NWB files share: session, subject, times, names, empty arrays."""

import uuid
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import StoreError
from pipeline_lib.io.exports.session import Session, Subject

if TYPE_CHECKING:
    import pynwb

# pynwb is imported where it is used: it takes seconds to load.

MODULE = "behavior"
SKELETONS = "Skeletons"
# Default name in ndx-pose, and the name that movement looks for by default.
ESTIMATION = "PoseEstimation"

# Start of a session without a known time, since NWB requires one.
_UNKNOWN_TIME = datetime(1970, 1, 1, tzinfo=UTC)
# NWB forbids these in names, which become parts of paths.
_FORBIDDEN = str.maketrans("/:\\", "___")
_CHUNK_FRAMES = 2**14
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


def describe_session(
    facts: Session, identifier: str, about: str, subject: object, make: Maker
) -> "pynwb.NWBFile":
    """Return the session without data.

    Parameters
    ----------
    facts
        Time and facts of the recording; one without a known time starts on 1970-01-01.
    identifier
        Unique to the file.
    about
        Sentence without its full stop: what was recorded.
    subject
        NWB's subject, or None.
    make
        Of `identify`.
    """
    import pynwb  # noqa: PLC0415

    unknown = "" if facts.start else "; the time of the session is not known"
    return make(
        pynwb.NWBFile,
        session_description=f"{about}{unknown}.",
        identifier=identifier,
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


def describe_subject(subject: Subject, individuals: int, what: str, make: Maker) -> Any:  # noqa: ANN401
    """Return the subject of a recording (``what``); None if the sheet does not describe one."""
    from pynwb.file import Subject as NwbSubject  # noqa: PLC0415

    if subject == Subject():
        return None
    animals = "animal" if individuals == 1 else "animals"
    return make(
        NwbSubject,
        subject_id=subject.subject_id or None,
        species=subject.species or None,
        sex=subject.sex or None,
        age=subject.age or None,
        date_of_birth=subject.date_of_birth,
        genotype=subject.genotype or None,
        strain=subject.strain or None,
        description=f"The {animals} of the {what}.",
    )


def describe_times(times: NDArray[np.float64], fps: float) -> dict[str, Any]:
    """Return the rate of equally spaced frames, else the time of each frame in s."""
    first = float(times[0]) if len(times) else 0.0
    span = float(times[-1]) - first if len(times) else 0.0
    rate = (len(times) - 1) / span if span > 0 else fps
    if not rate > 0 or not np.isfinite(rate):
        return {"timestamps": times}
    expected = first + np.arange(len(times)) / rate
    if len(times) and not np.abs(times - expected).max() <= _RATE_TOLERANCE:
        return {"timestamps": times}
    return {"rate": rate, "starting_time": first}


def describe_edges(edges: Sequence[tuple[int, int]], bodyparts: int) -> Any:  # noqa: ANN401
    """Return the edges of a skeleton of so many bodyparts as ndx-pose stores them."""
    kind = np.uint8 if bodyparts <= 256 else np.uint16
    return np.array(edges, kind).reshape(-1, 2)


def reserve(*shape: int) -> "pynwb.H5DataIO":
    """Return an empty float32 array, whose values are written later."""
    import pynwb  # noqa: PLC0415

    packing: dict[str, Any] = {}
    # HDF5 has no chunks of an array without values.
    if shape[0]:
        chunks = (min(_CHUNK_FRAMES, shape[0]), *shape[1:])
        packing = {"chunks": chunks, "compression": "gzip", "compression_opts": 4, "shuffle": True}
    return pynwb.H5DataIO(shape=shape, dtype=np.dtype("float32"), **packing)


def identify(key: str) -> Maker:
    """Return a function that creates NWB objects with identifiers derived from a key."""

    def make(kind: type[Any], *, owner: str = "", **fields: Any) -> Any:  # noqa: ANN401
        name = f"{key}/{owner}/{kind.__name__}/{fields.get('name', '')}"
        # pynwb itself sets the identifiers of the objects that it reads in this way.
        new: Maker = kind.__new__
        made = new(kind, object_id=str(uuid.uuid5(_NAMESPACE, name)))
        made.__init__(**{name: value for name, value in fields.items() if value is not None})
        return made

    return make


def name_estimations(individuals: Sequence[str], path: Path) -> list[str]:
    """Return the name of each individual's poses."""
    if len(individuals) == 1:
        return [ESTIMATION]
    return _rename(individuals, {SKELETONS}, path)


def name_series(bodyparts: Sequence[str], path: Path) -> list[str]:
    """Return the name of each bodypart's series."""
    return _rename(bodyparts, _ESTIMATION_FIELDS, path)


def _rename(names: Sequence[str], taken: Collection[str], path: Path) -> list[str]:
    """Return names that NWB accepts and that are not taken."""
    renamed = [name.translate(_FORBIDDEN) for name in names]
    # In a path, names of dots alone stand for folders.
    renamed = [f"{name}_" if name in taken or not name.strip(".") else name for name in renamed]
    twice = [name for name in renamed if renamed.count(name) > 1]
    if twice:
        raise StoreError(
            f"{path}: NWB takes no slashes and colons in names, and more than one of "
            f"{list(names)} is {twice[0]!r} without them; rename one of them"
        )
    return renamed
