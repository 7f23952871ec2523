"""Test what counts as ours, and what the next run still asks for."""

import pytest

from pipeline_lib.core.errors import SheetError, StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.tables import PLAN_COLUMNS
from pipeline_lib.io.stage_tables import write_table
from pipeline_lib.steps.provenance.checksums import Published, read_checksums, record_checksums
from pipeline_lib.steps.tidy import find
from pipeline_lib.steps.tidy.find import find_stale
from pipeline_lib.steps.tidy.run import remove_stale

KEYS = ("0" * 16, "1" * 16)


@pytest.fixture
def project(tmp_path):
    """Return config and results of a present and a removed video, each in a shard of its own."""
    (tmp_path / "cohort.tsv").write_text("video\tpath\na\ta.mp4\n")
    results = Results(tmp_path / "results")
    rows = [{"video": name, "shard": f"0000{n}", "state": "active"} for n, name in enumerate("ab")]
    write_table(results.plan, PLAN_COLUMNS, rows)
    return Config(cohort=str(tmp_path / "cohort.tsv"), results=str(results.root)), results


def write(results, name, text="x"):
    path = results.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_segments_of_a_killed_run_stay_while_they_are_asked_for(project, monkeypatch):
    config, results = project
    for key in KEYS:
        write(results, f"poses/pose/.segments/{key}/0-9.npz")
        write(results, f"poses/pose/.segments/{key}.lock")
    write(results, f"poses/pose/.segments/{KEYS[0]}-mine/x")
    # Nothing was probed: nobody knows what is asked for.
    assert find_stale(config, results).stale == {}
    monkeypatch.setattr(find, "_list_asked", lambda *_: {KEYS[0]})
    folder = f"poses/pose/.segments/{KEYS[1]}"
    assert set(find_stale(config, results).stale) == {folder, f"{folder}.lock"}


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        (".part-0123abcd.tsv", True),
        (".part-a.zarr.0123abcd.zarr/zarr.json", True),
        (".old-a.zarr.0123abcd/a.zarr/zarr.json", True),
        (".part-0123.tsv", False),
        (".part-mine", False),
        ("part-0123abcd.tsv", False),
        ("a.zarr/.part-0123abcd.tsv", False),
    ],
)
def test_leftovers(project, name, ours):
    config, results = project
    path = write(results, f"poses/pose/{name}")
    stale = find_stale(config, results).stale
    assert [one.what for one in stale.values()] == ["leftover"] * ours
    remove_stale(config, results)
    assert path.exists() is not ours


def test_results_of_removed_videos(project):
    config, results = project
    shard = results.shard("00001")
    poses, kept = results.filtered("pose", "b"), results.filtered("pose", "a")
    changed, new = results.exported("pose", "b", "csv"), results.exported("pose", "b", "h5")
    for path in (poses, kept, changed, new):
        write(results, path.relative_to(results.root).as_posix())
    table = shard.checksums("filter", "pose")
    record_checksums(table, results.root, [Published("filtered", poses, "b", "k")])
    record_checksums(
        results.shard("00000").checksums("filter", "pose"),
        results.root,
        [Published("filtered", kept, "a", "k")],
    )
    record_checksums(
        shard.checksums("export", "pose"), results.root, [Published("csv", changed, "b", "k")]
    )
    changed.write_text("mine, longer")
    write(results, "shards/00001/.manifest-0a")
    write(results, "shards/00001/manifest.tsv")
    write(results, "shards/00001/mine.tsv")
    found = remove_stale(config, results)
    assert {name for name, one in found.stale.items() if one.what == "removed video"} == {
        "filtered/pose/b.zarr.zip"
    }
    assert "not as a run wrote it" in found.kept["exports/pose/b.csv"]
    assert "no record" in found.kept["exports/pose/b.h5"]
    assert not poses.exists()
    assert all(path.exists() for path in (kept, changed, new))
    left = {path.name for path in shard.folder.iterdir()}
    assert {"manifest.tsv", "mine.tsv"} <= left
    assert ".manifest-0a" not in left


def test_links_and_old_networks(project, tmp_path):
    config, results = project
    target = tmp_path / "elsewhere.onnx"
    target.write_text("x")
    network = results.model("old").network
    network.parent.mkdir(parents=True)
    network.symlink_to(target)
    weights = write(results, "models/start/network.pt")
    record_checksums(
        results.checksums,
        results.root,
        [Published("network", network), Published("network", weights)],
    )
    config = config.model_copy(
        update={"training": config.training.model_copy(update={"start_from": "start"})}
    )
    found = remove_stale(config, results)
    assert found.kept["models/old/network.onnx"] == "is a link"
    assert target.exists()
    # The present network started from it.
    assert weights.exists()
    assert "models/start/network.pt" in read_checksums(results.checksums)


def test_nothing_planned_and_no_sheet(project, tmp_path):
    config, results = project
    with pytest.raises(StoreError, match="nothing was planned"):
        remove_stale(config, Results(tmp_path / "other"))
    (tmp_path / "cohort.tsv").unlink()
    with pytest.raises(SheetError):
        remove_stale(config, results)
