"""Test the files for MultiQC, and the report that Snakemake itself writes."""

import csv
import re

import pytest
import yaml

pytestmark = [pytest.mark.workflow]


def test_multiqc_files_and_the_report_of_snakemake(again):
    again.edit_config(report={"multiqc": True})
    ended = again.snakemake()
    assert (ended.code, ended.jobs) == (0, {"multiqc"}), ended.output
    general = yaml.safe_load(
        (again.results.multiqc / "cohortpose_general_mqc.yaml").read_text(encoding="utf-8")
    )
    ledger = again.read_ledger()
    assert {video: row["status"] for video, row in general["data"].items()} == {
        video: row["status"] for video, row in ledger.items()
    }
    assert general["data"]["mouse-01"]["frames"] == int(ledger["mouse-01"]["frames"])
    # The order of its videos is that of the sheet.
    assert list(general["data"]) == [row["video"] for row in again.read_sheet()]
    assert again.snakemake("--dry-run").jobs == set()

    page = again.folder / "snakemake-report.html"
    written = again.snakemake("--report", str(page))
    assert written.code == 0, written.output
    text = page.read_text(encoding="utf-8")
    for category in ("Cohort", "Network"):
        assert re.search(rf'"{category}"', text), category
    for name in ("index.html", "ledger.tsv", "metrics.tsv", "history.tsv"):
        assert f'"{name}"' in text, name
    assert "with the stage that it reached and the reason" in text
    assert "Only the frames of the split" in text
    assert "the network learns from the labels" in text
    with again.results.metrics("pose").open(newline="") as file:
        assert next(csv.reader(file, delimiter="\t"))[0] == "bodypart"
