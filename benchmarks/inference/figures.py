"""Compare figures of the inference benchmarks with their targets, and write tables."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.inference.networks import call_apart, write_model
from pipeline_lib.core.layout import ModelFiles
from pipeline_lib.io.stage_tables import write_table

# Backbones and where their weights come from.
NETWORKS = {"resnet50": "none", "tf_efficientnet_lite0": "package", "mobilenetv3_small_050": "none"}
RESNET, LITE, TINY = NETWORKS

_LEAST_WIDTH = 140

FIGURE_COLUMNS = ("figure", "value", "target", "reached")

Row = dict[str, object]


@dataclass(frozen=True)
class Figure:
    """Hold a figure with its target.

    Attributes
    ----------
    name
        Name of the figure.
    value, target
        The figure, and its lowest or highest acceptable value.
    at_most
        Whether lower is better.
    """

    name: str
    value: float
    target: float
    at_most: bool = False

    @property
    def reached(self) -> bool:
        """Return whether the target is reached."""
        return self.value <= self.target if self.at_most else self.value >= self.target

    def describe(self) -> Row:
        """Return the row of the table."""
        limit = f"{'at most' if self.at_most else 'at least'} {self.target:g}"
        return {
            "figure": self.name,
            "value": self.value,
            "target": limit,
            "reached": self.reached,
        }


@dataclass(frozen=True)
class Bench:
    """Hold the folder and the arguments of a benchmark.

    Attributes
    ----------
    folder
        Folder for videos, networks, runs and tables.
    source
        Video of the open field.
    given
        Parsed command line.
    """

    folder: Path
    source: Path
    given: argparse.Namespace

    def network(self, backbone: str) -> ModelFiles:
        """Return an untrained network, exported once."""
        files = ModelFiles(self.folder / "networks" / backbone)
        if not files.card.exists():
            call_apart(write_model, files, backbone, NETWORKS[backbone])
        return files

    def report(
        self, name: str, columns: Sequence[str], rows: Sequence[Row], *, upright: bool = False
    ) -> None:
        """Write rows to DIR/NAME.tsv and print them; with `upright`, print each as a column."""
        write_table(self.folder / f"{name}.tsv", columns, rows)
        lines = [[column.replace("_", " ") for column in columns]]
        lines += [[_show(row.get(column, "")) for column in columns] for row in rows]
        if upright:
            lines = [list(cells) for cells in zip(*lines, strict=True)]
        table = Table(title=name)
        for title in lines[0]:
            table.add_column(title, justify="right")
        for cells in lines[1:]:
            table.add_row(*cells)
        # A log is taken for a narrow terminal.
        Console(width=max(Console().width, _LEAST_WIDTH)).print(table)


def _show(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "NO"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
