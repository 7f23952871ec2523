"""Hooks of MkDocs: pages that come from the code, and pages from files beside ``docs``.

The page of the settings is ``config/README.md`` written anew, the page of the command line is
the help of every verb, the page of the API has every name of ``pipeline_lib.__all__``, the pages of
tables and of kinematics every column of their registries, that of quality every check, and the
pages under ``project`` are files of the repository's root. The decisions in ``docs/adr`` are listed
without being named in ``mkdocs.yml``.
"""

import importlib.util
import json
import posixpath
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import pipeline_lib
from pipeline_lib.core.formats.checks import CHECKS
from pipeline_lib.core.formats.dictionary import TABLES as DICTIONARY
from pipeline_lib.core.formats.dictionary import Table
from pipeline_lib.core.formats.kinematics import COLUMNS, TABLES, KinematicsTable

ROOT = Path(__file__).resolve().parents[1]
GENERATOR = ROOT / "workflow" / "schemas" / "write.py"

SETTINGS = "config/README.md"
API = "reference/api.md"
API_NAMES = "<!-- the names of pipeline_lib.__all__ -->"
# Public of a class: all that it has, unless it stands here.
PUBLIC_MEMBERS = {
    # The keys of a config are on the page of the settings.
    "Config": [],
    "Results": [
        "ledger",
        "config",
        "provenance",
        "labels",
        "report",
        "metrics",
        "predictions",
        "poses",
        "tracked",
        "filtered",
    ],
}
KINEMATICS = "reference/kinematics.md"
KINEMATICS_COLUMNS = "<!-- the columns of pipeline_lib.core.formats.kinematics -->"
QUALITY = "reference/quality.md"
QUALITY_CHECKS = "<!-- the checks of pipeline_lib.core.formats.checks -->"
DATA = "reference/tables.md"
DATA_TABLES = "<!-- the tables of pipeline_lib.core.formats.dictionary -->"
COMMAND_LINE = "reference/command-line.md"
DECISIONS = "Decisions"

# Files of the repository that are pages of the site, too.
PAGES = {
    "CONTRIBUTING.md": "project/contributing.md",
    "CHANGELOG.md": "project/changelog.md",
    "SECURITY.md": "project/security-policy.md",
    SETTINGS: "reference/settings.md",
}

_LINK = re.compile(r"(?<=\]\()(?P<path>[^)#\s:]+)(?P<anchor>#[^)\s]*)?(?=\))")
# Typer cuts the sentences of this list off; each verb has its own section below.
_LIST_OF_VERBS = re.compile(r"\*\*Commands\*\*:\n\n(\* .*\n)+\n")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List the decisions in the navigation."""
    _fill_decisions(config.nav, list(_list_decisions()))
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are no files of ``docs``."""
    for source, page in PAGES.items():
        text = describe_settings() if source == SETTINGS else _read(source)
        files.append(File.generated(config, page, content=link_pages(text, source, page)))
    files.append(File.generated(config, COMMAND_LINE, content=describe_command_line()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Name the public API, and lead links to files of the repository to their pages."""
    del config, files
    uri = page.file.src_uri
    if uri == API:
        markdown = markdown.replace(API_NAMES, describe_api())
    if uri == KINEMATICS:
        markdown = markdown.replace(KINEMATICS_COLUMNS, describe_kinematics())
    if uri == QUALITY:
        markdown = markdown.replace(QUALITY_CHECKS, describe_checks())
    if uri == DATA:
        markdown = markdown.replace(DATA_TABLES, describe_tables())
    return markdown if uri in PAGES.values() else link_pages(markdown, f"docs/{uri}", uri)


def describe_settings() -> str:
    """Return the page of the settings, from their own descriptions."""
    spec = importlib.util.spec_from_file_location("write_settings", GENERATOR)
    if spec is None or spec.loader is None:
        raise ImportError(f"{GENERATOR} cannot be loaded")
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    text: str = generator.describe_settings()
    return text


def describe_command_line() -> str:
    """Return the page of the command line: the help of every verb, written by Typer."""
    command = (sys.executable, "-m", "typer", "pipeline_lib.cli", "utils", "docs")
    text = subprocess.run(  # noqa: S603
        [*command, "--name", "cohortpose"],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    ).stdout
    text = _LIST_OF_VERBS.sub("", text, count=1)
    return text.replace("# `cohortpose`", "# Command line", 1)


def describe_api() -> str:
    """Return the directives of mkdocstrings for the public names, functions first."""
    names = sorted(pipeline_lib.__all__, key=lambda name: (name[0].isupper(), name))
    return "\n".join(_describe_name(name) for name in names)


def describe_kinematics() -> str:
    """Return the data dictionary of kinematics: a section for each table."""
    return "\n".join(_describe_kinematics_table(name, one) for name, one in TABLES.items())


def describe_checks() -> str:
    """Return the table of the checks of quality, with the limits that hold by default."""
    head = "| check | unit | | limits | floor | remedy |\n|---|---|---|---|---|---|\n"
    return head + "".join(
        f"| `{name}` | {one.unit or 'share or number'} | {one.about} | "
        + ", ".join(f"`{limit}: {value:g}`" for limit, value in one.limits.items())
        + f" | {one.floor:g}{' (ratios)' if one.logarithmic else ''} | {one.remedy} |\n"
        for name, one in CHECKS.items()
    )


def describe_tables() -> str:
    """Return the data dictionary: a section for each table."""
    return "\n".join(map(_describe_table, DICTIONARY))


def _describe_table(table: Table) -> str:
    head = f"## `{table.path}`\n\nA row is {table.about}.\n\n"
    head += "| column | type | unit | | empty |\n|---|---|---|---|---|\n"
    rows = (
        f"| `{one.name}` | {one.type} | {one.unit} | {one.about} | {one.empty} |\n"
        for one in (*table.columns, *table.optional)
    )
    more = f"\nBehind them: {table.more}.\n" if table.more else ""
    return head + "".join(rows) + more


def _describe_kinematics_table(name: str, table: KinematicsTable) -> str:
    head = f"## `{name}`\n\nA row is {table.about}.\n\n"
    head += "| column | unit | | empty |\n|---|---|---|---|\n"
    rows = (
        f"| `{one.name}` | {one.unit} | {one.about} | {one.empty} |\n"
        for one in COLUMNS
        if one.table == name
    )
    return (head + "".join(rows)).replace("{length}", "px or mm")


def _describe_name(name: str) -> str:
    members = PUBLIC_MEMBERS.get(name)
    options = "" if members is None else f"\n    options:\n      members: {json.dumps(members)}\n"
    return f"::: pipeline_lib.{name}{options}"


def link_pages(text: str, source: str, page: str) -> str:
    """Rewrite the links of a file so that they lead from its page to other pages.

    Parameters
    ----------
    text
        Markdown, with links relative to the file.
    source
        The file, relative to the repository.
    page
        Its page, relative to ``docs``.
    """

    def rewrite(match: re.Match[str]) -> str:
        folder = posixpath.dirname(source)
        target = posixpath.normpath(posixpath.join(folder, match["path"]))
        target = f"docs/{PAGES[target]}" if target in PAGES else target
        if not target.startswith("docs/"):
            return match[0]
        path = posixpath.relpath(target.removeprefix("docs/"), posixpath.dirname(page) or ".")
        return path + (match["anchor"] or "")

    return _LINK.sub(rewrite, text)


def _list_decisions() -> Iterator[dict[str, str]]:
    for path in sorted((ROOT / "docs" / "adr").glob("[0-9]*.md")):
        title = path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
        yield {title: f"adr/{path.name}"}


def _fill_decisions(nav: Any, decisions: list[dict[str, str]]) -> None:  # noqa: ANN401
    for entry in nav:
        for title, value in entry.items() if isinstance(entry, dict) else ():
            if title == DECISIONS:
                entry[title] = ["adr/index.md", *decisions]
            elif isinstance(value, list):
                _fill_decisions(value, decisions)


def _read(source: str) -> str:
    return (ROOT / source).read_text(encoding="utf-8")
