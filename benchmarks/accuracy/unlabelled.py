"""Compare what frames without labels teach, with few labels of a rendered or a real mouse.

Each loss is trained beside a training without, for each seed; networks share targets and clips.
With `--weights`, so is a backbone that `benchmarks/training/pretraining.py` has pretrained.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from benchmarks.accuracy.cross_validation import PCK, measure
from benchmarks.projects import (
    LABELLED,
    PROJECTS,
    exit_with,
    format_config,
    format_sheet,
    locate_project,
    merge_settings,
)
from pipeline_lib.core.errors import CohortposeError
from pipeline_lib.core.layout import Results
from pipeline_lib.io.publish import publish_text
from pipeline_lib.models.card import read_card

CHECKOUT = Path(__file__).parents[2]
MOUSE = ("paw1LH", "paw2LF", "paw3RF", "paw4RH", "tailBase", "tailMid", "nose")
VIEWS = [[f"{name}_{view}" for name in MOUSE] for view in ("top", "bot")]
WAYS: Mapping[str, tuple[str, ...]] = {
    "labels alone": (),
    "temporal": ("temporal",),
    "pose_pca": ("pose_pca",),
    "view_pca": ("view_pca",),
    "pretrained": (),
}
# In half the size, which `auto` chooses for the mirror mouse, too.
HALF = {"targets": {"scale": 0.5, "stride": 8, "sigma": 5.0, "pos_dist_thresh": 10.0}}
REAL: Mapping[str, Mapping[str, Any]] = {
    "mirror-mouse": HALF,
    "openfield": merge_settings(HALF, {"training": {"crop": 160}}),
}
RENDERED = {"targets": {"stride": 8}, "training": {"batch_size": 8}}
DEMO = ("--videos", "3", "--frames", "60", "--size", "128", "--labelled-frames", "60")
FRAMES: Mapping[str, int] = {"rendered": 60, **LABELLED}


def prepare(given: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that all trainings share; the rendered cohort is written first."""
    if given.dataset in REAL:
        project = PROJECTS[given.dataset]
        source = locate_project(project)
        publish_text(given.folder / "cohort.tsv", format_sheet(project, source))
        values = yaml.safe_load(format_config(project, source, REAL[given.dataset]))
        if given.dataset != "mirror-mouse":
            return merge_settings(values, {})
        unsupervised = {"views": VIEWS, "bodyparts": [name for view in VIEWS for name in view]}
        return merge_settings(values, {"training": {"unsupervised": unsupervised}})
    if not (given.folder / "config.yaml").is_file():
        command = [str(Path(sys.executable).parent / "cohortpose"), "demo", str(given.folder)]
        subprocess.run([*command, *DEMO], check=True)
    values = yaml.safe_load((given.folder / "config.yaml").read_text(encoding="utf-8"))
    return merge_settings(values, RENDERED)


def write_config(common: Mapping[str, Any], way: str, seed: int, given: argparse.Namespace) -> Path:
    """Write the config of a training, and return it."""
    training = {
        "name": f"{way.replace(' ', '-')}-{seed}",
        "epochs": given.epochs,
        "seed": seed,
        "measure_every": 0,
        "split": {"test_fraction": 1.0 - given.labels / FRAMES[given.dataset], "seed": seed},
        "unsupervised": dict.fromkeys(WAYS[way], given.weight),
    }
    if way == "pretrained":
        training["weights"] = str(given.weights)
    values = merge_settings(common, {"training": training})
    path: Path = given.folder / f"{training['name']}.yaml"
    publish_text(path, yaml.safe_dump(values, sort_keys=False, allow_unicode=True))
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
    results, common = Results(given.folder / "results"), prepare(given)
    # Other frames have one view.
    left_out = set() if given.dataset == "mirror-mouse" else {"view_pca"}
    left_out |= set() if given.weights else {"pretrained"}
    ways = [way for way in given.ways or WAYS if way not in left_out]
    for seed in range(given.seeds):
        for way in ways:
            config = write_config(common, way, seed, given)
            train(given.folder, config)
            predicted = pd.read_parquet(results.predictions(config.stem))
            tested = predicted[predicted["split"] == "test"]
            if given.dataset == "mirror-mouse":
                tested = tested[tested["bodypart"].isin([name for view in VIEWS for name in view])]
            found = measure(tested)
            seconds = read_card(results.model(config.stem).card).training.seconds
            yield (
                f"| {way} | {seed} | {found['mean_error']:.2f} | {found['median_error']:.2f} | "
                f"{found[PCK]:.3f} | {seconds:.0f} |"
            )


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", choices=sorted(FRAMES))
    parser.add_argument("folder", metavar="DIR", type=Path)
    parser.add_argument("--labels", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--weight", type=float, default=0.0001, help="of each loss")
    parser.add_argument("--weights", type=Path, help="of a pretrained backbone")
    parser.add_argument("--ways", nargs="*", choices=WAYS, help="some of the trainings")
    given = parser.parse_args()
    given.folder = given.folder.absolute()
    given.weights = given.weights and given.weights.absolute()
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
