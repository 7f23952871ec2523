"""Test bundles from other computers against servers of the test's own."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline_lib.core.errors import ModelError
from pipeline_lib.models.zoo import download
from pipeline_lib.models.zoo.sources import find_bundle, list_cached
from tests.models.zoo.bundles import write_tiny_bundle
from tests.models.zoo.server import serve


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle"))


def digest(content):
    return hashlib.sha256(content).hexdigest()


def test_a_bundle_is_downloaded_once_and_then_found_without_the_server(server, bundle):
    content = bundle.read_bytes()
    sha256 = digest(content)
    server.answers["/moved"] = 302, {"Location": "/pose.cohortpose"}, b""
    server.answers["/pose.cohortpose"] = content
    server.answers["/pose.cohortpose.sha256"] = f"{sha256}  pose.cohortpose\n".encode()
    found = find_bundle(f"{server.address}/pose.cohortpose")
    assert (found.sha256, found.path.read_bytes() == content) == (sha256, True)
    assert list_cached() == [found.path]
    asked = len(server.asked)
    assert find_bundle(f"{server.address}/pose.cohortpose").path == found.path
    # Of a hash that is there nothing is asked, wherever it is said to lie.
    assert find_bundle(f"{server.address}/gone#sha256={sha256}").path == found.path
    assert len(server.asked) == asked
    # A file in the cache that was changed is no longer that bundle.
    found.path.write_bytes(content[:-1] + b"x")
    with pytest.raises(ModelError):
        find_bundle(f"{server.address}/pose.cohortpose")
    found.path.unlink()
    assert find_bundle(f"{server.address}/moved#sha256={sha256}").sha256 == sha256


def test_wrong_answers_are_errors_and_leave_nothing(server, bundle, monkeypatch):
    content = bundle.read_bytes()
    sha256 = digest(content)

    def cut(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content[:1000])
        handler.close_connection = True

    def endless(handler):
        handler.send_response(200)
        handler.end_headers()
        handler.close_connection = True
        try:
            for _ in range(200):
                handler.wfile.write(bytes(2**16))
        except OSError:
            pass

    monkeypatch.setattr(download, "MOST_BYTES", 2**22)
    server.answers |= {
        "/other": b"another file",
        "/error": (500, {}, content),
        "/half": (206, {}, content),
        "/zipped": (200, {"Content-Encoding": "gzip"}, content),
        "/cut": cut,
        "/endless": endless,
        "/large": (200, {"Content-Length": str(2**40)}, b""),
        "/round": (302, {"Location": "/round"}, b""),
        "/plain": (302, {"Location": server.address.replace("https", "http") + "/other"}, b""),
        "/file": (302, {"Location": "file:///etc/passwd"}, b""),
        "/page.sha256": b"<html>not found</html>",
    }
    for place, match in (
        ("/other", f"expected a file with SHA-256 {sha256}, got {digest(b'another file')}"),
        ("/error", "answers 500"),
        ("/half", "answers 206"),
        ("/nothing", "answers 404"),
        ("/zipped", "encoded as 'gzip'"),
        ("/cut", "1000 of|cannot be downloaded"),
        ("/endless", "more than 4194304 bytes"),
        ("/large", "expected at most"),
        ("/round", "more than 5 redirects"),
        ("/plain", "leads to http://.* expected https alone"),
        ("/file", "leads to file:.* expected https alone"),
    ):
        with pytest.raises(ModelError, match=match) as caught:
            find_bundle(f"{server.address}{place}#sha256={sha256}")
        assert place in str(caught.value)
    with pytest.raises(ModelError, match="expected 64 hexadecimal digits"):
        find_bundle(f"{server.address}/page")
    # Without a hash there is no download.
    with pytest.raises(ModelError, match=r"other\.sha256: the server answers 404"):
        find_bundle(f"{server.address}/other")
    assert list_cached() == []
    cache = Path(os.environ["COHORTPOSE_CACHE"])
    assert [path for path in cache.rglob("*") if path.is_file()] == []


def test_a_server_that_is_not_trusted_or_not_there_is_an_error(server, monkeypatch):
    address = f"{server.address}/a#sha256={'0' * 64}"
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    with pytest.raises(ModelError, match=r"cannot be downloaded .*certificate"):
        find_bundle(address)
    assert server.asked == []
    with pytest.raises(ModelError, match="cannot be downloaded"):
        find_bundle(f"https://127.0.0.1:1/a#sha256={'0' * 64}")


HUB = """
import sys
from pipeline_lib.core.errors import ModelError
from pipeline_lib.models.zoo.sources import find_bundle
for address in sys.argv[1:]:
    try:
        print(find_bundle(address).sha256)
    except ModelError as error:
        print("error:", error)
"""


def test_a_file_of_hugging_face_is_cached_by_its_library(bundle, tmp_path):
    content = bundle.read_bytes()
    sha256, commit = digest(content), "0" * 40
    with serve(None) as server:
        facts = {"X-Repo-Commit": commit, "ETag": f'"{sha256}"'}
        for revision in ("v1", commit):
            place = f"/lab/mouse/resolve/{revision}/nets/pose.cohortpose"
            server.answers[place] = 200, facts, content
        environment = {**os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": server.address}
        environment |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}

        def find(*addresses, **variables):
            done = subprocess.run(
                [sys.executable, "-c", HUB, *addresses],
                env={**environment, **variables},
                cwd=Path(__file__).parents[3],
                capture_output=True,
                text=True,
                check=True,
            )
            return done.stdout.splitlines()

        address = "hf://lab/mouse/nets/pose.cohortpose@v1"
        wrong = f"{address}#sha256={'1' * 64}"
        missing = "hf://lab/mouse/nets/none.cohortpose@v1"
        found = find(address, wrong, missing)
        assert found[0] == sha256
        assert "expected a bundle with SHA-256 1111" in found[1]
        assert "Hugging Face did not give it" in found[2]
        asked = len(server.asked)
        assert find(address) == [sha256]
        assert len(server.asked) == asked
    # Neither the library nor the server is asked once the file is there.
    found = find(address, missing, HF_HUB_OFFLINE="1")
    assert found[0] == sha256
    assert "the cache does not have it" in found[1]
