"""Test key files: one per label, written before the results that depend on it."""

from pipeline_lib.io.key_files import claim_key, list_other_keys


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_claim_removes_the_keys_of_other_settings(tmp_path):
    folder = tmp_path / "new"
    claim_key(folder / "key-a")
    claim_key(folder / "key-b")
    assert names(folder) == ["key-b"]
    assert (folder / "key-b").read_bytes() == b""


def test_a_key_that_is_there_keeps_its_time(tmp_path):
    claim_key(tmp_path / "key-a")
    before = (tmp_path / "key-a").stat().st_mtime_ns
    claim_key(tmp_path / "key-a")
    assert (tmp_path / "key-a").stat().st_mtime_ns == before


def test_other_labels_and_files_stay(tmp_path):
    for name in (".manifest-1", "probe.tsv", "contents-track-pose.tsv", "manifest.tsv"):
        (tmp_path / name).touch()
    claim_key(tmp_path / ".manifest-2")
    assert names(tmp_path) == [
        ".manifest-2", "contents-track-pose.tsv", "manifest.tsv", "probe.tsv",
    ]  # fmt: skip


def test_other_keys_are_listed_and_left(tmp_path):
    for name in ("key-a", "key-b", "key-c"):
        (tmp_path / name).touch()
    assert list_other_keys(tmp_path / "key-b") == [tmp_path / "key-a", tmp_path / "key-c"]
    assert list_other_keys(tmp_path / "nowhere" / "key-b") == []
    assert names(tmp_path) == ["key-a", "key-b", "key-c"]
