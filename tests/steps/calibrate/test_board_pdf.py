"""Test that boards are drawn as PDF in their true size."""

import re

import pytest
from typer.testing import CliRunner

from pipeline_lib.cli import app


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def read_page(path):
    """Return the size of the page in mm."""
    data = path.read_bytes()
    assert data.startswith(b"%PDF-")
    box = re.search(rb"/MediaBox \[ ?([\d.]+) ([\d.]+) ([\d.]+) ([\d.]+) ?\]", data)
    left, bottom, right, top = (float(one) / 72 * 25.4 for one in box.groups())
    return right - left, top - bottom


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--squares", "7x5", "--square-size", 30), (270, 210)),
        (("--squares", "10x7", "--square-size", 2.5, "--unit", "cm"), (300, 225)),
        (
            ("--board", "chessboard", "--squares", "8x5", "--square-size", 1, "--unit", "inch"),
            (254, 177.8),
        ),
        (("--squares", "12x9", "--square-size", 120), (1680, 1320)),
        (("--board", "chessboard", "--squares", "6x5", "--square-size", 2), (16, 14)),
    ],
)
def test_the_page_is_as_large_as_board_and_margin(tmp_path, options, expected):
    path = tmp_path / "board.pdf"
    result = run("board", path, *options)
    assert result.exit_code == 0, result.output
    assert read_page(path) == pytest.approx(expected, rel=1e-3)


def test_boards_that_cannot_be_drawn(tmp_path):
    path = tmp_path / "board.pdf"
    result = run("board", path, "--square-size", 0.5)
    assert result.exit_code == 1
    assert "too small to be printed" in result.output
    assert run("board", path, "--marker-size", 40).exit_code == 2
    assert run("board", path, "--squares", "30x30").exit_code == 2
    assert not path.exists()
    (tmp_path / "file").write_text("")
    result = run("board", tmp_path / "file" / "board.pdf")
    assert result.exit_code == 1
    assert "Traceback" not in result.output
