"""Test limits of time, secrets of addresses and bad folders of downloads, on loopback."""

import hashlib
import os
import threading
from pathlib import Path

import pytest

from pipeline_lib.core.errors import ConfigError, ModelError
from pipeline_lib.models.zoo import download
from pipeline_lib.models.zoo.cache import BundleCache
from pipeline_lib.models.zoo.sources import find_bundle, list_unclear_addresses
from pipeline_lib.steps.runs.preflight import check_run
from tests.models.zoo.bundles import write_tiny_bundle


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle")).read_bytes()


def digest(content):
    return hashlib.sha256(content).hexdigest()


def read_cache():
    paths = Path(os.environ["COHORTPOSE_CACHE"]).rglob("*")
    return {path.name: path.read_bytes() for path in paths if path.is_file()}


class Trickle:
    """Send a piece now and then, until the client goes away or the test ends."""

    def __init__(self, head, piece):
        self.head, self.piece = head, piece
        self.ended, self.gone = threading.Event(), threading.Event()

    def __call__(self, handler):
        handler.close_connection = True
        try:
            handler.wfile.write(self.head)
            while not self.ended.wait(0.05):
                handler.wfile.write(self.piece)
                handler.wfile.flush()
        except OSError:
            self.gone.set()


HEAD = b"HTTP/1.1 200 OK\r\n"
SLOW = {
    "body": (HEAD + b"\r\n", b"x"),
    "head": (HEAD, b"X: a\r\n"),
    "line": (HEAD, b"X"),
    "chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "size of a chunk": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"0"),
    "answers to wait": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
}


@pytest.mark.parametrize("name", SLOW)
@pytest.mark.parametrize("place", ["bundle", "sidecar", "redirect"])
def test_no_server_holds_a_download_beyond_the_limit(server, monkeypatch, name, place):
    """Wait for the client to go away: a server that is not left never sees that."""
    monkeypatch.setattr(download, "_MOST_SECONDS", 0.5)
    slow = Trickle(*SLOW[name])
    server.answers |= {
        "/slow": slow,
        "/b.sha256": slow,
        "/moved": (302, {"Location": "/slow"}, b""),
    }
    path = {"bundle": f"/slow#sha256={'0' * 64}", "sidecar": "/b"}.get(
        place, f"/moved#sha256={'0' * 64}"
    )
    threading.Timer(20, slow.ended.set).start()
    with pytest.raises(ModelError, match=r"not there after 0 s"):
        find_bundle(server.address + path)
    assert not slow.ended.is_set()
    assert slow.gone.wait(10)
    assert read_cache() == {}


def test_the_limit_is_that_of_all_requests_together():
    deadline = download._Deadline(0.0)
    with pytest.raises(TimeoutError, match="not there after"):
        deadline.limit(30.0)
    assert deadline.is_over
    later = download._Deadline(100.0)
    assert later.limit(30.0) == 30.0
    assert 90 < later.limit(3000.0) <= 100


def test_a_query_goes_to_the_server_and_nowhere_else(server, content):
    sha256 = digest(content)
    server.answers |= {"/q?token=S3CRET": content, "/q.sha256?token=S3CRET": sha256.encode()}
    found = find_bundle(f"{server.address}/q?token=S3CRET")
    assert server.asked == ["GET /q.sha256?token=S3CRET", "GET /q?token=S3CRET"]
    stored = read_cache()
    assert len(stored) == 3
    assert not [name for name, data in stored.items() if b"S3CRET" in data]
    # The jobs of a run have the settings as they are stored.
    assert find_bundle(f"{server.address}/q?…").path == found.path
    assert find_bundle(f"{server.address}/q?…#sha256={sha256}").path == found.path
    assert find_bundle(f"{server.address}/q?token=S3CRET").path == found.path
    assert len(server.asked) == 2
    # What is known is not written again.
    times = {path: path.stat().st_mtime_ns for path in BundleCache().folder.rglob("*")}
    find_bundle(f"{server.address}/q?token=S3CRET")
    assert {path: path.stat().st_mtime_ns for path in BundleCache().folder.rglob("*")} == times
    # Another query is another address, and so is none.
    for query in ("?token=other", ""):
        with pytest.raises(ModelError, match="answers 404"):
            find_bundle(f"{server.address}/q{query}")
    with pytest.raises(ModelError, match="query was left out where the address was stored"):
        find_bundle(f"{server.address}/other?…")


def test_two_bundles_of_one_path_are_never_mistaken(server, content, tmp_path):
    other = write_tiny_bundle(tmp_path, seed=7).read_bytes()
    assert other != content
    for number, one in enumerate((content, other)):
        server.answers |= {f"/q?id={number}": one, f"/q.sha256?id={number}": digest(one).encode()}
        assert find_bundle(f"{server.address}/q?id={number}").sha256 == digest(one)
    with pytest.raises(ModelError, match=r"several bundles .*#sha256="):
        find_bundle(f"{server.address}/q?…")
    # A run is told before its jobs fail.
    address = f"{server.address}/q?id=0"
    (problem,) = list_unclear_addresses("model.bundle", address)
    assert problem.startswith(f"`model.bundle`: {server.address}/q?…: several bundles")
    assert list_unclear_addresses("model.bundle", f"{address}#sha256={digest(content)}") == []
    assert find_bundle(f"{server.address}/q?id=0").sha256 == digest(content)
    # One that was deleted is no longer meant.
    BundleCache().locate(digest(content)).unlink()
    find_bundle(f"{server.address}/q?id=1")
    assert list_unclear_addresses("model.bundle", address) == []
    assert find_bundle(f"{server.address}/q?…").sha256 == digest(other)


def test_a_record_of_before_is_still_read(server, content):
    cache, address = BundleCache(), f"{server.address}/q?token=S3CRET"
    cache.folder.mkdir()
    cache.locate(digest(content)).write_bytes(content)
    record = cache.folder / "addresses" / digest(address.encode())
    record.parent.mkdir()
    record.write_text(f"{digest(content)}\n{address}\n", encoding="utf-8")
    assert find_bundle(address).sha256 == digest(content)
    assert find_bundle(f"{server.address}/q?…").sha256 == digest(content)
    assert b"S3CRET" not in b"".join(read_cache().values())
    assert server.asked == []


def test_errors_name_no_query(server):
    wrong = f"#sha256={'0' * 64}"
    server.answers |= {
        "/moved?token=S3CRET": (302, {"Location": "http://a:S3CRET@b/c?sig=S3CRET"}, b""),
        "/cut?token=S3CRET": (200, {"Content-Length": "9"}, b"x"),
        "/page.sha256?token=S3CRET": b"<html>",
        "/other?token=S3CRET": b"other",
        "/away?token=S3CRET": (302, {"Location": "https://127.0.0.1:1/c?sig=S3CRET"}, b""),
    }
    for place, end in (
        ("/moved", wrong),
        ("/cut", wrong),
        ("/none", wrong),
        ("/other", wrong),
        ("/away", wrong),
        ("/none", ""),
        ("/page", ""),
    ):
        with pytest.raises(ModelError) as caught:
            find_bundle(f"{server.address}{place}?token=S3CRET{end}")
        assert place in str(caught.value)
        assert "S3CRET" not in str(caught.value)
    with pytest.raises(ModelError, match="cannot be downloaded") as caught:
        find_bundle(f"https://127.0.0.1:1/a?token=S3CRET{wrong}")
    assert "S3CRET" not in str(caught.value)


def make_bad_caches(folder):
    file = folder / "file"
    file.write_text("x")
    return ["/proc/nope", str(file), str(file / "below"), str(folder / ("a" * 300))]


@pytest.mark.parametrize("number", range(4))
def test_a_cache_that_cannot_be_written_is_named(server, content, tmp_path, monkeypatch, number):
    folder = make_bad_caches(tmp_path)[number]
    monkeypatch.setenv("COHORTPOSE_CACHE", folder)
    monkeypatch.chdir(tmp_path)
    server.answers["/ok"] = content
    Path("cohort.tsv").write_text("video\tpath\nv\tv.mp4\n")
    bundle = f"{server.address}/ok#sha256={digest(content)}"
    with pytest.raises(ConfigError) as caught:
        check_run({"cohort": "cohort.tsv", "model": {"bundle": bundle}})
    problem = caught.value.problems[0]
    assert problem.startswith(f"`model.bundle`: {folder}: the cache of downloaded bundles cannot")
    assert "set COHORTPOSE_CACHE to a folder that you can write to" in problem
    assert server.asked == []
