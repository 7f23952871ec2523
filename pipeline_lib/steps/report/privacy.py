"""Hide the paths and host names of its author in a page that is passed on.

The files of the results folder have it all: the settings in force, and `provenance.json`.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import yaml

from pipeline_lib.core.layout import Results

_HOSTS = {"host", "hosts"}
_ELSEWHERE = "…/"


class Redactor:
    """Shorten paths of this machine in the contents of a page.

    A path in the project (beside the results folder) becomes relative to it, of any other only
    the name is left.

    Parameters
    ----------
    results
        The results folder.
    paths
        Paths that texts may mention: those of the settings and of the videos.
    """

    def __init__(self, results: Results, paths: Iterable[str | Path] = ()) -> None:
        root = results.root.absolute()
        self._projects = tuple(dict.fromkeys((root.parent, root.parent.resolve())))
        home = Path.home()
        shown = {str(path): self._shorten(str(path)) for path in paths if _is_absolute(str(path))}
        # Other paths: hide at least the home folder, which names the user.
        folders = {f"{folder}/": "" for folder in self._projects}
        if home != Path(home.anchor):
            folders[f"{home}/"] = "~/"
        self._known = {**folders, **shown}
        self._order = sorted(self._known, key=len, reverse=True)

    def hide(self, text: str) -> str:
        """Shorten the known paths in a sentence."""
        for path in self._order:
            text = text.replace(path, self._known[path])
        return text

    def hide_settings(self, text: str) -> str:
        """Shorten the paths in settings written as YAML."""
        try:
            settings = yaml.safe_load(text)
        except yaml.YAMLError:
            return self.hide(text)
        if not isinstance(settings, Mapping):
            return self.hide(text)
        written: str = yaml.safe_dump(
            self.hide_record(settings), sort_keys=False, allow_unicode=True, width=1000
        )
        return written

    def hide_record(self, record: Any) -> Any:  # noqa: ANN401 - JSON-like
        """Shorten the paths in a JSON-like record and leave out its host names."""
        if isinstance(record, Mapping):
            return {
                self._hide_value(str(key)): self.hide_record(value)
                for key, value in record.items()
                if str(key) not in _HOSTS
            }
        if isinstance(record, list | tuple):
            return [self.hide_record(value) for value in record]
        return self._hide_value(record) if isinstance(record, str) else record

    def _hide_value(self, text: str) -> str:
        """Shorten a value that is a path, or the known paths in another text."""
        return self._shorten(text) if _is_absolute(text) else self.hide(text)

    def _shorten(self, path: str) -> str:
        for project in self._projects:
            if Path(path).is_relative_to(project):
                return Path(path).relative_to(project).as_posix()
        kind = PurePosixPath if path.startswith("/") else PureWindowsPath
        return _ELSEWHERE + kind(path).name


def list_strings(record: Any) -> Iterator[str]:  # noqa: ANN401 - JSON-like
    """Yield the texts of a JSON-like record, keys among them."""
    if isinstance(record, str):
        yield record
    elif isinstance(record, Mapping):
        yield from (str(key) for key in record)
        for value in record.values():
            yield from list_strings(value)
    elif isinstance(record, list | tuple):
        for value in record:
            yield from list_strings(value)


def _is_absolute(text: str) -> bool:
    # Not sentences that begin with a path, nor a lone slash.
    if ": " in text or "\n" in text or len(text) < 2:
        return False
    return text.startswith("/") or PureWindowsPath(text).is_absolute()
