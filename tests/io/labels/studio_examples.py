"""Write files of Label Studio's tasks as its export "JSON" has them."""

import json

from PIL import Image

WIDTH, HEIGHT = 64, 48


def write_image(path, size=(WIDTH, HEIGHT)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size).save(path)
    return path


def make_point(key, bodypart, x, y, **changes):
    """Return a keypoint; x and y in px from the corner of the image."""
    value = {
        "x": 100 * x / WIDTH,
        "y": 100 * y / HEIGHT,
        "width": 0.5,
        "keypointlabels": [bodypart],
    }
    value |= changes.pop("value", {})
    return {
        "id": key,
        "type": "keypointlabels",
        "from_name": "kp-1",
        "to_name": "img-1",
        "original_width": WIDTH,
        "original_height": HEIGHT,
        "image_rotation": 0,
        "value": value,
        **changes,
    }


def make_box(key, name, **changes):
    value = {"x": 0, "y": 0, "width": 50, "height": 50, "rotation": 0, "rectanglelabels": [name]}
    return {"id": key, "type": "rectanglelabels", "value": value, **changes}


def relate(first, second):
    return {"type": "relation", "from_id": first, "to_id": second, "direction": "right"}


def hide(key):
    return {"id": key, "type": "choices", "value": {"choices": ["hidden"]}}


def make_task(image, *results, number=1, **annotation):
    annotations = [{"id": 10 + number, "result": list(results), **annotation}]
    return {"id": number, "data": {"image": image}, "annotations": annotations}


def write_tasks(folder, *tasks, name="project-1-at-2026.json"):
    path = folder / name
    path.write_text(json.dumps(list(tasks)))
    return path


def write_one(folder, *results, **annotation):
    """Write one image and its task."""
    write_image(folder / "images" / "cam" / "img5.png")
    return write_tasks(folder, make_task("images/cam/img5.png", *results, **annotation))
