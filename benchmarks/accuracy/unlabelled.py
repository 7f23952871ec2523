"""Compare what frames without labels teach, with 10 labels of the mirror mouse.

Each loss is trained beside a training without, for each seed; networks share targets and clips.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.accuracy.cross_validation import PCK, measure
from benchmarks.projects import PROJECTS, exit_with, format_config, format_sheet, locate_project
from pipeline_lib.core.errors import CohortposeError
from pipeline_lib.core.layout import Results
from pipeline_lib.io.publish import publish_text
from pipeline_lib.models.card import read_card

CHECKOUT = Path(__file__).parents[2]
MOUSE = ("paw1LH", "paw2LF", "paw3RF", "paw4RH", "tailBase", "tailMid", "nose")
VIEWS = [[f"{name}_{view}" for name in MOUSE] for view in ("top", "bot")]
WAYS: Mapping[str, Mapping[str, Any]] = {
    "labels alone": {},
    "temporal": {"temporal": 1.0},
    "pose_pca": {"pose_pca": 1.0},
    "view_pca": {"view_pca": 1.0},
}
# In half the size, which `auto` chooses for the mirror mouse, too.
TARGETS = {"scale": 0.5, "stride": 8, "sigma": 5.0, "pos_dist_thresh": 10.0}


def write_config(folder: Path, way: str, seed: int, given: argparse.Namespace) -> Path:
    """Write the config of a training, and return it."""
    project = PROJECTS["mirror-mouse"]
    source = locate_project(project)
    weights = {name: value * given.weight for name, value in WAYS[way].items()}
    training = {
        "name": f"{way.replace(' ', '-')}-{seed}",
        "epochs": given.epochs,
        "seed": seed,
        "measure_every": 0,
        "split": {"test_fraction": 1.0 - given.labels / 90, "seed": seed},
        "unsupervised": {
            **weights,
            "views": VIEWS,
            "bodyparts": [name for view in VIEWS for name in view],
            "frames": 200,
        },
    }
    text = format_config(project, source, {"training": training, "targets": TARGETS})
    path = folder / f"{training['name']}.yaml"
    publish_text(folder / "cohort.tsv", format_sheet(project, source))
    publish_text(path, text)
    return path


def train(folder: Path, config: Path) -> None:
    """Run the workflow up to the evaluation of a network; finished steps are not run again.

    Raises
    ------
    CohortposeError
        If it fails.
    """
    command = [str(Path(sys.executable).parent / "snakemake"), "evaluate", "--cores", "1"]
    command += ["--directory", str(folder), "--configfile", str(config), "--quiet", "all"]
    if subprocess.run(command, cwd=CHECKOUT, check=False).returncode:
        raise CohortposeError(f"{config}: failed; run again to go on from there")


def list_rows(given: argparse.Namespace) -> Iterator[str]:
    """Train what is missing, and yield a row of Markdown for each network."""
    results = Results(given.folder / "results")
    for seed in range(given.seeds):
        for way in given.ways or WAYS:
            config = write_config(given.folder, way, seed, given)
            train(given.folder, config)
            predicted = pd.read_parquet(results.predictions(config.stem))
            tested = predicted[predicted["split"] == "test"]
            mouse = tested[tested["bodypart"].isin([name for view in VIEWS for name in view])]
            found = measure(mouse)
            seconds = read_card(results.model(config.stem).card).training.seconds
            yield (
                f"| {way} | {seed} | {found['mean_error']:.2f} | {found['median_error']:.2f} | "
                f"{found[PCK]:.3f} | {seconds:.0f} |"
            )


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", metavar="DIR", type=Path)
    parser.add_argument("--labels", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--weight", type=float, default=0.001, help="of each loss")
    parser.add_argument("--ways", nargs="*", choices=WAYS, help="some of the trainings")
    given = parser.parse_args()
    given.folder = given.folder.absolute()
    given.folder.mkdir(parents=True, exist_ok=True)
    print("| learned from | seed | mean error (px) | median (px) | PCK@5 px | training (s) |")
    print("|---|---|---|---|---|---|")
    try:
        for row in list_rows(given):
            print(row, flush=True)
    except CohortposeError as error:
        raise exit_with(error) from None


if __name__ == "__main__":
    main()
