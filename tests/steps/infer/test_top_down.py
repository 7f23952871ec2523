"""Test top-down from labels to poses: windows of samples, training, and predictions."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline_lib.core.errors import ConfigError, LabelError, ModelError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.skeleton import CENTRE, Skeleton
from pipeline_lib.core.tables import SINGLE_INDIVIDUAL
from pipeline_lib.io.images import read_image
from pipeline_lib.io.labels.table import write_labels
from pipeline_lib.io.targets.store import TargetStore
from pipeline_lib.models.card import format_card, locating_key, read_card
from pipeline_lib.models.inference.locating.coarse_to_fine import load_pose_predictor
from pipeline_lib.models.inference.locating.top_down import TopDown
from pipeline_lib.models.inference.predictor import RuntimeOptions
from pipeline_lib.steps.evaluate.run import run_evaluate
from pipeline_lib.steps.make_targets.run import run_make_targets
from pipeline_lib.steps.runs.result_keys import network_key
from pipeline_lib.steps.train import run_train, training_key
from tests.fixed_settings import parse_fixed_config
from tests.models.several import ANIMALS, draw_animals, draw_poses, label_animals
from tests.models.synthetic import BODYPARTS, tiny_config

SIZE = (64, 96)
ONNX = RuntimeOptions("onnx", threads=1)
NAN = np.nan


def make_config(**sections):
    """Return settings of windows of 32 px, found in frames of half the size."""
    values = tiny_config(epochs=2, validation_fraction=0.2).model_dump()
    values["individuals"] = {"max": 2, "method": "top-down"}
    values["locating"] = {"window": 32, "scale": 0.5, "epochs": 1}
    values["inference"] = {"runtime": "onnx", "threads_per_worker": 1}
    for section, settings in sections.items():
        values[section] = {**values[section], **settings}
    return parse_fixed_config(values)


def publish_labels(results, points, splits, size=SIZE, skeleton=None):
    labels = label_animals(results.root / "images", points, size, splits)
    if skeleton is not None:
        labels = replace(labels, skeleton=skeleton)
    write_labels(results.labels, labels)
    return labels


@pytest.fixture
def results(tmp_path):
    return Results(tmp_path / "results")


# Two animals, one of which is labelled in part; one alone at a corner; none.
POINTS = np.array(
    [
        [[[20.0, 30.0], [24.0, 36.0], [28.0, 24.0]], [[70.5, 20.0], [74.5, NAN], [NAN, NAN]]],
        [[[NAN, NAN]] * 3, [[2.0, 60.0], [8.0, 62.0], [2.0, 61.0]]],
        [[[NAN, NAN]] * 3] * 2,
    ]
)
POINTS[0, 1, 1] = [76.5, 30.0]
SPLITS = ["train", "test", "train"]


def test_each_labelled_animal_is_a_sample(results):
    publish_labels(results, POINTS, SPLITS)
    run_make_targets(make_config(), results)
    store = TargetStore(results.targets)
    assert [one.individual for one in store.samples] == ["anna", "bert", "bert"]
    assert [one.split for one in store.samples] == ["train", "train", "test"]
    assert [Path(one.image).name for one in store.samples] == [
        "img000.png",
        "img000.png",
        "img001.png",
    ]
    layout = store.layout
    # Twice the window, so that a turned one is whole.
    assert (layout.height, layout.width, layout.window) == (64, 64, 32)
    assert {(one.height, one.width) for one in store.samples} == {(64, 64)}
    assert (layout.bodyparts, layout.animals, layout.individuals) == (
        BODYPARTS,
        (SINGLE_INDIVIDUAL,),
        1,
    )
    assert (layout.edges, layout.identities) == ((), False)


def test_windows_have_the_animal_in_the_middle_and_its_keypoints_alone(results):
    publish_labels(results, POINTS, SPLITS)
    run_make_targets(make_config(), results)
    store = TargetStore(results.targets)
    # Means (24, 30); (73.5, 25) of the two that are labelled; (4, 61). Half of 64 px is 31.5.
    corners = [(-8, -2), (42, -6), (-28, 30)]  # 24 - 31.5 = -7.5 is rounded to the even
    points = [POINTS[0, 0], POINTS[0, 1], POINTS[1, 1]]
    for sample, (corner, keypoints) in enumerate(zip(corners, points, strict=True)):
        found = store.read("keypoint", sample)
        assert found.shape == (1, 3, 2)
        np.testing.assert_array_equal(found[0], keypoints - corner)
        image = read_image(results.root / store.samples[sample].image)
        x, y = corner
        padded = np.pad(image, ((64, 64), (64, 64), (0, 0)))
        expected = padded[y + 64 : y + 128, x + 64 : x + 128]
        np.testing.assert_array_equal(store.read("image", sample), expected)
        # The other animal is seen, and not drawn.
        peak = store.read("score_map", sample)
        assert (peak.max(axis=(1, 2)) > 0.5).tolist() == np.isfinite(keypoints[:, 0]).tolist()
        assert (peak > 0.8).sum() <= 4 * np.isfinite(keypoints[:, 0]).sum()


def test_windows_of_shrunk_frames(results):
    """Check that 32 network px at a half are 64 px, and stored 128 px become 64 network px."""
    publish_labels(results, POINTS, SPLITS)
    run_make_targets(make_config(targets={"scale": 0.5}), results)
    store = TargetStore(results.targets)
    assert (store.layout.height, store.layout.width, store.samples[0].height) == (64, 64, 128)
    # 24 - 63.5 and 30 - 63.5 are rounded to -40 and -34.
    in_window = POINTS[0, 0] + (40, 34)
    np.testing.assert_allclose(store.read("keypoint", 0)[0], (in_window + 0.5) / 2 - 0.5)


def test_the_locator_learns_the_centre_of_each_animal(results):
    publish_labels(results, POINTS, SPLITS)
    run_make_targets(make_config(), results, locator=True)
    store = TargetStore(results.locator_targets)
    layout = store.layout
    assert (layout.bodyparts, layout.animals, layout.window) == ((CENTRE,), ANIMALS, None)
    assert (layout.height, layout.width, layout.stride, layout.edges) == (32, 64, 4, ())
    assert [one.split for one in store.samples] == SPLITS
    # In half the size: (24 + 0.5) / 2 - 0.5.
    centres = [[[[11.75, 14.75]], [[36.5, 12.25]]], [[[NAN, NAN]], [[1.75, 30.25]]]]
    np.testing.assert_array_equal([store.read("keypoint", n) for n in range(2)], centres)
    assert np.isnan(store.read("keypoint", 2)).all()
    # One map for both; the image without an animal shows none.
    assert store.read("score_map", 0).shape == (1, 8, 16)
    # The nearest cells are at (13.5, 13.5) and (37.5, 13.5); sigma is 2.5.
    drawn = np.exp(-np.array([1.75**2 + 1.25**2, 1.0**2 + 1.25**2]) / (2 * 2.5**2))
    np.testing.assert_allclose(store.read("score_map", 0)[0, 3, [3, 9]], drawn, atol=1e-3)
    assert not store.read("score_map", 2).any()


def key_of(results, *, locator=False, **sections):
    run_make_targets(make_config(**sections), results, locator=locator)
    return TargetStore(results.locator_targets if locator else results.targets).key


def test_the_keys_of_the_stores_are_of_what_is_in_them(results):
    publish_labels(results, POINTS, SPLITS)
    windows, centres = key_of(results), key_of(results, locator=True)
    assert len({windows, key_of(results, locating={"window": 64}), centres}) == 3
    # The network does not know how animals are found, nor the locator what is seen of them.
    for other in ({"pcutoff": 0.3}, {"scale": 0.25, "epochs": 9}):
        assert key_of(results, locating=other) == windows
    assert key_of(results, locating={"window": 64}, locator=True) == centres
    assert key_of(results, locating={"scale": 0.25}, locator=True) != centres
    assert key_of(
        results, individuals={"method": "bottom-up"}, assembly={"graph": "complete"}
    ) not in (
        windows,
        centres,
    )
    # A pose that lies elsewhere in the same pixels is another sample.
    moved = POINTS.copy()
    moved[1] += (4.0, 0.0)
    labels = label_animals(results.root / "images", POINTS, SIZE, SPLITS)
    table = labels.table.assign(x=moved[..., 0].ravel(), y=moved[..., 1].ravel())
    write_labels(results.labels, replace(labels, table=table))
    assert key_of(results) != windows
    assert key_of(results, locator=True) != centres


@pytest.mark.parametrize("locator", [False, True])
def test_unique_bodyparts_of_the_labels_are_refused(results, locator):
    skeleton = Skeleton(bodyparts=BODYPARTS, unique_bodyparts=("blue",))
    publish_labels(results, POINTS, SPLITS, skeleton=skeleton)
    with pytest.raises(ConfigError, match=r"unique bodyparts \(blue\) .* bottom-up"):
        run_make_targets(make_config(), results, locator=locator)


def test_labels_without_an_animal_are_refused(results):
    publish_labels(results, np.full_like(POINTS, NAN), SPLITS)
    with pytest.raises(LabelError, match="no animal is labelled in any image"):
        run_make_targets(make_config(), results)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Train for two epochs on images of two animals, one of which is missing in some."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    results = Results(tmp_path_factory.mktemp("top-down") / "results")
    points = draw_poses(8, SIZE)
    points[1, 0] = NAN
    publish_labels(results, points, ["train"] * 5 + ["validation"] * 2 + ["test"])
    config = make_config()
    for locator in (True, False):
        run_make_targets(config, results, locator=locator)
        run_train(config, results, locator=locator)
    torch.set_num_threads(threads)
    return results


def test_the_cards_say_who_finds_what(trained):
    config, files = make_config(), trained.model("pose")
    card, locator = read_card(files.card), read_card(files.locator.card)
    assert (card.individuals, card.window, card.skeleton.bodyparts) == (
        (SINGLE_INDIVIDUAL,),
        32,
        BODYPARTS,
    )
    # 5 images of two animals, one of one.
    assert card.training.frames == {"train": 9, "validation": 4, "test": 2}
    assert (card.training.epochs, locator.training.epochs) == (2, 1)
    assert locator.individuals == ("individual1", "individual2")
    assert (locator.skeleton.bodyparts, locator.window, locator.edges) == ((CENTRE,), None, ())
    assert (locator.scale, locator.stride) == (0.5, 4)
    assert card.key == training_key(config, TargetStore(trained.targets))
    own = training_key(config.for_locator(), TargetStore(trained.locator_targets))
    assert locator.key == own
    # What was held out was looked at as windows are.
    assert "validation_error" in files.history.read_text()


def load(trained, batch_size=None, **sections):
    config = make_config(**sections)
    options = replace(ONNX, batch_size=batch_size)
    return load_pose_predictor(trained.model("pose"), options, config.locating, config.assembly)


LENIENT = {"assembly": {"pcutoff": 0.0, "min_keypoints": 1}, "locating": {"pcutoff": 0.0}}


@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_frame_is_predicted_as_if_alone(trained, batch_size):
    predictor = load(trained, batch_size, **LENIENT)
    assert isinstance(predictor, TopDown)
    frames = [draw_animals(pose, SIZE) for pose in draw_poses(5, SIZE, seed=1)]
    frames[3][:] = 0
    located = predictor.predict(frames)
    # Two animals, and room for four more.
    assert located.position.shape == (5, 6, 3, 2)
    assert np.isfinite(located.position).any()
    for order in ([4, 2, 0, 1, 3], [1], [3]):
        other = predictor.predict([frames[number] for number in order])
        for place, number in enumerate(order):
            for part in range(2):
                assert other[part][place].tobytes() == located[part][number].tobytes()


def test_the_config_says_it_by_the_network_that_it_trained(trained, tmp_path):
    """Check that a network of windows never gets whole frames."""
    files = trained.model("pose")
    plain = make_config(individuals={"method": "bottom-up"})
    assert isinstance(load_pose_predictor(files, ONNX, plain.locating, plain.assembly), TopDown)
    other = Results(tmp_path / "other").model("pose")
    other.folder.mkdir(parents=True)
    for name in ("card", "network", "weights"):
        getattr(other, name).symlink_to(getattr(files, name))
    config = make_config()
    for ask in (
        lambda: load_pose_predictor(other, ONNX, config.locating, config.assembly),
        lambda: locating_key(other, config.locating),
    ):
        with pytest.raises(ModelError, match="to bottom-up and train again"):
            ask()
    other.locator.folder.mkdir()
    wrong = read_card(files.locator.card).model_copy(
        update={"skeleton": Skeleton(bodyparts=("a",))}
    )
    other.locator.card.write_text(format_card(wrong))
    other.locator.network.symlink_to(files.locator.network)
    with pytest.raises(ModelError, match="locates a, not the centres of animals: run `make-targ"):
        load_pose_predictor(other, ONNX, config.locating, config.assembly)


def test_the_key_of_poses_is_of_what_they_depend_on(trained):
    def key(**sections):
        return network_key(make_config(**sections), trained)

    plain = key()
    changes = (
        {"locating": {"pcutoff": 0.2}},
        {"locating": {"every": 4}},
        {"assembly": {"pcutoff": 0.2}},
        {"assembly": {"min_keypoints": 2}},
    )
    assert len({plain, *(key(**change) for change in changes)}) == 5
    assert key(locating={"every": 1}) == plain
    # Neither is looked at top-down; the window is in the network's own key.
    for other in ({"locating": {"min_found": 0.9}}, {"assembly": {"min_affinity": 0.5}}):
        assert key(**other) == plain


def test_evaluation_goes_through_both_networks(trained):
    run_evaluate(make_config(**LENIENT), trained)
    rows = trained.metrics("pose").read_text().splitlines()
    assert any(row.startswith("all\ttest\tmean_error\t") for row in rows)


def test_it_learns_two_animals(tmp_path):
    """Find both animals of an unseen frame after some epochs, each in its window."""
    results = Results(tmp_path / "results")
    publish_labels(results, draw_poses(24, SIZE), ["train"] * 24)
    gentle = {"rotation": 0.0, "scale": [0.9, 1.1], "noise": 0.0, "blur": 0.0, "erase": 0.0}
    training = {"epochs": 40, "learning_rate": 5e-3, "batch_size": 8, "augmentation": gentle}
    training |= {"validate_every": 40, "validation_fraction": 0.0}
    config = make_config(training=training, locating={"epochs": 60, "pcutoff": 0.3})
    for locator in (True, False):
        run_make_targets(config, results, locator=locator)
        run_train(config, results, locator=locator)
    predictor = load_pose_predictor(results.model("pose"), ONNX, config.locating, config.assembly)
    poses = draw_poses(4, SIZE, seed=7)
    poses[3, 1] = NAN
    position = predictor.predict([draw_animals(pose, SIZE) for pose in poses]).position
    for found, labelled in zip(position, poses, strict=True):
        there = found[np.isfinite(found).all((1, 2))]
        wanted = labelled[np.isfinite(labelled).all((1, 2))]
        assert len(there) == len(wanted)
        there = there[np.argsort(there[:, :, 0].mean(1))]
        assert np.linalg.norm(there - wanted, axis=-1).max() < 8.0
