"""Run the verb `predict`: poses of videos from a bundle, without a config or a sheet.

It writes config and sheet itself, so that the folder is a project like any other: Snakemake goes
on with it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from pipeline_lib.core.errors import ConfigError, SheetError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.stages import STAGES, VIDEO_STAGES
from pipeline_lib.core.tables import VideoStatus
from pipeline_lib.core.untrusted.bundle_address import BundleAddress, parse_address
from pipeline_lib.core.untrusted.regular_files import require_regular_file
from pipeline_lib.io.publish import publish_text
from pipeline_lib.io.stage_tables import format_table
from pipeline_lib.models.zoo.archive import Bundle
from pipeline_lib.models.zoo.sources import find_bundle
from pipeline_lib.models.zoo.used_settings import list_used_settings
from pipeline_lib.steps.init.run import CONFIG_NAME
from pipeline_lib.steps.runs.ledger import derive_ledger
from pipeline_lib.steps.sheet.find import NOT_UTF8, is_text, name_videos
from pipeline_lib.steps.sheet.run import SHEET_NAME


def write_prediction_project(videos: Sequence[Path], address: str, folder: Path) -> Path:
    """Write config and sheet of a run of a bundle over videos.

    Parameters
    ----------
    videos
        The videos.
    address
        Address of the bundle, as in ``model.bundle``.
    folder
        Folder of the project; it is made. One with the same config and sheet is left as it is.

    Returns
    -------
    Path
        The config.

    Raises
    ------
    ConfigError
        If the folder holds another project, or the address is none.
    ModelError
        If the bundle cannot be found or used.
    SheetError
        If a video is missing.
    """
    problems = [f"{video}: no such video" for video in videos if not video.is_file()]
    absolute = [video.absolute() for video in videos]
    problems += [f"{video}: {NOT_UTF8}" for video in absolute if not is_text(str(video))]
    if problems:
        raise SheetError("predict", problems)
    try:
        parsed = parse_address(address)
    except ValueError as error:
        raise ConfigError("--model", [str(error)]) from None
    bundle = find_bundle(address)
    named = name_videos(absolute)
    sheet = format_table(
        ("video", "path"), [{"video": name, "path": str(path)} for name, path in named.items()]
    )
    values = _list_settings(_spell_address(parsed, bundle), bundle)
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    config = folder / CONFIG_NAME
    for path, content in ((config, text), (folder / SHEET_NAME, sheet)):
        if path.exists() and not _holds(path, content):
            raise ConfigError(
                str(path), ["is of other videos or another bundle: give another --output"]
            )
    publish_text(folder / SHEET_NAME, sheet)
    publish_text(config, text)
    return config


def list_verbs(config: Config) -> list[str]:
    """Return the verbs that each shard passes, in order."""
    return [name for name in VIDEO_STAGES if STAGES[name].wanted(config)]


def describe_predictions(config: Config, results: Results) -> tuple[list[str], bool]:
    """Return one line per result of each video, or the reason why there is none.

    Returns
    -------
    lines : list of str
        Paths, or names of videos with a reason.
    good : bool
        Whether every video has its results.
    """
    lines, good = [], True
    last = [name for name in list_verbs(config) if name in ("filter", "export")]
    for row in derive_ledger(config, results):
        if row["status"] != VideoStatus.DONE:
            lines.append(f"{row['video']}: {row['status']}: {row['reason']}")
            good = False
            continue
        lines += [
            str(path)
            for name in last
            for path in STAGES[name].list_results(config, results, row["video"])
        ]
    return lines, good


def _holds(path: Path, text: str) -> bool:
    """Tell whether a file holds exactly this text, whatever its bytes are."""
    require_regular_file(path)
    return path.read_bytes() == text.encode()


def _spell_address(address: BundleAddress, bundle: Bundle) -> str:
    """Return an address that holds in any working directory, and may be published."""
    location, sha256 = address.shown, address.sha256
    if address.kind == "path":
        location = str(Path(address.location).expanduser().absolute())
        if not is_text(location):
            raise ConfigError("--model", [f"{location}: {NOT_UTF8}"])
    elif location != address.location:
        # Without its query, the bundle is found in the cache by its hash.
        sha256 = bundle.sha256
    return f"{location}#sha256={sha256}" if sha256 else location


def _list_settings(address: str, bundle: Bundle) -> dict[str, Any]:
    """Return the config of a run of a bundle, with the settings that it was used with."""
    located = bundle.locator is not None
    used = list_used_settings(bundle.manifest.settings, bundle.animals, located=located)
    return {"cohort": SHEET_NAME, "model": {"bundle": address}, **used}
