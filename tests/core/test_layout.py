"""Test the paths of the results folder, which other tools and people read."""

from pathlib import Path

from pipeline_lib.core.layout import Results

RESULTS = Results(Path("r"))


def test_files_lie_where_the_design_says():
    model, shard = RESULTS.model("m"), RESULTS.shard("00001")
    found = {
        RESULTS.ledger: "ledger.tsv",
        RESULTS.config: "config.resolved.yaml",
        RESULTS.provenance: "provenance.json",
        RESULTS.plan: "shards/plan.tsv",
        RESULTS.frames("v"): "frames/v",
        RESULTS.labels: "labels/labels.parquet",
        RESULTS.label_images: "labels/images",
        RESULTS.targets: "targets/targets.zarr",
        RESULTS.locator_targets: "targets/locator.zarr",
        RESULTS.metrics("m"): "evaluation/m/metrics.tsv",
        RESULTS.predictions("m"): "evaluation/m/predictions.parquet",
        RESULTS.poses("m", "v"): "poses/m/v.zarr",
        RESULTS.filtered("m", "v"): "filtered/m/v.zarr.zip",
        RESULTS.exported("m", "v", "h5"): "exports/m/v.h5",
        RESULTS.exported("m", "v", "analysis"): "exports/m/v.analysis.h5",
        RESULTS.report: "report/index.html",
        model.network: "models/m/network.onnx",
        model.weights: "models/m/network.pt",
        model.card: "models/m/model.json",
        model.history: "models/m/history.tsv",
        model.locator.network: "models/m/locator/network.onnx",
        shard.manifest: "shards/00001/manifest.tsv",
        shard.probe: "shards/00001/probe.tsv",
        shard.infer("m"): "shards/00001/infer-m.tsv",
        shard.infer_record("m"): "shards/00001/.inferred-m.tsv",
        shard.filter("m"): "shards/00001/filter-m.tsv",
        shard.export("m"): "shards/00001/export-m.tsv",
    }
    assert {path: Path("r", name) for path, name in found.items()} == {p: p for p in found}


def test_a_name_with_dots_keeps_them():
    """Avoid `with_suffix`, which would make one file of the videos day.1 and day.2."""
    assert RESULTS.poses("m", "day.1").name == "day.1.zarr"
    assert RESULTS.exported("m", "day.1", "csv").name == "day.1.csv"
