"""Settings for tests of single steps, which have no import of labels that could choose them."""

from pipeline_lib.core.settings.run import ResolvedConfig


def parse_fixed_config(values):
    """Return settings with the usual value for each that is not given and would be `auto`."""
    return ResolvedConfig.model_validate(values)
