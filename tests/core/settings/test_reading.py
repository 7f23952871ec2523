"""Test the reading of configs: problems name their key and the nearest valid name; defaults."""

import hashlib

import pytest
import yaml

from pipeline_lib.core import versions
from pipeline_lib.core.errors import ConfigError
from pipeline_lib.core.settings.network import SplitSettings, TargetSettings
from pipeline_lib.core.settings.reading import (
    hash_settings,
    parse_config,
    read_config,
    write_resolved_config,
)
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.skeleton import Skeleton
from tests.fixed_settings import parse_fixed_config


def problems_of(**values):
    with pytest.raises(ConfigError) as error:
        parse_config({"cohort": "cohort.tsv", **values})
    return error.value.problems


def test_only_the_cohort_is_needed():
    config = parse_config({"cohort": "cohort.tsv"})
    assert config == Config(cohort="cohort.tsv")
    assert (config.targets.stride, config.targets.samples_per_shard) == ("auto", 32)
    with pytest.raises(ConfigError, match="missing key `cohort`"):
        parse_config({})


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"trainig": {}}, "unknown key `trainig`; did you mean `training`?"),
        (
            {"training": {"batchsize": 4}},
            "unknown key `training.batchsize`; did you mean `training.batch_size`?",
        ),
        (
            {"training": {"augmentation": {"blurr": 5}}},
            "unknown key `training.augmentation.blurr`; did you mean `training.augmentation.blur`?",
        ),
        # A right name in the wrong section is found where it belongs.
        (
            {"training": {"pos_dist_thresh": 9}},
            "unknown key `training.pos_dist_thresh`; did you mean `targets.pos_dist_thresh`?",
        ),
        (
            {"labels": [{"path": "p"}, {"paht": "q", "path": "q"}]},
            "unknown key `labels.1.paht`; did you mean `labels.path`?",
        ),
        ({"skeleton": {"body_parts": []}}, "did you mean `skeleton.bodyparts`?"),
        ({"zzzzzz": 1}, "unknown key `zzzzzz`"),
    ],
)
def test_an_unknown_key_names_the_nearest_valid_one(values, problem):
    (found,) = problems_of(**values)
    assert found.endswith(problem)


@pytest.mark.parametrize(
    ("values", "key", "found"),
    [
        ({"training": {"epochs": "many"}}, "`training.epochs`", "found 'many'"),
        ({"training": {"epochs": 0}}, "`training.epochs`", "found 0"),
        ({"training": {"epochs": 1.5}}, "`training.epochs`", "found 1.5"),
        ({"training": {"mirror": 1}}, "unknown key `training.mirror`", "augmentation.mirror"),
        ({"training": {"name": "a/b"}}, "`training.name`", "found 'a/b'"),
        ({"targets": {"stride": 16}}, "`targets.stride`", "found 16"),
        ({"targets": {"scale": 0}}, "`targets.scale`", "found 0"),
        ({"targets": []}, "`targets`", "found []"),
        ({"individuals": {"max": 0}}, "`individuals.max`", "found 0"),
        ({"labels": [{}]}, "missing key `labels.0.path`", ""),
        ({"labels": {"path": "p"}}, "`labels`", ""),
        ({"skeleton": {"edges": [["a", "b", "c"]]}}, "`skeleton.edges.0`", ""),
        ({"skeleton": {"bodyparts": "a"}}, "`skeleton.bodyparts`: Input should be a list", "'a'"),
    ],
)
def test_a_wrong_value_is_shown_with_its_key(values, key, found):
    (problem,) = problems_of(**values)
    assert key in problem
    assert found in problem


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"frames": {"start": 0.5, "stop": 0.5}}, r"start \(0.5\) must be below stop \(0.5\)"),
        ({"frames": {"crop": [5, 5, 0, 9]}}, r"crop \[5, 5, 0, 9\] must be x1 < x2"),
        ({"training": {"split": {"folds": 3, "fold": 3}}}, r"fold \(3\) must be below folds"),
        ({"training": {"checkpoint": "best"}}, "best needs validation_fraction above 0"),
        ({"training": {"crop": 100}}, r"crop \(100\) must be a multiple of 32"),
        ({"locating": {"window": 100}}, r"window \(100\) must be a multiple of 32"),
        ({"filtering": {"window": 4}}, r"window \(4\) must be odd"),
        (
            {"filtering": {"method": "savitzky-golay", "window": 3, "order": 3}},
            r"order \(3\) must be below window \(3\)",
        ),
    ],
)
def test_settings_that_contradict_each_other(values, message):
    with pytest.raises(ConfigError, match=message):
        parse_config({"cohort": "c", **values})


def test_every_problem_in_one_message(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("cohrot: c\ntraining: {epochs: no, batchsize: 2}\n")
    with pytest.raises(ConfigError) as error:
        read_config(path)
    text = str(error.value)
    assert text.startswith(f"{path}: 4 problems\n")
    for part in ("`cohrot`; did you mean `cohort`?", "missing key `cohort`"):
        assert part in text
    for part in ("`training.epochs`", "did you mean `training.batch_size`?"):
        assert part in text


def test_an_empty_section_has_its_defaults(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("cohort: c\nlabels:\ntraining:\ntargets: {}\n")
    assert read_config(path) == Config(cohort="c")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected `key: value` lines"),
        ("- a\n", "expected `key: value` lines"),
        ("a: [", "is not YAML"),
        (b"\xff\xfe\x00", "is not YAML"),
    ],
)
def test_a_file_that_is_no_config(tmp_path, text, message):
    path = tmp_path / "config.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError, match=message):
        read_config(path)


def test_a_missing_config_says_how_to_get_one(tmp_path):
    with pytest.raises(ConfigError, match="no such file; `cohortpose init`"):
        read_config(tmp_path / "config.yaml")


def test_the_resolved_config_is_a_config(tmp_path):
    config = parse_config(
        {
            "cohort": "Käfig/cohort.tsv",
            "skeleton": {"bodyparts": ["a", "b"], "edges": [["a", "b"]]},
            "labels": [{"path": "p"}],
            "training": {"split": {"folds": 4}, "crop": 64, "devices": 2},
            "frames": {"crop": [0, 10, 0, 20]},
        }
    )
    path = tmp_path / "config.yaml"
    path.write_text(write_resolved_config(config), encoding="utf-8")
    assert read_config(path) == config
    # Every setting is there, those not given as well.
    resolved = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert resolved == config.model_dump(mode="json")
    assert (resolved["training"]["batch_size"], resolved["training"]["seed"]) == ("auto", 0)


def test_a_hash_is_that_of_the_canonical_json():
    expected = hashlib.sha256(b'[{"a":[1,2],"b":null},"x",3]').hexdigest()[:16]
    assert hash_settings({"b": None, "a": (1, 2)}, "x", 3) == expected
    # Keys in files from earlier versions must stay valid.
    assert hash_settings(SplitSettings()) == hash_settings(SplitSettings().model_dump())


@pytest.mark.parametrize(
    "other",
    [
        (TargetSettings(sigma=8.5), "v"),
        (TargetSettings(), "w"),
        (TargetSettings(),),
        ("v", TargetSettings()),
    ],
)
def test_a_hash_changes_with_every_setting(other):
    assert hash_settings(*other) != hash_settings(TargetSettings(), "v")
    # As integers or decimals, equal settings are equal.
    assert hash_settings(TargetSettings(sigma=8), "v") == hash_settings(TargetSettings(), "v")


def test_the_locator_is_the_same_network_on_small_whole_frames():
    training = {"crop": 288, "epochs": 50, "backbone": "resnet50", "seed": 3}
    targets = {"sigma": 6.0, "stride": 4}
    config = parse_fixed_config({"cohort": "c", "targets": targets, "training": training})
    locator = config.for_locator()
    assert locator.targets == TargetSettings(sigma=6.0, stride=4, scale=0.25)
    assert locator.training == config.training.model_copy(update={"crop": None})
    own = {"scale": 0.125, "backbone": "mobilenetv3_small_050", "weights": "none", "epochs": 7}
    other = parse_config({"cohort": "c", "training": training, "locating": own}).for_locator()
    assert other.targets.scale == 0.125
    found = other.training.model_dump()
    assert {key: found[key] for key in ("backbone", "weights", "epochs", "seed")} == {
        "backbone": "mobilenetv3_small_050",
        "weights": "none",
        "epochs": 7,
        "seed": 3,
    }


def test_the_locator_of_several_animals_knows_their_centres_in_fine_cells():
    """Check that every size in cells is halved with a stride of 8."""
    values = {
        "cohort": "c",
        "skeleton": {"bodyparts": ["l", "r"], "symmetries": [["l", "r"]]},
        "individuals": {"max": 2, "method": "top-down"},
        "targets": {"sigma": 6.0, "pos_dist_thresh": 17.0, "scale": 0.5},
    }
    config = parse_fixed_config(values)
    assert config.top_down
    assert config.uses_locator
    locator = config.for_locator()
    assert locator.skeleton == Skeleton(bodyparts=("centre",))
    assert locator.targets == TargetSettings(sigma=3.0, pos_dist_thresh=8.5, stride=4, scale=0.25)
    values["targets"]["stride"] = 4
    targets = parse_fixed_config(values).for_locator().targets
    assert (targets.sigma, targets.pos_dist_thresh, targets.stride) == (6.0, 17.0, 4)


def test_what_is_auto_stays_so_in_the_settings_of_the_locator():
    locator = parse_config(
        {
            "cohort": "c",
            "individuals": {"max": 2, "method": "top-down"},
            "targets": {"stride": 8, "sigma": 6.0},
        }
    ).for_locator()
    assert (locator.targets.sigma, locator.targets.pos_dist_thresh) == (3.0, "auto")
    assert (locator.targets.scale, locator.training.epochs) == ("auto", "auto")
    assert locator.training.crop is None


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        ({"targets": {"sigma": "Auto"}}, "`targets.sigma`: expected a number, found 'Auto'"),
        ({"targets": {"stride": 5}}, "`targets.stride`: Input should be 4 or 8, found 5"),
        ({"training": {"epochs": None}}, "`training.epochs`: expected a whole number, found None"),
        ({"training": {"crop": 33}}, "`training`: crop (33) must be a multiple of 32"),
        ({"training": {"batch_size": ["auto"]}}, "`training.batch_size`: expected a whole number"),
        ({"locating": {"window": 33}}, "`locating`: window (33) must be a multiple of 32"),
        ({"training": {"lr": "auto"}}, "unknown key `training.lr`"),
    ],
)
def test_a_setting_is_auto_or_a_value_of_its_own_type(section, problem):
    (found,) = problems_of(**section)
    assert found.startswith(problem)


@pytest.mark.parametrize(
    ("individuals", "enabled", "top_down", "uses_locator"),
    [
        ({}, False, False, False),
        ({}, True, False, True),
        ({}, "auto", False, True),
        ({"method": "top-down"}, False, False, False),  # there is one animal
        ({"max": 2}, False, False, False),
        ({"max": 2}, "auto", False, False),  # windows show one animal
        ({"max": 2, "method": "top-down"}, False, True, True),
        ({"max": 2, "method": "top-down"}, True, True, True),
        ({"max": 2, "method": "top-down"}, "auto", True, True),
    ],
)
def test_the_locator_is_used_if_set(individuals, enabled, top_down, uses_locator):
    config = parse_config(
        {"cohort": "c", "individuals": individuals, "locating": {"enabled": enabled}}
    )
    assert (config.top_down, config.uses_locator) == (top_down, uses_locator)


def test_sections_that_contradict_each_other():
    (found,) = problems_of(individuals={"max": 3}, locating={"enabled": True})
    assert "`individuals.max` is 3: set `individuals.method: top-down`" in found
    unique, identity, crop = problems_of(
        skeleton={"bodyparts": ["nose", "corner"], "unique_bodyparts": ["corner"]},
        individuals={"max": 2, "method": "top-down", "identity": True},
        training={"crop": 96},
    )
    assert unique.startswith("unique bodyparts (corner) belong to no animal")
    assert "set `individuals.method: bottom-up`" in unique
    assert identity.startswith("`individuals.identity`: is learned bottom-up only")
    assert crop.startswith("`training.crop`: 96, but top-down")
    assert "`locating.window` (auto)" in crop


def test_top_down_settings_that_poses_depend_on():
    config = parse_fixed_config({"cohort": "c"})
    assert config.locating.result_settings() == {"window": 224, "pcutoff": 0.1, "least_found": 0.5}
    assert config.locating.result_settings(top_down=True) == {"pcutoff": 0.1}
    kept = {"pcutoff": 0.1, "min_confidence": 0.02, "min_keypoints": 3, "surplus": 4}
    assert config.assembly.result_settings(top_down=True) == kept
    assert "min_affinity" in config.assembly.result_settings()


def test_settings_of_several_animals_do_not_matter_for_one():
    """Ignore the width of its affinity fields, and the weights of fields and identity."""
    several = {"individuals": {"max": 2}}
    changes = {
        "targets": {"part_affinity_width": 3.0},
        "training": {"part_affinity_weight": 0.7, "identity_weight": 0.7},
    }

    def needs(*parts):
        values = {"cohort": "c"}
        for part in parts:
            values |= part
        config = parse_config(values)
        return config.target_settings(), config.training_settings()

    assert needs() == needs(changes)
    targets, training = needs(several, changes)
    assert targets["part_affinity_width"] == 3.0
    assert training["part_affinity_weight"] == 0.7
    assert "identity_weight" not in training
    known = {"individuals": {"max": 2, "identity": True}}
    assert needs(known, changes)[1]["identity_weight"] == 0.7
    windows = {"individuals": {"max": 2, "method": "top-down"}}
    assert needs(windows) == needs(windows, changes) == needs()


def test_a_network_does_not_depend_on_its_name_where_it_learns_or_how_it_is_watched():
    elsewhere = {"name": "other", "devices": 4, "num_nodes": 2, "strategy": "ddp"}
    elsewhere |= {"measure_every": 3}
    usual = parse_config({"cohort": "c"}).training_settings()
    assert parse_config({"cohort": "c", "training": elsewhere}).training_settings() == usual
    changed = parse_config({"cohort": "c", "training": {"epochs": 3}}).training_settings()
    assert changed == usual | {"epochs": 3}


def list_values(schema, names=()):
    """Yield the key, the kinds and a way to write it of every number and truth value."""
    properties = schema["properties"]
    for name, field in properties.items():
        section = field.get("$ref") or field.get("items", {}).get("$ref", "")
        if section:
            yield from list_values(resolve(section), (*names, name))
            continue
        if field.get("type") == "array":
            items = field.get("prefixItems") or [field["items"]]
            yield (*names, name), kinds_of(items[0]), len(items)
        elif "anyOf" in field and field["anyOf"][0].get("type") == "array":
            items = field["anyOf"][0].get("prefixItems") or [field["anyOf"][0]["items"]]
            yield (*names, name), kinds_of(items[0]), len(items)
        else:
            yield (*names, name), kinds_of(field), 0


SCHEMA = Config.model_json_schema()


def resolve(reference):
    return SCHEMA["$defs"][reference.rsplit("/", 1)[1]]


def kinds_of(field):
    return {one.get("type") for one in field.get("anyOf", [field])}


WRONG = {
    "integer": [
        True,
        False,
        3.0,
        2.5,
        "3.0",
        "three",
        "0x3",
        "1_0",
        "",
        float("inf"),
        float("nan"),
        [3],
    ],
    "number": [True, False, "two", "0x1", "1_0", float("inf"), float("-inf"), float("nan"), "inf"],
    "boolean": [0, 1.0, "1", "yes", "on", ""],
}
VALUES = [
    (names, kind, number)
    for names, kinds, number in list_values(SCHEMA)
    for kind in sorted(kinds & WRONG.keys())
]


# Sections that are lists, with what an item needs.
LISTS = {
    "labels": {"path": "p"},
    "cameras": {"source": "camera:0"},
    "rules": {"name": "fast", "measure": "speed", "points": ["nose"], "above": 1.0},
    "actions": {"name": "laser", "kind": "file", "address": "p"},
}


def nest(names, value):
    for name in reversed(names):
        value = {name: [{**LISTS[name], **value}] if name in LISTS else value}
    return value


@pytest.mark.parametrize(("names", "kind", "number"), VALUES, ids=str)
def test_a_number_is_a_number_and_a_truth_value_is_one(names, kind, number):
    """One rule for every setting: none takes the values of another kind."""
    for wrong in WRONG[kind]:
        if names[-1] == "dashboard" and (type(wrong) in (bool, int) or wrong == "1"):
            continue  # takes both
        given = [wrong] * number if number else wrong
        problems = problems_of(**nest(names, given))
        assert all("`" + names[0] + "." in problem for problem in problems), problems
        assert any(names[-1] in problem for problem in problems), problems


def test_the_rule_is_tried_on_every_kind_of_value():
    kinds = [kind for _, kind, _ in VALUES]
    assert kinds.count("integer") > 30
    assert kinds.count("number") > 30
    assert kinds.count("boolean") > 8


def test_numbers_as_yaml_takes_them():
    values = yaml.safe_load("{learning_rate: 1e-3, weight_decay: 0, epochs: 0x10, warmup: .5}")
    assert values["learning_rate"] == "1e-3"
    training = parse_config({"cohort": "c", "training": values}).training
    assert (training.learning_rate, training.weight_decay) == (0.001, 0.0)
    assert (training.epochs, training.warmup) == (16, 0.5)


@pytest.mark.parametrize(
    "results",
    ["", " ", ".", "./", "..", "../..", "/", "//", "~", "~/", "~/..", "results/..", "here"],
)
def test_results_are_a_folder_of_their_own(tmp_path, monkeypatch, results):
    project, home = tmp_path / "a" / "b", tmp_path / "people" / "me"
    for folder in (project, home):
        folder.mkdir(parents=True)
    (project / "here").symlink_to(project)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(project)
    (problem,) = problems_of(results=results)
    assert problem.startswith("`results`: ")
    assert "folder for the results alone" in problem or "expected one for the results" in problem
    for fine in ("results", "x/results", "../results", "~/results", str(tmp_path / "a" / "c")):
        assert parse_config({"cohort": "c", "results": fine})


def test_results_are_not_the_folder_of_the_config(tmp_path):
    path = tmp_path / "config.yaml"
    for results in (tmp_path, tmp_path / "x" / ".."):
        path.write_text(f"cohort: c.tsv\nresults: {results}\n")
        with pytest.raises(ConfigError, match="`results`: is the folder of the config"):
            read_config(path)
    path.write_text(f"cohort: c.tsv\nresults: {tmp_path / 'results'}\n")
    assert read_config(path).results == str(tmp_path / "results")


def test_the_config_that_a_run_wrote_into_its_results_is_read(tmp_path):
    path = tmp_path / "config.resolved.yaml"
    path.write_text(f"cohort: c.tsv\nresults: {tmp_path}\n")
    assert read_config(path).results == str(tmp_path)


def test_values_that_snakemake_hands_on_as_texts():
    """Snakemake takes every value within `--config "section={key: value}"` for a text."""
    given = {
        "filtering": {"window": "3", "pcutoff": "0.5"},
        "frames": {"extract": "true", "number": "12"},
        "training": {"deterministic": "False", "measure_every": "0"},
    }
    config = parse_config({"cohort": "c", **given})
    assert (config.filtering.window, config.filtering.pcutoff) == (3, 0.5)
    assert (config.frames.extract, config.frames.number) == (True, 12)
    assert (config.training.deterministic, config.training.measure_every) == (False, 0)


def test_a_tab_is_named(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("training:\n\tepochs: 2\n")
    with pytest.raises(ConfigError, match="in line 2, column 1: indent with blanks, not with tabs"):
        read_config(file)


def test_still_frames_are_off_unless_asked_for(tmp_path):
    """Read `off` as a word, which YAML takes for false; only `auto` is part of what poses need."""
    file = tmp_path / "config.yaml"
    kept = Config(cohort="c").inference.result_settings()
    assert set(kept) == {"crop", "precision"}
    file.write_text("cohort: c\ninference: {still: off, still_frames: 7}\n")
    assert read_config(file).inference.result_settings() == kept
    file.write_text("cohort: c\ninference: {still: auto, still_frames: 7}\n")
    found = read_config(file).inference.result_settings()
    assert found == kept | {"still": versions.STILL, "still_frames": 7}
    assert (
        parse_config(yaml.safe_load("{cohort: c, inference: {still: off}}")).inference.still
        == "off"
    )
    (problem,) = problems_of(inference={"still": "on", "still_frames": 50})
    assert problem == "`inference.still`: Input should be 'off' or 'auto', found 'on'"
    for wrong in (1, 1001):
        (problem,) = problems_of(inference={"still_frames": wrong})
        assert problem.startswith("`inference.still_frames`: ")
