"""Write datasets of COCO keypoints as labelling tools do."""

import json

from PIL import Image

WIDTH, HEIGHT = 64, 48
MOUSE = {
    "id": 1,
    "name": "mouse",
    "keypoints": ["nose", "ear", "tail"],
    "skeleton": [[1, 2], [2, 3]],
}
POINTS = [10.5, 20.5, 2, 0, 0, 0, 30.25, 5, 1]


def write_image(path, size=(WIDTH, HEIGHT)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size).save(path)
    return path


def make_image(number, name):
    return {"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT}


def make_animal(number, image=1, keypoints=POINTS, **changes):
    known = {"id": number, "image_id": image, "category_id": 1, "iscrowd": 0}
    return {**known, "keypoints": list(keypoints), **changes}


def write_coco(path, images, annotations, categories=(MOUSE,)):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = {
        "images": list(images),
        "annotations": list(annotations),
        "categories": list(categories),
    }
    path.write_text(json.dumps(values))
    return path


def write_one(folder, *annotations, name="img5.png", **changes):
    """Write one image beside a file of these annotations."""
    write_image(folder / name)
    return write_coco(folder / "labels.json", [make_image(1, name)], annotations, **changes)


def write_cvat(folder):
    """Write what CVAT's `COCO Keypoints 1.0` makes of a video of two mice, with images.

    Layout and keys as CVAT documents them (docs.cvat.ai, format-coco-keypoints) and its exporter,
    Datumaro, writes them: names without a folder, images in the folder of a subset, attributes
    with `occluded` and `track_id`, all images of the task, a category for each node of a skeleton.
    """
    images = [
        {
            "id": number + 1,
            "width": WIDTH,
            "height": HEIGHT,
            "file_name": f"frame_{number:06d}.PNG",
            "license": 0,
            "flickr_url": "",
            "coco_url": "",
            "date_captured": 0,
        }
        for number in range(4)
    ]
    for image in images:
        write_image(folder / "images" / "default" / image["file_name"])
    nodes = [
        {"id": 2 + n, "name": name, "supercategory": "mouse", "keypoints": [], "skeleton": []}
        for n, name in enumerate(MOUSE["keypoints"])
    ]

    def annotate(number, image, track, keypoints, *, occluded=False):
        return {
            "id": number,
            "image_id": image,
            "category_id": 1,
            "segmentation": [],
            "area": 400.0,
            "bbox": [10.0, 5.0, 20.0, 20.0],
            "iscrowd": 0,
            "attributes": {"occluded": occluded, "track_id": track, "keyframe": True},
            "keypoints": keypoints,
            "num_keypoints": sum(flag > 0 for flag in keypoints[2::3]),
        }

    values = {
        "licenses": [{"name": "", "id": 0, "url": ""}],
        "info": dict.fromkeys(
            ("contributor", "date_created", "description", "url", "version", "year"), ""
        ),
        "categories": [{**MOUSE, "supercategory": ""}, *nodes],
        "images": images,
        "annotations": [
            annotate(1, 1, 0, [10.5, 20.5, 2, 0.0, 0.0, 0, 30.25, 5.0, 1]),
            annotate(2, 1, 1, [0.5, 0.5, 2, 63.5, 47.5, 2, 12.34, 5.67, 2]),
            annotate(3, 3, 0, [11.5, 21.5, 2, 0.0, 0.0, 0, 31.25, 6.0, 1], occluded=True),
        ],
    }
    path = folder / "annotations" / "person_keypoints_default.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(values))
    return path
