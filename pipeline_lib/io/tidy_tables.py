"""Write tidy tables as Parquet files that other tools read together, one file per video.

Columns say in the metadata of their fields what they are: ``unit``, ``about`` and ``empty``.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.formats.kinematics import Column
from pipeline_lib.io.publish import publish_file

_KEY = b"cohortpose.key"
# Rows that readers can take one by one.
_GROUP_ROWS = 2**20

Values = NDArray[Any] | Sequence[str | None] | str
# Values by name of the column, and the number of rows.
Rows = tuple[Mapping[str, Values], int]


def write_tidy_table(
    path: Path, columns: Sequence[Column], parts: Iterable[Rows], key: str
) -> None:
    """Publish a table, part by part.

    Parameters
    ----------
    path
        File to write.
    columns
        Columns in order.
    parts
        Rows that follow each other. The values of a column are an array of the rows, in which NaN
        is an empty cell, or a text that all rows have, of which the empty one is an empty cell. Of
        a column of truth values, -1 is an empty cell. Without rows, no values are needed.
    key
        Key of the result.
    """
    import pyarrow as pa  # noqa: PLC0415 - loads slowly
    import pyarrow.parquet as pq  # noqa: PLC0415

    types = {
        "text": pa.string(),
        "whole": pa.int64(),
        "float32": pa.float32(),
        "float64": pa.float64(),
        "truth": pa.bool_(),
    }
    fields = [
        pa.field(
            one.name,
            types[one.type],
            metadata={"unit": one.unit, "about": one.about, "empty": one.empty},
        )
        for one in columns
    ]
    schema = pa.schema(fields, metadata={_KEY: key.encode()})
    text = [one.name for one in columns if one.type in ("text", "truth", "whole")]
    # Numbers that seldom repeat are stored as they are.
    dictionaries = [name for name in text if name != "frame"]
    with (
        publish_file(path) as part,
        pq.ParquetWriter(
            part, schema, compression="zstd", compression_level=1, use_dictionary=dictionaries
        ) as writer,
    ):
        for values, rows in parts:
            arrays = [
                _make_array(values[one.name] if rows else (), one.type, types[one.type], rows)
                for one in columns
            ]
            table = pa.Table.from_arrays(arrays, schema=schema)
            writer.write_table(table, row_group_size=_GROUP_ROWS)


def read_table_key(path: Path) -> str | None:
    """Return the key of a table that was written here; None if there is no whole one."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        metadata = pq.read_schema(path).metadata or {}
    except (OSError, pa.ArrowException):
        return None
    key = metadata.get(_KEY)
    return None if key is None else key.decode(errors="replace")


def _make_array(values: Values, name: str, kind: Any, rows: int) -> Any:  # noqa: ANN401
    import pyarrow as pa  # noqa: PLC0415

    if not rows:
        return pa.array([], kind)
    if isinstance(values, str):
        return pa.repeat(pa.scalar(values or None, kind), rows)
    if name == "text":
        return pa.array(values, kind)
    numbers = np.asarray(values)
    if name == "truth":
        return pa.array(numbers == 1, kind, mask=numbers < 0)
    if name == "whole":
        unknown = np.isnan(numbers)
        return pa.array(np.where(unknown, 0, numbers).astype(np.int64), kind, mask=unknown)
    return pa.array(numbers.astype(name), kind, from_pandas=True)
