"""Test the command line: the help of every verb, and error messages without a traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import pipeline_lib
from pipeline_lib.cli import app
from pipeline_lib.core.errors import VideoError

# What the help of a verb must mention.
VERBS = {
    "probe": "fingerprint",
    "select-frames": "k-means",
    "import-labels": "train and test",
    "make-targets": "score maps",
    "train": "killed training",
    "evaluate": "error on labelled images",
    "infer": "poses of every good video",
    "track": "each slot then holds one animal",
    "filter": "interpolate short gaps",
    "export": "DeepLabCut",
    "refine": "worth labelling next",
    "report": "HTML page",
    "status": "status of every video of the cohort",
    "calibrate": "refuse bad calibrations",
    "board": "in its true size, as a PDF page",
    "init": "cohort sheet for your own videos",
    "demo": "exact truth",
    "bundle": "with the hashes of all",
    "import-model": "use its network instead of training one",
    "predict": "without a config, a sheet or labels",
}

WITHOUT_CONFIG = ("calibrate", "board", "init", "demo", "predict")
HEAVY = ("torch", "pandas", "dask", "distributed", "zarr", "xarray", "cv2", "av", "scipy")


@pytest.fixture
def invoke(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # Wide enough that no sentence of the help is broken.
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*arguments):
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return run


def write_run(folder, *videos, **sections):
    """Write a config and a sheet into a folder; sections are lines of YAML."""
    rows = "".join(f"{video}\t{video}.mp4\n" for video in videos or ("a",))
    (folder / "cohort.tsv").write_text(f"video\tpath\n{rows}")
    lines = "".join(f"{name}: {value}\n" for name, value in sections.items())
    config = folder / "config.yaml"
    config.write_text(f"cohort: cohort.tsv\n{lines}")
    return config


@pytest.mark.parametrize(("verb", "mentions"), VERBS.items())
def test_the_help_of_a_verb_says_what_it_does(invoke, verb, mentions):
    result = invoke(verb, "--help")
    assert result.exit_code == 0
    assert mentions in " ".join(result.output.split())
    assert invoke(verb, "-h").output == result.output


def test_the_help_lists_every_verb(invoke):
    result = invoke("--help")
    assert result.exit_code == 0
    for verb in VERBS:
        assert verb in result.output.split()
    known = {command.name or command.callback.__name__ for command in app.registered_commands}
    assert set(VERBS) <= {name.replace("_", "-") for name in known}


def test_without_a_verb_there_is_help(invoke):
    assert "Usage" in invoke().output


def test_the_version(invoke):
    assert invoke("--version").output.strip() == pipeline_lib.__version__


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in WITHOUT_CONFIG])
def test_a_missing_config_is_a_message(invoke, verb):
    result = invoke(verb, "--config", "nowhere.yaml")
    assert result.exit_code == 1
    assert "error: nowhere.yaml: 1 problem" in result.output
    assert "`cohortpose init` writes one" in result.output
    assert "Traceback" not in result.output


def test_every_problem_of_a_config_is_told(invoke, tmp_path):
    config = write_run(tmp_path, trainig="{}", targets="{stride: 5}")
    result = invoke("status", "-c", config)
    assert result.exit_code == 1
    assert "did you mean `training`?" in result.output
    assert "`targets.stride`" in result.output


@pytest.mark.parametrize(
    ("verb", "message"),
    [
        ("import-labels", "no labels: add under `labels:`"),
        ("make-targets", "`cohortpose import-labels`: run it"),
        ("train", "`cohortpose import-labels`: run it"),
        ("evaluate", "run `cohortpose import-labels`"),
    ],
)
def test_a_step_too_early_says_what_to_run(invoke, tmp_path, verb, message):
    result = invoke(verb, "-c", write_run(tmp_path))
    assert result.exit_code == 1
    assert message in result.output
    assert "Traceback" not in result.output


def test_an_unknown_shard(invoke, tmp_path):
    result = invoke("probe", "-c", write_run(tmp_path), "--shard", "00099")
    assert result.exit_code == 1
    assert "00099/manifest.tsv: no such file" in result.output


@pytest.mark.parametrize(
    "arguments",
    [("no-such-verb",), ("infer", "--cores", "0"), ("train", "--shard", "1"), ("init",)],
)
def test_wrong_usage_has_its_own_status(invoke, arguments):
    assert invoke(*arguments).exit_code == 2


def test_our_errors_are_messages_and_others_keep_their_traceback(invoke, tmp_path, monkeypatch):
    config = write_run(tmp_path)
    errors = iter([VideoError("a reason"), ZeroDivisionError("a bug")])

    def fail(*_, **__):
        raise next(errors)

    monkeypatch.setattr("pipeline_lib.steps.status.show_status", fail)
    result = invoke("status", "-c", config)
    assert result.exit_code == 1
    assert result.output == "error: a reason\n"
    result = invoke("status", "-c", config)
    assert isinstance(result.exception, ZeroDivisionError)


def test_without_a_shard_the_cohort_is_planned_and_run(invoke, tmp_path):
    """Check that a missing file fails its video, not the run."""
    config = write_run(tmp_path, "a", "b", inference="{shard_videos: 1}")
    assert invoke("probe", "-c", config).exit_code == 0
    shards = tmp_path / "results" / "shards"
    for shard, video in (("00001", "a"), ("00002", "b")):
        line = (shards / shard / "probe.tsv").read_text().splitlines()[1]
        assert line.split("\t")[:2] == [video, "quarantined"]


def run_process(folder, code, *arguments):
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(pipeline_lib.__file__).parents[1])},
    )


@pytest.mark.parametrize("arguments", [("--help",), ("status",), ("infer", "--help")])
def test_quick_verbs_import_nothing_heavy(tmp_path, arguments):
    write_run(tmp_path)
    (tmp_path / "config").mkdir()
    (tmp_path / "config.yaml").rename(tmp_path / "config" / "config.yaml")
    code = (
        "import sys\n"
        "from pipeline_lib.cli import app\n"
        "try:\n"
        "    app(sys.argv[1:])\n"
        "except SystemExit as end:\n"
        "    print('code', end.code or 0, file=sys.stderr)\n"
        f"print('heavy', *sorted(set(sys.modules) & {set(HEAVY)!r}), file=sys.stderr)\n"
    )
    done = run_process(tmp_path, code, *arguments)
    assert done.stderr.splitlines()[-2:] == ["code 0", "heavy"], done.stderr


def test_it_is_installed_as_a_command(tmp_path):
    done = run_process(tmp_path, "from pipeline_lib.cli import main; main()", "status", "-c", "no")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: no: 1 problem")
    assert "Traceback" not in done.stderr


def test_a_verb_works_in_another_directory(invoke, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "cohort.tsv").write_text("video\tpath\nonly\tonly.mp4\n")
    (folder / "config.yaml").write_text("cohort: cohort.tsv\n")
    result = invoke("--directory", "run", "status", "--config", "config.yaml", "--format", "tsv")
    assert result.exit_code == 0
    assert result.output.splitlines()[1].startswith("only\tpending")
    assert invoke("--directory", "nowhere", "status").exit_code == 2
