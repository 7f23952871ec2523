"""Read labels of any known format, and store them in one form, a Parquet table.

Stored images are relative to the project or to the results: see
`pipeline_lib.io.labels.image_paths`. They are resolved here, so that whoever reads has absolute
paths.
"""

import errno
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline_lib.core.errors import LabelError, StoreError
from pipeline_lib.core.settings.network import LabelSource
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.core.tables import LABEL_COLUMNS, UNIQUE_INDIVIDUAL, UNUSED_SPLIT
from pipeline_lib.io.labels.detect import load_reader, name_format
from pipeline_lib.io.labels.image_paths import (
    BASE_COLUMN,
    resolve_images,
    shorten_images,
    shorten_path,
)
from pipeline_lib.io.labels.points import SourceLabels
from pipeline_lib.io.publish import publish_file

_VERSION = 3
# Tables of before iterations and corrections lack these columns, and are read all the same.
_ADDED: dict[str, int | str] = {"iteration": 0, "visibility": ""}
_VERSION_BEFORE = 2
# What a path leads to that one may not read, or that is no path.
_UNREADABLE = frozenset({errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP})
_METADATA_KEY = b"cohortpose"
_TYPES = {
    "frame": pa.int64(),
    "x": pa.float64(),
    "y": pa.float64(),
    "visible": pa.bool_(),
    "iteration": pa.int64(),
}
_SCHEMA = pa.schema(
    [pa.field(name, _TYPES.get(name, pa.string())) for name in (*LABEL_COLUMNS, BASE_COLUMN)],
)


@dataclass(frozen=True)
class Labels:
    """Hold every labelled image, from every source.

    Attributes
    ----------
    table
        Columns `pipeline_lib.core.tables.LABEL_COLUMNS`, one row per image, individual and
        bodypart; x, y float64 in px of the image, NaN where unlabelled; frame int64, -1 where
        the image's name holds none. Unique bodyparts have rows of the individual ``single``
        only, and that one has no others. ``iteration`` is the labelling iteration, int64;
        ``visibility`` what a person said: see `LABEL_COLUMNS`.
    bodyparts
        Names in the order of every keypoint axis.
    individuals
        Names of the animals in the order of every individual axis, without ``single``; where
        none are given, those of the table in order of first appearance.
    skeleton
        The bodyparts with the edges, symmetries and unique bodyparts of the config or, where it
        has none, of the labels.
    """

    table: pd.DataFrame
    bodyparts: tuple[str, ...]
    individuals: tuple[str, ...] = ()
    skeleton: Skeleton = field(default_factory=Skeleton)

    def __post_init__(self) -> None:
        if not self.individuals:
            found = tuple(dict.fromkeys(self.table["individual"]))
            animals = tuple(name for name in found if name != UNIQUE_INDIVIDUAL)
            object.__setattr__(self, "individuals", animals)
        if not self.skeleton.bodyparts:
            completed = self.skeleton.with_bodyparts(self.bodyparts)
            object.__setattr__(self, "skeleton", completed)

    @property
    def slots(self) -> tuple[str, ...]:
        """Names along the individual axis: the animals, then ``single`` if there is one."""
        unique = (UNIQUE_INDIVIDUAL,) if self.skeleton.unique_bodyparts else ()
        return (*self.individuals, *unique)


def import_labels(source: LabelSource, images: Path) -> SourceLabels:
    """Read a labelled project or table in another tool's format.

    Parameters
    ----------
    source
        Project folder, project file or label table, and what wrote it.
    images
        Folder that receives the labelled frames as images where the source only names the frames
        of videos, or holds them itself (SLEAP).

    Returns
    -------
    SourceLabels
        Bodyparts in the source's order.

    Raises
    ------
    LabelError
        With everything that cannot be mapped, one line each.
    """
    path = Path(source.path)
    try:
        reader = load_reader(name_format(source))
        return reader.read(path, images, predicted=source.predicted)
    except OSError as error:
        # Others are those of the file system that images are written to.
        if error.errno not in _UNREADABLE:
            raise
        where = error.filename or path
        raise LabelError(str(path), [f"{where}: cannot be read: {error.strerror}"]) from None


def write_labels(path: Path, labels: Labels) -> None:
    """Publish labels as Parquet, with names and skeleton in its metadata.

    Parameters
    ----------
    path
        ``labels/labels.parquet`` in the results folder.
    labels
        With absolute paths of images; sources are stored relative to the project, too.
    """
    record = json.dumps(
        {
            "version": _VERSION,
            "bodyparts": list(labels.bodyparts),
            "individuals": list(labels.individuals),
            "skeleton": labels.skeleton.model_dump(mode="json"),
        }
    )
    schema = _SCHEMA.with_metadata({_METADATA_KEY: record.encode()})
    results = _find_results(path)
    stored = shorten_images(labels.table, results)
    sources = {name: shorten_path(name, results)[1] for name in stored["source"].unique()}
    stored = stored.assign(source=stored["source"].map(sources))
    for name, value in _ADDED.items():
        known = stored.get(name, pd.Series(pd.NA, index=stored.index)).astype(object)
        stored[name] = known.where(known.notna(), value)
    # By column, because from_pandas would make every NaN a null.
    columns = [pa.array(stored[field.name].tolist(), field.type) for field in schema]
    table = pa.Table.from_arrays(columns, schema=schema)
    with publish_file(path) as part:
        pq.write_table(table, part)


def read_labels(path: Path) -> Labels:
    """Read labels written by `write_labels`, wherever their results folder is now.

    Returns
    -------
    Labels
        Images by absolute path; their sources as stored, relative where they are in the project.

    Raises
    ------
    StoreError
        If the file is missing, is not such a table, or is of another version.
    """
    again = "run `cohortpose import-labels` again"
    if not path.is_file():
        raise StoreError(f"{path}: no such file; run `cohortpose import-labels`")
    try:
        table = pq.read_table(path)
    except pa.ArrowException as error:
        raise StoreError(f"{path}: is not Parquet ({error}); {again}") from None
    record = json.loads((table.schema.metadata or {}).get(_METADATA_KEY, b"{}"))
    found = record.get("version", "none")
    if found == _VERSION_BEFORE:
        table = _complete_columns(table)
    elif record and found != _VERSION:
        raise StoreError(f"{path}: is of version {found}, expected {_VERSION}; {again}")
    if not table.schema.equals(_SCHEMA):
        raise StoreError(f"{path}: has other columns than {', '.join(_SCHEMA.names)}; {again}")
    if not record:
        raise StoreError(f"{path}: is of version {found}, expected {_VERSION}; {again}")
    return Labels(
        resolve_images(table.to_pandas(), _find_results(path)),
        tuple(record["bodyparts"]),
        tuple(record["individuals"]),
        Skeleton.model_validate(record["skeleton"]),
    )


def _complete_columns(table: pa.Table) -> pa.Table:
    """Return a table of the version before with the columns of this one."""
    for name, value in _ADDED.items():
        if name not in table.column_names:
            kind = _SCHEMA.field(name)
            table = table.append_column(kind, pa.array([value] * len(table), kind.type))
    if sorted(table.column_names) != sorted(_SCHEMA.names):
        return table
    return table.select(_SCHEMA.names)


def _find_results(path: Path) -> Path:
    """Return the results folder of ``labels/labels.parquet``."""
    return path.absolute().parent.parent


def label_arrays(labels: Labels) -> tuple[pd.DataFrame, NDArray[np.float64]]:
    """Arrange labels as one array over images, individuals and keypoints.

    Returns
    -------
    images
        One row per image in the table's order: image, video, frame, split.
    positions
        Shape (image, individual, keypoint, 2), float64, x and y in px of the image; NaN where
        unlabelled. Individuals are those of ``labels.slots``: where the skeleton has unique
        bodyparts, the last one is ``single``, which has these and no others. Keypoints are in
        the order of ``labels.bodyparts``. Images that neither train nor test are left out.
    """
    table = labels.table[labels.table["split"] != UNUSED_SPLIT]
    images = table[["image", "video", "frame", "split"]].drop_duplicates("image", ignore_index=True)
    shape = (len(images), len(labels.slots), len(labels.bodyparts), 2)
    positions = np.full(shape, np.nan)
    positions[
        pd.Index(images["image"]).get_indexer(pd.Index(table["image"])),
        pd.Index(labels.slots).get_indexer(pd.Index(table["individual"])),
        pd.Index(labels.bodyparts).get_indexer(pd.Index(table["bodypart"])),
    ] = table[["x", "y"]].to_numpy(dtype=np.float64)
    return images, positions
