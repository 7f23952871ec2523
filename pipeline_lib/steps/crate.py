"""The run as a Workflow Run RO-Crate: one file that repositories and reviewers' tools read.

It describes the results folder by Workflow Run Crate 0.5 (https://w3id.org/ro/wfrun/workflow),
and is of one size however many videos there are: folders, the tables that list what is in them,
and one action per stage.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings import Config
from pipeline_lib.io.publish import publish_file, publish_text
from pipeline_lib.steps.crate_description import describe_crate
from pipeline_lib.steps.provenance import read_provenance

_README = """\
# Poses of a cohort of animal videos

Made by the Snakemake workflow cohortpose. Look first at `report/index.html`; `ledger.tsv` says how
each video ended, and why.

- `poses/`: as the network gave them; `tracked/`: followed, where there are several animals;
  `filtered/`: cleaned; `exports/`: for other tools
- `config.resolved.yaml`: every setting; `provenance.json`: versions, hashes, time and energy
- `shards/*/jobs.jsonl`: when and where the results of each group of videos were made
- `ro-crate-metadata.json`: all of this for machines (https://w3id.org/ro/wfrun/workflow)

`cohortpose verify --config config.yaml`, in the folder above, tells whether anything was changed.
"""


def write_crate(
    config: Config, results: Results, workflow: Mapping[str, Path], *, succeeded: bool
) -> None:
    """Publish ``ro-crate-metadata.json`` and the Snakefiles that it names.

    A run that changed nothing leaves the files as they are.

    Parameters
    ----------
    config, results
        The run; nothing is written unless its provenance is complete.
    workflow
        Where the Snakefiles are, by their path below ``workflow/``; ``Snakefile`` among them.
    succeeded
        Whether the run ended well.
    """
    record = read_provenance(results)
    if not record:
        return
    for name, source in workflow.items():
        _copy(source, results.crate_workflow / name)
    publish_text(results.readme, _README)
    crate = describe_crate(config, results, record, succeeded=succeeded)
    publish_text(results.crate, json.dumps(crate, indent=2, ensure_ascii=False) + "\n")


def _copy(source: Path, target: Path) -> None:
    if not target.is_file() or target.read_bytes() != source.read_bytes():
        with publish_file(target) as part:
            shutil.copyfile(source, part)
