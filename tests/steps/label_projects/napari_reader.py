"""Open DeepLabCut projects with napari-deeplabcut, and correct in them, in its own environment.

``python napari_reader.py JOBS.json`` opens each project's config and folders of images as napari
does, moves one predicted point and saves the layer as ``CollectedData``, as its own widget does. It
writes what it saw to ``JOBS.json.found``.
"""

import json
import sys
from pathlib import Path

import numpy as np
from napari.layers import Layer
from napari_deeplabcut._reader import get_config_reader, get_folder_parser
from napari_deeplabcut._writer import write_hdf_napari_dlc
from napari_deeplabcut.core.metadata import parse_points_metadata
from napari_deeplabcut.core.provenance import apply_gt_save_target


def open_folder(folder):
    """Return the layers of a folder of labelled images."""
    parse = get_folder_parser(str(folder))
    return [Layer.create(*one) for one in parse(str(folder))]


def list_points(layer):
    """Return image, individual, bodypart, x and y of each point."""
    paths = [str(path) for path in layer.metadata["paths"]]
    return [
        [paths[int(frame)], str(individual), str(label), float(x), float(y)]
        for (frame, y, x), individual, label in zip(
            layer.data, layer.properties["id"], layer.properties["label"], strict=True
        )
    ]


def correct(layer, folder, move):
    """Move a point, and save all points of the layer as labels."""
    data = np.array(layer.data)
    wanted = (layer.properties["label"] == move["bodypart"]) & (
        layer.properties["id"] == move["individual"]
    )
    assert wanted.sum() == 1, list_points(layer)
    data[wanted, 1:] = move["y"], move["x"]
    layer.data = data
    _, attributes, _ = layer.as_layer_data_tuple()
    target = apply_gt_save_target(
        parse_points_metadata(attributes["metadata"], drop_header=False),
        anchor=str(folder),
        scorer=move["scorer"],
    ).save_target
    attributes["metadata"] = {**attributes["metadata"], "save_target": target.model_dump()}
    return write_hdf_napari_dlc("__dlc__.h5", layer.data, attributes)


def run(job):
    """Open a project, correct in it, and describe what was seen."""
    project = Path(job["project"])
    config = project / "config.yaml"
    ((_, properties, _),) = get_config_reader(str(config))(str(config))
    header = properties["metadata"]["header"]
    found = {
        "scorer": header.scorer,
        "bodyparts": list(map(str, header.bodyparts)),
        "individuals": list(map(str, header.individuals)),
        "layers": {},
    }
    for folder in sorted((project / "labeled-data").iterdir()):
        layers = open_folder(folder)
        found["layers"][folder.name] = {
            layer.name: list_points(layer)
            if layer.as_layer_data_tuple()[2] == "points"
            else len(layer.data)
            for layer in layers
        }
        if folder.name == job["move"]["folder"]:
            machine = next(layer for layer in layers if layer.name.startswith("machinelabels"))
            found["written"] = correct(machine, folder, job["move"])
    return found


if __name__ == "__main__":
    jobs = Path(sys.argv[1])
    found = [run(job) for job in json.loads(jobs.read_text())]
    Path(f"{jobs}.found").write_text(json.dumps(found))
