"""Compare two ways to read positions from the maps of trained networks: by votes, by the best cell.

A folder is that of an evaluated run of one animal, such as a fold of `cross_validation.py`. Its
test images are predicted once; the same maps are read in both ways.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.accuracy.cross_validation import PCK, measure
from benchmarks.projects import exit_with
from pipeline_lib.core.errors import CohortposeError, ModelError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import read_config
from pipeline_lib.io.images import read_image
from pipeline_lib.kernels.maps.score_maps import decode_peaks
from pipeline_lib.models.card import ModelCard, read_card
from pipeline_lib.models.inference.decoding import MapDecoder
from pipeline_lib.models.inference.onnx_runtime import OnnxRuntime
from pipeline_lib.models.inference.preprocessing import FrameFit, fit_frame

WAYS = {"votes": True, "best cell": False}


def read_both(folder: Path) -> dict[str, pd.DataFrame]:
    """Return the predictions of the test images, by way; columns as `PREDICTION_COLUMNS`.

    Raises
    ------
    ModelError
        If the network locates several animals, or is of another tool.
    """
    config = read_config(folder / "config.yaml")
    results, name = Results(folder / config.results), config.training.name
    files = results.model(name)
    card = read_card(files.card)
    if card.animals > 1 or card.origin:
        raise ModelError(f"{folder}: expected a network trained here for one animal")
    table = pd.read_parquet(results.predictions(name))
    table = table[table["split"] == "test"]
    runtime = OnnxRuntime(files.network, MapDecoder(card))
    parts = {way: [] for way in WAYS}
    for image, labels in table.groupby("image", sort=False):
        maps, fit = draw_maps(folder / str(image), runtime, card)
        for way, votes in WAYS.items():
            position, _ = decode_peaks(maps["score"], maps["offset"], card.stride, votes=votes)
            found = pd.DataFrame(fit.to_frame(position)[0], card.skeleton.bodyparts)
            found = found.loc[labels["bodypart"]].to_numpy()
            parts[way].append(labels.assign(x=found[:, 0], y=found[:, 1]))
    return {way: pd.concat(tables) for way, tables in parts.items()}


def draw_maps(
    path: Path, runtime: OnnxRuntime, card: ModelCard
) -> tuple[dict[str, np.ndarray], FrameFit]:
    """Return the maps of an image, one frame each, and how it fits into the network's input."""
    image = read_image(path)
    fit = FrameFit.of(*image.shape[:2], card.scale)
    return runtime.draw(fit_frame(image, fit)[None]), fit


def main() -> None:
    """Print the errors of each folder and way as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", metavar="DIR", type=Path, nargs="+")
    given = parser.parse_args()
    print("| run | read by | points | mean error (px) | median (px) | PCK@5 px |")
    print("|---|---|---:|---:|---:|---:|")
    try:
        pooled: dict[str, list[pd.DataFrame]] = {way: [] for way in WAYS}
        for folder in given.folders:
            for way, table in read_both(folder).items():
                pooled[way].append(table)
                print(format_row(str(folder), way, table))
        for way, tables in pooled.items() if len(given.folders) > 1 else ():
            print(format_row("all", way, pd.concat(tables)))
    except CohortposeError as error:
        raise exit_with(error) from None


def format_row(name: str, way: str, table: pd.DataFrame) -> str:
    """Return a row of the table of errors."""
    found = measure(table)
    errors = f"{found['mean_error']:.2f} | {found['median_error']:.2f} | {found[PCK]:.3f}"
    return f"| {name} | {way} | {found['points']} | {errors} |"


if __name__ == "__main__":
    main()
