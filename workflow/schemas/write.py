"""Write config/README.md and the config's schema from the settings' own descriptions."""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from pipeline_lib.core.settings.reading import nested_model
from pipeline_lib.core.settings.run import Config

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "config" / "README.md"
SCHEMA = ROOT / "workflow" / "schemas" / "config.schema.yaml"

HEAD = """\
# Configuration

<!-- Written by `make documents` from the settings in core/settings: edit them there. -->

A run is described by one YAML file, named with `--configfile` (by default `config/config.yaml`).
Only `cohort` is needed; every other key has the default given below. `results/config.resolved.yaml`
holds all settings, defaults included. The description of a key says what its default `auto`
means; [eleven settings](../docs/how-to/networks/chosen-settings.md) are chosen from the labels.
Unknown keys are errors. Paths are relative to the working directory (`--directory`).
`cohortpose init PATH FOLDER` writes a config and a sheet for a folder of videos or for labels of
DeepLabCut, SLEAP, Lightning Pose or COCO.

## The cohort sheet

A tab-separated table, one row per video:

| column | |
|---|---|
| `video` | unique name; letters, digits and `. _ -` |
| `path` | the file, absolute or relative to the sheet; may be empty in a row with `poses` |
| `session`, `camera` | optional: videos of one session are simultaneous views |
| `calibration` | optional: a calibration file of the session, or a folder that shows a board |
| `poses` | optional: [poses of another tool](../docs/how-to/three-dimensions/existing-poses.md) |
| anything else | yours (group, sex, dose …), copied to the ledger and the report |
| `subject`, `species`, `sex`, `age`, `start` | yours; for [NWB](../docs/reference/exports.md#nwb) |

A video that is missing or broken is quarantined with the reason; the others are finished.

## Keys
"""


def describe_settings() -> str:
    """Return the text of config/README.md."""
    return HEAD + "".join(_describe(Config, ""))


def describe_schema() -> str:
    """Return the text of the JSON schema, as YAML."""
    schema = Config.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    text: str = yaml.safe_dump(schema, sort_keys=False, allow_unicode=True, width=100)
    return "# Written by `make documents` from the settings in pipeline_lib/core/settings.\n" + text


def _describe(model: type[BaseModel], prefix: str) -> Iterator[str]:
    leaves = {n: f for n, f in model.model_fields.items() if nested_model(f.annotation) is None}
    if prefix:
        summary = " ".join((model.__doc__ or "").split())
        yield f"\n### `{prefix}`\n\n{summary}\n"
    if leaves:
        yield "\n| key | default | |\n|---|---|---|\n"
        yield from (
            f"| `{name}` | {_show_default(field)} | {field.description or ''} |\n"
            for name, field in leaves.items()
        )
    for name, field in model.model_fields.items():
        nested = nested_model(field.annotation)
        if nested is not None:
            yield from _describe(nested, f"{prefix}.{name}" if prefix else name)


def _show_default(field: FieldInfo) -> str:
    default: Any = field.default
    if default is PydanticUndefined:
        return "needed"
    return f"`{json.dumps(default)}`"


def main() -> int:
    """Write both files, or with ``--check`` tell whether they are up to date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail if outdated")
    check = parser.parse_args().check
    outdated = False
    for path, text in ((README, describe_settings()), (SCHEMA, describe_schema())):
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        outdated = True
        if not check:
            path.write_text(text, encoding="utf-8")
    if check and outdated:
        sys.stderr.write("config/README.md or the schema is outdated: run `make documents`\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
