"""Read JSON files of strangers: only of a bounded size and depth."""

import json
from pathlib import Path
from typing import Any

from pipeline_lib.core.errors import LabelError
from pipeline_lib.core.untrusted.regular_files import describe_encoding, require_regular_file

_MOST_BYTES = 256 * 2**20  # COCO's largest file of keypoints has 240 MB
# Each takes some 100 bytes of memory; COCO's largest file has 18 million.
_MOST_VALUES = 20_000_000


def read_json(path: Path) -> Any:  # noqa: ANN401 - whatever stands in the file
    """Read a file of JSON.

    Raises
    ------
    LabelError
        If it is missing, larger than 256 MiB, not JSON or nested too deeply.
    """
    return _parse(path, _read_bytes(path))


def show_text(text: object) -> str:
    """Return a text of a stranger's file as it can be shown: short, and encodable."""
    shown = str(text).encode(errors="backslashreplace").decode()
    return shown if len(shown) <= 100 else f"{shown[:97]}..."


def _read_bytes(path: Path) -> bytes:
    try:
        require_regular_file(path)
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        raise LabelError(str(path), ["no such file"]) from None
    except OSError as error:
        raise LabelError(str(path), [f"cannot be read: {error.strerror or error}"]) from None
    values = sum(data.count(mark) for mark in (b",", b"[", b"{"))
    if len(data) > _MOST_BYTES or values > _MOST_VALUES:
        problem = (
            f"is larger than {_MOST_BYTES // 2**20} MiB or has more than {_MOST_VALUES:,} values: "
            "leave out outlines (`segmentation`), or divide it"
        )
        raise LabelError(str(path), [problem])
    return data


def _parse(path: Path, data: bytes) -> Any:  # noqa: ANN401 - whatever stands in the file
    try:
        return json.loads(data)
    except RecursionError:
        problem = "is nested too deeply to be a file of labels: it is not read"
    except UnicodeDecodeError as error:
        problem = describe_encoding(data, error)
    except json.JSONDecodeError as error:
        problem = f"is not JSON (line {error.lineno}, column {error.colno}: {error.msg})"
    except ValueError as error:
        problem = f"is not JSON ({show_text(error)})"
    raise LabelError(str(path), [problem])
