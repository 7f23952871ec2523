"""Labels in one form: read from any known format, stored as one Parquet table."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.tables import LABEL_COLUMNS
from pipeline_lib.io.label_sources import detect_format
from pipeline_lib.io.labels_deeplabcut import read_deeplabcut
from pipeline_lib.io.labels_lightning_pose import read_lightning_pose
from pipeline_lib.io.publish import publish_file

_VERSION = 1
_METADATA_KEY = b"cohortpose"
_TYPES = {"frame": pa.int64(), "x": pa.float64(), "y": pa.float64(), "visible": pa.bool_()}
_SCHEMA = pa.schema(
    [pa.field(name, _TYPES.get(name, pa.string())) for name in LABEL_COLUMNS],
)


@dataclass(frozen=True)
class Labels:
    """Every labelled image, from every source.

    Attributes
    ----------
    table
        Columns `pipeline_lib.core.tables.LABEL_COLUMNS`, one row per image, individual and
        bodypart; x, y float64 in px of the image, NaN where unlabelled; frame int64, -1 where
        the image's name holds none.
    bodyparts
        Names in the order of every keypoint axis.
    """

    table: pd.DataFrame
    bodyparts: tuple[str, ...]


def import_labels(
    path: Path, label_format: Literal["auto", "deeplabcut", "lightning-pose"] = "auto"
) -> pd.DataFrame:
    """Read a labelled project or table in another tool's format.

    Parameters
    ----------
    path
        Project folder, project file or label table.
    label_format
        What wrote it; ``auto`` tells by the files found.

    Returns
    -------
    DataFrame
        Columns `LABEL_COLUMNS` but ``split``; bodyparts in the tables' order.

    Raises
    ------
    LabelError
        With everything that cannot be mapped, one line each.
    """
    known = detect_format(path) if label_format == "auto" else label_format
    return read_deeplabcut(path) if known == "deeplabcut" else read_lightning_pose(path)


def write_labels(path: Path, labels: Labels) -> None:
    """Publish labels as Parquet, with the order of the bodyparts in its metadata."""
    record = json.dumps({"version": _VERSION, "bodyparts": list(labels.bodyparts)})
    schema = _SCHEMA.with_metadata({_METADATA_KEY: record.encode()})
    # By column, because from_pandas would make every NaN a null.
    columns = [pa.array(labels.table[field.name].tolist(), field.type) for field in schema]
    table = pa.Table.from_arrays(columns, schema=schema)
    with publish_file(path) as part:
        pq.write_table(table, part)


def read_labels(path: Path) -> Labels:
    """Read labels written by `write_labels`.

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
    if not table.schema.equals(_SCHEMA):
        raise StoreError(f"{path}: has other columns than {', '.join(LABEL_COLUMNS)}; {again}")
    record = json.loads((table.schema.metadata or {}).get(_METADATA_KEY, b"{}"))
    if record.get("version") != _VERSION:
        found = record.get("version", "none")
        raise StoreError(f"{path}: is of version {found}, expected {_VERSION}; {again}")
    return Labels(table.to_pandas(), tuple(record["bodyparts"]))


def label_arrays(labels: Labels) -> tuple[pd.DataFrame, NDArray[np.float64]]:
    """Arrange labels as one array over images, individuals and keypoints.

    Returns
    -------
    images
        One row per image in the table's order: image, video, frame, split.
    positions
        Shape (image, individual, keypoint, 2), float64, x and y in px of the image; NaN where
        unlabelled. Individuals are in order of first appearance, keypoints in that of
        ``labels.bodyparts``.
    """
    table = labels.table
    images = table[["image", "video", "frame", "split"]].drop_duplicates("image", ignore_index=True)
    individuals = pd.Index(table["individual"].unique())
    shape = (len(images), len(individuals), len(labels.bodyparts), 2)
    positions = np.full(shape, np.nan)
    positions[
        pd.Index(images["image"]).get_indexer(pd.Index(table["image"])),
        individuals.get_indexer(pd.Index(table["individual"])),
        pd.Index(labels.bodyparts).get_indexer(pd.Index(table["bodypart"])),
    ] = table[["x", "y"]].to_numpy(dtype=np.float64)
    return images, positions
