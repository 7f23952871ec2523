"""Write the cohort as custom content of MultiQC, which shows it beside other analyses.

The files follow https://docs.seqera.io/multiqc/custom_content; they need no plugin.
"""

from pathlib import Path

import yaml

from pipeline_lib.core.cohort import read_cohort
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.run import Config
from pipeline_lib.io.publish import publish_folder
from pipeline_lib.steps.costs.run import derive_costs
from pipeline_lib.steps.multiqc.decisions import read_decisions
from pipeline_lib.steps.multiqc.sections import Cohort, describe_cohort, escape_text
from pipeline_lib.steps.report.inputs import read_inputs
from pipeline_lib.steps.report.privacy import Redactor, list_strings
from pipeline_lib.steps.report.summaries import summarise_videos
from pipeline_lib.steps.runs.ledger import derive_ledger

CONFIG = "multiqc_config.yaml"


def write_multiqc(config: Config, results: Results) -> Path:
    """Publish the folder of files for MultiQC: a section each, and MultiQC's own settings.

    A cohort without a network, costs or decisions has no such section.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    SheetError, StoreError
        If the sheet or the plan, without which there is no cohort, cannot be read.
    """
    sections = describe_cohort(_collect(config, results))
    with publish_folder(results.multiqc) as folder:
        for name, section in sections.items():
            _write(folder / f"cohortpose_{name}_mqc.yaml", {"id": f"cohortpose_{name}", **section})
        _write(folder / CONFIG, _configure(config, list(sections)))
    return results.multiqc


def _collect(config: Config, results: Results) -> Cohort:
    videos = [video.path for video in read_cohort(Path(config.cohort))]
    redactor = Redactor(results, [*videos, *list_strings(config.model_dump(mode="json"))])
    rows = [
        {**row, "reason": redactor.hide(row["reason"])} for row in derive_ledger(config, results)
    ]
    model, several = config.training.name, config.individuals.max > 1
    inputs = read_inputs(config, results)
    return Cohort(
        rows=rows,
        summaries=summarise_videos(
            results, model, rows, config.evaluation.pcutoff, several=several
        ),
        decisions=read_decisions(results.quality),
        costs=derive_costs(config, results),
        inputs=inputs,
        bodyparts=inputs.bodyparts(config),
        pcutoff=config.evaluation.pcutoff,
        currency=config.costs.currency,
    )


def _configure(config: Config, sections: list[str]) -> dict[str, object]:
    """Return settings of MultiQC: the title, the order, and names that stay as they are."""
    return {
        "title": escape_text(config.report.title),
        # It would cut `mouse_fastqc` to `mouse`, say, and put two videos in one row.
        "fn_clean_sample_names": False,
        "custom_content": {"order": [f"cohortpose_{name}" for name in sections]},
    }


def _write(path: Path, content: dict[str, object]) -> None:
    # libyaml takes a tenth of the time, where it is there.
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text = yaml.dump(content, Dumper=dumper, allow_unicode=True, sort_keys=False)
    path.write_text(text, encoding="utf-8")
