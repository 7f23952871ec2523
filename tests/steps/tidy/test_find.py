"""Test what counts as ours, and what the next run still asks for."""

import os

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
    write(results, "poses/pose/a.zarr/zarr.json")
    # A run on a node whose locks are not seen here may still write it.
    assert find_stale(config, results).stale == {}
    top = results.root / "poses" / "pose"
    for one in (path, *path.parents[: len(path.relative_to(top).parts) - 1]):
        os.utime(one, (1e9, 1e9))
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


def test_results_of_sessions_that_left_the_sheet(project, tmp_path):
    config, results = project
    (tmp_path / "cohort.tsv").write_text("video\tpath\tsession\na\ta.mp4\tMonday\n")
    config = config.model_copy(
        update={"triangulation": config.triangulation.model_copy(update={"exports": ("csv",)})}
    )
    shard = results.shard("00000")
    # Cases differ, as a file system may not tell; an export whose format is asked for no more.
    gone = [results.triangulated("pose", "tuesday.1"), results.corrected_views("pose", "tuesday.1")]
    kept = [results.triangulated("pose", "Monday"), results.triangulated("pose", "monday")]
    export, other = (
        results.session_export("pose", name, "trc") for name in ("tuesday.1", "Monday")
    )
    mine = results.triangulated("pose", "mine")
    for path in (gone[0], *kept, export, other, mine, gone[1] / "v.zarr.zip"):
        write(results, path.relative_to(results.root).as_posix())
    record_checksums(
        shard.checksums("triangulate", "pose"),
        results.root,
        [Published("triangulated", one) for one in (gone[0], *kept)],
    )
    record_checksums(
        shard.checksums("correct-views", "pose"),
        results.root,
        [Published("corrected views", gone[1])],
    )
    record_checksums(
        shard.checksums("export-sessions", "pose"),
        results.root,
        [Published("trc", export, "tuesday.1"), Published("trc", other, "Monday")],
    )
    changed = results.triangulated("pose", "tuesday.2")
    write(results, changed.relative_to(results.root).as_posix())
    record_checksums(
        shard.checksums("triangulate", "pose"), results.root, [Published("triangulated", changed)]
    )
    changed.write_text("longer, by hand")
    expected = {path.relative_to(results.root).as_posix() for path in (*gone, export)}
    listed = find_stale(config, results).stale
    assert {name for name, one in listed.items() if one.what == "removed session"} == expected
    found = remove_stale(config, results)
    assert not any(path.exists() for path in (*gone, export))
    assert all(path.exists() for path in (*kept, other, mine, changed))
    assert "not as a run wrote it" in found.kept["triangulated/pose/tuesday.2.zarr.zip"]
    assert "removed session" not in {one.what for one in find_stale(config, results).stale.values()}


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


def test_nothing_outside_the_results_is_removed(project, tmp_path):
    config, results = project
    # A folder that someone keeps elsewhere, a record that was written to lead out, and checkpoints.
    archive = tmp_path / "archive"
    archive.mkdir()
    results.root.joinpath("models").mkdir(parents=True)
    results.root.joinpath("models", "old").symlink_to(archive)
    results.root.joinpath("poses").symlink_to(tmp_path / "scratch")
    (tmp_path / "scratch" / "old").mkdir(parents=True)
    diary = tmp_path / "diary.txt"
    theirs = [
        write(results, "models/old/network.onnx"),
        write(results, "models/old/model.json"),
        write(results, "models/old/checkpoints/last.ckpt"),
        write(results, f"poses/old/.segments/{KEYS[0]}/0-9.npz"),
        write(results, "poses/old/b.zarr/zarr.json"),
        diary,
    ]
    diary.write_text("mine")
    out = results.root / "models" / "gone" / ".." / ".." / ".." / "diary.txt"
    (results.root / "poses" / "gone").mkdir()
    (archive.parent / "x").mkdir()
    named = [*theirs[:2], results.poses("old", "b")]
    record_checksums(results.checksums, results.root, [Published("x", one) for one in named])
    text = results.checksums.read_text()
    row = text.splitlines()[1].replace("models/old/network.onnx", "models/gone/../../../diary.txt")
    results.checksums.write_text(f"{text}{row}\n")
    write(results, "models/gone/x")
    found = remove_stale(config, results)
    assert found.stale == {}
    assert all(path.exists() for path in theirs)
    assert out.read_text() == "mine"
    assert found.kept["models/gone/../../../diary.txt"] == "is a path to another folder"
    assert found.kept["models/old/network.onnx"] == "models/old is a link to another folder"
    assert found.kept["poses/old/b.zarr"] == "poses is a link to another folder"


def test_the_only_copy_of_a_folder_stays(project):
    config, results = project
    # A kill came between: the folder was moved aside, and nothing took its place.
    only = write(results, "poses/pose/.old-a.zarr.0123abcd/a.zarr/zarr.json")
    labels = write(results, "frames/.old-a.0123abcd/a/labels.csv")
    write(results, "frames/a/frame.png")
    found = remove_stale(config, results)
    assert only.exists()
    assert labels.exists()
    assert "move a.zarr in it back" in found.kept["poses/pose/.old-a.zarr.0123abcd"]
    assert "labels of people" in found.kept["frames/.old-a.0123abcd"]


def test_names_that_two_could_have(project):
    config, results = project
    # `export-sessions-pose` is the table of sessions of `pose`, and of a network `sessions-pose`.
    shard = results.shard("00000")
    table = shard.table("export-sessions", "pose")
    for path in (table, shard.infer("sessions-pose"), shard.infer("Pose")):
        write(results, path.relative_to(results.root).as_posix())
    found = find_stale(config, results)
    assert set(found.stale) == {"shards/00000/infer-sessions-pose.tsv"}
    # Another spelling of a present video is the same file on some systems.
    (results.root.parent / "cohort.tsv").write_text("video\tpath\na\ta.mp4\nB\tb.mp4\n")
    poses = results.filtered("pose", "b")
    write(results, poses.relative_to(results.root).as_posix())
    record_checksums(
        shard.checksums("filter", "pose"), results.root, [Published("filtered", poses, "b", "k")]
    )
    assert "filtered/pose/b.zarr.zip" not in find_stale(config, results).stale


def test_what_cannot_be_removed_is_told(project, monkeypatch):
    config, results = project
    network, card = results.model("old").network, results.model("old").card
    for path in (network, card):
        write(results, path.relative_to(results.root).as_posix())
    record_checksums(
        results.checksums, results.root, [Published("x", network), Published("x", card)]
    )
    unlink = type(network).unlink

    def refuse(path, **options):
        if path.name == network.name:
            raise PermissionError(13, "Permission denied")
        unlink(path, **options)

    monkeypatch.setattr(type(network), "unlink", refuse)
    found = remove_stale(config, results)
    assert found.kept["models/old/network.onnx"] == "cannot be removed: Permission denied"
    assert set(found.stale) == {"models/old/model.json"}
    assert set(read_checksums(results.checksums)) == {"models/old/network.onnx"}
