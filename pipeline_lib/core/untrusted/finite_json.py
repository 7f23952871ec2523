"""Read JSON whose numbers are all finite: `NaN`, `Infinity` and 1e999 are none."""

import json
import math
from typing import Any


def parse_finite(content: bytes) -> Any:  # noqa: ANN401 - whatever the text holds
    """Return the value of a JSON text.

    Parameters
    ----------
    content
        Bytes of the text.

    Raises
    ------
    ValueError
        If it is no JSON, nested too deeply, or holds a number that is not finite or has thousands
        of digits.
    """
    try:
        return json.loads(content, parse_constant=_refuse, parse_float=_parse)
    except RecursionError:
        raise ValueError("is nested too deeply") from None


def _parse(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse(text)


def _refuse(text: str) -> float:
    raise ValueError(f"holds the number {text[:40]}: expected finite numbers alone")
