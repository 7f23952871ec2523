"""Test that results of videos in no plan are reported, each once, and no others."""

from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.core.tables import PLAN_COLUMNS
from pipeline_lib.io.stage_tables import write_table
from pipeline_lib.steps.verify.run import _find_strangers
from pipeline_lib.steps.verify.unknown import list_unknown_files


def test_a_file_of_another_format_is_no_stranger(tmp_path):
    """Check that `v.analysis.h5`, which ends in .h5, is not taken for a video `v.analysis`."""
    results = Results(tmp_path)
    config = parse_config({"cohort": "c.tsv", "exports": {"formats": ["h5", "analysis"]}})
    write_table(results.plan, PLAN_COLUMNS, [{"video": "v", "shard": "00001", "state": "active"}])
    for video in ("v", "left"):
        for name in ("h5", "analysis"):
            path = results.exported("pose", video, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    found = sorted(finding.name for finding in _find_strangers(config, results))
    assert found == ["exports/pose/left.analysis.h5", "exports/pose/left.h5"]


def test_files_that_no_run_wrote_are_listed_each_once(tmp_path):
    """Check names that look like ours, links out of the folder, and a folder of many files."""
    results = Results(tmp_path / "results")
    config = parse_config({"cohort": "c.tsv", "exports": {"formats": ["h5"]}})
    write_table(results.plan, PLAN_COLUMNS, [{"video": "v", "shard": "00001", "state": "active"}])
    ours = (
        "contents.tsv",
        "ledger.tsv",
        "README.md",
        "keys/probe/key-1",
        ".runs/1",
        "logs/a/b.log",
        "shards/.lock",
        "shards/00001/manifest.tsv",
        "shards/00001/.probed.tsv",
        "shards/00001/contents-infer-pose.tsv",
        "exports/pose/v.h5",
        "exports/pose/.part-w.h5.0123abcd.h5",
        "models/pose/checkpoints/last.ckpt",
    )
    foreign = (
        "run.sh",
        ".hidden",
        "exports/pose/v.h5.exe",
        "shards/00001/more.tsv",
        "shards/00001/sub/manifest.tsv",
        "models/pose/code.py",
        "logs.txt",
    )
    for name in (*ours, *foreign, "toolbox/1", "toolbox/2"):
        (results.root / name).parent.mkdir(parents=True, exist_ok=True)
        (results.root / name).touch()
    (results.root / "exports" / "linked").symlink_to(tmp_path)
    # Its probe is recorded among the checksums of the shard, as all tables are.
    row = "kind\tvideo\tpath\tbytes\tmodified_ns\tsha256\tkey\n"
    row += "table\t\tshards/00001/probe.tsv\t0\t0\t\t\n"
    (results.root / "shards/00001/.checksums-probe.tsv").write_text(row)
    (results.root / "shards/00001/probe.tsv").touch()
    expected = {*foreign, "toolbox/", "exports/linked"} - {"shards/00001/sub/manifest.tsv"}
    # Nothing is known below these folders.
    expected = (expected | {"shards/00001/sub/", "models/"}) - {"models/pose/code.py"}
    assert set(list_unknown_files(config, results)) == expected
