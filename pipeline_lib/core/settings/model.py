"""Define the settings of a network that was trained elsewhere."""

from typing import Annotated

from pydantic import AfterValidator, Field

from pipeline_lib.core.settings.base import SHOWN, PathText, Settings
from pipeline_lib.core.untrusted.bundle_address import names_bundle, parse_address
from pipeline_lib.core.untrusted.names import check_name


def _check_address(text: str) -> str:
    parse_address(text)
    return text


def _check_start(text: str) -> str:
    return _check_address(text) if names_bundle(text) else check_name(text)


# A path, https://… or hf://owner/name/file@revision, with or without #sha256=….
BundleText = Annotated[PathText, AfterValidator(_check_address), SHOWN]
# The name of a network in the same results, or a bundle.
StartText = Annotated[PathText, AfterValidator(_check_start), SHOWN]


class ModelSettings(Settings):
    """Run a network that was trained elsewhere, without any labels."""

    bundle: BundleText | None = Field(
        None,
        description="Bundle to run instead of training a network: a file, `https://…` or "
        "`hf://owner/name/file@revision`, each with `#sha256=…` at its end if it must have that "
        "hash. Nothing is learned or evaluated, so `labels` must be empty. null: train.",
    )
