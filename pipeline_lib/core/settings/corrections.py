"""Define the settings of the corrections that people make to labels and tracks."""

from pydantic import Field

from pipeline_lib.core.settings.base import PathText, Settings


class CorrectionSettings(Settings):
    """Name the folder of what people corrected by hand; it may be absent."""

    path: PathText = Field(
        "corrections",
        description="Folder of the corrected labels and tracks, written by `cohortpose label`. It "
        "is part of the project, to be kept under version control; runs only read it.",
    )
