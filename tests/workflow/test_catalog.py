"""Test the requirements of Snakemake's catalog for workflows of standardized usage."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.workflow.running import REPOSITORY

RULE_FILES = sorted((REPOSITORY / "workflow" / "rules").glob("*.smk"))
_RULE = re.compile(r"^rule (\w+):\n((?:(?: .*)?\n)+)", flags=re.MULTILINE)
RULES = {name: body for path in RULE_FILES for name, body in _RULE.findall(path.read_text() + "\n")}


def test_the_files_that_the_catalog_looks_for():
    for name in (
        "README.md",
        "LICENSE",
        "config/README.md",
        "config/config.yaml",
        ".test/config/config.yaml",
        ".test/config/cohort.tsv",
        "workflow/Snakefile",
        "workflow/schemas/config.schema.yaml",
        "workflow/report/report.rst",
    ):
        assert (REPOSITORY / name).read_text().strip(), name


def test_the_usage_is_described():
    usage = yaml.safe_load((REPOSITORY / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert set(usage) == {"mandatory-flags", "software-stack-deployment"}
    assert set(usage["mandatory-flags"]) == {"desc", "flags"}
    # As the template of the catalog has it; each key is a promise.
    assert usage["software-stack-deployment"] == {
        "conda": True,
        "apptainer": False,
        "apptainer+conda": False,
        "report": True,
    }


def test_no_private_attribute_of_snakemake_is_used():
    for path in (REPOSITORY / "Snakefile", REPOSITORY / "workflow" / "Snakefile", *RULE_FILES):
        assert re.findall(r"\b(?:workflow|logger|rules|config)\._\w+", path.read_text()) == []


@pytest.mark.workflow
def test_the_test_cohort_runs_from_nothing(tmp_path):
    """As the catalog and people do: `snakemake --directory .test` from the repository."""
    folder = tmp_path / "test"
    shutil.copytree(
        REPOSITORY / ".test", folder, ignore=shutil.ignore_patterns("results", ".snake*")
    )
    command = [str(Path(sys.executable).parent / "snakemake"), "--directory", str(folder)]
    ended = subprocess.run(
        [*command, "--cores", "2"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert ended.returncode == 0, ended.stderr
    assert "2 done   0 pending   0 failed   1 quarantined" in ended.stderr + ended.stdout
    assert (folder / "results" / "report" / "index.html").is_file()


@pytest.mark.parametrize("rule", sorted(RULES))
def test_every_rule_has_a_log_and_an_environment(rule):
    body = RULES[rule]
    assert "\n    log:\n" in f"\n{body}"
    assert '\n    conda:\n        "../envs/cohortpose.yaml"\n' in f"\n{body}"
    # Logic lies where tests reach it.
    assert "\n    shell:\n" in f"\n{body}"


def test_rules_are_found_by_the_expression_above():
    assert {"probe", "train", "infer", "accept", "record_keys"} <= set(RULES)


def test_the_config_names_nothing_of_a_site():
    """Check that threads, memory and folders of a site are in profiles."""
    config = (REPOSITORY / "config" / "config.yaml").read_text()
    assert set(yaml.safe_load(config)) <= {"cohort", "labels", "skeleton"}


def test_the_description_of_a_run_names_every_snakefile():
    """Check that the listed Snakefiles are those in the folder, so that the crate is complete."""
    listed = re.search(
        r"^SNAKEFILES = \{.*? in \((.*?)\n    \)\n\}",
        (REPOSITORY / "workflow" / "rules" / "common.smk").read_text(),
        flags=re.MULTILINE | re.DOTALL,
    )
    names = re.findall(r'"(.+?)"', listed[1])
    assert names == ["Snakefile", *(f"rules/{path.name}" for path in RULE_FILES)]
