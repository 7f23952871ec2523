"""Find the reader of a source of labels, by the name of its format or by the files found.

Nothing here opens a table, so that the workflow can ask for its inputs at every parse.
"""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from pipeline_lib.core.errors import LabelError
from pipeline_lib.core.formats.labels import AUTO, FORMATS, find_format
from pipeline_lib.core.settings.network import LabelSource
from pipeline_lib.core.settings.run import Config

if TYPE_CHECKING:
    from pipeline_lib.io.labels.points import SourceLabels


class LabelReader(Protocol):
    """Define the interface of the modules in `pipeline_lib.core.formats.labels.FORMATS`."""

    def is_format(self, path: Path) -> bool:
        """Tell whether labels in this format lie at a path, by the names of the files found."""
        ...

    def list_files(self, path: Path) -> list[Path]:
        """List the files that reading the labels reads, images left out; raises `LabelError`."""
        ...

    def read(self, path: Path, images: Path, *, predicted: bool) -> "SourceLabels":
        """Read the labels.

        Parameters
        ----------
        path
            Of the source.
        images
            Folder of its own, to write labelled frames to as images; it need not.
        predicted
            Whether to take a tool's predictions where no user corrected them.

        Raises
        ------
        LabelError
            With everything that cannot be mapped, one line each.
        """
        ...


def load_reader(name: str) -> LabelReader:
    """Return the reader of a format.

    Raises
    ------
    ValueError
        If there is no format of this name.
    """
    return cast("LabelReader", importlib.import_module(find_format(name).module))


def detect_format(path: Path) -> str:
    """Detect the label format at a path by the names of the files found.

    Parameters
    ----------
    path
        Project or data folder, its ``config.yaml``, one label table, or a SLEAP file.

    Returns
    -------
    str
        The first of `pipeline_lib.core.formats.labels.FORMATS` that knows the path.

    Raises
    ------
    LabelError
        If nothing is there, or nothing that is known.
    """
    for name in FORMATS:
        if load_reader(name).is_format(path):
            return name
    if not path.exists():
        raise LabelError(str(path), ["no such file or folder"])
    expected = ", ".join(known.about for known in FORMATS.values())
    problem = f"holds no labels that are known: expected {expected}, or one table of labels"
    raise LabelError(str(path), [problem])


def name_format(source: LabelSource) -> str:
    """Return the format of a source: that of the config, or the one detected.

    Raises
    ------
    LabelError
        If nothing is there, or nothing that is known.
    """
    return detect_format(Path(source.path)) if source.format == AUTO else source.format


def label_inputs(config: Config) -> list[Path]:
    """List the files that importing the labels reads, images left out.

    It never raises: where a source cannot be made out its own path is listed, so that the
    import step, not the parsing of the workflow, says what is wrong.

    Returns
    -------
    list of Path
        Tables and project files, relative where the config's paths are.
    """
    inputs: dict[Path, None] = {}
    for source in config.label_sources:
        path = Path(source.path)
        try:
            files = load_reader(name_format(source)).list_files(path)
        except (LabelError, OSError):
            files = [path]
        inputs |= dict.fromkeys(files)
    return list(inputs)
