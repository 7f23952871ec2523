"""Figures of the benchmarks of inference: targets, tables, and where a benchmark works."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from inference_networks import call_apart, write_model
from rich.console import Console
from rich.table import Table

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
    """A number that has a target.

    Attributes
    ----------
    name
        What it says.
    value, target
        The number, and what it is to be at least, or at most.
    at_most
        Whether less is better.
    """

    name: str
    value: float
    target: float
    at_most: bool = False

    @property
    def reached(self) -> bool:
        """Whether the target is reached."""
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
    """Where a benchmark works and what it was asked for.

    Attributes
    ----------
    folder
        Receives videos, networks, runs and tables.
    source
        The video of the open field.
    given
        The command line.
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
        """Write rows to DIR/NAME.tsv and print them; `upright`: each as a column."""
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
