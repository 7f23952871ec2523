"""Test which settings go with a bundle, and where its network may be published."""

import hashlib
import json
import logging
import shutil
from pathlib import Path

import pytest
import yaml

from pipeline_lib.core.errors import ConfigError, ModelError, StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import parse_config, write_resolved_config
from pipeline_lib.core.settings.run import Config
from pipeline_lib.models.zoo.archive import read_bundle
from pipeline_lib.models.zoo.readme import Described, format_readme
from pipeline_lib.steps.bundle import run_bundle
from pipeline_lib.steps.import_model import run_import_model
from pipeline_lib.steps.predict import write_prediction_project
from pipeline_lib.steps.runs.networks.bundle_fit import find_imported, list_bundle_problems
from pipeline_lib.steps.runs.preflight import check_run
from pipeline_lib.steps.runs.stage_keys import claim_stage
from tests.models.synthetic import TINY_BACKBONE, write_tiny_model
from tests.models.zoo.bundles import TEXTS, change, read_members, write_tiny_bundle

LOCATING = {"enabled": True, "window": 64, "pcutoff": 0.2}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """Return bundles of one network, of another one, and of one with a locator."""
    folder = tmp_path_factory.mktemp("bundles")
    one, two = write_tiny_bundle(folder, "one"), write_tiny_bundle(folder, "two", seed=1)
    made = Results(folder / "results-one")
    write_tiny_model(made.model("pose").locator, seed=2, scale=0.5)
    config = parse_config({"cohort": "cohort.tsv", "locating": LOCATING})
    return one, two, run_bundle(config, made, TEXTS, folder / "located.cohortpose")


@pytest.fixture(autouse=True)
def _stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "v.mp4").write_bytes(b"no video")
    (tmp_path / "cohort.tsv").write_text("video\tpath\nv\tv.mp4\n")


def configure(bundle, **sections):
    return {"cohort": "cohort.tsv", "model": {"bundle": str(bundle)}, **sections}


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        ({"targets": {"scale": 0.5}}, "`targets.scale`: 0.5, but the network of the bundle has 1"),
        ({"targets": {"stride": 4}}, "`targets.stride`: 4, but the network of the bundle has 8"),
        ({"training": {"backbone": "resnet18"}}, f"resnet18, but .* has {TINY_BACKBONE}"),
        ({"training": {"head_channels": 64}}, "`training.head_channels`: 64, but .* has 8"),
        ({"training": {"head_stages": 2}}, "`training.head_stages`: 2, but .* has 1"),
        ({"individuals": {"identity": True}}, "`individuals.identity`: True, but .* has False"),
        ({"skeleton": {"unique_bodyparts": ["red"]}}, "`skeleton.unique_bodyparts`: red, but"),
    ],
)
def test_stated_values_that_describe_another_network_are_errors(bundles, sections, told):
    with pytest.raises(ConfigError, match=told):
        check_run(configure(bundles[0], **sections))


def test_values_of_the_bundle_and_defaults_pass(bundles):
    stated = configure(
        bundles[0],
        targets={"scale": 1.0, "stride": 8},
        training={"backbone": TINY_BACKBONE, "head_channels": 8},
    )
    check_run(stated)
    # The settings that a run writes state every default, and describe the same run.
    config, _ = check_run(configure(bundles[0]))
    Path("config.resolved.yaml").write_text(write_resolved_config(config))
    written = yaml.safe_load(Path("config.resolved.yaml").read_text())
    assert (
        written["training"]["head_channels"]
        == Config.model_fields["training"].default.head_channels
    )
    check_run(written)


def test_a_run_does_not_leave_open_whether_windows_are_used(bundles):
    located = bundles[2]
    with pytest.raises(ConfigError, match=r"`locating\.enabled`: is not stated.* set it to true"):
        check_run(configure(located))
    assert check_run(configure(located, locating=LOCATING))[0].uses_locator
    assert not check_run(configure(located, locating={"enabled": False}))[0].uses_locator
    with pytest.raises(ConfigError, match=r"`locating\.scale`: 0\.25, but .* has 0\.5"):
        check_run(configure(located, locating={**LOCATING, "scale": 0.25}))


def test_settings_that_are_not_stated_and_differ_are_told(bundles, caplog):
    with caplog.at_level(logging.WARNING):
        check_run(configure(bundles[2], locating={"enabled": True, "window": 64}))
    assert "`locating.pcutoff` is not stated: 0.1 is used, but 0.2 where" in caplog.text
    caplog.clear()
    check_run(configure(bundles[2], locating=LOCATING))
    assert "is not stated" not in caplog.text


def test_the_card_prints_the_settings_that_predict_uses(bundles):
    """Of several animals the assembly counts, too."""
    assembly = {"pcutoff": 0.6, "min_confidence": 0.5, "min_keypoints": 1, "surplus": 0}
    card = json.loads(read_members(bundles[0])["model.json"])
    card["individuals"] = ["individual1", "individual2"]
    several = change(
        bundles[0],
        Path("several.cohortpose"),
        manifest=lambda values: values["settings"]["assembly"].update(assembly),
        model_json=json.dumps(card).encode(),
    )
    for path in (bundles[2], several):
        bundle = read_bundle(path)
        text = format_readme(bundle.manifest, Described(bundle.card, bundle.locator, {}))
        printed = yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])
        written = write_prediction_project([Path("v.mp4")], str(path), Path(path.stem))
        used = yaml.safe_load(written.read_text())
        for values in (printed, used):
            assert values.pop("cohort")
            assert values.pop("model").keys() == {"bundle"}
        assert printed == used
    assert {name: printed["assembly"][name] for name in assembly} == assembly
    assert list_bundle_problems(parse_config(configure(several, **printed)), bundle) == []


def hash_files(folder):
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("left", ["network", "member", "locator", "checkpoints"])
def test_a_network_that_was_trained_here_is_not_replaced(bundles, left):
    results = Results(Path("results"))
    files = results.model("pose")
    places = {"network": files, "member": files.member(2), "locator": files.locator}
    if left in places:
        write_tiny_model(places[left], seed=5)
    else:
        files.checkpoints.mkdir(parents=True)
        (files.checkpoints / "last.ckpt").write_bytes(b"half a training")
    before = hash_files(files.folder)
    config = parse_config(configure(bundles[0]))
    attempts = [lambda: check_run(configure(bundles[0]))]
    if left in ("network", "member"):
        # Others are not replaced.
        attempts.append(lambda: run_import_model(config, results))
    for attempt in attempts:
        with pytest.raises(ConfigError, match=r"`training\.name`: .*was trained here"):
            attempt()
    assert hash_files(files.folder) == before
    run_import_model(parse_config(configure(bundles[0], training={"name": "theirs"})), results)
    assert hash_files(files.folder) == before


def test_what_earlier_releases_left_beside_an_import_stops_no_run(bundles):
    """They imported over trainings, of which the locator and checkpoints stayed."""
    results, config = Results(Path("results")), parse_config(configure(bundles[0]))
    files = results.model("pose")
    run_import_model(config, results)
    write_tiny_model(files.locator, seed=5)
    files.checkpoints.mkdir()
    (files.checkpoints / "last.ckpt").write_bytes(b"half a training")
    check_run(configure(bundles[0]))
    # Snakemake removes these before the job.
    for path in (files.card, files.network, files.weights, files.history):
        path.unlink()
    run_import_model(config, results)
    assert files.network.read_bytes() == read_bundle(bundles[0]).read("network.onnx")
    assert (files.checkpoints / "last.ckpt").exists()


def test_a_bundle_replaces_another_bundle(bundles):
    results = Results(Path("results"))
    for bundle in bundles[:2]:
        run_import_model(parse_config(configure(bundle)), results)
        network = read_bundle(bundle).read("network.onnx")
        assert results.model("pose").network.read_bytes() == network
    check_run(configure(bundles[0]))
    # Whoever reads the bundle once more reads the one that was imported.
    assert find_imported(str(bundles[1]), results.model("pose")).path == bundles[1]
    with pytest.raises(ModelError, match="is not the bundle that results/models/pose was imported"):
        find_imported(str(bundles[0]), results.model("pose"))


def test_a_bundle_that_is_replaced_after_the_start_of_a_run_is_refused(bundles):
    """Else it would count as the first one for good, also when that is put back."""
    results, config = Results(Path("results")), parse_config(configure("pose.cohortpose"))
    shutil.copy(bundles[0], "pose.cohortpose")
    claim_stage(config, results, "import-model")
    shutil.copy(bundles[1], "pose.cohortpose")
    told = r"import-model: a file .*\(one of pose\.cohortpose\): run"
    with pytest.raises(StoreError, match=told):
        run_import_model(config, results)
    assert not results.model("pose").folder.exists()
    shutil.copy(bundles[0], "pose.cohortpose")
    run_import_model(config, results)
    assert results.model("pose").network.read_bytes() == read_bundle(bundles[0]).read(
        "network.onnx"
    )
