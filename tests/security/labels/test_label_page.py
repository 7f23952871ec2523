"""Attack the page of `cohortpose label`: from other sites, other hosts, and without its token."""

import json
import re

import psutil
import pytest

from tests.label.serving import BODYPARTS, film, serve, write_project

pytest.importorskip("nicegui")

SOCKET = "/_nicegui_ws/socket.io/?EIO=4&transport="
PATHS = (
    "/",
    "/api/project",
    "/api/frames",
    "/api/frames/0",
    "/api/frames/0/image",
    "/api/videos/mouse/1",
    "/api/tracks",
    "/api/tracks/mouse",
    f"{SOCKET}polling",
)
EVIL_HOSTS = (
    "evil.example",
    "evil.example:{port}",
    "127.0.0.1.evil.example:{port}",
    "localhost.evil.example",
    "localhost:{port}@evil.example",
    "127.0.0.1:{port}.evil.example",
    "0.0.0.0:{port}",
    "",
)
EVIL_ORIGINS = (
    "http://evil.example",
    "null",
    "http://localhost",
    "https://{host}",
    "http://{host}.x",
)
TRAVERSALS = (
    "/api/videos/../../../../etc/passwd/0",
    "/api/videos/..%2f..%2f..%2fetc%2fpasswd/0",
    "/api/videos/%2fetc%2fpasswd/0",
    "/api/videos//etc/passwd",
    "/api/frames/..%2f..%2fetc%2fpasswd/image",
    "/api/frames/-1/image",
    "/api/frames/99999999999999999999/image",
    "/../../../../etc/passwd",
    "/%2e%2e/%2e%2e/etc/passwd",
    "/_nicegui/{version}/static/../../../../../../../../etc/passwd",
    "/_nicegui/{version}/static/..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
    "/_nicegui/{version}/esm/{key}/../../project.py",
    "/_nicegui/{version}/esm/{key}/..%2fproject.py",
    "/_nicegui/{version}/esm/{key}/%2fetc%2fpasswd",
    "/_nicegui/{version}/components/..%2f..%2fetc%2fpasswd",
    "/static/cohort.tsv",
    "/cohort.tsv",
    "/config.yaml",
)
WEBSOCKET = (
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("project")
    return write_project(made, {"mouse": film(made / "mouse.mp4")}, [("mouse", 3)])


@pytest.fixture(scope="module")
def page(folder):
    with serve(folder) as served:
        yield served


@pytest.fixture(scope="module")
def cookie(page):
    return page.log_in()


def own(page):
    return "Origin", f"http://{page.host}"


def save(page, cookie, keypoints, *, headers=None, place=0, **more):
    names = json.loads(page.ask("GET", "/api/project", [page.log_in()])[2])["names"]
    body = json.dumps({"base": {}, "names": names, "keypoints": keypoints, **more}).encode()
    headers = [own(page)] if headers is None else headers
    return page.ask("PUT", f"/api/frames/{place}", [cookie, *headers], body)


def list_saved(folder):
    return sorted(folder.glob("corrections/labels/*/*.tsv"))


def test_only_loopback_listens(page):
    listening = [
        one.laddr
        for one in psutil.Process(page.process.pid).net_connections()
        if one.status == psutil.CONN_LISTEN
    ]
    assert [(one.ip, one.port) for one in listening] == [("127.0.0.1", page.port)]


@pytest.mark.parametrize("path", PATHS)
def test_nothing_is_answered_without_the_token(page, path):
    assert page.ask("GET", path)[0] == 401
    assert page.ask("GET", path, [("Cookie", f"cohortpose={page.token}")])[0] == 401


@pytest.mark.parametrize("query", ["token=", "token=wrong", "token={token}x", "TOKEN={token}", ""])
def test_a_wrong_token_gives_no_cookie(page, query):
    status, headers, body = page.ask("GET", f"/?{query.format(token=page.token)}")
    assert (status, headers["Set-Cookie"]) == (401, None)
    assert page.token.encode() not in body


def test_the_token_is_no_cookie_and_counts_at_the_start_page_only(page):
    assert page.ask("GET", f"/api/project?token={page.token}")[0] == 401
    assert page.ask("POST", f"/?token={page.token}", [own(page)], b"")[0] == 401


def test_the_cookie_is_out_of_reach_for_scripts_and_other_sites(page, cookie):
    _, headers, body = page.ask("GET", f"/?token={page.token}")
    settings = [part.strip() for part in headers["Set-Cookie"].split(";")[1:]]
    assert settings == ["Path=/", "HttpOnly", "SameSite=Strict"]
    assert page.token.encode() not in body
    for path in ("/", "/api/project"):
        status, headers, _ = page.ask("GET", path, [cookie])
        assert status == 200
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert "connect-src 'self'" in headers["Content-Security-Policy"]


def test_a_damaged_cookie_is_refused(page, cookie):
    name, value = cookie
    for other in (value[:-1], f"{value}x", value.split("=")[0], "=;=;", f'"{value}'):
        assert page.ask("GET", "/api/project", [(name, other)])[0] == 401


def test_cookies_of_other_ports_do_not_keep_anybody_out(page, cookie):
    name, value = cookie
    for other in ('a={"b": 1}', "flag", "=", "a=b c", '"'):
        for both in (f"{other}; {value}", f"{value}; {other}"):
            assert page.ask("GET", "/api/project", [(name, both)])[0] == 200


@pytest.mark.parametrize("host", EVIL_HOSTS)
def test_a_foreign_host_is_refused(page, cookie, host):
    headers = [("Host", host.format(port=page.port)), cookie]
    for path in (*PATHS, f"/?token={page.token}"):
        assert page.ask("GET", path, headers)[0] in (400, 403)


def test_hosts_that_contradict_each_other_are_refused(page, cookie):
    headers = [("Host", page.host), ("Host", "evil.example"), cookie]
    assert page.ask("GET", "/api/project", headers)[0] in (400, 403)


def test_a_tunnel_with_another_port_is_no_foreign_host(page, cookie):
    for host in ("localhost:1234", "LOCALHOST:1", "127.0.0.1", "[::1]:99"):
        assert page.ask("GET", "/api/project", [("Host", host), cookie])[0] == 200


@pytest.mark.parametrize("origin", EVIL_ORIGINS)
def test_a_foreign_origin_changes_and_reads_nothing(page, cookie, folder, origin):
    foreign = ("Origin", origin.format(host=page.host))
    assert save(page, cookie, [], headers=[foreign])[0] == 403
    assert page.ask("DELETE", "/api/frames/0", [cookie, foreign])[0] == 403
    assert page.ask("GET", "/api/project", [cookie, foreign])[0] == 403
    assert page.ask("GET", f"{SOCKET}polling", [cookie, foreign])[0] == 403
    assert page.ask("POST", f"{SOCKET}polling", [cookie, foreign], b"")[0] == 403
    assert page.ask("GET", f"{SOCKET}websocket", [cookie, foreign, *WEBSOCKET])[0] == 403
    assert list_saved(folder) == []


def test_what_changes_something_needs_an_origin(page, cookie, folder):
    assert save(page, cookie, [], headers=[])[0] == 403
    assert save(page, cookie, [], headers=[own(page), own(page)])[0] == 403
    assert list_saved(folder) == []


def test_another_port_of_this_host_is_another_site(page, cookie):
    for site in ("same-site", "cross-site", "nonsense"):
        assert page.ask("GET", "/api/project", [cookie, ("Sec-Fetch-Site", site)])[0] == 403
    assert page.ask("GET", "/api/project", [cookie, ("Sec-Fetch-Site", "same-origin")])[0] == 200


def test_websockets_need_cookie_and_origin(page, cookie):
    assert page.ask("GET", f"{SOCKET}websocket", [own(page), *WEBSOCKET])[0] in (401, 403)
    assert page.ask("GET", f"{SOCKET}websocket", [cookie, *WEBSOCKET])[0] == 403
    assert page.ask("GET", f"{SOCKET}websocket", [cookie, own(page), *WEBSOCKET])[0] == 101


@pytest.mark.parametrize("path", TRAVERSALS)
def test_no_path_leads_to_a_file(page, cookie, path):
    text = page.ask("GET", "/", [cookie])[2].decode()
    version, key = re.search(
        r'cohortpose-label/"\s*:\s*"/_nicegui/([^/]+)/esm/([^/]+)/', text
    ).groups()
    ours = page.ask("GET", f"/_nicegui/{version}/esm/{key}/viewer.js", [cookie])
    assert (ours[0], b"FrameViewer" in ours[2]) == (200, True)
    status, _, body = page.ask("GET", path.format(version=version, key=key), [cookie])
    assert status in (400, 403, 404, 422)
    for secret in (b"root:", b"class Project", b"mouse.mp4", b"cohort.tsv"):
        assert secret not in body


def test_endless_and_long_bodies_are_refused(page, cookie):
    long = [cookie, own(page), ("Content-Length", str(10**9))]
    assert page.ask("PUT", "/api/frames/0", long)[0] == 413
    endless = [cookie, own(page), ("Transfer-Encoding", "chunked")]
    assert page.ask("PUT", "/api/frames/0", endless)[0] == 413


@pytest.mark.parametrize(
    "keypoint",
    [
        ["animal", "nose", float("nan"), 1.0, "visible"],
        ["animal", "nose", 1e300, 1.0, "visible"],
        ["animal", "nose", 160.0, 1.0, "visible"],
        ["animal", "nose", 1.0, -1.0, "visible"],
        ["animal", "nose", None, None, "visible"],
        ["animal", "nose", 1.0, 1.0, "absent"],
        ["animal", "nose", 1.0, 1.0, "seen"],
        ["animal", "horn", 1.0, 1.0, "visible"],
        ["../../x", "nose", 1.0, 1.0, "visible"],
        ["a\tb", "nose", 1.0, 1.0, "visible"],
        ["", "nose", 1.0, 1.0, "visible"],
        ["animal" * 100, "nose", 1.0, 1.0, "visible"],
        ["animal", {"x": 1}, 1.0, 1.0, "visible"],
        ["animal", "nose", "1", 1.0, "visible"],
        [],
    ],
)
def test_hostile_points_are_refused_whole(page, cookie, folder, keypoint):
    status, _, body = save(page, cookie, [["animal", "tail", 5.0, 5.0, "visible"], keypoint])
    assert status == 422
    assert b"Traceback" not in body
    assert list_saved(folder) == []


def test_hostile_requests_are_refused(page, cookie, folder):
    many = [["animal", "nose", 1.0, 1.0, "visible"]] * 50_001
    assert save(page, cookie, many)[0] in (413, 422)
    assert save(page, cookie, [["animal", "nose", 1.0, 1.0, "visible"]] * 2)[0] == 422
    assert save(page, cookie, [], place=1)[0] == 404
    assert save(page, cookie, [], file="/etc/passwd")[0] == 422
    for body in (b"", b"[]", b"{", b"[" * 100_000, b"\xff"):
        assert page.ask("PUT", "/api/frames/0", [cookie, own(page)], body)[0] in (400, 422)
    for frame in ({"video": "../mouse", "frame": 1}, {"video": "mouse", "frame": 10**6}):
        body = json.dumps(frame).encode()
        assert page.ask("POST", "/api/frames", [cookie, own(page)], body)[0] == 422
    for edit in (
        {"what": "add", "bodypart": "a\nb"},
        {"what": "add", "bodypart": ""},
        {"what": "add", "bodypart": BODYPARTS[0]},
        {"what": "rename", "bodypart": "x", "former": "unknown"},
        {"what": "remove", "bodypart": "nose"},
    ):
        body = json.dumps(edit).encode()
        assert page.ask("POST", "/api/bodyparts", [cookie, own(page)], body)[0] == 422
    assert not (folder / "corrections").exists()
