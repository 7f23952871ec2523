"""Read values from the config of another tool: plain YAML, of which each value is checked."""

from pathlib import Path
from typing import Any

from pipeline_lib.core.errors import ModelError
from pipeline_lib.core.untrusted.names import find_text_problem


class PlainValues:
    """Hold the values of a config.

    Parameters
    ----------
    path
        Its file, for messages.
    values
        Its values.
    """

    def __init__(self, path: Path, values: Any) -> None:  # noqa: ANN401 - YAML
        self._path, self._values = path, values

    def read_names(self, where: str, what: str) -> tuple[str, ...]:
        """Return different names; `what` is one of them, in messages.

        Raises
        ------
        ModelError
            If they are none, are equal, or hold characters that no name may have.
        """
        names = self.get(where, list)
        for name in names:
            problem = find_text_problem(name) if isinstance(name, str) else "is no text"
            if problem:
                raise self.refuse(f"{what} {problem}: {name!r}")
        if not names or len(set(names)) < len(names):
            raise self.refuse(f"`{where}` must be different names")
        return tuple(names)

    def require(self, where: str, expected: object, default: object = None) -> None:
        """Refuse a value that is not the one that is read."""
        found = self.get(where, type(expected), default)
        if found != expected:
            raise self.refuse(f"`{where}` is {found}: only {expected} is read")

    def find(self, where: str) -> Any:  # noqa: ANN401
        """Return a value of any kind by its dotted name; None where it is not there."""
        found = self._values
        for part in where.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        return found

    def get(self, where: str, kind: type, default: Any = None) -> Any:  # noqa: ANN401
        """Return a value by its dotted name; the default where it is not there, or null."""
        found = self.find(where)
        if found is None:
            found = default
        if kind is float and isinstance(found, int) and not isinstance(found, bool):
            return found
        if not isinstance(found, kind) or (kind is int and isinstance(found, bool)):
            raise self.refuse(f"`{where}` must be a {kind.__name__}, found {str(found)[:200]}")
        return found

    def refuse(self, problem: str) -> ModelError:
        """Return an error that names the file."""
        return ModelError(f"{self._path}: {problem}")
