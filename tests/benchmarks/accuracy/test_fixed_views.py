"""Projects of fixed views, made from recordings of a fly and of a person."""

import pandas as pd
import pytest
import yaml

from benchmarks.accuracy import fixed_views
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.steps.import_labels.run import run_import_labels


@pytest.mark.parametrize(
    ("project", "expected"),
    [("fly", (45, 2 * 19, 15.0)), ("person", (99, 2 * 25, 30.0))],
)
def test_auto_finds_fixed_views(tmp_path, data_folder, project, expected):
    find, _ = fixed_views.PROJECTS[project]
    bodyparts = fixed_views.write_project(find(data_folder), tmp_path)
    table = pd.read_csv(tmp_path / "CollectedData.csv", header=[0, 1, 2], index_col=0)
    labels = [{"path": str(tmp_path), "format": "lightning-pose"}]
    config = parse_config(
        {"cohort": str(tmp_path / "cohort.tsv"), "results": str(tmp_path / "results")}
        | {"skeleton": {"bodyparts": list(bodyparts)}, "labels": labels}
    )
    results = Results(tmp_path / "results")
    run_import_labels(config, results)
    chosen = yaml.safe_load(results.chosen_settings.read_text())["settings"]
    choice = chosen["training.augmentation.rotation"]
    assert (*table.shape, choice["value"]) == expected
    assert choice["reason"].startswith("animals stay in place")
