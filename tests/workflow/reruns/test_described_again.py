"""The description of a run comes back, and tells no lies; times of files are not needed."""

import json
import shutil
import subprocess

import pytest

from pipeline_lib.core.settings.reading import hash_settings, read_config
from pipeline_lib.io.run_lock import RunLock
from tests.workflow.running import identify

pytestmark = [pytest.mark.workflow]


def test_plan_and_provenance_come_back_with_nothing_else_to_do(again):
    results = again.results
    kept = {path: path.read_bytes() for path in (results.plan, results.shard("00001").manifest)}
    settings = results.config.read_bytes()
    for path in (*kept, results.provenance, results.crate, results.config, results.checksums):
        path.unlink()
    ended = again.snakemake()
    assert ended.code == 0, ended.output
    assert ended.jobs == set()
    assert {path: path.read_bytes() for path in kept} == kept
    assert results.config.read_bytes() == settings
    record = json.loads(results.provenance.read_text())
    assert {"train", "infer", "export"} <= set(record["stages"])
    assert results.crate.is_file()
    assert results.checksums.is_file()
    verified = again.watch(
        ["cohortpose", "-d", str(again.folder), "verify", "--config", "config.yaml"], lambda: None
    )
    assert verified.code == 0, verified.output
    assert "Nothing to be done" in again.snakemake().output


def test_damaged_plan_and_tables_cost_their_shard_alone(again):
    """Check that the run starts, says so, and makes nothing else anew."""
    results = again.results
    poses = identify(results.root / "poses")
    shard = results.shard("00001")
    kept = {path: path.read_bytes() for path in (results.plan, shard.manifest)}
    for path in (*kept, shard.infer("pose")):
        path.write_bytes(b"\xff\x00" + path.read_bytes()[:40])
    shown = again.watch(
        ["cohortpose", "-d", str(again.folder), "status", "--config", "config.yaml"], lambda: None
    )
    assert "damaged: recovered" in shown.output
    ended = again.snakemake()
    assert ended.code == 0, ended.output
    assert "plan.tsv: damaged: recovered" in ended.output
    assert "manifest.tsv: damaged: the videos are described anew" in ended.output
    assert ended.jobs <= {"infer 00001", "postprocess 00001", "status", "report", "accept"}
    assert {path: path.read_bytes() for path in kept} == kept
    assert identify(results.root / "poses") == poses


def test_damaged_tables_of_every_stage_are_written_anew(again):
    """Damage each in another way: nothing stops, and the next run makes them as they were."""
    results = again.results
    poses = identify(results.root / "poses")
    shard = results.shard("00001")
    damages = {
        shard.probe: bytes(500),
        shard.infer("pose"): b"video\tstatus\nmouse-01\tdone\n",
        shard.filter("pose"): shard.filter("pose").read_bytes().replace(b"done", b"well", 1),
        shard.table("frames"): shard.table("frames").read_bytes()[:-30],
        shard.table("export", "pose"): b"\xff\xfe",
    }
    kept = {path: path.read_bytes() for path in damages}
    for path, damage in damages.items():
        path.write_bytes(damage)
    answers = {}
    for verb, code in (("status", 0), ("verify", 1), ("report", 0)):
        command = ["cohortpose", "-d", str(again.folder), verb, "--config", "config.yaml"]
        answers[verb] = again.watch(command, lambda: None)
        assert "Traceback" not in answers[verb].output
        assert answers[verb].code == code, answers[verb].output
    assert "2 pending" in answers["status"].output or "3 pending" in answers["status"].output
    assert answers["verify"].output.count("damaged; run snakemake") == len(damages)
    ended = again.snakemake()
    assert ended.code == 0, ended.output
    assert "it counts as missing; the next run writes it anew" in ended.output
    assert {path: path.read_bytes() for path in kept if "probe" in path.name} == {
        shard.probe: kept[shard.probe]
    }
    assert identify(results.root / "poses") == poses
    assert again.snakemake().jobs == set()


def test_touching_takes_no_results_for_those_of_other_settings(again):
    again.edit_config(filtering={"window": 3})
    before = identify(again.results.root)
    refused = again.snakemake("--touch")
    assert refused.code != 0
    assert "--touch: results are missing, or were made with other settings" in refused.output
    after = identify(again.results.root)
    assert {path: after.get(path) for path in before} == before
    assert not [path for path in after if path not in before and "keys" in path.parts]
    # What a run would do, and for which setting.
    planned = again.snakemake("--dry-run")
    assert planned.jobs == {"postprocess 00001", "status", "report", "accept"}
    assert "filtering.window: 3" in planned.output


def test_touching_what_is_fresh_changes_times_only(again):
    described = (again.results.config, again.results.provenance, again.results.checksums)
    before = [path.read_bytes() for path in described]
    ended = again.snakemake("--touch", "--forceall")
    assert ended.code == 0, ended.output
    assert [path.read_bytes() for path in described] == before
    assert "postprocess 00001" not in again.snakemake("--dry-run").jobs


def test_a_copy_without_times_computes_nothing_again(again, tmp_path):
    """Snakemake calls the verbs; each finds its results by their keys."""
    copy = again.copy(tmp_path / "copy")
    shutil.rmtree(copy.results.root)
    subprocess.run(["cp", "-r", again.results.root, copy.results.root], check=True)
    kept = ("poses", "filtered", "exports", "models", "targets")
    before = {name: identify(copy.results.root / name) for name in kept}
    ended = copy.snakemake()
    assert ended.code == 0, ended.output
    after = {name: identify(copy.results.root / name) for name in kept}
    for name in ("poses", "filtered", "exports"):
        assert after[name] == before[name], name
    network, weights = copy.results.model("pose").network, copy.results.model("pose").weights
    for path in (network, weights):
        assert (
            path.read_bytes()
            == (again.results.root / path.relative_to(copy.results.root)).read_bytes()
        )
    assert "Epoch" not in (copy.results.root / "logs" / "train-pose.log").read_text()


def test_a_second_run_of_the_same_settings_is_refused(again):
    config = read_config(again.folder / "config.yaml")
    lock = RunLock(again.results, hash_settings(config))
    lock.claim_run()
    again.results.ledger.unlink()
    refused = again.snakemake()
    assert refused.code != 0
    assert "a run with the same settings is at work on this results folder" in refused.output
    assert refused.jobs == set()
    lock.release()
    ended = again.snakemake()
    assert ended.code == 0, ended.output
    assert again.results.ledger.is_file()
