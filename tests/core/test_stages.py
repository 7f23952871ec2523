"""Test the records of the stages: which are wanted, and the settings they depend on."""

from pathlib import Path

import pytest

from pipeline_lib.core import versions
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.chosen import list_auto
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.core.settings.run import ResolvedConfig
from pipeline_lib.core.stages import STAGES, VIDEO_STAGES, list_cohort_files, list_stages_of

LABELS = [{"path": "project"}]


def parse(**sections):
    return parse_config({"cohort": "cohort.tsv", "labels": LABELS, **sections})


def list_changed(before, after):
    return {
        name
        for name, stage in STAGES.items()
        if stage.hash_settings(before) != stage.hash_settings(after)
    }


@pytest.mark.parametrize(
    ("sections", "changed"),
    [
        ({"filtering": {"window": 3}}, {"filter"}),
        ({"exports": {"scorer": "me"}}, {"export"}),
        ({"inference": {"batch_size": 3, "workers": 1}}, set()),
        ({"inference": {"crop": [0, 8, 0, 8]}}, {"infer"}),
        ({"inference": {"max_failed_fraction": 0.1}}, {"accept"}),
        ({"training": {"epochs": 3}}, {"train", "train-members", "train-locator"}),
        ({"training": {"name": "other"}}, set()),
        ({"training": {"measure_every": 3}}, set()),
        (
            {"training": {"split": {"seed": 3}}},
            {"import-labels"} | {"train", "train-members", "train-locator"},
        ),
        ({"tracking": {"max_gap": 3}}, {"track"}),
        ({"assembly": {"pcutoff": 0.3}}, set()),
        ({"frames": {"number": 3}}, {"select-frames"}),
        ({"report": {"title": "x"}}, {"report", "multiqc"}),
        ({"report": {"multiqc": True, "seed": 3}}, {"report"}),
        ({"report": {"multiqc": True}}, set()),
        ({"refinement": {"frames": 7}}, {"refine"}),
        ({"kinematics": {"window": 0.5}}, {"kinematics"}),
        ({"kinematics": {"enabled": True}}, set()),
        ({"rendering": {"radius": 5}}, {"render", "render-sessions"}),
        ({"rendering": {"worst_seconds": 3}}, {"render"}),
        ({"rendering": {"sessions": False}}, set()),
        ({"rendering": {"enabled": True, "segment_seconds": 9}}, set()),
        ({"refinement": {"enabled": True}}, set()),
        ({"quality": {"enabled": True}}, set()),
        ({"quality": {"samples": 3}}, {"quality"}),
        ({"quality": {"limits": {"focus": None}}}, {"judge"}),
        ({"quality": {"decisions": "mine.tsv"}}, set()),
        ({"overrides": [{"videos": ["v"], "filtering": {"window": 3}}]}, {"filter"}),
        ({"targets": {"pos_dist_thresh": 4.0}}, {"make-targets", "make-targets-locator"}),
        # The choice of others depends on these.
        ({"targets": {"stride": 4}}, {"import-labels", "make-targets", "make-targets-locator"}),
        ({"training": {"crop": None}}, {"import-labels", "train", "train-members"}),
        (
            {"training": {"augmentation": {"mirror": True}}},
            {"train", "train-members", "train-locator"},
        ),
        (
            {"training": {"devices": 2, "batch_size": 4}},
            {"train", "train-members", "train-locator"},
        ),
        ({"locating": {"scale": 0.5}}, {"make-targets-locator"}),
        # What the network sees in windows is in its card.
        ({"locating": {"window": 64}}, set()),
    ],
)
def test_a_setting_concerns_the_stages_whose_results_depend_on_it(sections, changed):
    assert list_changed(parse(), parse(**sections)) == changed


def list_choices(config):
    lines = STAGES["import-labels"].list_settings(config)
    return [line for line in lines if line.startswith("auto.")]


def test_settings_are_chosen_for_stated_ones_only_where_one_is_auto():
    """No setting concerns the import of labels where the config states what depends on it."""
    stated = ResolvedConfig(cohort="cohort.tsv").model_dump(include={"targets", "locating"})
    training = {"crop": None, "epochs": 9, "augmentation": {"rotation": 10, "mirror": False}}
    stated["training"] = {**training, "batch_size": 4}
    fixed = parse(**stated)
    assert list_auto(fixed) == ()
    assert list_choices(fixed) == []
    # Only the batch size is chosen, for these.
    assert list_choices(parse(**{**stated, "training": training})) == [
        f"auto.version: {versions.CHOOSE_SETTINGS}",
        "auto.targets.scale: 1.0",
        "auto.targets.stride: 8",
        "auto.training.crop: null",
    ]


def test_the_file_of_choices_is_an_output_only_where_there_are_choices():
    results = Results(Path("results"))

    def made(config):
        return [file.path for _, file in list_cohort_files(config, results) if file.declared]

    fixed = ResolvedConfig(cohort="cohort.tsv", labels=LABELS)
    assert results.chosen_settings in made(parse())
    assert results.chosen_settings not in made(fixed)


def test_assembly_concerns_several_animals_only():
    several = {"max": 3}
    before, after = (
        parse(individuals=several, assembly={"pcutoff": value}) for value in (0.1, 0.3)
    )
    assert list_changed(before, after) == {"infer", "evaluate", "choose-precision"}


def test_networks_that_were_trained_before_curves_of_the_test_split_keep_their_key():
    """A setting beyond these would train every network of every results folder anew."""
    before = (
        "augmentation.blur augmentation.brightness augmentation.contrast augmentation.erase "
        "augmentation.mirror augmentation.noise augmentation.rotation augmentation.scale "
        "augmentation.translation backbone batch_size checkpoint crop deterministic epochs "
        "head_channels learning_rate location_refinement_weight precision seed split.block_frames "
        "split.fold split.folds split.method split.seed split.test_fraction validate_every "
        "validation_fraction warmup weight_decay weights"
    )
    lines = STAGES["train"].list_settings(parse())
    names = {line.partition(": ")[0] for line in lines if line.startswith("training.")}
    assert names == {f"training.{name}" for name in before.split()}


def test_each_setting_is_one_line():
    lines = STAGES["filter"].list_settings(parse(filtering={"window": 7}))
    assert lines == (
        "version of the step: 1",
        "filtering.pcutoff: 0.4",
        "filtering.max_gap: 5",
        'filtering.method: "median"',
        "filtering.window: 7",
        "filtering.order: 2",
    )


def test_a_raised_version_makes_results_anew(monkeypatch):
    before = STAGES["infer"].hash_settings(parse())
    monkeypatch.setattr(versions, "INFER", 99)
    assert STAGES["infer"].hash_settings(parse()) != before


def test_the_wanted_stages_follow_from_the_settings():
    def wanted(config):
        return [name for name in VIDEO_STAGES if STAGES[name].wanted(config)]

    assert wanted(parse_config({"cohort": "cohort.tsv"})) == ["probe"]
    assert wanted(parse()) == ["probe", "infer", "filter", "export"]
    assert wanted(parse(exports={"formats": []})) == ["probe", "infer", "filter"]
    everything = parse(
        individuals={"max": 2},
        kinematics={"enabled": True},
        rendering={"enabled": True},
        quality={"enabled": True},
    )
    assert wanted(everything) == list(VIDEO_STAGES)


def test_sessions_have_all_their_stages_with_a_bundle_and_with_labels():
    asked = {"enabled": True, "exports": ["csv"], "corrected_views": {"enabled": True}}
    given = {"cohort": "cohort.tsv", "model": {"bundle": "mice.cohortpose"}}
    drawn = {"enabled": True}
    stages = ["triangulate", "correct-views", "export-sessions", "render-sessions"]
    for config in (
        parse(triangulation=asked, rendering=drawn),
        parse_config({**given, "triangulation": asked, "rendering": drawn}),
    ):
        wanted = {name for name, stage in STAGES.items() if stage.wanted(config)}
        assert [name for name, stage in STAGES.items() if stage.sessions] == stages
        assert wanted >= {*stages, "calibrate"}


def test_frames_to_label_next_are_chosen_on_demand_from_the_poses_before_filtering():
    refine, asked = STAGES["refine"], {"enabled": True}
    assert not refine.wanted(parse())
    assert refine.wanted(parse(refinement=asked))
    assert not refine.wanted(parse_config({"cohort": "cohort.tsv", "refinement": asked}))
    assert refine.reads(parse()) == ("probe", "infer")
    assert refine.reads(parse(individuals={"max": 2})) == ("probe", "correct")


def test_the_rules_of_shards_call_the_wanted_stages_in_order():
    def names(rule, config):
        return [stage.name for stage in list_stages_of(rule, config)]

    assert names("postprocess", parse()) == ["filter", "export"]
    assert names("postprocess", parse(individuals={"max": 2})) == [
        "track",
        "correct",
        "filter",
        "export",
    ]
    assert names("infer", parse()) == ["infer"]
    assert names("select_frames", parse(frames={"extract": True})) == ["select-frames"]
    assert names("infer", parse_config({"cohort": "cohort.tsv"})) == []


def test_every_file_of_the_cohort_has_one_stage_and_one_place():
    config = parse(frames={"extract": True}, locating={"enabled": True})
    files = [file.path for _, file in list_cohort_files(config, Results(Path("r")))]
    assert len(set(files)) == len(files)
    assert Path("r/models/pose/locator/network.onnx") in files
    without = parse_config({"cohort": "cohort.tsv"})
    kinds = [file.kind for _, file in list_cohort_files(without, Results(Path("r")))]
    assert kinds == ["ledger", "report", "summaries", "report data", "verdict"]


@pytest.mark.parametrize("name", STAGES)
def test_a_record_names_stages_and_a_version_that_there_are(name):
    stage, config = STAGES[name], parse(individuals={"max": 2})
    assert stage.version_number >= 1
    assert set(stage.after) <= set(STAGES)
    if stage.videos:
        assert stage.table
        assert stage.step
        source = STAGES[stage.videos.source(config)]
        assert list(STAGES).index(source.name) < list(STAGES).index(name)
        places = stage.list_results(config, Results(Path("r")), "v")
        assert len(set(places)) == len(places) > 0
