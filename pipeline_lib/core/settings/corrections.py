"""Define the settings of the corrections that people make to labels and tracks."""

import os
from pathlib import Path

from pydantic import Field

from pipeline_lib.core.settings.base import Fraction, PathText, Settings


class CorrectionSettings(Settings):
    """Name the folder of corrections made by hand; it may be absent."""

    path: PathText = Field(
        "corrections",
        description="Folder of corrected labels and decisions about tracks, written by "
        "`cohortpose label`, `merge-labels` and `merge-tracks`. It is part of the project: keep "
        "it under version control. Runs only read it.",
    )
    min_probability: Fraction = Field(
        0.05,
        description="Smallest probability of an error in the tracks at which `cohortpose label` and"
        " `list-doubts` list a doubt. No result depends on it.",
    )


def holds_label_corrections(folder: Path) -> bool:
    """Tell whether a folder of corrections has a table of corrected labels.

    Nothing is opened: this is asked whenever the workflow is parsed.
    """
    labels = folder / "labels"
    try:
        authors = [one.path for one in os.scandir(labels) if one.is_dir()]
        return any(
            name.endswith(".tsv") and not name.startswith(".")
            for author in authors
            for name in os.listdir(author)  # noqa: PTH208 - names alone
        )
    except OSError:
        return False
