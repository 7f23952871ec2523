"""Test that a run learns from frames without labels, and again only from other ones."""

import json

import yaml

from pipeline_lib.io.targets.clips import ClipStore


def test_clips_come_from_the_videos_and_train_the_network(finished, tmp_path):
    run = finished.copy(tmp_path / "a cohort")
    before = json.loads(run.results.model("pose").card.read_text())["key"]
    training = yaml.safe_load((run.folder / "config.yaml").read_text())["training"]
    unsupervised = {"temporal": 0.001, "pose_pca": 0.001, "frames": 12, "clip": 3}
    run.edit_config(training={**training, "unsupervised": unsupervised})
    learned = run.snakemake("train")
    assert learned.code == 0, learned.output
    assert learned.jobs == {"make_clips", "train"}
    store = ClipStore(run.results.clips)
    # Two good videos of 24 frames of 96 x 96 px; the damaged one gives none.
    assert len(store) == 4
    assert store.read(3).shape == (3, 96, 96, 3)
    assert store.read(3).std() > 1
    card = json.loads(run.results.model("pose").card.read_text())
    assert card["key"] != before
    assert card["training"]["settings"]["unsupervised"]["frames"] == 12
    assert "train_temporal" in run.results.model("pose").history.read_text()
    # Other weights need no other clips; other clips need another network.
    for changes, jobs in (({"temporal": 0.01}, {"train"}), ({"clip": 2}, {"make_clips", "train"})):
        run.edit_config(training={**training, "unsupervised": {**unsupervised, **changes}})
        planned = run.snakemake("train", "--dry-run")
        assert planned.jobs == jobs
