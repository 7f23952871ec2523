"""Test that foreign YAML creates no objects and no more than a settings file contains."""

import pytest

from pipeline_lib.core.errors import ConfigError, LabelError
from pipeline_lib.core.settings.reading import parse_config, read_config
from pipeline_lib.core.untrusted.yaml_files import (
    MOST_BYTES,
    YamlError,
    check_size,
    load_yaml,
    read_yaml,
)
from pipeline_lib.io.labels.deeplabcut_project import read_project_config, read_project_skeleton
from pipeline_lib.steps.runs.preflight import bound_config_file, check_config_files


def bomb_of_lists(levels=9):
    first = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    return first + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, levels)
    )


def bomb_of_mappings(levels=9):
    first = "a0: &a0 {k: x}\n"
    return first + "".join(
        f"a{n}: &a{n} {{{', '.join(f'k{k}: *a{n - 1}' for k in range(10))}}}\n"
        for n in range(1, levels)
    )


def bomb_of_merges(levels=9):
    """Merge keys: each mapping takes over ten times what the one before holds."""
    first = "a0: &a0 {k: x}\n"
    return first + "".join(
        f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}\n" for n in range(1, levels)
    )


BOMBS = [
    (bomb_of_lists(), "has more than 1,000,000 values"),
    (bomb_of_mappings(), "has more than 1,000,000 values"),
    (bomb_of_merges(), "has more than 1,000,000 values"),
    ("a: &a [*a]\n", "repeats `\\*a` before its end"),
    ("a: &a {b: *a}\n", "repeats `\\*a` before its end"),
    ("a: " + "[" * 1000 + "]" * 1000, "nested in more than 50 levels"),
    ("a: " + "[" * 10**6, "nested in more than 50 levels"),
    ("".join(" " * n + "a:\n" for n in range(200)), "nested in more than 50 levels"),
    ("a: " + "1" * 10**6, "a value of more than 2048 characters"),
    ("a: " + ":".join(["59"] * 10**5), "a value of more than 2048 characters"),
    ("- x\n" * 1_000_001, "has more than 1,000,000 values"),
    ("a: '" + "x" * MOST_BYTES + "'", "is larger than 16 MiB"),
]


@pytest.mark.parametrize(("text", "message"), BOMBS, ids=range(len(BOMBS)))
@pytest.mark.parametrize("texts", [False, True])
def test_bombs(text, message, texts):
    with pytest.raises(YamlError, match=message) as error:
        load_yaml(text, texts=texts)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 200


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.mkdir [{marker}]",
        "!!python/name:os.mkdir",
        "a: !!python/object/new:os.mkdir [{marker}]",
        "!!python/module:antigravity",
    ],
)
@pytest.mark.parametrize("texts", [False, True])
def test_no_objects_are_made(tmp_path, text, texts):
    marker = tmp_path / "somebody-was-here"
    try:
        load_yaml(text.format(marker=marker), texts=texts)
    except YamlError as error:
        assert "could not determine a constructor" in str(error)  # noqa: PT017
    else:
        assert texts, "a text is what stands there"
    assert not marker.exists()


@pytest.mark.parametrize("text", ["a: 2024-13-45", "a: b: c", "a: [", "? [a]\n: b", "a: \0", "\t"])
def test_invalid_yaml_is_refused(text):
    with pytest.raises(YamlError, match="is not YAML") as error:
        load_yaml(text)
    assert "\n" not in str(error.value)


def test_yaml_within_the_bounds_is_read():
    assert load_yaml("a: &x {b: 1}\nc: {<<: *x, d: on}\ne: [*x, *x]\n") == {
        "a": {"b": 1},
        "c": {"b": 1, "d": True},
        "e": [{"b": 1}, {"b": 1}],
    }
    assert load_yaml("a: on\nb: 007", texts=True) == {"a": "on", "b": "007"}
    assert load_yaml("") is None
    long = "video_sets:\n" + "".join(f"  /v/{n}.mp4:\n    crop: 0, 1, 0, 1\n" for n in range(5000))
    assert len(load_yaml(long)["video_sets"]) == 5000


@pytest.mark.parametrize("text", [bomb_of_lists(), bomb_of_mappings(), bomb_of_merges()])
def test_bombs_in_every_file_that_is_read(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match="has more than 1,000,000 values") as error:
        read_config(path)
    assert error.value.where == str(path)
    with pytest.raises(LabelError, match="has more than 1,000,000 values"):
        read_project_config(path)
    # Labels do not need the project's skeleton.
    assert read_project_skeleton(tmp_path).bodyparts == ()


def test_configs_that_snakemake_has_loaded_are_checked():
    values = {"a": "x"}
    for _ in range(8):
        values = {str(n): values for n in range(10)}
    with pytest.raises(ConfigError, match="has more than 1,000,000 values"):
        parse_config({"cohort": "c.tsv", "labels": values})
    endless = []
    endless.append(endless)
    with pytest.raises(YamlError):
        check_size(endless)
    check_size({"a": [1, {"b": (2, 3)}]})


def test_files_that_are_no_yaml(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\0a")
    for name, message in [
        ("folder", "no regular file"),
        ("loop", "cannot be read"),
        ("bytes", "saved as UTF-16"),
    ]:
        with pytest.raises(YamlError, match=message):
            read_yaml(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        read_yaml(tmp_path / "gone")


def test_templates_are_no_configs(tmp_path):
    """Snakemake runs what stands behind a question mark as Python."""
    path = tmp_path / "config.yaml"
    path.write_text("__use_yte__: true\ncohort: c.tsv\n")
    with pytest.raises(ConfigError, match="expected plain YAML, found a template"):
        check_config_files([path])
    with pytest.raises(ConfigError, match="unknown key `__use_yte__`"):
        read_config(path)


@pytest.mark.parametrize("text", [bomb_of_lists(), bomb_of_mappings(), bomb_of_merges()])
def test_bombs_are_refused_before_snakemake_loads_them(tmp_path, text):
    path = tmp_path / "config.yaml"
    # Not there: the config is given otherwise.
    bound_config_file(path)
    path.write_text("a: 1\na: 2\n")
    bound_config_file(path)
    path.write_text(text)
    with pytest.raises(ConfigError, match="has more than 1,000,000 values"):
        bound_config_file(path)
