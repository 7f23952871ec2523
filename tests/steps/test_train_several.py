"""Train on two animals, each two discs on a stick: targets, training and assembly."""

import cv2
import numpy as np
import pandas as pd
import pytest

from pipeline_lib.core.errors import ConfigError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.core.tables import LABEL_COLUMNS
from pipeline_lib.io.images import write_png
from pipeline_lib.io.labels.table import Labels, read_labels, write_labels
from pipeline_lib.io.targets.store import TargetStore
from pipeline_lib.models.card import read_card
from pipeline_lib.models.inference.predictor import RuntimeOptions, load_predictor
from pipeline_lib.steps.make_targets.run import run_make_targets
from pipeline_lib.steps.train import run_train
from tests.fixed_settings import parse_fixed_config
from tests.models.synthetic import TINY_BACKBONE

SIDE = 96
BODYPARTS = ("head", "middle", "tail")
COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255))
WINDOW = {"window": 32, "scale": 1.0}
EDGES = [["head", "middle"], ["middle", "tail"]]


def draw_animals(points):
    """Draw animals (individual, keypoint, 2): a white stick with a disc at each keypoint."""
    image = np.full((SIDE, SIDE, 3), 90, np.uint8)
    for animal in points:
        if np.isfinite(animal).all():
            cv2.polylines(
                image,
                [animal.round().astype(np.int32)],
                isClosed=False,
                color=(255, 255, 255),
                thickness=3,
            )
            for point, colour in zip(animal.round().astype(int).tolist(), COLOURS, strict=True):
                cv2.circle(image, point, 4, colour, -1)
    return image


def place_animals(stream):
    """Return two animals that do not touch: (individual, keypoint, 2)."""
    animals = []
    for left in (0, SIDE // 2):
        angle = stream.uniform(0, 2 * np.pi)
        arm = 15.0 * np.array([np.cos(angle), np.sin(angle)])
        centre = [left + stream.uniform(20, 28), stream.uniform(22, SIDE - 22)]
        animals.append([centre + arm, centre, centre - arm])
    return np.array(animals)[stream.permutation(2)]


def write_images(results, count, splits):
    stream = np.random.default_rng(0)
    folder = results.root / "images"
    folder.mkdir(parents=True)
    rows = []
    for number in range(count):
        animals = place_animals(stream)
        path = folder / f"img{number:03d}.png"
        write_png(path, draw_animals(animals))
        rows += [
            (
                "sticks",
                number,
                f"animal{one}",
                part,
                x,
                y,
                True,
                str(folder),
                split,
                str(path),
                0,
                "",
            )
            for one, animal in enumerate(animals)
            for part, (x, y) in zip(BODYPARTS, animal, strict=True)
            for split in [splits[number % len(splits)]]
        ]
    table = pd.DataFrame(rows, columns=list(LABEL_COLUMNS))
    skeleton = Skeleton(bodyparts=BODYPARTS, edges=EDGES)
    write_labels(results.labels, Labels(table, BODYPARTS, ("animal0", "animal1"), skeleton))


def make_config(individuals=None, assembly=None, **training):
    gentle = {"rotation": 0.0, "scale": [0.9, 1.1], "noise": 0.0, "blur": 0.0, "erase": 0.0}
    return parse_fixed_config(
        {
            "cohort": "cohort.tsv",
            "individuals": {"max": 2, **(individuals or {})},
            "skeleton": {"bodyparts": BODYPARTS, "edges": EDGES},
            "assembly": assembly or {},
            "targets": {
                "stride": 4,
                "sigma": 4.0,
                "pos_dist_thresh": 7.0,
                "part_affinity_width": 5.0,
            },
            "training": {
                "backbone": TINY_BACKBONE,
                "weights": "none",
                "head_channels": 16,
                "batch_size": 8,
                "learning_rate": 5e-3,
                "augmentation": gentle,
                "validate_every": 10,
                "accelerator": "cpu",
                "devices": 1,
                **training,
            },
        }
    )


def test_two_animals_are_learned_and_put_together(tmp_path):
    """Find the three keypoints of each animal in unseen frames, to within a few pixels."""
    results = Results(tmp_path / "results")
    write_images(results, 26, ["train"] * 12 + ["validation"])
    config = make_config(epochs=40)
    run_make_targets(config, results)
    run_train(config, results)

    card = read_card(results.model("pose").card)
    assert card.individuals == ("individual1", "individual2")
    assert (card.edges, card.used_edges) == (((0, 1), (1, 2)), (0, 1))
    history = pd.read_csv(results.model("pose").history, sep="\t")
    assert "train_part_affinity_loss" in set(history["metric"])
    errors = history.loc[history["metric"] == "validation_error", "value"].to_numpy()
    assert errors[-1] < 3.0

    predictor = load_predictor(results.model("pose"), RuntimeOptions("onnx", threads=1))
    stream = np.random.default_rng(99)
    truth = [place_animals(stream) for _ in range(8)]
    found = predictor.predict([draw_animals(animals) for animals in truth])
    assert found.position.shape == (8, 2, 3, 2)
    distances = []
    for animals, animal in zip(truth, found.position, strict=True):
        # Paired with the truth by the middle bodypart.
        away = np.linalg.norm(animals[:, None, 1] - animal[None, :, 1], axis=-1)
        away = np.where(np.isfinite(away), away, 1e3)
        distances.append(np.linalg.norm(animals - animal[away.argmin(axis=1)], axis=-1))
    distances = np.array(distances)
    assert np.isfinite(distances).mean() > 0.9
    assert np.nanmedian(distances) < 3.0
    # Chance would have half of the outer keypoints at the other animal.
    assert (distances[np.isfinite(distances)] < 10).mean() > 0.75


def test_the_store_has_fields_and_identities(tmp_path):
    results = Results(tmp_path / "results")
    write_images(results, 2, ["train"])
    config = make_config({"identity": True})
    run_make_targets(config, results)
    store = TargetStore(results.targets)
    assert store.layout.skeleton.edges == (("head", "middle"), ("middle", "tail"))
    assert store.layout.animals == ("animal0", "animal1")
    keypoint, field = store.read("keypoint", 0), store.read("part_affinity", 0)
    assert (keypoint.shape, field.shape) == ((2, 3, 2), (2, 2, 24, 24))
    mask = store.read("part_affinity_mask", 0)
    np.testing.assert_array_equal(np.abs(field).sum(axis=1) > 0, mask)
    for number, (a, b) in enumerate([(0, 1), (1, 2)]):
        for animal in keypoint:
            middle = (animal[a] + animal[b]) / 2
            column, row = ((middle - 1.5) / 4).round().astype(int)
            way = (animal[b] - animal[a]) / np.linalg.norm(animal[b] - animal[a])
            np.testing.assert_allclose(field[number, :, row, column], way, atol=2e-3)
    identity = store.read("identity", 0)
    assert identity.shape == (2, 24, 24)
    for number, animal in enumerate(keypoint):
        column, row = ((animal[1] - 1.5) / 4).round().astype(int)
        assert identity[:, row, column].tolist() == [number == 0, number == 1]


def test_identities_are_learned_by_name(tmp_path):
    results = Results(tmp_path / "results")
    write_images(results, 4, ["train"])
    config = make_config({"identity": True}, epochs=2)
    run_make_targets(config, results)
    run_train(config, results)
    assert read_card(results.model("pose").card).identities == ("animal0", "animal1")
    predictor = load_predictor(
        results.model("pose"),
        RuntimeOptions("onnx", threads=1),
        config.assembly.model_copy(update={"pcutoff": 0.001, "min_keypoints": 1}),
    )
    found = predictor.predict([draw_animals(place_animals(np.random.default_rng(1)))])
    there = np.isfinite(found.position).any(axis=(2, 3))
    assert there.any()
    np.testing.assert_allclose(found.identity[there].sum(axis=-1), 1.0, atol=1e-5)
    assert np.isnan(found.identity[~there]).all()


@pytest.mark.parametrize("individuals", [{"identity": True}, {"method": "top-down"}, {}])
def test_the_test_split_is_measured_with_all_that_is_learned(individuals, tmp_path):
    """Each animal's keypoints count once: bottom-up, by name, and in windows of their own."""
    results = Results(tmp_path / "results")
    write_images(results, 10, ["train"] * 3 + ["test"])
    config = make_config(individuals, epochs=2)
    config = config.model_copy(update={"locating": config.locating.model_copy(update=WINDOW)})
    run_make_targets(config, results)
    run_train(config, results)
    history = pd.read_csv(results.model("pose").history, sep="\t")
    values = {name: rows["value"].to_numpy() for name, rows in history.groupby("metric")}
    for name in ("test_loss", "train_unaugmented_loss", "test_error", "train_median_error"):
        assert len(values[name]) == 2, name
        assert (values[name] > 0).all(), name
    # Losses are of one kind: those of frames that are as easy differ by a factor, not by its power.
    assert 0.3 < values["test_loss"][-1] / values["train_unaugmented_loss"][-1] < 3
    # A network that has learned nothing is wrong by less than the frame.
    assert values["test_error"][-1] < SIDE
    if config.top_down:
        run_make_targets(config, results, locator=True)
        run_train(config, results, locator=True)
        locator = pd.read_csv(results.model("pose").locator.history, sep="\t")
        assert (locator.loc[locator["metric"] == "test_error", "value"] > 0).sum() == 2


def test_connecting_edges_of_a_complete_graph_are_used(tmp_path):
    results = Results(tmp_path / "results")
    write_images(results, 4, ["train"])
    config = make_config(assembly={"graph": "complete"}, epochs=2)
    run_make_targets(config, results)
    run_train(config, results)
    card = read_card(results.model("pose").card)
    assert card.edges == ((0, 1), (0, 2), (1, 2))
    assert {point for number in card.used_edges for point in card.edges[number]} == {0, 1, 2}


def test_without_edges_it_says_what_to_set(tmp_path):
    results = Results(tmp_path / "results")
    write_images(results, 2, ["train"])
    labels = read_labels(results.labels).table
    write_labels(results.labels, Labels(labels, BODYPARTS, ("animal0", "animal1"), Skeleton()))
    with pytest.raises(ConfigError, match=r"skeleton.edges.*assembly.graph: complete"):
        run_make_targets(make_config(), results)
