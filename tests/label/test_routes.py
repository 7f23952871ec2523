"""Ask the routes of the page as its script does, without a browser."""

import pytest
from PIL import Image

from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import read_config
from pipeline_lib.io.corrections.labels import read_label_corrections
from pipeline_lib.steps.import_labels.run import run_import_labels
from tests.label.serving import film, write_project

pytest.importorskip("nicegui")
from fastapi import FastAPI
from fastapi.testclient import TestClient

from pipeline_lib.label.annotations import Annotations
from pipeline_lib.label.project import Project
from pipeline_lib.label.routes import make_router


@pytest.fixture
def connect(tmp_path, monkeypatch):
    """Return a function that opens the project as an author, and returns the client."""
    videos = {"m1": film(tmp_path / "m1.mp4")}
    folder = write_project(tmp_path / "project", videos, [("m1", 4)])
    monkeypatch.chdir(folder)

    def connect(author, **settings):
        write_project(folder, videos, **settings)
        config = read_config(folder / "config.yaml")
        app = FastAPI()
        app.include_router(make_router(Annotations(Project(config, Results("results"), author))))
        return TestClient(app)

    return connect


def save(client, names, place=0, **points):
    keypoints = [["animal", name, x, y, "visible"] for name, (x, y) in points.items()]
    body = {"base": {}, "names": names, "keypoints": keypoints}
    return client.put(f"/api/frames/{place}", json=body)


def read_points(client, place=0):
    found = client.get(f"/api/frames/{place}").json()["keypoints"]
    return {name: (x, y) for _, name, x, y, _ in found}


def test_points_keep_their_bodyparts_while_two_names_are_exchanged(connect):
    ann, bob = connect("Ann"), connect("Bob")
    names = ann.get("/api/project").json()["names"]
    assert ann.get("/api/frames/0").json()["names"] == names
    for former, name in (("nose", "tmp"), ("tail", "nose"), ("tmp", "tail")):
        edit = {"what": "rename", "bodypart": name, "former": former}
        answer = bob.post("/api/bodyparts", json=edit)
    now = answer.json()["names"]
    assert now != names
    # Ann's page holds a frame that it has not saved yet.
    assert save(ann, names, nose=(1, 2), tail=(3, 4)).status_code == 200
    for client in (ann, connect("Cyd")):
        assert read_points(client) == {"tail": (1, 2), "nose": (3, 4)}
    assert save(bob, now, nose=(5, 6), tail=(7, 8)).status_code == 200
    assert read_points(connect("Cyd")) == {"nose": (5, 6), "tail": (7, 8)}
    refused = save(ann, "0" * 16, nose=(9, 9))
    assert (refused.status_code, "load the page anew" in refused.json()["detail"]) == (409, True)
    assert ann.put("/api/frames/0", json={"base": {}, "keypoints": []}).status_code == 422
    assert read_points(connect("Cyd")) == {"nose": (5, 6), "tail": (7, 8)}


def test_a_point_outside_of_a_label_image_is_refused(connect, tmp_path):
    """Upright: the image is stored as 120 x 90 px, and people see 90 x 120 px."""
    images = tmp_path / "project" / "dlc" / "labeled-data" / "other"
    images.mkdir(parents=True)
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (120, 90)).save(images / "img0001.jpg", exif=turned)
    header = "scorer,a,a,a,a\nbodyparts,nose,nose,tail,tail\ncoords,x,y,x,y\n"
    table = f"{header}labeled-data/other/img0001.jpg,1,100,2,2\n"
    (images / "CollectedData_a.csv").write_text(table)
    settings = {"skeleton": {"bodyparts": ["nose", "tail"]}, "labels": [{"path": "dlc"}]}
    connect("Ann", **settings)
    config, results = read_config(tmp_path / "project" / "config.yaml"), Results("results")
    run_import_labels(config, results)
    client = connect("Ann", **settings)
    frames = client.get("/api/frames").json()
    place = next(one["id"] for one in frames if one["image"])
    names = client.get("/api/project").json()["names"]
    for point in ((90, 1), (1, 120), (-1, 1), (1, -0.6), (100, 80)):
        answer = save(client, names, place, nose=point)
        assert answer.status_code == 422
        assert "outside of its image of 90 x 120 px" in answer.json()["detail"]
    assert read_label_corrections(tmp_path / "project" / "corrections") == ()
    assert save(client, names, place, nose=(89, 119), tail=(0, 0)).status_code == 200
    run_import_labels(config, results)
