"""Names of animals and files, as people order them."""

import re


def natural_order(name: str) -> tuple[tuple[int, str], ...]:
    """Return a sort key that takes digits for numbers: fly2 before fly10."""
    parts = re.split(r"(\d+)", name)
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in parts)
