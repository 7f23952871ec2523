"""Test that nothing of a stranger reaches the terminal as it is, and that nothing goes around."""

import ast
import csv
import io
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from rich.console import Console
from rich.table import Table
from typer.testing import CliRunner

import pipeline_lib
from pipeline_lib.cli import app
from pipeline_lib.cli_output import (
    EscapingFormatter,
    echo,
    echo_json,
    echo_table,
    echo_text,
    open_console,
)
from pipeline_lib.cli_running import report_errors
from pipeline_lib.io.stage_tables import format_table
from tests.models.zoo.bundles import change, write_tiny_bundle

# Clears the screen; the same with one byte; a second line; text that runs backwards; no text.
HOSTILE = "a\x1b[2Jb\x9b2Jc\nother.cohortpose: as listed\r\u202ed\x7fe\udcff"
SEEN = r"a\x1b[2Jb\x9b2Jc\x0aother.cohortpose: as listed\x0d\u202ed\x7fe\udcff"


def test_lines_and_texts(capsys):
    echo(HOSTILE)
    echo(Path("a\tb\n"), err=True)
    echo_text(f"one\n{HOSTILE}\n")
    printed = capsys.readouterr()
    assert printed.out == f"{SEEN}\none\n{SEEN.replace(chr(92) + 'x0a', chr(10))}\n"
    assert printed.err == "a\tb\\x0a\n"


def test_tables_stay_tables(capsys):
    rows = [
        {"name": HOSTILE, "what": "a\tb"},
        {"name": 'say "x"', "what": ""},
        {"name": "Maus früh", "what": 1.5},
    ]
    echo_table(format_table(("name", "what"), rows))
    printed = capsys.readouterr().out
    assert printed.split("\n")[1] == f"{SEEN}\ta\\x09b"
    found = list(csv.reader(io.StringIO(printed), delimiter="\t"))
    assert found == [["name", "what"], [SEEN, r"a\x09b"], ['say "x"', ""], ["Maus früh", "1.5"]]
    good = format_table(("name", "what"), rows[1:])
    echo_table(good)
    assert capsys.readouterr().out == good


@pytest.mark.parametrize("ascii_only", [True, False])
def test_json_stays_json_of_the_same_values(capsys, ascii_only):
    values = {"name": HOSTILE, "früh": [1.5, "\\x1b \\"]}
    echo_json(json.dumps(values, indent=2, ensure_ascii=ascii_only))
    printed = capsys.readouterr().out
    assert json.loads(printed) == values
    assert "\x9b" not in printed
    assert "\u202e" not in printed
    good = json.dumps({"früh": ["老鼠"]}, indent=2, ensure_ascii=False) + "\n"
    echo_json(good)
    assert capsys.readouterr().out == good


def test_consoles_escape_all_but_their_own_colours(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    console = open_console()
    console.print("good", style="green")
    table = Table("name")
    table.add_row("x\x1b[2Jy")
    console.print(table)
    console.print("x\x1b[2J\x9by", markup=False, soft_wrap=True)
    printed = capsys.readouterr().out
    assert "\x1b[32mgood\x1b[0m" in printed
    assert "\x1b[2J" not in printed
    assert "\x9b" not in printed
    assert printed.count(r"x\x1b") == 2
    # What is good is printed as by a console of Rich itself.
    for one in (console, Console()):
        one.print("früh", table.title, style="bold")
    again = capsys.readouterr().out.splitlines()
    assert again[0] == again[1]


def test_lines_of_the_log_of_other_packages():
    record = logging.LogRecord("other", logging.WARNING, "f", 1, "bad %s", ("\x1b[2Jfile",), None)
    shown = EscapingFormatter("%(levelname)s %(message)s").format(record)
    assert shown == r"WARNING bad \x1b[2Jfile"


def test_a_fault_of_ours_quotes_no_escape_sequence(tmp_path):
    script = (
        "import sys, pipeline_lib.cli as cli\n"
        "def fail(): raise RuntimeError('x\\x1b[2J')\n"
        "cli.app.command('fail')(fail)\n"
        "sys.argv = ['cohortpose', 'fail']\n"
        "cli.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(Path(pipeline_lib.__file__).parents[1])},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == r"RuntimeError: x\x1b[2J"


def test_a_name_that_no_file_of_text_can_hold_is_an_error(capsys):
    """Show what is no text where a verb does not ask first."""
    with pytest.raises(typer.Exit) as ended, report_errors():
        f"{'x' * 500}: {os.fsdecode(bytes([118, 0xE9]))}.mp4".encode()
    assert ended.value.exit_code == 1
    told = capsys.readouterr().err
    assert told.startswith("error: 'xxx")
    assert told.endswith(
        ": v\\udce9.mp4': is not UTF-8 text: rename the file or folder with this name\n"
    )


@pytest.fixture
def call(tmp_path, monkeypatch):
    monkeypatch.setenv("COHORTPOSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(app, ["zoo", *words])


def test_a_bundle_neither_clears_the_screen_nor_forges_a_line(call, tmp_path):
    folder = tmp_path / "bundles"
    folder.mkdir()
    good = write_tiny_bundle(tmp_path)
    licence = "CC\x1b[2J\nother.cohortpose: 5 files as listed, CC0-1.0"
    change(good, folder / "a.cohortpose", manifest=lambda one: one.update(licence=licence))
    change(good, folder / "b.cohortpose", manifest=lambda one: one.update({"k\x1b[2J\nb": 1}))
    change(good, folder / "c\x1b[2J\nd.cohortpose")
    listed = call("list", "bundles").stdout
    assert "\x1b" not in listed
    assert len(list(csv.reader(io.StringIO(listed), delimiter="\t"))) == 4
    assert len(listed.splitlines()) == 4
    done = call("verify", "bundles/a.cohortpose")
    assert len(done.output.splitlines()) == 1
    assert r"CC\x1b[2J\x0aother.cohortpose: 5 files" in done.output
    for name in ("a.cohortpose", "c\x1b[2J\nd.cohortpose"):
        for verb in ("show", "verify"):
            assert "\x1b" not in call(verb, f"bundles/{name}").output
    bad = call("verify", "bundles/b.cohortpose")
    assert bad.exit_code == 1
    assert "\x1b" not in bad.output


# Where the terminal is written to: `cli_output` escapes; a shard's name holds digits only, and
# Rich's bar of segments shows numbers.
PRINTING = {"cli_output.py", "start.py", "steps/infer/progress.py"}


def find_printing(tree):
    """Yield the calls that print, past `cli_output`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            spelled = ast.unparse(node.func)
            if spelled in {"print", "Console"} or spelled.endswith(
                (".echo", ".secho", "stdout.write", "stderr.write", ".stdout.writelines")
            ):
                yield spelled


def test_everything_is_printed_through_one_module():
    package = Path(pipeline_lib.__file__).parent
    found = {
        f"{path.relative_to(package)}: {spelled}"
        for path in package.rglob("*.py")
        for spelled in find_printing(ast.parse(path.read_text(encoding="utf-8")))
        if path.relative_to(package).as_posix() not in PRINTING
    }
    assert found == set()
    assert list(find_printing(ast.parse("import typer\ntyper.echo('x')\nprint(1)")))
