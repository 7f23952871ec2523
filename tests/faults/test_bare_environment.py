"""Run as a user without name and home, in ASCII, with little room for temporary files."""

import csv
import json
import shutil
import subprocess

import pytest
import yaml

from tests.faults.chain import VERBS, act_as, can_be_others, open_folder, run_verb, write_cohort

pytestmark = can_be_others

USER = 12345
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
NOBODY = dict.fromkeys(("HOME", "USER", "LOGNAME", "LNAME", "USERNAME"))
# Of bodyparts, groups and folders.
WORD = "größe \u2013 \u2265 3"


def write_word_into_everything(folder):
    """Give folders, the sheet's columns and a bodypart names that ASCII has no characters for."""
    (folder / "videos").rename(folder / WORD)
    sheet = folder / "cohort.tsv"
    rows = list(csv.reader(sheet.read_text().splitlines(), delimiter="\t"))
    path = rows[0].index("path")
    lines = [[*rows[0], WORD], *([*row, WORD] for row in rows[1:])]
    for line in lines[1:]:
        line[path] = line[path].replace("videos/", f"{WORD}/")
    sheet.write_text("".join("\t".join(line) + "\n" for line in lines), encoding="utf-8")
    config = folder / "config.yaml"
    text = config.read_text().replace("snout", WORD)
    values = yaml.safe_load(text)
    values["report"]["title"] = WORD
    (project,) = folder.glob("demo-*")
    project.rename(folder / f"labels {WORD}")
    values["labels"] = [{"path": f"labels {WORD}"}]
    config.write_text(yaml.safe_dump(values, allow_unicode=True), encoding="utf-8")
    for file in (folder / f"labels {WORD}").rglob("*"):
        if file.suffix in (".csv", ".yaml"):
            file.write_text(file.read_text().replace("snout", WORD), encoding="utf-8")
        elif file.suffix == ".h5":
            file.unlink()


@pytest.fixture(scope="module")
def small():
    """Make a folder for temporary files of one megabyte, visible to these processes only."""
    with open_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def prefix(small):
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=1777", "small", str(small)]
    if subprocess.run(["unshare", "--mount", *mount], check=False).returncode:
        pytest.skip("this machine lets nobody mount a file system")
    script = 'mount -t tmpfs -o size=1m,mode=1777 small "$0" && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", script, str(small), *act_as(USER)]


@pytest.fixture(scope="module")
def cohort(prefix, small):
    """Run a cohort as such a user up to its report; return it with the output of the verbs."""
    with open_folder() as parent:
        folder = parent / WORD
        results = write_cohort(folder, exports={"formats": ["h5", "csv", "slp", "nwb"]})
        write_word_into_everything(folder)
        for path in [folder, *folder.rglob("*")]:
            shutil.chown(path, USER, USER)
        environment = {**ASCII, **NOBODY, "TMPDIR": str(small)}
        said = {
            verb: run_verb(folder, *verb.split(), environment=environment, prefix=prefix)
            for verb in (*VERBS, "status --write")
        }
        yield folder, results, said


def test_every_verb_came_to_its_end(cohort):
    """Train with checkpoints larger than all the room for temporary files."""
    _, results, said = cohort
    assert (results.model("pose").checkpoints / "last.ckpt").stat().st_size > 2**20
    assert b"network of" in said["train"]
    assert all(text.isascii() for text in said.values())
    assert results.report.exists()
    assert WORD in results.report.read_text(encoding="utf-8")


def test_the_ledger_holds_every_character(cohort):
    _, results, said = cohort
    with results.ledger.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [row["status"] for row in rows] == ["done", "quarantined"]
    assert [row[WORD] for row in rows] == [WORD] * 2
    assert b"1 done   0 pending   0 failed   1 quarantined" in said["status --write"]
    assert b"#" * 10 in said["status --write"]


def test_nothing_was_written_where_a_home_would_be(cohort):
    folder, _, _ = cohort
    assert not (folder / "~").exists()
    assert not any(path.name.startswith(".") for path in folder.iterdir())


@pytest.mark.parametrize("style", ["text", "tsv", "json"])
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_status_in_each_encoding(cohort, style, encoding):
    """Check that data for scripts are UTF-8 although the terminal claims ASCII."""
    folder, _, _ = cohort
    environment = {**ASCII, "PYTHONIOENCODING": encoding}
    said = run_verb(folder, "status", "--format", style, environment=environment)
    if style == "text":
        assert "1 quarantined" in said.decode(encoding)
        return
    text = said.decode("utf-8" if encoding == "ascii" else encoding)
    # Of what Latin-1 lacks, the codes.
    word = WORD if encoding != "latin-1" else r"größe \u2013 \u2265 3"
    if style == "json":
        # A code of this form is one in JSON as well.
        assert [one[WORD] for one in json.loads(text)["videos"]] == [WORD] * 2
    else:
        assert text.count(word) == 3


def test_errors_are_said(cohort):
    folder, _, _ = cohort
    said = run_verb(folder, "infer", "--shard", WORD, environment=ASCII, code=2)
    assert said.isascii()
    assert rb"Invalid value for '--shard' / '-s': 'gr\xf6\xdfe \u2013 \u2265 3'" in said
