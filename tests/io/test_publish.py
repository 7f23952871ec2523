"""Test publishing: whole or not at all, and nothing left behind."""

import multiprocessing
import os
import stat
import zipfile
from pathlib import Path

import pytest

from pipeline_lib.io.publish import publish_file, publish_folder, publish_packed, publish_text


class StoppedError(Exception):
    """Interrupt a block before its end."""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_ino, status.st_mtime_ns


def publish_half(path: Path, error: type[BaseException]) -> None:
    with publish_file(path) as part:
        part.write_text("half")
        raise error


def publish_half_a_folder(path: Path, error: type[BaseException]) -> None:
    with publish_folder(path) as part:
        (part / "new").touch()
        raise error


def test_a_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "new" / "deep" / "table.parquet"
    with publish_file(path) as part:
        # Beside the target, since a rename across file systems is a copy; writers go by suffix.
        assert part.parent == path.parent
        assert part.suffix == ".parquet"
        part.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert names(path.parent) == ["table.parquet"]


def test_a_file_replaces_the_old_one_in_one_step(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with path.open() as reader:
        with publish_file(path) as part:
            part.write_text("new")
            assert path.read_text() == "old"
        # Who had it open still reads the old one, whole.
        assert reader.read() == "old"
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [StoppedError, KeyboardInterrupt, SystemExit])
def test_a_block_that_raises_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")
    before = identity(path)
    with pytest.raises(error):
        publish_half(path, error)
    assert path.read_text() == "old"
    assert identity(path) == before
    assert names(tmp_path) == ["a.txt"]


def test_a_block_that_raises_makes_no_file(tmp_path):
    with pytest.raises(StoppedError), publish_file(tmp_path / "a.txt"):
        raise StoppedError
    assert names(tmp_path) == []


@pytest.mark.parametrize("umask", [0o002, 0o027, 0o077])
def test_modes_and_group_are_those_of_plain_files(tmp_path, umask):
    """Publish in a folder whose setgid bit passes on its group."""
    folder = tmp_path / "shared"
    folder.mkdir()
    if os.geteuid() == 0:
        os.chown(folder, -1, 12345)
    folder.chmod(0o2770)
    old = os.umask(umask)
    try:
        (folder / "plain").mkdir()
        (folder / "plain" / "file").touch()
        with publish_file(folder / "file") as part:
            part.write_text("x")
        for _ in range(2):  # made, then replaced
            with publish_folder(folder / "made") as part:
                (part / "file").touch()
        with publish_packed(folder / "packed.zip") as part:
            (part / "file").touch()
        publish_text(folder / "new" / "text", "x")
        assert os.umask(umask) == umask
    finally:
        os.umask(old)

    def facts(path):
        return stat.S_IMODE(path.stat().st_mode), path.stat().st_gid

    plain_folder, plain_file = facts(folder / "plain"), facts(folder / "plain" / "file")
    assert plain_folder == (0o2777 & ~umask, folder.stat().st_gid)
    assert plain_file == (0o666 & ~umask, folder.stat().st_gid)
    assert [facts(folder / name) for name in ("made", "new")] == [plain_folder] * 2
    files = ("file", "made/file", "packed.zip", "new/text")
    assert [facts(folder / name) for name in files] == [plain_file] * 4


def test_a_folder_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "new" / "v.zarr"
    with publish_folder(path) as part:
        assert part.parent == path.parent
        (part / "c").mkdir()
        (part / "c" / "0").write_text("chunk")
        assert not path.exists()
    assert (path / "c" / "0").read_text() == "chunk"
    assert names(path.parent) == ["v.zarr"]


def test_a_folder_replaces_the_old_one_whole(tmp_path):
    path = tmp_path / "v.zarr"
    path.mkdir()
    (path / "old").touch()
    with publish_folder(path) as part:
        (part / "new").touch()
        assert names(path) == ["old"]
    assert names(path) == ["new"]
    assert names(tmp_path) == ["v.zarr"]


@pytest.mark.parametrize("error", [StoppedError, KeyboardInterrupt])
def test_a_block_that_raises_leaves_the_old_folder(tmp_path, error):
    path = tmp_path / "v.zarr"
    path.mkdir()
    (path / "old").write_text("content")
    before = identity(path / "old")
    with pytest.raises(error):
        publish_half_a_folder(path, error)
    assert identity(path / "old") == before
    assert names(path) == ["old"]
    assert names(tmp_path) == ["v.zarr"]


def test_a_folder_that_cannot_be_moved_into_place_leaves_the_old_one(tmp_path, monkeypatch):
    """Let the disk fail between moving the old folder aside and the new one in."""
    path = tmp_path / "v.zarr"
    path.mkdir()
    (path / "old").touch()
    replace = Path.replace

    def fail(self, target):
        if self.name.startswith(".part-"):
            raise OSError(5, "Input/output error")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="Input/output error"), publish_folder(path) as part:
        (part / "new").touch()
    assert names(tmp_path) == ["v.zarr"]
    assert names(path) == ["old"]


def test_leftovers_of_a_killed_writer_are_removed_by_the_next_one(tmp_path):
    """Remove its own leftovers only: `a` differs from `a.zarr` and `a.abcdefgh.zarr`."""
    mine, others = tmp_path / "a.zarr", (tmp_path / "a", tmp_path / "a.abcdefgh.zarr")
    # Blocks that are entered and never left.
    killed = [publish_folder(path) for path in (mine, *others)]
    parts = [block.__enter__() for block in killed]
    old = tmp_path / ".old-a.zarr.x1y2z3w4"
    old.mkdir()
    with publish_folder(mine) as part:
        assert [path.exists() for path in (*parts, old)] == [False, True, True, False]
        (part / "whole").touch()
    assert [path.name for path in mine.iterdir()] == ["whole"]


@pytest.mark.parametrize("damaged", [b"\xff\xfe", b"\0" * 300, b"text\r\n"])
def test_damaged_text_is_written_again(tmp_path, damaged):
    """A server that crashed leaves zeros, or part of another file."""
    path = tmp_path / "t"
    path.write_bytes(damaged)
    publish_text(path, "text\n")
    assert path.read_bytes() == b"text\n"


def test_identical_text_is_not_written_again(tmp_path):
    """Check that an unchanged file stays unchanged for Snakemake."""
    path = tmp_path / "a" / "b.txt"
    publish_text(path, "Käse\n")
    before = identity(path)
    publish_text(path, "Käse\n")
    assert identity(path) == before
    publish_text(path, "other\n")
    assert path.read_text(encoding="utf-8") == "other\n"
    assert identity(path) != before
    assert names(path.parent) == ["b.txt"]


def fill_folder(folder, content="chunk"):
    (folder / "b").mkdir()
    (folder / "b" / "c.0").write_text(content)
    (folder / "a.json").write_text("{}")


def test_a_packed_folder_is_one_file(tmp_path):
    path = tmp_path / "new" / "v.zarr.zip"
    with publish_packed(path) as folder:
        fill_folder(folder)
        assert not path.exists()
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["a.json", "b/c.0"]
        assert archive.read("b/c.0") == b"chunk"
        # Readers seek in it.
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
    assert names(path.parent) == ["v.zarr.zip"]


def test_the_same_files_packed_are_the_same_bytes(tmp_path):
    for name, when in (("a.zip", 1e9), ("b.zip", 1.5e9)):
        with publish_packed(tmp_path / name) as folder:
            fill_folder(folder)
            os.utime(folder / "a.json", (when, when))
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


@pytest.mark.parametrize("error", [StoppedError, KeyboardInterrupt])
def test_a_block_that_raises_leaves_the_old_packed_file(tmp_path, error):
    path = tmp_path / "v.zip"

    def pack(content, error=None):
        with publish_packed(path) as folder:
            fill_folder(folder, content)
            if error is not None:
                raise error

    pack("old")
    before = path.read_bytes()
    with pytest.raises(error):
        pack("new", error)
    assert path.read_bytes() == before
    pack("new")
    assert zipfile.ZipFile(path).read("b/c.0") == b"new"
    assert names(tmp_path) == ["v.zip"]


def test_leftovers_of_a_killed_packer_are_removed_by_the_next_one(tmp_path):
    killed = publish_packed(tmp_path / "v.zip")
    fill_folder(killed.__enter__())
    assert len(names(tmp_path)) == 1
    with publish_packed(tmp_path / "v.zip") as folder:
        fill_folder(folder)
    assert names(tmp_path) == ["v.zip"]


def test_all_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    done = []
    fsync, replace = os.fsync, os.replace

    def note_sync(handle):
        done.append(("sync", Path(f"/proc/self/fd/{handle}").readlink()))
        fsync(handle)

    def note_rename(source, target):
        done.append(("rename", Path(target)))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "replace", note_rename)
    with publish_folder(tmp_path / "v.zarr") as part:
        fill_folder(part)
    # In any order: they go to the disk together.
    wanted = {part, part / "b", part / "b" / "c.0", part / "a.json"}
    assert set(done[:4]) == {("sync", path) for path in wanted}
    assert done[4:] == [("rename", tmp_path / "v.zarr"), ("sync", tmp_path)]


def _publish_a_folder(path):
    with publish_folder(path) as part:
        fill_folder(part)


def test_a_forked_process_publishes_too(tmp_path):
    """Check that it inherits no threads after its parent has published files."""
    _publish_a_folder(tmp_path / "a")
    child = multiprocessing.get_context("fork").Process(
        target=_publish_a_folder, args=(tmp_path / "b",)
    )
    child.start()
    child.join(30)
    ended = child.exitcode
    child.kill()
    assert ended == 0
    assert (tmp_path / "b" / "b" / "c.0").read_text() == "chunk"
