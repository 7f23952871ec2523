"""Documentation: links, commands, settings and files that it names are there."""

import argparse
import html
import inspect
import re
import shutil
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel
from typer.main import get_command

import pipeline_lib
from benchmarks.projects import add_settings_options
from pipeline_lib import __version__
from pipeline_lib.cli import app
from pipeline_lib.core.formats import (
    calibrations,
    criteria,
    exports,
    label_projects,
    labels,
    session_exports,
)
from pipeline_lib.core.formats.dictionary import list_dictionary
from pipeline_lib.core.formats.kinematics import TABLES
from pipeline_lib.core.layout import ModelFiles, Results, ShardFiles
from pipeline_lib.core.settings.chosen import TUNABLE
from pipeline_lib.core.settings.reading import nested_model, parse_config
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.stages import STAGES

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = sorted(
    path.relative_to(REPOSITORY).as_posix()
    for place in ("*.md", "docs/**/*.md", "config/*.md", "benchmarks/*.md", ".github/**/*.md")
    for path in REPOSITORY.glob(place)
)
# Pages that the site makes; they are no files.
GENERATED = {"docs/reference/command-line.md"}
# Decisions tell of the past, too.
PRESENT = [name for name in PAGES if not name.startswith(("docs/adr/0", "CHANGELOG"))]

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_BLOCK = re.compile(r"^[ ]*```(\w*)\n(.*?)^[ ]*```", flags=re.MULTILINE | re.DOTALL)
_VERB = re.compile(r"(?:^|[\s`(;])cohortpose (?:--directory \S+ )?([a-z][a-z-]+)([^\n`|;&]*)")
_SETTING = re.compile(r"`([a-z_]+(?:\.[a-z_]+)+)(?:: [^`]*)?`")
_FILE = re.compile(
    r"`(?:pytest |python )?((?:pipeline_lib|tests|benchmarks|workflow|docs|config)/[\w./-]+)"
)


def read(name):
    return (REPOSITORY / name).read_text(encoding="utf-8")


def list_anchors(text):
    """Return the anchors of the headings, as GitHub and MkDocs make them."""
    text = _BLOCK.sub("", text)
    titles = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def list_code(text):
    """Return the blocks of code, and the code within sentences."""
    sentences = _BLOCK.sub("", text)
    # Snakemake's own language has other words.
    blocks = [code for language, code in _BLOCK.findall(text) if language != "python"]
    return blocks + re.findall(r"`([^`\n]+)`", sentences)


def list_settings(model=Config, prefix=""):
    """Return the dotted names of all sections and keys."""
    names = set()
    for name, field in model.model_fields.items():
        names.add(prefix + name)
        nested = nested_model(field.annotation)
        if nested is not None and issubclass(nested, BaseModel):
            names |= list_settings(nested, f"{prefix}{name}.")
    return names


COMMANDS = get_command(app).commands
OPTIONS = {
    verb: {opt for param in command.params for opt in (*param.opts, *param.secondary_opts)}
    | {"--help", "-h"}
    for verb, command in COMMANDS.items()
}
SECTIONS = set(Config.model_fields)
# Files, and a method of sleap-io.
NO_SETTINGS = {
    "cohort.tsv",
    "costs.tsv",
    "labels.parquet",
    "labels.replace_filenames",
    "calibration.toml",
    "calibration.quality.tsv",
    "model.json",
}


def test_the_pages_are_found():
    assert {"README.md", "CONTRIBUTING.md", "docs/index.md", "docs/tutorial.md"} <= set(PAGES)
    assert len(PAGES) > 30


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_somewhere(name):
    folder = (REPOSITORY / name).parent
    lost = []
    for link in _LINK.findall(_BLOCK.sub("", read(name))):
        path, _, anchor = link.partition("#")
        if path.startswith(("https://", "mailto:")):
            continue
        target = (folder / path).resolve() if path else REPOSITORY / name
        if target.is_relative_to(REPOSITORY):
            if target.relative_to(REPOSITORY).as_posix() in GENERATED:
                continue
            there = target.exists()
            if there and anchor:
                there = anchor in list_anchors(target.read_text(encoding="utf-8"))
            if there:
                continue
        lost.append(link)
    assert lost == []


@pytest.mark.parametrize("name", PRESENT)
def test_every_verb_and_option_exists(name):
    wrong = []
    for code in list_code(read(name)):
        for verb, rest in _VERB.findall(code):
            if verb not in COMMANDS:
                wrong.append(verb)
                continue
            options = re.findall(r"(?<!\S)--?[a-z][\w-]*", rest)
            wrong += [f"{verb} {option}" for option in options if option not in OPTIONS[verb]]
    assert wrong == []


@pytest.mark.parametrize("name", PRESENT)
def test_every_setting_exists(name):
    known = list_settings()
    named = {key for key in _SETTING.findall(read(name)) if key.split(".")[0] in SECTIONS}
    assert named - known - NO_SETTINGS == set()


@pytest.mark.parametrize("name", PRESENT)
def test_every_example_of_a_config_is_one(name):
    """A block of YAML with sections of the config is accepted by the settings."""
    for language, text in _BLOCK.findall(read(name)):
        values = yaml.safe_load(text) if language == "yaml" and "[x1," not in text else None
        if isinstance(values, dict) and set(values) <= SECTIONS:
            parse_config({"cohort": "cohort.tsv", **values}, where=name)


@pytest.mark.parametrize("name", PRESENT)
def test_every_file_that_is_named_exists(name):
    named = {path.rstrip(".") for path in _FILE.findall(read(name))}
    # `results` has a folder of this name.
    named = {path for path in named if not path.startswith("benchmarks/RULE")}
    assert {path for path in named if not (REPOSITORY / path).exists()} == set()


@pytest.mark.parametrize("name", PRESENT)
def test_every_target_of_make_exists(name):
    targets = set(re.findall(r"^([a-z0-9-]+):", read("Makefile"), flags=re.MULTILINE))
    named = re.findall(r"`make ([a-z0-9 -]+)`", read(name)) + [
        words.split("#")[0]
        for _, text in _BLOCK.findall(read(name))
        for words in re.findall(r"^make ([a-z0-9 -]+)", text, flags=re.MULTILINE)
    ]
    assert {target for words in named for target in words.split()} <= targets


# Options of Snakemake, SLURM, MultiQC and other commands.
FOREIGN_OPTIONS = {
    *("--report", "--cl-config"),
    *("--configfile", "--directory", "--software-deployment-method", "--set-threads"),
    *("--set-resources", "--unlock", "--touch", "--workflow-profile", "--version"),
    *("--exclusive", "--ntasks", "--ntasks-per-node", "--gpus-per-node", "--gpus-per-task"),
    *("--signal", "--requeue", "--qos", "--nproc-per-node"),
}
# Keys of other formats that stand in code like settings: YAML for Snakemake and MultiQC, and COCO.
FOREIGN_KEYS = {"__use_yte__", "iscrowd", "fn_clean_sample_names"}


@pytest.mark.parametrize("name", [name for name in PRESENT if "benchmarks" not in name])
def test_every_option_in_a_sentence_exists(name):
    """Sentences name options without their verb, too."""
    known = set().union(*OPTIONS.values()) | FOREIGN_OPTIONS
    sentences = re.findall(r"`([^`\n]+)`", _BLOCK.sub("", read(name)))
    named = {one for code in sentences for one in re.findall(r"(?<!\S)--[a-z][\w-]*", code)}
    assert named - known == set()


@pytest.mark.parametrize("name", PRESENT)
def test_every_key_in_a_sentence_exists(name):
    """`key: value` is a setting by its whole name or by its last part."""
    settings = list_settings()
    known = settings | {one.rpartition(".")[2] for one in settings} | FOREIGN_KEYS
    sentences = re.findall(r"`([^`\n]+)`", _BLOCK.sub("", read(name)))
    named = [re.match(r"([a-z_]+(?:\.[a-z_]+)*): ", code) for code in sentences]
    assert {one[1] for one in named if one} - known == set()


_BENCHMARK = re.compile(r"(?:python|bash) (benchmarks/[\w/]+\.(?:py|sh))([^`\n]*)")


def list_benchmark_options(script):
    """Return the options that a script adds, and those that it shares with others."""
    source = read(script)
    known = set(re.findall(r'"(--[a-z][\w-]*)"', source))
    shared = re.search(r"add_settings_options\(\w+(, settings=False)?\)", source)
    if shared:
        known |= {"--set"} if shared[1] else {"--set", "--settings"}
    return known


def test_options_that_benchmarks_share_are_those_of_their_parser():
    parser = argparse.ArgumentParser()
    add_settings_options(parser)
    assert {"--set", "--settings"} <= set(parser._option_string_actions)
    assert "--settings" not in list_benchmark_options("benchmarks/accuracy/labels_needed.py")
    assert "--set" in list_benchmark_options("benchmarks/accuracy/labels_needed.py")


@pytest.mark.parametrize("name", [name for name in PRESENT if "benchmarks" in name])
def test_every_option_of_a_benchmark_exists(name):
    wrong = []
    for code in list_code(read(name)):
        for script, rest in _BENCHMARK.findall(code.replace("\\\n", " ")):
            known = list_benchmark_options(script)
            options = re.findall(r"(?<!\S)--[a-z][\w-]*", rest.split("#")[0])
            wrong += [f"{script} {option}" for option in options if option not in known]
    assert wrong == []


# Values of the arguments with which the layout names files.
ARGUMENTS = {
    "model": ["NAME"],
    "name": ["NAME"],
    "video": ["VIDEO"],
    "session": ["SESSION"],
    "shard": ["SHARD"],
    "digest": ["HASH"],
    "stage": ["STAGE"],
    "rule": ["RULE"],
    "verb": ["VERB"],
    "key": ["KEY"],
    "number": ["2"],
    "suffix": exports.FORMATS,
    "table": TABLES,
}


def list_places(files):
    """Return the paths that an object of the layout names."""
    for name, member in inspect.getmembers(type(files)):
        if name.startswith(("_", "is_", "list_", "of_")) or name in ("root", "locator", "member"):
            continue
        if isinstance(member, property):
            found = [getattr(files, name)]
        else:
            wanted = [one for one in inspect.signature(member).parameters if one != "self"]
            values = dict(ARGUMENTS)
            if name == "session_export":
                values["name"] = session_exports.FORMATS
            found = [
                getattr(files, name)(*given) for given in product(*(values[one] for one in wanted))
            ]
        for one in found:
            if isinstance(one, ModelFiles | ShardFiles):
                yield from list_places(one)
            else:
                yield one


# Folders whose files have names of their own, and what Snakemake writes.
FILLED = (
    *("frames", "refine/NAME/frames", "labels/images", ".watch", "logs", "benchmarks"),
    "multiqc",
)
_RESULT = re.compile(r"(?<![\w/-])(?:[\w-]+/)?results/([\w./-]+)")


def list_result_patterns():
    """Return patterns of all results and of the folders that they lie in."""
    places = {one for path in list_places(Results("results")) for one in (path, *path.parents)}
    words = r"\b(?:NAME|VIDEO|SESSION|SHARD|HASH|STAGE|RULE|KEY|VERB)\b"
    names = {
        one.relative_to("results").as_posix() for one in places if one.parts[:1] == ("results",)
    }
    return [re.sub(words, "[^/]+", re.escape(name)) for name in names] + [
        re.sub("NAME", "[^/]+", name) + "(/.*)?" for name in FILLED
    ]


@pytest.mark.parametrize("name", PRESENT)
def test_every_result_that_is_named_has_this_place(name):
    """`results/…` is a file or folder of `pipeline_lib/core/layout.py`."""
    known = list_result_patterns()
    # Links lead to pages; `docs/how-to/results` and `benchmarks/results` are folders of the source.
    text = re.sub(r"\]\([^)]*\)|(?:how-to|benchmarks)/results/\S+", "", read(name))
    named = {path.rstrip("./") for path in _RESULT.findall(text)} - {""}
    assert {one for one in named if not any(re.fullmatch(place, one) for place in known)} == set()


def list_rows(name):
    """Return the names in the first cells of the tables of a page."""
    cells = re.findall(r"^\| (`[^|]+`) \|", read(name), flags=re.MULTILINE)
    return [one for cell in cells for one in re.findall(r"`([^`]+)`", cell)]


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("docs/how-to/label-and-correct/refine.md", criteria.CRITERIA),
        ("docs/how-to/label-and-correct/other-tools.md", label_projects.FORMATS),
        ("docs/how-to/networks/chosen-settings.md", TUNABLE),
        ("docs/how-to/three-dimensions/calibrate.md", calibrations.FORMATS),
        ("docs/reference/exports.md", exports.FORMATS),
        ("docs/reference/exports.md", session_exports.FORMATS),
        ("docs/reference/label-formats.md", labels.FORMATS),
        ("docs/explanation/design.md", [one for one in STAGES if not one.endswith("-locator")]),
    ],
)
def test_the_table_of_a_page_has_every_entry_of_the_list(name, known):
    assert set(known) - set(list_rows(name)) == set()


def test_the_readme_is_one_screen_and_names_the_two_commands():
    lines = read("README.md").splitlines()
    assert len(lines) <= 55
    blocks = [text for _, text in _BLOCK.findall("\n".join(lines))]
    two, own = blocks
    assert [line.split("#")[0].strip() for line in two.splitlines()] == ["make demo", "make test"]
    assert len(own.splitlines()) == 5


def test_every_figure_has_a_command_and_a_date():
    rows = [line for line in read("docs/benchmarks.md").splitlines() if line.startswith("| ")]
    rows = [row for row in rows if not row.startswith("| what and")]
    assert len(rows) > 30
    for row in rows:
        what, figure, command, date = (cell.strip() for cell in row.strip("|").split(" | "))
        assert what, row
        assert figure, row
        assert re.match(r"`(python benchmarks/|bash benchmarks/|pytest |make )", command), row
        assert re.fullmatch(r"20\d\d-\d\d-\d\d", date), row


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load(read("CITATION.cff"))
    assert citation["version"] == __version__
    assert citation["cff-version"] == "1.2.0"
    assert {"title", "message", "authors", "license"} <= set(citation)


def test_the_changelog_has_a_place_for_the_next_change():
    titles = re.findall(r"^## \[(.+?)\]", read("CHANGELOG.md"), flags=re.MULTILINE)
    assert titles[0] == "Unreleased"
    assert __version__ in titles


def test_hooks_run_tools_of_the_environment():
    """Versions stand in one place."""
    (local,) = yaml.safe_load(read(".pre-commit-config.yaml"))["repos"]
    assert local["repo"] == "local"
    assert {hook["entry"].split()[0].rpartition("/")[0] for hook in local["hooks"]} == {".venv/bin"}


def test_ci_is_the_script():
    (job,) = yaml.safe_load(read(".github/workflows/ci.yml"))["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    assert shutil.which(REPOSITORY / ".ci" / "run")


@pytest.mark.parametrize("where", ["README.md", "mkdocs.yml"])
def test_the_site_needs_no_network(where):
    assert "http://" not in read(where)
    if where == "mkdocs.yml":
        assert yaml.safe_load(read(where))["theme"]["font"] is False


def build_site(folder, *options):
    # Not --quiet: with it, warnings are no errors to MkDocs.
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(folder), *options]
    return subprocess.run(command, cwd=REPOSITORY, check=False, capture_output=True, text=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Build the site, warnings being errors."""
    folder = tmp_path_factory.mktemp("site")
    done = build_site(folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_make_builds_it_as_the_tests_do():
    assert "mkdocs build --strict\n" in read("Makefile")
    assert "--quiet --strict" not in read("Makefile")


def test_a_page_that_is_missing_ends_the_build(tmp_path):
    text = read("mkdocs.yml").replace("- Home: index.md", "- Home: index.md\n  - None: none.md")
    text = text.replace("docs_dir: docs", f"docs_dir: {REPOSITORY / 'docs'}")
    text = text.replace("- docs/pages.py", f"- {REPOSITORY / 'docs' / 'pages.py'}")
    (tmp_path / "mkdocs.yml").write_text(text)
    done = build_site(tmp_path / "site", "-f", str(tmp_path / "mkdocs.yml"))
    assert done.returncode != 0
    assert "none.md" in done.stderr


def test_the_site_has_every_page_and_loads_nothing_from_elsewhere(site):
    for name in PAGES:
        if name.startswith("docs/"):
            page = name.removeprefix("docs/").removesuffix(".md") + ".html"
            assert (site / page).is_file(), page
    loaded = re.compile(r"<(?:script|img|link|iframe)\b[^>]*?(?:src|href)=.?(https?:[^ >]+)")
    for page in site.rglob("*.html"):
        urls = [url for url in loaded.findall(page.read_text()) if "canonical" not in url]
        assert urls == [], page


def test_the_site_has_the_help_of_every_verb_and_every_setting(site):
    verbs = (site / "reference" / "command-line.html").read_text()
    for verb, options in OPTIONS.items():
        assert f'id="cohortpose-{verb}"' in verbs
        assert all(option in verbs for option in options if option.startswith("--"))
    settings = (site / "reference" / "settings.html").read_text()
    for name in list_settings() - SECTIONS:
        key = name.rpartition(".")[2]
        assert f"<code>{key}</code>" in settings or f"<code>{name}</code>" in settings, name
    dictionary = html.unescape((site / "reference" / "tables.html").read_text())
    for row in list_dictionary():
        assert f"<code>{row['table']}</code>" in dictionary
        assert row["column"] == "…" or f"<code>{row['column']}</code>" in dictionary, row
    assert "nothing measured it" in dictionary
    decisions = sorted((REPOSITORY / "docs" / "adr").glob("0*.md"))
    home = (site / "index.html").read_text()
    assert all(f"adr/{path.stem}.html" in home for path in decisions)


def test_the_site_has_every_public_name(site):
    page = (site / "reference" / "api.html").read_text()
    assert pipeline_lib.__all__
    for name in pipeline_lib.__all__:
        assert f'id="pipeline_lib.{name}"' in page, name
    assert 'id="pipeline_lib.Results.filtered"' in page
    assert 'id="pipeline_lib.Results.run_locks"' not in page
    # What a function says is there, too, not its name alone.
    assert "An array" in page or "Parameters" in page
