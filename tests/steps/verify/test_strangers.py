"""Test that results of videos in no plan are reported, each once, and no others."""

from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.core.tables import PLAN_COLUMNS
from pipeline_lib.io.stage_tables import write_table
from pipeline_lib.steps.verify.run import _find_strangers


def test_a_file_of_another_format_is_no_stranger(tmp_path):
    """Check that `v.analysis.h5`, which ends in .h5, is not taken for a video `v.analysis`."""
    results = Results(tmp_path)
    config = parse_config({"cohort": "c.tsv", "exports": {"formats": ["h5", "analysis"]}})
    write_table(results.plan, PLAN_COLUMNS, [{"video": "v", "shard": "0001", "state": "planned"}])
    for video in ("v", "left"):
        for name in ("h5", "analysis"):
            path = results.exported("pose", video, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    found = sorted(finding.name for finding in _find_strangers(config, results))
    assert found == ["exports/pose/left.analysis.h5", "exports/pose/left.h5"]
