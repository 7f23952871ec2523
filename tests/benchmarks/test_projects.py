"""Test that benchmarks accept only the pinned files, from disk or from the web."""

import functools
import hashlib
import http.server
import threading

import pytest
import yaml

from benchmarks import projects
from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.settings.reading import parse_config

FILES = {"config.yaml": b"Task: openfield\n", "labeled-data/m/img0.png": b"not really a PNG"}


@pytest.fixture
def registry():
    return {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}


@pytest.fixture
def upstream(tmp_path):
    """Write the files as a server holds them."""
    folder = tmp_path / "upstream"
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def server(upstream):
    """Serve `upstream`; yield its address and the list of paths asked for."""
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            asked.append(self.path)

    handler = functools.partial(Handler, directory=str(upstream))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}/", asked
        running.shutdown()
        thread.join()


def test_download_fetches_every_file_once(registry, server, tmp_path):
    url, asked = server
    for _ in range(2):
        folder = projects.download_files(url, registry, tmp_path / "cache", attempts=1)
    assert {name: (folder / name).read_bytes() for name in FILES} == FILES
    assert sorted(asked) == sorted(f"/{name}" for name in FILES)


def test_download_refuses_a_corrupted_file(registry, server, upstream, tmp_path):
    (upstream / "labeled-data/m/img0.png").write_bytes(b"not really a PNg")
    cache = tmp_path / "cache"
    with pytest.raises(StoreError, match=r"img0\.png.*does not match the known hash"):
        projects.download_files(server[0], registry, cache, attempts=1)
    assert not (cache / "labeled-data/m/img0.png").exists()
    assert (cache / "config.yaml").read_bytes() == FILES["config.yaml"]


def test_download_names_the_address_it_cannot_reach(registry, server, tmp_path):
    with pytest.raises(StoreError, match=r"moved/config\.yaml: 404.*COHORTPOSE_DATA"):
        projects.download_files(server[0] + "moved/", registry, tmp_path / "cache", attempts=1)


def test_download_replaces_a_file_damaged_on_disk(registry, server, tmp_path):
    folder = projects.download_files(server[0], registry, tmp_path / "cache", attempts=1)
    (folder / "config.yaml").write_bytes(b"damaged")
    projects.download_files(server[0], registry, folder, attempts=1)
    assert (folder / "config.yaml").read_bytes() == FILES["config.yaml"]


def test_local_files_must_be_the_pinned_ones(registry, upstream):
    projects.check_files(upstream, registry)
    (upstream / "config.yaml").write_bytes(b"Task: other\n")
    (upstream / "labeled-data/m/img0.png").unlink()
    with pytest.raises(
        StoreError, match=r"2 of 2 files.*\n.*config\.yaml has SHA-256.*\n.*missing"
    ):
        projects.check_files(upstream, registry)


def test_registries_list_what_is_labelled():
    # Three images of the mirror mouse have no labels.
    for name, images, tables in (("openfield", 116, 2), ("mirror-mouse", 90 + 3, 1)):
        project = projects.PROJECTS[name]
        registry = projects.read_registry(project)
        assert sum(file.endswith(".png") for file in registry) == images
        assert sum("CollectedData" in file for file in registry) == tables
        assert project.video[1] in registry
        assert all(len(known) == 64 for known in registry.values())


def test_project_is_downloaded_where_the_data_folder_lacks_it(monkeypatch, tmp_path):
    calls = []
    monkeypatch.setenv("COHORTPOSE_DATA", str(tmp_path))
    monkeypatch.setattr(projects, "download_files", lambda *given: calls.append(given) or tmp_path)
    project = projects.PROJECTS["openfield"]
    assert projects.locate_project(project) == tmp_path
    url, registry, cache = calls[0]
    assert url.endswith("/2df0f46c8c8c56c8238b46b3d58384163bafb2f0/examples/" + cache.name + "/")
    assert registry == projects.read_registry(project)
    assert cache.name == "openfield-Pranav-2018-10-30"


@pytest.mark.parametrize("name", ["openfield", "mirror-mouse"])
def test_config_names_the_project_and_replaces_only_what_is_asked(name, tmp_path):
    project = projects.PROJECTS[name]
    source = tmp_path / "a: 'quoted' #folder $x"
    whole = yaml.safe_load(projects.format_config(project, source))
    assert whole["labels"][0]["path"] == str(source)
    split = {"method": "block", "folds": 5, "fold": 3}
    changes = {"training": {"split": split, "epochs": 2}}
    fold = yaml.safe_load(projects.format_config(project, source, changes))
    assert fold["training"].pop("split") == {**whole["training"]["split"], **split}
    assert fold["training"].pop("epochs") == 2
    del whole["training"]["split"], whole["training"]["epochs"]
    assert fold == whole


def test_openfield_run_is_divided_as_deeplabcut_does(tmp_path):
    text = projects.format_config(projects.PROJECTS["openfield"], tmp_path)
    config = parse_config(yaml.safe_load(text))
    assert config.training.split.method == "random"
    assert config.training.split.test_fraction == 0.05
    assert config.frames.extract
    assert config.frames.number == 20


@pytest.mark.real
@pytest.mark.parametrize("name", ["openfield", "mirror-mouse"])
def test_real_projects_are_the_pinned_ones(name, data_folder):
    project = projects.PROJECTS[name]
    assert projects.locate_project(project) == data_folder.absolute() / project.folder
