"""Compare the settings that `auto` chooses from the labels with those chosen by hand."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from string import Template
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from benchmarks.projects import PROJECTS, exit_with, leave_to_labels, locate_project, merge_settings
from benchmarks.several_animals.flies_runs import PROJECT as FLIES
from benchmarks.several_animals.flies_runs import WAYS
from pipeline_lib.core.errors import CohortposeError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.chosen import TUNABLE, get_setting
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.steps.import_labels.chosen_settings import choose_settings, measure_labels
from pipeline_lib.steps.import_labels.run import collect_labels

Row = tuple[str, str, str, str, str]


def list_projects() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name and the hand-made settings of each project."""
    for name, project in PROJECTS.items():
        source = locate_project(project)
        yield name, yaml.safe_load(Template(project.config).substitute(project=source))
    source = locate_project(FLIES)
    clips = [{"path": str(source / f"{clip}.slp")} for clip in ("two_flies", "three_flies")]
    flies = {**yaml.safe_load(FLIES.config), "labels": clips}
    yield "flies, bottom-up", flies
    yield "flies, top-down", merge_settings(flies, WAYS["top-down"])


def compare_settings(name: str, hand: Mapping[str, Any], folder: Path) -> Iterator[Row]:
    """Yield project, setting, hand-made value, chosen value and reason of each setting."""
    config = parse_config(leave_to_labels(hand))
    labels, _ = collect_labels(config, Results(folder))
    chosen, stated = choose_settings(config, measure_labels(labels)), parse_config(hand)
    for setting in TUNABLE:
        choice, by_hand = chosen[setting], get_setting(stated, setting)
        yield name, setting, str(by_hand), str(choice.value), choice.reason


def main() -> None:
    """Print the table as Markdown."""
    print("| project | setting | by hand | `auto` | reason |\n|---|---|---|---|---|")
    try:
        for name, hand in list_projects():
            with TemporaryDirectory() as folder:
                for row in compare_settings(name, hand, Path(folder)):
                    print("| " + " | ".join(row) + " |")
                    sys.stdout.flush()
    except CohortposeError as error:
        raise exit_with(error) from None


if __name__ == "__main__":
    main()
