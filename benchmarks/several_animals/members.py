"""Compare ways to combine the members of a bottom-up ensemble, on the test frames of a project.

The individuals that members assemble are matched before the median, as inference does; or the maps
of all members are averaged and decoded once. The project must be trained: `results/labels` and all
members are read from DIR.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline_lib.core.layout import ModelFiles, Results
from pipeline_lib.core.settings.individuals import AssemblySettings
from pipeline_lib.core.settings.reading import read_config
from pipeline_lib.io.labels.table import label_arrays, read_labels
from pipeline_lib.kernels.metrics import keypoints as similarity
from pipeline_lib.models.card import read_card
from pipeline_lib.models.inference.decoding import Located, MapDecoder
from pipeline_lib.models.inference.locating.coarse_to_fine import load_pose_predictor
from pipeline_lib.models.inference.onnx_runtime import OnnxRuntime
from pipeline_lib.models.inference.predictor import PosePredictor, Predictor, RuntimeOptions
from pipeline_lib.steps.evaluate.individuals import (
    LabelledIndividuals,
    measure_individuals,
    predict_individuals,
)


class AveragedMaps:
    """Average the maps of several networks, and decode them once."""

    name = "onnx"

    def __init__(self, members: Sequence[ModelFiles], assembly: AssemblySettings) -> None:
        cards = [read_card(one.card) for one in members]
        used = sorted({number for card in cards for number in card.used_edges})
        self.card = cards[0].model_copy(update={"used_edges": tuple(used)})
        self._decoder = MapDecoder(self.card, assembly)
        self._networks = [OnnxRuntime(one.network, self._decoder) for one in members]

    def locate(self, frames: NDArray[np.uint8]) -> Located:
        """Locate keypoints; see `pipeline_lib.models.inference.predictor.Runtime`."""
        drawn = [network.draw(frames) for network in self._networks]
        return self._decoder.decode(
            {name: np.mean([maps[name] for maps in drawn], axis=0) for name in drawn[0]}
        )


def compare(folder: Path) -> pd.DataFrame:
    """Return errors in px and whole-animal metrics of each way and each member."""
    config, results = read_config(folder / "config.yaml"), Results(folder / "results")
    files = results.model(config.training.name)
    members = files.list_members(config.training.ensemble)
    assembly = config.assembly.model_copy(update={"surplus": 0})
    options = replace(RuntimeOptions("onnx", threads=1), batch_size=1)
    averaged = AveragedMaps(members, assembly)
    shared = (options, config.locating, assembly)
    ways: dict[str, PosePredictor] = {
        "matched, median": load_pose_predictor(files, *shared, members),
        "maps averaged": Predictor(averaged.card, averaged),
        **{
            f"member {number}": load_pose_predictor(files, *shared, (one,))
            for number, one in enumerate(members, 1)
        },
    }
    labels = read_labels(results.labels)
    images, positions = label_arrays(labels)
    tested = (images["split"] == "test").to_numpy()
    truth = LabelledIndividuals(
        images[tested].reset_index(drop=True), positions[tested], labels.slots
    )
    rows = {}
    for name, way in ways.items():
        table = predict_individuals(way, truth, config.evaluation)
        distance = similarity.keypoint_distance(
            table[["x", "y"]].to_numpy(np.float64),
            table[["label_x", "label_y"]].to_numpy(np.float64),
        )
        rows[name] = {
            "mean": similarity.mean_error(distance),
            "rmse": similarity.root_mean_square_error(distance),
            **measure_individuals(table, config.evaluation),
        }
    return pd.DataFrame(rows).T


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", metavar="DIR", type=Path)
    print(compare(parser.parse_args().folder).round(3).to_string())


if __name__ == "__main__":
    main()
