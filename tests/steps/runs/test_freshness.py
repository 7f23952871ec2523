"""Test that results of other settings, files or networks are not fresh."""

import os
from pathlib import Path

import pytest

from pipeline_lib.core.cohort import Video
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.core.tables import MANIFEST_COLUMNS
from pipeline_lib.io.stage_tables import write_table
from pipeline_lib.steps.runs.freshness import Freshness
from pipeline_lib.steps.runs.result_keys import (
    filtering_key,
    locate_results,
    probing_key,
    tracking_key,
)
from pipeline_lib.steps.runs.stage_keys import claim_stage, find_stage_key

SHARD = "00001"


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.mp4").write_bytes(b"video")
    Path("cohort.tsv").write_text("video\tpath\na\ta.mp4\n")
    results = Results(Path("results"))
    for stage in ("infer", "track", "filter", "export"):
        for path in locate_results(parse(), results, stage, "a"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    return results


def parse(**sections):
    return parse_config({"cohort": "cohort.tsv", "labels": [{"path": "p"}], **sections})


def explain(results, config, stage, path="a.mp4", **keys):
    records = {name: {"status": "done", "key": key} for name, key in keys.items()}
    records.get("probe", {})["fingerprint"] = "f"
    return Freshness(config, results).explain(Video("a", Path(path)), SHARD, stage, records)


def plan_video(results):
    facts = Path("a.mp4").stat()
    row = {"video": "a", "path": "a.mp4", "bytes": 5, "modified_ns": facts.st_mtime_ns}
    write_table(results.shard(SHARD).manifest, MANIFEST_COLUMNS, [row])


def test_a_file_that_was_replaced_is_to_be_probed(results):
    plan_video(results)
    assert explain(results, parse(), "probe", probe=probing_key("f")) == ""
    assert explain(results, parse(), "probe", probe="of another version")
    os.utime("a.mp4", ns=(0, 1))
    assert "the file has changed" in explain(results, parse(), "probe", probe=probing_key("f"))


def test_a_sheet_that_names_another_file(results):
    plan_video(results)
    Path("b.mp4").write_bytes(b"video")
    os.utime("b.mp4", ns=(0, Path("a.mp4").stat().st_mtime_ns))
    key = probing_key("f")
    assert "the sheet names another file" in explain(results, parse(), "probe", "b.mp4", probe=key)
    assert explain(results, parse(), "probe", str(Path("a.mp4").absolute()), probe=key) == ""


def test_filtering_follows_its_settings_and_its_source(results):
    config = parse()
    key = filtering_key("pose key", config.filtering)
    assert explain(results, config, "filter", infer="pose key", filter=key) == ""
    assert explain(results, config, "filter", infer="another", filter=key)
    assert explain(results, parse(filtering={"window": 3}), "filter", infer="pose key", filter=key)


def test_filtering_of_several_animals_follows_their_tracks(results):
    config = parse(individuals={"max": 2})
    track = tracking_key("pose key", config.individuals, config.tracking)
    key = filtering_key(track, config.filtering)
    keys = {"infer": "pose key", "track": track, "filter": key}
    assert [explain(results, config, stage, **keys) for stage in ("track", "filter")] == ["", ""]
    other = parse(individuals={"max": 2}, tracking={"max_gap": 1})
    assert explain(results, other, "track", **keys)


@pytest.mark.parametrize(
    ("sections", "stage"),
    [
        ({"training": {"epochs": 1}}, "train"),
        ({"targets": {"score_map": "plateau"}}, "make-targets"),
        ({"training": {"validation_fraction": 0.3}}, "import-labels"),
    ],
)
def test_a_network_of_other_settings(results, sections, stage):
    for name in ("import-labels", "make-targets", "train"):
        claim_stage(parse(), results, name)
    assert explain(results, parse(), "infer", probe="", infer="k") == ""
    reason = explain(results, parse(**sections), "infer", probe="", infer="k")
    assert reason == f"{stage} has not run with the present settings and labels"


def test_exports_are_judged_by_their_key_file(results):
    claim_stage(parse(), results, "export")
    assert explain(results, parse(), "export", export="k") == ""
    assert explain(results, parse(exports={"scorer": "me"}), "export", export="k")


def test_files_of_the_user_are_part_of_a_key(results):
    Path("p").mkdir()
    table = Path("p/CollectedData_a.csv")
    table.write_text("scorer,a,a\nbodyparts,n,n\ncoords,x,y\nimg.png,1,2\n")
    before = find_stage_key(parse(), results, "import-labels")
    assert find_stage_key(parse(), results, "import-labels") == before
    os.utime(table, (2**31, 2**31))
    assert find_stage_key(parse(), results, "import-labels") == before
    table.write_text(table.read_text().replace("1,2", "1,3"))
    assert find_stage_key(parse(), results, "import-labels") != before
    Path("w.pt").write_bytes(b"weights")
    config = parse(training={"weights": "w.pt"})
    before = find_stage_key(config, results, "train")
    Path("w.pt").write_bytes(b"Weights")
    assert find_stage_key(config, results, "train") != before


@pytest.mark.parametrize("stage", ["infer", "track", "filter", "export"])
def test_a_result_that_is_missing_is_made_again(results, stage):
    config = parse(individuals={"max": 2})
    track = tracking_key("k", config.individuals, config.tracking)
    keys = {"infer": "k", "track": track, "filter": filtering_key(track, config.filtering)}
    keys["export"] = "e"
    assert explain(results, config, stage, probe="", **keys) == ""
    lost = locate_results(config, results, stage, "a")[-1]
    lost.unlink()
    assert explain(results, config, stage, probe="", **keys) == f"{lost} is missing"


def test_exports_of_other_poses_are_not_fresh(results):
    config = parse()
    records = {
        "filter": {"key": "filtered now"},
        "export": {"key": "e", "source_key": "filtered now"},
    }
    freshness, video = Freshness(config, results), Video("a", Path("a.mp4"))
    assert freshness.explain(video, SHARD, "export", records) == ""
    records["export"]["source_key"] = "filtered before"
    assert "other settings" in freshness.explain(video, SHARD, "export", records)
