"""Test the import step: joining sources, choosing bodyparts, splitting images, errors."""

import logging
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline_lib.core.errors import ConfigError, LabelError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.io.labels.table import label_arrays, read_labels
from pipeline_lib.steps.import_labels.run import run_import_labels
from pipeline_lib.steps.import_labels.skeleton import choose_bodyparts

SHARED = os.environ.get("COHORTPOSE_DATA")


def make_project(folder, frames, bodyparts=("nose", "tail"), video="mouse", individuals=None):
    """Write a project with all points of each frame at (frame % 50, 1)."""
    images = folder / "labeled-data" / video
    images.mkdir(parents=True)
    columns = len(bodyparts)
    header = [["scorer", *["ann"] * 2 * columns]]
    if individuals:
        header.append(["individuals", *[name for name in individuals for _ in "xy"]])
    header.append(["bodyparts", *[name for name in bodyparts for _ in "xy"]])
    header.append(["coords", *["x", "y"] * columns])
    rows = []
    for frame in frames:
        Image.new("L", (60, 40)).save(images / f"img{frame:04d}.png")
        rows.append([f"labeled-data/{video}/img{frame:04d}.png", *[frame % 50, 1] * columns])
    text = "\n".join(",".join(map(str, row)) for row in header + rows)
    (images / "CollectedData_ann.csv").write_text(text)
    return folder


def run(tmp_path, *projects, **settings):
    labels = [{"path": str(project)} for project in projects]
    config = parse_config({"cohort": "cohort.tsv", "labels": labels, **settings})
    results = Results(tmp_path / "results")
    run_import_labels(config, results)
    return read_labels(results.labels)


def test_labels_are_sorted_and_complete(tmp_path):
    labels = run(tmp_path, make_project(tmp_path / "p", [30, 2, 11]))
    assert labels.bodyparts == ("nose", "tail")
    table = labels.table
    assert table["frame"].tolist() == [2, 2, 11, 11, 30, 30]
    assert table["bodypart"].tolist() == ["nose", "tail"] * 3
    assert table["x"].tolist() == [2, 2, 11, 11, 30, 30]
    assert table["y"].tolist() == [1.0] * 6
    assert table["visible"].all()
    assert set(table["split"]) == {"train", "test"}


def test_paths_are_relative_to_the_working_directory(tmp_path, monkeypatch):
    make_project(tmp_path / "p", [1, 2])
    monkeypatch.chdir(tmp_path)
    table = run(tmp_path, "p").table
    assert table["image"][0] == str(tmp_path / "p" / "labeled-data" / "mouse" / "img0001.png")


def test_sources_with_different_bodyparts_are_joined(tmp_path):
    first = make_project(tmp_path / "a", [1], ("nose", "tail"), video="v1")
    second = make_project(tmp_path / "b", [2], ("ear", "nose"), video="v2")
    labels = run(tmp_path, first, second)
    assert labels.bodyparts == ("nose", "tail", "ear")
    images, positions = label_arrays(labels)
    assert images["video"].tolist() == ["v1", "v2"]
    np.testing.assert_array_equal(positions[:, 0, :, 0], [[1.0, 1.0, np.nan], [2.0, np.nan, 2.0]])
    assert labels.table["visible"].tolist() == [True, True, False, True, False, True]


def test_skeleton_chooses_and_orders_bodyparts(tmp_path, caplog):
    project = make_project(tmp_path / "p", [1, 2], ("nose", "ear", "tail"))
    with caplog.at_level(logging.INFO):
        labels = run(tmp_path, project, skeleton={"bodyparts": ["tail", "nose"]})
    assert labels.bodyparts == ("tail", "nose")
    assert labels.table["bodypart"].tolist() == ["tail", "nose"] * 2
    assert "not in skeleton.bodyparts, so left out: ear" in caplog.text


def test_skeleton_that_does_not_fit_the_labels():
    skeleton = Skeleton(edges=(("nose", "hip"),), symmetries=(("eyeL", "eyeR"),))
    with pytest.raises(LabelError) as error:
        choose_bodyparts(skeleton, ["nose", "tail", "eyeL"])
    assert error.value.problems == (
        "skeleton.edges names hip, but the label tables have nose, tail, eyeL",
        "skeleton.symmetries names eyeR, but the label tables have nose, tail, eyeL",
    )
    with pytest.raises(LabelError, match=r"skeleton.bodyparts names paw, but"):
        choose_bodyparts(Skeleton(bodyparts=("nose", "paw")), ["nose"])


def test_no_labels_configured(tmp_path):
    with pytest.raises(LabelError, match="no labels: add under `labels:` an entry `- path"):
        run(tmp_path)


def test_nothing_labelled(tmp_path):
    project = make_project(tmp_path / "p", [1])
    table = project / "labeled-data" / "mouse" / "CollectedData_ann.csv"
    table.write_text(table.read_text().replace(",1,1,1,1", ",,,,"))
    with pytest.raises(LabelError, match="no bodypart is labelled in any image"):
        run(tmp_path, project)


def test_same_image_in_two_sources(tmp_path):
    project = make_project(tmp_path / "p", [1, 2])
    (tmp_path / "link").symlink_to(project)
    with pytest.raises(LabelError) as error:
        run(tmp_path, project, tmp_path / "link")
    assert len(error.value.problems) == 2
    assert "img0001.png: labelled in " in error.value.problems[0]


def test_problems_of_all_sources_are_reported_together(tmp_path):
    good = make_project(tmp_path / "good", [1])
    bad = make_project(tmp_path / "bad", [1])
    (bad / "labeled-data" / "mouse" / "img0001.png").unlink()
    with pytest.raises(LabelError) as error:
        run(tmp_path, tmp_path / "none", good, bad)
    absent, missing = error.value.problems
    assert absent == f"{tmp_path / 'none'}: no such file or folder"
    assert missing.startswith(f"{bad}: labeled-data/mouse/img0001.png: no such image")


def test_one_labelled_individual_becomes_the_animal(tmp_path):
    project = make_project(tmp_path / "p", [7, 8], ("nose", "nose"), individuals=("m1", "m2"))
    with pytest.raises(LabelError, match=r"2 individuals are labelled \(m1, m2\)"):
        run(tmp_path, project)
    table = project / "labeled-data" / "mouse" / "CollectedData_ann.csv"
    lines = table.read_text().splitlines()
    # Empty the points of m1, the first pair of columns.
    rows = [line.split(",") for line in lines[4:]]
    lines[4:] = [f"{image},,,{x},{y}" for image, _, _, x, y in rows]
    table.write_text("\n".join(lines))
    found = run(tmp_path, project).table
    assert found["individual"].tolist() == ["animal", "animal"]
    assert found["x"].tolist() == [7.0, 8.0]


def splits_of(labels):
    images, _ = label_arrays(labels)
    return images.set_index("frame")["split"]


@pytest.mark.parametrize("method", ["random", "block"])
def test_each_image_is_in_one_part_of_the_size_asked_for(tmp_path, method):
    project = make_project(tmp_path / "p", range(100))
    training = {
        "validation_fraction": 0.25,
        "split": {"method": method, "test_fraction": 0.2, "block_frames": 10},
    }
    labels = run(tmp_path, project, training=training)
    assert (labels.table.groupby("image")["split"].nunique() == 1).all()
    counts = splits_of(labels).value_counts().to_dict()
    # 20 of 100 test; a quarter of the 80 others validates.
    assert counts == {"train": 60, "validation": 20, "test": 20}


def test_block_split_keeps_neighbours_together(tmp_path):
    project = make_project(tmp_path / "p", range(0, 400, 10))
    split = {"method": "block", "test_fraction": 0.25, "block_frames": 10}
    parts = splits_of(run(tmp_path, project, training={"split": split})).to_numpy()
    assert (parts == "test").sum() == 10
    assert all(len(set(block)) == 1 for block in parts.reshape(4, 10))


def test_blocks_do_not_mix_sources_whose_videos_share_a_name(tmp_path):
    first = make_project(tmp_path / "a", range(10))
    second = make_project(tmp_path / "b", range(10))
    split = {"method": "block", "test_fraction": 0.5, "block_frames": 10}
    table = run(tmp_path, first, second, training={"split": split}).table
    assert (table.groupby("source")["split"].nunique() == 1).all()
    assert table["split"].nunique() == 2


@pytest.mark.parametrize("method", ["random", "block"])
def test_folds_test_every_image_once(tmp_path, method):
    project = make_project(tmp_path / "p", range(23))
    tested = []
    for fold in range(3):
        split = {"method": method, "folds": 3, "fold": fold, "block_frames": 4}
        parts = splits_of(run(tmp_path, project, training={"split": split}))
        tested += parts.index[parts == "test"].tolist()
    assert sorted(tested) == list(range(23))


def test_more_folds_than_images(tmp_path):
    project = make_project(tmp_path / "p", [1, 2])
    with pytest.raises(LabelError, match=r"training.split.folds \(5\) is more than 2 images allow"):
        run(tmp_path, project, training={"split": {"folds": 5, "fold": 4}})


def test_division_does_not_depend_on_where_projects_lie_or_on_row_order(tmp_path):
    def divide(first, second, frames):
        labels = run(
            tmp_path,
            make_project(tmp_path / first, frames),
            make_project(tmp_path / second, frames),
            training={"validation_fraction": 0.2, "split": {"test_fraction": 0.3}},
        )
        images, _ = label_arrays(labels)
        source = [
            "first" if Path(i).is_relative_to(tmp_path / first) else "second"
            for i in images["image"]
        ]
        return list(zip(source, images["frame"], images["split"], strict=True))

    assert divide("a", "b", range(20)) == divide("z", "y", range(19, -1, -1))


def test_seed_changes_the_division(tmp_path):
    project = make_project(tmp_path / "p", range(40))

    def divide(seed):
        training = {"split": {"test_fraction": 0.5, "seed": seed}}
        return splits_of(run(tmp_path, project, training=training)).tolist()

    assert divide(1) == divide(1)
    assert divide(1) != divide(2)


@pytest.mark.real
@pytest.mark.skipif(not SHARED, reason="COHORTPOSE_DATA is not set")
def test_open_field(tmp_path):
    labels = run(tmp_path, Path(SHARED, "openfield", "openfield-Pranav-2018-10-30"))
    images, positions = label_arrays(labels)
    assert positions.shape == (116, 1, 4, 2)
    # Five in a hundred, DeepLabCut's usual share.
    assert images["split"].value_counts().to_dict() == {"train": 110, "test": 6}
    assert 10 <= positions.min() <= positions.max() <= 461


@pytest.mark.real
@pytest.mark.skipif(not SHARED, reason="COHORTPOSE_DATA is not set")
def test_several_animals_where_one_is_expected(tmp_path):
    expected = r"3 individuals are labelled \(fly1, fly2, fly3\), but `individuals.max` is 1: set"
    with pytest.raises(LabelError, match=expected):
        run(tmp_path, Path(SHARED, "flies-madlc-derived", "flies-dreem-2025-11-18"))


def test_one_image_under_two_names(tmp_path):
    project = make_project(tmp_path / "p", [1, 2])
    images = project / "labeled-data" / "mouse"
    for make in (os.symlink, os.link):
        (images / "img0002.png").unlink()
        make(images / "img0001.png", images / "img0002.png")
        with pytest.raises(LabelError, match="are one image, through links") as error:
            run(tmp_path, project)
        assert len(error.value.problems) == 1


def test_two_projects_that_share_an_image_by_a_hard_link(tmp_path):
    one, two = (make_project(tmp_path / name, [1]) for name in ("one", "two"))
    image = "labeled-data/mouse/img0001.png"
    (two / image).unlink()
    os.link(one / image, two / image)
    with pytest.raises(LabelError, match="leave one of them out of `labels`"):
        run(tmp_path, one, two)


def test_two_projects_with_folders_of_one_name(tmp_path):
    """Keep two videos apart, so that neither is taken for the other."""
    one, two = (make_project(tmp_path / name, [1, 2]) for name in ("one", "two"))
    table = run(tmp_path, one, two).table
    images = table["image"].unique().tolist()
    assert images == [
        str(tmp_path / name / "labeled-data" / "mouse" / f"img{frame:04d}.png")
        for name in ("one", "two")
        for frame in (1, 2)
    ]


@pytest.mark.parametrize("name", ["x" * 300, "y" * 5000])
def test_paths_that_are_too_long_for_labels(tmp_path, name):
    with pytest.raises(LabelError) as error:
        run(tmp_path, tmp_path / name)
    assert len(error.value.problems) == 1


def test_a_path_of_labels_with_a_nul_character(tmp_path):
    with pytest.raises(ConfigError, match=r"labels\.0\.path.*no NUL character"):
        run(tmp_path, tmp_path / "a\0b")
