"""Show in the report which precisions a network was measured in, and which one was chosen."""

from pipeline_lib.core.errors import CohortposeError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.stages import STAGES
from pipeline_lib.models.precision import PrecisionRecord, read_precision


def summarise_precision(
    config: Config, results: Results, gaps: list[str]
) -> PrecisionRecord | None:
    """Return what was measured of the precisions of a network; None if the settings state one.

    Parameters
    ----------
    config, results
        The run.
    gaps
        Receives why the file cannot be read.
    """
    path = results.model(config.training.name).precision
    if not (STAGES["choose-precision"].wanted(config) and path.is_file()):
        return None
    try:
        return read_precision(path)
    except CohortposeError as error:
        gaps.append(str(error))
        return None
