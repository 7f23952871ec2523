"""Settings that are `auto` are chosen from the labels of training frames, whatever these are."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from pipeline_lib.core.errors import ConfigError, StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.chosen import TUNABLE
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.core.tables import LABEL_COLUMNS
from pipeline_lib.io.chosen_settings import read_choices, resolve_settings
from pipeline_lib.io.labels.table import Labels
from pipeline_lib.models.card import ModelCard, TrainingRecord, format_card
from pipeline_lib.steps.import_labels.chosen_settings import (
    choose_settings,
    measure_labels,
    publish_choices,
)
from pipeline_lib.steps.import_labels.run import collect_labels
from pipeline_lib.steps.runs.stage_keys import find_stage_key

NAN = np.nan
# Nose, left and right ear, tail: an animal of 100 px, ears 20 px apart.
BODY = np.array([[0, -50], [-10, -30], [10, -30], [0, 50]], float)
NAMES = ("nose", "left", "right", "tail")
SYMMETRIC = Skeleton(bodyparts=NAMES, symmetries=(("left", "right"),))
ROTATION, MIRROR = "training.augmentation.rotation", "training.augmentation.mirror"


def turn(degrees, centre=(320, 240)):
    angle = np.radians(np.asarray(degrees, float))
    matrix = np.stack([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.einsum("ijf,kj->fki", matrix, BODY) + centre


def make_labels(position, skeleton=SYMMETRIC, folder=Path("/nowhere"), split=(), videos="a"):
    """Return labels of positions of shape (frame, individual, keypoint, 2)."""
    rows = [
        {
            "image": str(folder / f"{frame}.png"),
            "video": videos[frame % len(videos)],
            "frame": frame,
            "individual": f"animal{animal}",
            "bodypart": name,
            "x": x,
            "y": y,
            "split": split[frame] if len(split) else "train",
        }
        for frame, animals in enumerate(position)
        for animal, keypoints in enumerate(animals)
        for name, (x, y) in zip(skeleton.bodyparts, keypoints, strict=True)
    ]
    return Labels(
        pd.DataFrame(rows).reindex(columns=list(LABEL_COLUMNS)), skeleton.bodyparts, (), skeleton
    )


def choose(labels, **settings):
    chosen = choose_settings(parse_config({"cohort": "c", **settings}), measure_labels(labels))
    assert tuple(chosen) == TUNABLE
    assert all(choice.reason for choice in chosen.values())
    return {name: choice.value for name, choice in chosen.items()}


def write_images(folder, sizes):
    folder.mkdir()
    for frame, size in enumerate(sizes):
        Image.new("L", size).save(folder / f"{frame}.png")
    return folder


@pytest.mark.parametrize(
    ("side", "settings", "advice"),
    [
        # A sixteenth of the pixels to find it, and a window of 160 px: 15 %.
        ((640, 480), {}, "the animal is small: with `locating.enabled: auto`"),
        ((640, 480), {"locating": {"enabled": True}}, ""),
        # Two windows of 160 px and a sixteenth: 23 %.
        ((640, 480), {"individuals": {"max": 2}}, "animals are small: with `individuals.method: "),
        # 160 * 160 px, and a quarter of the side: 93 %.
        ((180, 164), {}, ""),
        (None, {}, ""),
    ],
)
def test_windows_are_advised_where_animals_are_small(tmp_path, caplog, side, settings, advice):
    folder = tmp_path / "images"
    if side is not None:
        write_images(folder, [side] * 8)
    several = np.stack([turn(np.arange(8), (80, 80)), turn(np.arange(8), (240, 80))], axis=1)
    poses = several if "individuals" in settings else several[:, :1]
    config = parse_config({"cohort": "c", **settings, "results": str(tmp_path / "results")})
    with caplog.at_level("INFO"):
        publish_choices(config, Results(tmp_path / "results"), make_labels(poses, folder=folder))
    assert advice in caplog.text
    assert ("% of the pixels" in caplog.text) == bool(advice)
    share = {1: "15 %", 2: "23 %"}[config.individuals.max]
    assert not advice or f"would see {share} of the pixels" in caplog.text


def test_a_mouse_from_above(tmp_path):
    folder = write_images(tmp_path / "images", [(640, 480)] * 36)
    labels = make_labels(turn(np.arange(0, 360, 10))[:, None], folder=folder)
    # The nose is sqrt(500) = 22.4 px from each ear, and the ears 20 px from each other. Turned
    # animals are 80 to 100 px long.
    assert choose(labels) == {
        "training.backbone": "tf_efficientnet_lite0",
        ROTATION: 180.0,
        MIRROR: True,
        "targets.scale": 1.0,
        "targets.stride": 8,
        "targets.sigma": 6.0,
        "targets.pos_dist_thresh": 12.0,
        "locating.scale": 0.25,
        "locating.window": 160,  # 1.3 x 100 px
        "training.crop": 224,  # 2 x 100 px
        "training.batch_size": 8,
        "training.epochs": 290,  # 1440 steps, 5 in an epoch
        # Taken where the config asks for them only.
        "training.stop.plateau": True,
        "training.freeze": True,
    }


KICKING = ("hip", "left", "right")


def kick(away, steps=40):
    """Return poses of two legs of 70 to 90 px that swing by 30 degrees past each other.

    The animal goes `away` px to either side of its place.
    """
    step = np.arange(steps)
    angle = np.radians(30 * np.sin(step))
    length = 80 + 10 * np.cos(2.7 * step)
    poses = np.zeros((steps, 3, 2))
    poses[:, 1] = np.stack([np.sin(angle), np.cos(angle)], axis=-1) * length[:, None]
    poses[:, 2] = poses[:, 1] * (-1, 1)
    return poses + (200, 100) + np.where(step % 2, away, -away)[:, None, None] * [1, 0]


@pytest.mark.parametrize(
    ("away", "rotation"),
    [
        (0, 180.0),  # the hip stands still; from one foot to the other is all ways
        (20, 30.0),  # less than 0.3 of 90 px
        (40, 180.0),  # more: it may face other ways elsewhere
    ],
)
def test_a_view_is_fixed_where_animals_stay_in_place(away, rotation):
    labels = make_labels(kick(away)[:, None], Skeleton(bodyparts=KICKING))
    assert choose(labels)[ROTATION] == rotation


@pytest.mark.parametrize(
    ("videos", "frames", "apart", "rotation"),
    [
        ("abc", 40, 200, 30.0),  # three cameras see it in three places
        ("abc", 16, 200, 180.0),  # which need 18 postures
        ("abc", 16, 0, 30.0),  # one place needs twelve
    ],
)
def test_videos_have_one_place_or_each_its_own(videos, frames, apart, rotation):
    camera = np.arange(frames) % len(videos)
    poses = kick(10, frames) + (camera * apart)[:, None, None] * [1, 0]
    labels = make_labels(poses[:, None], Skeleton(bodyparts=KICKING), videos=videos)
    assert choose(labels)[ROTATION] == rotation


def test_corners_do_not_keep_an_animal_in_place():
    """It goes 40 px away: more than 0.3 of its 90 px, less than 0.3 of the 150 px of all."""
    poses = np.concatenate([kick(40), np.full((40, 1, 2), (270.0, 140))], axis=1)
    labels = make_labels(poses[:, None], Skeleton(bodyparts=(*KICKING, "corner")))
    assert choose(labels)[ROTATION] == 180.0


def test_an_animal_that_rests_does_not_stay_in_place():
    """The same eight postures again and again are fewer than twelve."""
    labels = make_labels(np.tile(kick(20)[:8], (5, 1, 1))[:, None], Skeleton(bodyparts=KICKING))
    assert choose(labels)[ROTATION] == 180.0


def test_an_animal_that_spins_in_its_place_beside_a_corner_faces_all_ways():
    """From every bodypart, the corner of the box is in nearly one direction."""
    poses = np.concatenate([turn(np.arange(0, 360, 10)), np.full((36, 1, 2), 20.0)], axis=1)
    labels = make_labels(poses[:, None], Skeleton(bodyparts=(*NAMES, "corner")))
    assert choose(labels)[ROTATION] == 180.0


def test_animals_that_face_all_ways_do_so_with_few_labelled_bodyparts():
    """Of twenty poses of four bodyparts, half of the labels are missing."""
    random = np.random.default_rng(0)
    for _ in range(20):
        poses = turn(random.uniform(0, 360, 20), random.uniform(100, 500, 2))
        poses[random.random((20, 4)) < 0.5] = NAN
        assert choose(make_labels(poses[:, None]))[ROTATION] == 180.0


@pytest.mark.parametrize("frames", [6, 20, 60, 100])
@pytest.mark.parametrize("animals", [1, 2])
def test_one_misplaced_label_changes_no_choice(frames, animals):
    """It may still turn a fixed view into all ways, which is safe; these animals face all ways."""
    random = np.random.default_rng(frames)
    place = random.uniform(200, 400, (frames, 1, 2)) if animals == 1 else (320, 240)
    poses = np.stack([turn(np.arange(frames) * 41.0, (0, 0)) + place] * animals, axis=1)
    poses[:, -1] += (animals - 1) * 160
    settings = {"individuals": {"max": animals}}
    chosen = choose(make_labels(poses), **settings)
    poses[frames // 2, 0, 3] = 4000, 3000
    assert choose(make_labels(poses), **settings) == chosen
    if animals > 1:
        poses[frames // 2, 0, 3] = poses[frames // 2, 1, 3] + (1, 0)
        assert choose(make_labels(poses), **settings) == chosen


def test_labels_of_unique_bodyparts_alone_tell_nothing():
    skeleton = Skeleton(bodyparts=("box", "door"), unique_bodyparts=("box", "door"))
    labels = make_labels(turn(np.arange(8))[:, None, :2], skeleton)
    assert choose(labels)[ROTATION] == 180.0


def test_two_animals_in_two_places_do_not_stay_in_one():
    """Each is 50 px from the median of both: more than 0.3 of 90 px."""
    poses = kick(0)[:, None] + np.array([[[0, 0]], [[100, 0]]])
    assert choose(make_labels(poses, Skeleton(bodyparts=KICKING)))[ROTATION] == 180.0


def test_animals_that_faced_one_way_in_few_places_may_face_others():
    """Two clips of an animal that walks straight on do not show a fixed view, nine places do."""
    walk = [(100 + step, 200) for step in range(20)]
    angles = np.linspace(-25, 25, 20)
    clip = np.stack([turn([angle], place)[0] for angle, place in zip(angles, walk, strict=True)])
    assert choose(make_labels(clip[:, None]))[ROTATION] == 180.0
    spread = [(100 + 150 * (step % 9), 200) for step in range(20)]
    seen = np.stack([turn([angle], place)[0] for angle, place in zip(angles, spread, strict=True)])
    assert choose(make_labels(seen[:, None]))[ROTATION] == 40.0


def test_a_long_animal_is_shrunk_further_only_where_cells_may_be_fine():
    """800 px long, ears 16 px apart: 0.75 keeps them 12 px apart, and is 600 px long."""
    long = make_labels((turn(np.zeros(8)) - (320, 240))[:, None] * (0.8, 8.0) + make_moves(8))
    assert choose(long)["targets.scale"] == 0.5
    assert choose(long, targets={"stride": 4})["targets.scale"] == 0.5
    assert choose(long, targets={"stride": 8})["targets.scale"] == 0.75


def test_a_fixed_view():
    chosen = choose(make_labels(turn(np.linspace(-8, 8, 20))[:, None] + make_moves(20)))
    assert (chosen[ROTATION], chosen[MIRROR]) == (15.0, False)


def make_moves(count):
    return np.random.default_rng(0).uniform(-50, 50, (count, 1, 1, 2))


@pytest.mark.parametrize(
    "position",
    [
        turn([30])[:, None],
        np.repeat(turn([30])[:, None], 40, axis=0),
        np.repeat(turn([30])[:, None, :1], 4, axis=2),
        np.where(np.arange(4)[:, None] == 0, turn(np.arange(0, 360, 9))[:, None], NAN),
    ],
    ids=["one frame", "identical poses", "one place", "one bodypart labelled"],
)
def test_labels_that_tell_nothing_leave_what_suits_most(position):
    chosen = choose(make_labels(position))
    assert chosen[ROTATION] == 180.0
    assert chosen["training.crop"] is None
    assert chosen["targets.scale"] == 1.0


def test_labels_without_a_point_leave_what_suits_most():
    chosen = choose(make_labels(np.full((3, 2, 4, 2), NAN)))
    assert chosen["targets.sigma"] == 8.0
    assert chosen["locating.window"] == 224
    assert chosen["training.epochs"] == 1200


def test_one_bodypart():
    labels = make_labels(make_moves(30) + 300, Skeleton(bodyparts=("nose",)))
    chosen = choose(labels, individuals={"max": 3, "method": "top-down"})
    assert (chosen[ROTATION], chosen[MIRROR], chosen["locating.window"]) == (180.0, False, 224)


def test_no_symmetries_no_mirror():
    labels = make_labels(turn(np.arange(0, 360, 10))[:, None], Skeleton(bodyparts=NAMES))
    assert choose(labels)[MIRROR] is False


def test_a_bodypart_of_one_side_without_partner_no_mirror():
    body = turn(np.arange(0, 360, 10))
    paw = body[:, 1:2] * 1.8 - body[:, 2:3] * 0.8  # beyond the left ear
    skeleton = SYMMETRIC.with_bodyparts((*NAMES, "paw"))
    labels = make_labels(np.concatenate([body, paw], axis=1)[:, None], skeleton)
    choice = choose_settings(parse_config({"cohort": "c"}), measure_labels(labels))[MIRROR]
    assert choice.value is False
    assert choice.reason.startswith("paw: on one side")


def test_several_animals_are_told_apart(tmp_path):
    folder = write_images(tmp_path / "images", [(2000, 1500)] * 36)
    angles = np.arange(0, 360, 10)
    pair = np.stack([turn(angles), turn(angles, (328, 240))], axis=1)
    # The same bodyparts of both are 8 px apart, which count half: 4 px.
    chosen = choose(make_labels(pair, folder=folder), individuals={"max": 2, "method": "top-down"})
    assert chosen["targets.scale"] == 1.0
    assert chosen["targets.stride"] == 4
    assert chosen["locating.scale"] == 1.0
    # From the mean of the keypoints, 15 px before the middle, the tail is 65 px away.
    assert chosen["locating.window"] == 192
    assert chosen["training.crop"] is None
    assert chosen["training.epochs"] == 230  # 72 animals: 2036 steps, 9 in an epoch


def test_a_tiny_animal_in_a_large_frame(tmp_path):
    folder = write_images(tmp_path / "images", [(4000, 3000)] * 36)
    tiny = (turn(np.arange(0, 360, 10)) - (320, 240)) * 0.2 + (2000, 1500)
    chosen = choose(make_labels(tiny[:, None], folder=folder), locating={"enabled": True})
    assert chosen["targets.scale"] == 1.0
    assert chosen["targets.stride"] == 4  # ears 4 px apart
    assert chosen["training.crop"] == 192
    assert chosen["locating.scale"] == 0.75  # an animal of 20 px; below the scale of the network
    assert chosen["training.batch_size"] == 8


def test_images_of_different_sizes_count_as_the_largest(tmp_path):
    folder = write_images(tmp_path / "images", [(640, 480), (480, 640), (2560, 300)])
    labels = make_labels(turn([0, 90, 180])[:, None], folder=folder)
    assert measure_labels(labels).size == (2560.0, 640.0)
    (folder / "0.png").unlink()
    assert measure_labels(labels).size == (2560.0, 640.0)


def test_test_frames_choose_nothing():
    position = turn([0, 0, 0, 90])[:, None]
    position[3] *= 3
    split = ["train", "validation", "test", "test"]
    facts = measure_labels(make_labels(position, split=split))
    assert (facts.frames, facts.animals, facts.length) == (2, 2, 100.0)


def test_unique_bodyparts_belong_to_no_animal():
    animal = turn(np.arange(0, 360, 10))
    skeleton = SYMMETRIC.model_copy(
        update={"bodyparts": (*NAMES, "corner"), "unique_bodyparts": ("corner",)}
    )
    corner = np.full((36, 1, 2), 5.0)
    position = np.concatenate([animal, corner], axis=1)[:, None]
    table = make_labels(position, skeleton).table
    table.loc[table["bodypart"] == "corner", "individual"] = "single"
    labels = Labels(table, skeleton.bodyparts, ("animal0",), skeleton)
    without = measure_labels(make_labels(animal[:, None]))
    assert measure_labels(labels) == without or math.isnan(without.centres)
    assert measure_labels(labels).length == without.length


def test_stated_values_are_what_others_are_chosen_for():
    labels = make_labels(turn(np.arange(0, 360, 10))[:, None])
    stated = {"targets": {"scale": 0.25, "stride": 4, "sigma": 5.0}}
    chosen = choose(labels, **stated)
    assert chosen["targets.pos_dist_thresh"] == 10.0
    assert (chosen["locating.window"], chosen["locating.scale"]) == (96, 0.125)
    fixed = make_labels(turn(np.linspace(-8, 8, 20))[:, None] + make_moves(20))
    assert choose(fixed)[MIRROR] is False
    assert choose(fixed, training={"augmentation": {"rotation": 180}})[MIRROR] is True


def test_the_file_says_value_and_reason_and_goes_when_nothing_is_auto(tmp_path):
    results = Results(tmp_path)
    labels = make_labels(turn(np.arange(0, 360, 10))[:, None])
    config = parse_config({"cohort": "c", "training": {"epochs": 7}})
    publish_choices(config, results, labels)
    written = yaml.safe_load(results.chosen_settings.read_text())["settings"]
    assert written[ROTATION]["value"] == 180.0
    assert "all ways" in written[ROTATION]["reason"]
    resolved = resolve_settings(config, results)
    assert (resolved.training.epochs, resolved.training.augmentation.mirror) == (7, True)
    assert resolved.targets.pos_dist_thresh == 12.0
    publish_choices(resolved, results, labels)
    assert not results.chosen_settings.exists()
    assert resolve_settings(resolved, results) == resolved
    with pytest.raises(StoreError, match="import-labels"):
        read_choices(results.chosen_settings)


def test_a_network_for_live_cameras_is_light_and_says_why(tmp_path):
    labels = make_labels(turn(np.arange(0, 360, 10))[:, None])
    goal = {"training": {"goal": "live"}}
    config = parse_config({"cohort": "c", **goal})
    # Also the precision is then chosen by measurement, of which `precision.json` tells.
    assert (config.training.backbone, config.inference.precision) == ("auto", "auto")
    assert config.live.prediction.precision == "auto"
    results = Results(tmp_path)
    publish_choices(config, results, labels)
    written = yaml.safe_load(results.chosen_settings.read_text())["settings"]["training.backbone"]
    assert written["value"] == "tf_efficientnet_lite0"
    assert written["reason"].startswith("for live cameras: the lightest network whose pretrained")
    assert resolve_settings(config, results).training.backbone == "tf_efficientnet_lite0"
    # What is stated wins, and without the goal nothing changes.
    stated = {"training": {"goal": "live", "backbone": "resnet50", "weights": "none"}}
    stated["inference"] = {"precision": "float32"}
    stated["live"] = {"seconds": 5, "prediction": {"cropping": 96, "precision": "bfloat16"}}
    own = parse_config({"cohort": "c", **stated})
    assert own.live.prediction.precision == "bfloat16"
    assert (own.live.seconds, own.live.prediction.cropping) == (5, 96)
    for live in ({"seconds": 5}, {"prediction": {"cropping": 96}}):
        given = parse_config({"cohort": "c", **goal, "live": live}).live
        assert given.prediction.precision == "auto"
        assert (given.seconds, given.prediction.cropping) in ((5, 0), (None, 96))
    assert (own.training.backbone, own.inference.precision) == ("resnet50", "float32")
    assert resolve_settings(own, results).training.backbone == "resnet50"
    plain = parse_config({"cohort": "c"})
    assert plain.training.backbone == "tf_efficientnet_lite0"
    assert plain.inference.precision == "float32"
    # A network is the same, whatever made its settings what they are.
    same = plain.training.model_copy(update={"goal": "live"})
    assert plain.model_copy(update={"training": same}).training_settings() == (
        plain.training_settings()
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"training": {"goal": "fast"}}, "training.goal"),
        (
            {"training": {"goal": "live", "weights": "mine.pth"}},
            "auto cannot tell which network the weights in mine.pth are of",
        ),
        ({"locating": {"backbone": "auto"}}, "auto goes with `training` alone"),
    ],
)
def test_a_goal_that_chooses_nothing_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        parse_config({"cohort": "c", **settings})


@pytest.mark.real
@pytest.mark.parametrize(
    ("project", "expected"),
    [
        (
            "openfield/openfield-Pranav-2018-10-30",
            {ROTATION: 180.0, "targets.scale": 1.0, "targets.sigma": 6.0, "training.crop": 288},
        ),
        (
            "mirror-mouse/mirror-mouse-example",
            {ROTATION: 15.0, "targets.scale": 0.5, "targets.sigma": 6.0, "training.crop": None},
        ),
    ],
)
def test_real_projects_get_about_what_an_expert_chose(project, expected, data_folder, tmp_path):
    config = parse_config({"cohort": "c", "labels": [{"path": str(data_folder / project)}]})
    labels, _ = collect_labels(config, Results(tmp_path))
    chosen = choose_settings(config, measure_labels(labels))
    assert {name: chosen[name].value for name in expected} == expected
    assert (chosen["targets.stride"].value, chosen[MIRROR].value) == (8, False)


def test_scale_and_stride_are_those_of_a_network_to_start_from(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = Results(Path("results"))
    files = results.model("before")
    files.locator.folder.mkdir(parents=True)
    card = ModelCard(
        name="before",
        key="k",
        backbone="b",
        head_channels=8,
        parameters=1,
        stride=4,
        scale=0.75,
        refinement_scale=7.0,
        skeleton=SYMMETRIC,
        mean=(0.5, 0.5, 0.5),
        std=(0.1, 0.2, 0.3),
        network_sha256="s",
        training=TrainingRecord(
            epochs=1, steps=2, seconds=0.1, seed=0, frames={}, checkpoint="c", settings={}
        ),
        versions={},
    )
    files.card.write_text(format_card(card))
    files.locator.card.write_text(format_card(card.model_copy(update={"scale": 0.125})))
    labels = make_labels(turn(np.arange(0, 360, 10))[:, None])
    settings = {"training": {"start_from": "before", "name": "next"}}
    chosen = choose(labels, **settings)
    assert (chosen["targets.scale"], chosen["targets.stride"]) == (0.75, 4)
    assert chosen["training.backbone"] == "b"
    assert (chosen["locating.scale"], chosen["targets.sigma"]) == (0.125, 3.0)
    # A start that was trained anew may have others; stated ones do not depend on it.
    stated = {"targets": {"scale": 0.5, "stride": 8}, "locating": {"scale": 0.25}}
    free = parse_config({"cohort": "c", **settings})
    fixed = parse_config({"cohort": "c", **settings, **stated})
    before = [find_stage_key(one, results, "import-labels") for one in (free, fixed)]
    files.card.write_text(format_card(card.model_copy(update={"scale": 1.0})))
    after = [find_stage_key(one, results, "import-labels") for one in (free, fixed)]
    assert [one == other for one, other in zip(before, after, strict=True)] == [False, True]
