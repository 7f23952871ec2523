"""Read a COCO project with Datumaro, which CVAT imports and exports with, and write it again.

``python datumaro_reader.py JOB.json`` moves the first keypoint of an animal and exports the dataset
as CVAT does to the folder `exported` beside the job; it writes what it saw to ``JOB.json.found``.
"""

import json
import sys
from pathlib import Path

from datumaro.components.annotation import AnnotationType
from datumaro.components.dataset import Dataset

KIND = "coco_person_keypoints"


def main(path):
    job = json.loads(path.read_text())
    dataset = Dataset.import_from(job["project"], KIND)
    bodyparts = dataset.categories()[AnnotationType.points].items.values()
    found = {
        "images": sum(Path(item.media.path).is_file() for item in dataset),
        "bodyparts": [list(one.labels) for one in bodyparts],
    }
    for item in dataset:
        annotations = list(item.annotations)
        for number, one in enumerate(annotations):
            own = one.attributes.get("individual") == job["individual"]
            if item.id == job["image"] and one.type == AnnotationType.points and own:
                points = [*job["to"], *one.points[2:]]
                annotations[number] = one.wrap(points=points)
        dataset.put(item.wrap(annotations=annotations))
    dataset.export(str(path.parent / "exported"), KIND, save_media=False)
    Path(f"{path}.found").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
