"""Test the export of a shard: its poses, its files, and what is not written twice."""

import getpass
import json
import os
import socket
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pynwb
import pytest
import sleap_io

from pipeline_lib.core import versions
from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.poses import Poses
from pipeline_lib.core.settings.network import LabelSource
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.core.tables import PROBE_COLUMNS, STAGE_COLUMNS
from pipeline_lib.io.exports import deeplabcut as deeplabcut_exports
from pipeline_lib.io.exports import source as exports_source
from pipeline_lib.io.exports.deeplabcut import read_deeplabcut_predictions
from pipeline_lib.io.poses.read import read_poses
from pipeline_lib.io.poses.write import write_poses
from pipeline_lib.io.stage_tables import read_table, write_table
from pipeline_lib.models.card import ModelCard, TrainingRecord, format_card
from pipeline_lib.steps.export.run import EXPORT_COLUMNS, run_export
from pipeline_lib.steps.export.sources import ExportSources
from pipeline_lib.steps.runs.plan import Plan
from pipeline_lib.steps.runs.stage_keys import find_session_keys

SHARD = "0001"


def make_config(**exports):
    return parse_config({"cohort": "cohort.tsv", "exports": exports})


def make_poses(x, key="pose-key"):
    frames = len(x)
    return Poses(
        position=np.stack([x, np.negative(x)], axis=-1)[:, None, None].astype(np.float32),
        confidence=np.ones((frames, 1, 1), np.float32),
        frame_status=np.zeros(frames, np.uint8),
        time=np.arange(frames) / 30,
        bodyparts=("nose",),
        individuals=("animal",),
        attributes={"key": key},
    )


def done(video):
    return {"video": video, "status": "done", "key": "pose-key", "seconds": 5.0}


def read_rows(results):
    return read_table(results.shard(SHARD).export("pose"), EXPORT_COLUMNS)


@pytest.fixture
def results(tmp_path):
    """Write one video with raw poses 1, 2 and filtered poses 3, 4."""
    results = Results(tmp_path / "results")
    files = results.shard(SHARD)
    write_table(files.infer("pose"), STAGE_COLUMNS, [done("v")])
    write_table(files.filter("pose"), STAGE_COLUMNS, [done("v")])
    write_poses(results.poses("pose", "v"), make_poses([1.0, 2.0]))
    write_poses(results.filtered("pose", "v"), make_poses([3.0, 4.0]))
    return results


@pytest.mark.parametrize(("source", "x"), [("raw", [1, 2]), ("filtered", [3, 4])])
def test_the_wanted_poses_are_exported_in_the_wanted_formats(results, source, x):
    run_export(make_config(source=source, scorer="net"), results, SHARD)
    for suffix in ("h5", "csv"):
        found = read_deeplabcut_predictions(results.exported("pose", "v", suffix))
        np.testing.assert_array_equal(found.position[:, 0, 0, 0], x)
        np.testing.assert_array_equal(found.position[:, 0, 0, 1], np.negative(x))
        assert found.scorer == "net"
    (row,) = read_rows(results)
    sizes = {
        suffix: results.exported("pose", "v", suffix).stat().st_size for suffix in ("h5", "csv")
    }
    assert row["files"] == f"h5:{sizes['h5']} csv:{sizes['csv']}"
    assert row["status"] == "done"


def test_only_wanted_formats_are_written(results):
    run_export(make_config(formats=["csv"]), results, SHARD)
    assert [path.name for path in results.exported("pose", "v", "csv").parent.iterdir()] == [
        "v.csv"
    ]


def test_work_is_not_done_twice(results, monkeypatch):
    run_export(make_config(), results, SHARD)
    first = read_rows(results)
    # As Snakemake does before it runs a job again.
    results.shard(SHARD).export("pose").unlink()

    def refuse(*_args, **_kwargs):
        pytest.fail("exported again")

    monkeypatch.setattr(deeplabcut_exports, "write_deeplabcut_predictions", refuse)
    run_export(make_config(), results, SHARD)
    again = read_rows(results)
    assert [(row["key"], row["files"]) for row in again] == [
        (row["key"], row["files"]) for row in first
    ]


def _change_scorer(_results, _monkeypatch):
    return make_config(scorer="other")


def _change_source(_results, _monkeypatch):
    return make_config(source="raw")


def _change_poses(results, _monkeypatch):
    write_poses(results.filtered("pose", "v"), make_poses([5.0, 6.0], key="other"))
    return make_config()


def _raise_version(_results, monkeypatch):
    monkeypatch.setattr(versions, "EXPORT", versions.EXPORT + 1)
    return make_config()


def _remove_a_file(results, _monkeypatch):
    results.exported("pose", "v", "h5").unlink()
    return make_config()


def _cut_a_file(results, _monkeypatch):
    path = results.exported("pose", "v", "csv")
    path.write_bytes(path.read_bytes()[:-1])
    return make_config()


def _lose_the_table(results, _monkeypatch):
    results.shard(SHARD).export_record("pose").unlink()
    results.exported("pose", "v", "csv").write_text("left by somebody")
    return make_config()


@pytest.mark.parametrize(
    "change",
    [
        _change_scorer,
        _change_source,
        _change_poses,
        _raise_version,
        _remove_a_file,
        _cut_a_file,
        _lose_the_table,
    ],
)
def test_a_change_exports_the_files_again(results, monkeypatch, change):
    run_export(make_config(), results, SHARD)
    config = change(results, monkeypatch)
    written = []
    original = deeplabcut_exports.write_deeplabcut_predictions

    def record(path, *arguments):
        written.append(path.suffix)
        original(path, *arguments)

    monkeypatch.setattr(deeplabcut_exports, "write_deeplabcut_predictions", record)
    run_export(config, results, SHARD)
    assert written == [".h5", ".csv"]
    for suffix in ("h5", "csv"):
        assert len(read_deeplabcut_predictions(results.exported("pose", "v", suffix)).frame) == 2


def test_a_run_cut_short_leaves_no_table_to_trust(results, monkeypatch):
    """Change settings and restore them: the file of the other run has the recorded size."""
    run_export(make_config(formats=["csv"], scorer="one"), results, SHARD)

    def write_then_die(path, *_arguments):
        path.write_text(path.read_text().replace("one", "two"))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(deeplabcut_exports, "write_deeplabcut_predictions", write_then_die)
        with pytest.raises(KeyboardInterrupt):
            run_export(make_config(formats=["csv"], scorer="two"), results, SHARD)
    run_export(make_config(formats=["csv"], scorer="one"), results, SHARD)
    assert read_deeplabcut_predictions(results.exported("pose", "v", "csv")).scorer == "one"


def test_one_bad_video_does_not_stop_the_others_and_reasons_are_kept(results):
    write_table(
        results.shard(SHARD).filter("pose"),
        STAGE_COLUMNS,
        [
            {"video": "bad", "status": "quarantined", "reason": "no video stream"},
            done("missing"),
            done("v"),
        ],
    )
    run_export(make_config(), results, SHARD)
    rows = read_rows(results)
    assert [row["status"] for row in rows] == ["quarantined", "failed", "done"]
    assert rows[0]["reason"] == "no video stream"
    assert "no such pose file" in rows[1]["reason"]
    # What failed is tried again.
    write_poses(results.filtered("pose", "missing"), make_poses([7.0]))
    run_export(make_config(), results, SHARD)
    assert [row["status"] for row in read_rows(results)] == ["quarantined", "done", "done"]


def test_a_long_video_is_written_in_blocks(results, monkeypatch):
    monkeypatch.setattr(exports_source, "BLOCK_FRAMES", 3)
    write_poses(results.filtered("pose", "v"), make_poses(np.arange(8.0)))
    run_export(make_config(), results, SHARD)
    table = pd.read_hdf(results.exported("pose", "v", "h5"))
    assert table.index.tolist() == list(range(8))
    assert table["cohortpose", "nose", "x"].tolist() == list(range(8))
    found = read_deeplabcut_predictions(results.exported("pose", "v", "csv"))
    assert found.frame.tolist() == list(range(8))


def test_a_video_without_frames_is_a_table_without_rows(results):
    write_poses(results.filtered("pose", "v"), make_poses(np.empty(0)))
    run_export(make_config(), results, SHARD)
    for suffix in ("h5", "csv"):
        found = read_deeplabcut_predictions(results.exported("pose", "v", suffix))
        assert found.position.shape == (0, 1, 1, 2)


def add_several(results):
    """Write two animals and a corner, tracked at 1, 2 and filtered to 3, 4, with metadata."""
    for locate, x in ((results.tracked, 1.0), (results.filtered, 3.0)):
        position = np.full((2, 3, 2, 2), np.nan, np.float32)
        position[:, :2, 0] = np.array([x, x + 1])[:, None, None]
        position[:, 2, 1] = 9
        poses = Poses(
            position=position,
            confidence=np.ones((2, 3, 2), np.float32),
            frame_status=np.zeros(2, np.uint8),
            time=np.arange(2) / 30,
            bodyparts=("nose", "corner"),
            individuals=("a", "b", "single"),
            attributes={"key": f"key-{x}", "fps": 30.0},
            track_status=np.ones((2, 3), np.uint8),
        )
        write_poses(locate("pose", "v"), poses)
    files = results.shard(SHARD)
    write_table(files.correct("pose"), STAGE_COLUMNS, [done("v")])
    probed = {"video": "v", "path": "/videos/v.mp4", "width": 640, "height": 480}
    write_table(files.probe, PROBE_COLUMNS, [probed])


def make_several_config(edges=(("nose", "tail"),), **exports):
    bodyparts = ["nose", "tail", "corner"]
    skeleton = {"bodyparts": bodyparts, "edges": edges, "unique_bodyparts": ["corner"]}
    sections = {"skeleton": skeleton, "individuals": {"max": 2}, "exports": exports}
    return parse_config({"cohort": "cohort.tsv", **sections})


EVERY_FORMAT = ["h5", "csv", "slp", "analysis", "nwb", "coco"]


@pytest.mark.parametrize(("source", "x"), [("raw", [1, 2]), ("filtered", [3, 4])])
def test_several_animals_are_exported_as_tracked_or_filtered(results, source, x):
    add_several(results)
    run_export(make_several_config(source=source, formats=EVERY_FORMAT), results, SHARD)
    (row,) = read_rows(results)
    assert row["status"] == "done", row["reason"]
    names = {path.name for path in results.exported("pose", "v", "h5").parent.iterdir()}
    assert names == {"v.h5", "v.csv", "v.slp", "v.analysis.h5", "v.nwb", "v.coco.json"}
    sizes = [results.exported("pose", "v", name).stat().st_size for name in EVERY_FORMAT]
    pairs = zip(EVERY_FORMAT, sizes, strict=True)
    assert row["files"] == " ".join(f"{name}:{size}" for name, size in pairs)
    table = pd.read_hdf(results.exported("pose", "v", "h5"))
    assert table["cohortpose", "b", "nose", "x"].tolist() == x
    points = table.columns.droplevel(["scorer", "coords"]).unique().tolist()
    assert points == [("a", "nose"), ("b", "nose"), ("single", "corner")]
    labels = sleap_io.load_slp(str(results.exported("pose", "v", "slp")), open_videos=False)
    assert [track.name for track in labels.tracks] == ["a", "b", "single"]
    assert [frame[1]["nose"]["xy"][0] for frame in labels] == x
    with h5py.File(results.exported("pose", "v", "analysis")) as file:
        assert file["tracks"][1, 0, 0].tolist() == x
        # Nobody is to learn from an export where its maker keeps his videos.
        assert file["video_path"][()] == b"v.mp4"
    with h5py.File(results.exported("pose", "v", "nwb")) as file:
        assert file["processing/behavior/b/nose/data"][:, 0].tolist() == x
    coco = json.loads(results.exported("pose", "v", "coco").read_text())
    assert {(image["width"], image["height"]) for image in coco["images"]} == {(640, 480)}
    found = [one["keypoints"][0] for one in coco["annotations"] if one["track_id"] == 2]
    assert found == [value + 0.5 for value in x]
    assert coco["info"]["video"] == "v.mp4"


def test_corrected_tracks_are_exported_with_an_animal_that_was_added(results):
    add_several(results)
    tracked = read_poses(results.tracked("pose", "v"))
    order = [0, 1, 1, 2]
    position = tracked.position[:, order].copy()
    position[:, 2, 0] = 7.0
    corrected = replace(
        tracked,
        position=position,
        confidence=tracked.confidence[:, order],
        track_status=tracked.track_status[:, order],
        individuals=("a", "b", "individual3", "single"),
        attributes={"key": "corrected", "fps": 30.0},
    )
    write_poses(results.corrected("pose", "v"), corrected)
    run_export(make_several_config(source="raw", formats=EVERY_FORMAT), results, SHARD)
    (row,) = read_rows(results)
    assert (row["status"], row["source_key"]) == ("done", "corrected"), row["reason"]
    table = pd.read_hdf(results.exported("pose", "v", "h5"))
    assert table["cohortpose", "individual3", "nose", "x"].tolist() == [7, 7]
    labels = sleap_io.load_slp(str(results.exported("pose", "v", "slp")), open_videos=False)
    assert [track.name for track in labels.tracks] == ["a", "b", "individual3", "single"]
    with h5py.File(results.exported("pose", "v", "nwb")) as file:
        assert file["processing/behavior/individual3/nose/data"][:, 0].tolist() == [7, 7]


def test_the_key_of_linked_files_covers_their_content(results):
    """Check that path and edges matter to SLEAP's and NWB's files, not to DeepLabCut's."""
    add_several(results)
    write_poses(results.tracked("pose", "v"), make_poses([1.0]))
    keys = {}
    for formats in (["csv"], ["csv", "slp"]):
        for edges in ((("nose", "tail"),), ()):
            config = make_several_config(edges, source="raw", formats=formats)
            run_export(config, results, SHARD)
            keys[len(formats), len(edges)] = read_rows(results)[0]["key"]
    assert keys[1, 0] == keys[1, 1]
    assert len(set(keys.values())) == 3


def prepare_linked(results, sheet=None):
    """Put a video into the project and write a sheet; return the config of all formats."""
    video = results.root.parent / "videos" / "v.mp4"
    video.parent.mkdir()
    video.write_bytes(b"of a video")
    write_table(results.shard(SHARD).probe, PROBE_COLUMNS, [{"video": "v", "path": str(video)}])
    cohort = results.root.parent / "cohort.tsv"
    cells = {"video": "v", "path": "videos/v.mp4", **(sheet or {})}
    cohort.write_text("\t".join(cells) + "\n" + "\t".join(cells.values()) + "\n")

    def configure(**exports):
        settings = {"formats": EVERY_FORMAT, **exports}
        return parse_config({"cohort": str(cohort), "exports": settings})

    return video, configure


def list_names(results):
    """Return how each linked export names its video."""
    names = {}
    with h5py.File(results.exported("pose", "v", "slp")) as file:
        (described,) = file["videos_json"]
        names["slp"] = json.loads(described)["backend"]["filename"]
    with h5py.File(results.exported("pose", "v", "analysis")) as file:
        names["analysis"] = file["video_path"][()].decode()
        backend = json.loads(file.attrs["video_backend_metadata"])
        assert backend["filename"] == names["analysis"]
    with h5py.File(results.exported("pose", "v", "nwb")) as file:
        (name,) = file["acquisition/source_video/external_file"]
        names["nwb"] = name.decode()
    coco = json.loads(results.exported("pose", "v", "coco").read_text())
    names["coco"] = coco["info"]["video"]
    return names


def test_videos_are_named_on_the_way_from_the_export(results):
    video, configure = prepare_linked(results)
    run_export(configure(), results, SHARD)
    names = list_names(results)
    folder = results.exported("pose", "v", "slp").parent
    assert set(names.values()) == {"../../../videos/v.mp4"}
    assert (folder / names["nwb"]).samefile(video)
    # Neither does any other byte tell where the project is, or who and where we are.
    private = [str(results.root.parent), str(Path.home()), getpass.getuser() + "/"]
    private += [socket.gethostname()]
    for name in EVERY_FORMAT:
        held = results.exported("pose", "v", name).read_bytes()
        for text in private:
            assert text.encode() not in held or len(text) < 5, (name, text)


def test_videos_are_named_absolutely_if_that_is_wanted(results):
    video, configure = prepare_linked(results)
    run_export(configure(absolute_paths=True), results, SHARD)
    assert set(list_names(results).values()) == {video.as_posix()}


def test_names_that_are_no_text_cost_no_export(results):
    """Use bytes that are no UTF-8: Linux allows them in names; HDF5, JSON and NWB do not."""
    _, configure = prepare_linked(results, {"Subject": "m\0" + "1"})
    odd = os.fsdecode(bytes(results.root.parent / "videos") + b"/v\xff 1.mp4")
    probed = [{"video": "v", "path": odd}]
    with pytest.MonkeyPatch.context() as patch:
        # The table itself is text, too; what it holds is the probe's.
        patch.setattr(ExportSources, "_probed", {"v": {**probed[0], "width": "", "height": ""}})
        run_export(configure(), results, SHARD)
    (row,) = read_rows(results)
    assert row["status"] == "done", row["reason"]
    assert set(list_names(results).values()) == {"../../../videos/v\N{REPLACEMENT CHARACTER} 1.mp4"}
    with pynwb.NWBHDF5IO(str(results.exported("pose", "v", "nwb")), "r") as file:
        assert file.read().subject.subject_id == "m1"


def test_a_project_that_moved_needs_no_new_exports(results, tmp_path):
    _, configure = prepare_linked(results)
    run_export(configure(), results, SHARD)
    (row,) = read_rows(results)
    moved = tmp_path / "moved"
    (tmp_path / "moved").mkdir()
    for name in ("results", "videos", "cohort.tsv"):
        (tmp_path / name).rename(moved / name)
    there = Results(moved / "results")
    probed = {"video": "v", "path": str(moved / "videos" / "v.mp4")}
    write_table(there.shard(SHARD).probe, PROBE_COLUMNS, [probed])
    config = parse_config(
        {"cohort": str(moved / "cohort.tsv"), "exports": {"formats": EVERY_FORMAT}}
    )
    assert ExportSources(config, there, SHARD).make_key("v", "pose-key") == row["key"]


SHEET = {
    "Subject": "m1",
    "species": "Mus musculus",
    "sex": "F",
    "age": "P90D",
    "start": "2024-05-17T09:30+02:00",
    "session": "day1",
}


def test_the_sheet_describes_session_and_subject(results, caplog):
    _, configure = prepare_linked(results, SHEET)
    run_export(configure(), results, SHARD)
    with pynwb.NWBHDF5IO(str(results.exported("pose", "v", "nwb")), "r") as file:
        session = file.read()
        assert session.session_start_time.isoformat() == "2024-05-17T09:30:00+02:00"
        assert session.session_id == "day1"
        assert (session.subject.subject_id, session.subject.sex) == ("m1", "F")
    assert not [one for one in caplog.records if one.levelname == "WARNING"]


def test_facts_missing_in_the_sheet_are_reported_once(results, caplog):
    _, configure = prepare_linked(results, {"sex": "banana"})
    run_export(configure(), results, SHARD)
    said = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    assert len(said) == 3
    assert "export 0001: v: no time of the recording: the NWB file gives 1970-01-01" in said[0]
    assert "no `subject`, `species`, `sex`, `age`" in said[1]
    assert "column `sex`: 'banana' is none of M, F" in said[2]
    # Who exports tables only is not told.
    caplog.clear()
    run_export(configure(formats=["csv", "slp"]), results, SHARD)
    assert not [one for one in caplog.records if one.levelname == "WARNING"]


def test_a_changed_sheet_changes_the_key_of_what_it_describes(results):
    keys = {}
    for sex in ("F", "M"):
        (results.root.parent / "videos" / "v.mp4").unlink(missing_ok=True)
        if (results.root.parent / "videos").exists():
            (results.root.parent / "videos").rmdir()
        _, configure = prepare_linked(results, {**SHEET, "sex": sex, "group": sex})
        for formats in (("nwb",), ("slp",)):
            sources = ExportSources(configure(formats=formats), results, SHARD)
            keys[sex, formats] = sources.make_key("v", "pose-key")
    assert keys["F", ("nwb",)] != keys["M", ("nwb",)]
    assert keys["F", ("slp",)] == keys["M", ("slp",)]


def test_a_run_sees_that_the_sheet_describes_a_session_otherwise(results):
    _, configure = prepare_linked(results, SHEET)
    sheet = results.root.parent / "cohort.tsv"
    text = sheet.read_text()
    head, row = text.splitlines()
    video = row.split("\t")[0]
    plan = Plan(({"video": video, "shard": SHARD, "state": "active"},))

    def find(changed, *formats):
        sheet.write_text(changed)
        config = configure(formats=formats)
        config = config.model_copy(update={"labels": (LabelSource(path="p"),)})
        return find_session_keys(config, results, plan)

    before = find(text, "nwb")
    assert list(before) == [SHARD]
    assert find(text.replace("\tF\t", "\tM\t"), "nwb") != before
    assert find(f"{head}\tgroup\n{row}\tcontrol\n", "nwb") == before
    assert find(text, "slp") == {}


def test_linked_files_need_to_know_the_video(results):
    write_table(results.shard(SHARD).probe, PROBE_COLUMNS, [])
    run_export(make_config(formats=["slp"]), results, SHARD)
    (row,) = read_rows(results)
    assert row["status"] == "failed"
    assert "no row of video v" in row["reason"]


def test_edges_and_unique_bodyparts_are_the_networks_unless_the_config_has_some(results):
    record = TrainingRecord(
        epochs=1, steps=1, seconds=1.0, seed=0, frames={}, checkpoint="c", settings={}
    )
    card = ModelCard(
        name="pose",
        key="k",
        backbone="b",
        head_channels=8,
        parameters=1,
        stride=8,
        scale=1.0,
        refinement_scale=7.0,
        skeleton=Skeleton(
            bodyparts=("nose", "tail", "food"),
            edges=(("nose", "tail"),),
            unique_bodyparts=("food",),
        ),
        mean=(0.5, 0.5, 0.5),
        std=(0.1, 0.2, 0.3),
        network_sha256="s",
        training=record,
        versions={},
    )
    results.model("pose").folder.mkdir(parents=True)
    results.model("pose").card.write_text(format_card(card))
    write_table(results.shard(SHARD).probe, PROBE_COLUMNS, [{"video": "v", "path": "/v.mp4"}])
    sources = ExportSources(make_config(formats=["slp"]), results, SHARD)
    assert sources.describe("v").skeleton.edges == (("nose", "tail"),)
    sources = ExportSources(make_several_config((("tail", "nose"),)), results, SHARD)
    described = sources.describe("v").skeleton
    assert described.edges == (("tail", "nose"),)
    assert described.unique_bodyparts == ("food",)


def test_a_shard_without_the_stage_before_is_an_error(results):
    results.shard(SHARD).filter("pose").unlink()
    with pytest.raises(StoreError, match="the step that writes it has not run"):
        run_export(make_config(), results, SHARD)
