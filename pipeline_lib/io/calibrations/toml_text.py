"""Write TOML of plain values, numbers in full precision."""

import json
import math
from collections.abc import Mapping
from typing import Any


def format_toml(tables: Mapping[str, Mapping[str, Any]]) -> str:
    """Return tables of texts, truth values, numbers and lists of them as TOML.

    Parameters
    ----------
    tables
        By their name, which may have dots in quotes.
    """
    lines: list[str] = []
    for name, values in tables.items():
        lines.append(f"[{name}]")
        lines += [f"{quote_key(key)} = {_format(value)}" for key, value in values.items()]
        lines.append("")
    return "\n".join(lines)


def quote_key(key: str) -> str:
    """Return a key as TOML takes it, in quotes where it must."""
    plain = key and all(letter.isascii() and (letter.isalnum() or letter in "_-") for letter in key)
    return key if plain else _quote(key)


def _quote(text: str) -> str:
    # JSON's escapes are TOML's, but for DEL.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _format(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, str):
        return _quote(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} is not written")
        return repr(value)
    if isinstance(value, int):
        return str(value)
    return f"[{', '.join(_format(one) for one in value)}]"
