"""Read a project with Label Studio's own packages, in an environment without ours.

``python label_studio_reader.py PROJECT`` checks every region of the tasks against the labelling
interface, as Label Studio does on import, and converts the annotations with Label Studio's
converter. It writes what it found to ``PROJECT/found.json``.
"""

import json
import sys
import tempfile
from pathlib import Path

from label_studio_sdk.converter import Converter
from label_studio_sdk.label_interface import LabelInterface


def main(project):
    config = (project / "interface.xml").read_text()
    tasks = json.loads((project / "tasks.json").read_text())
    interface = LabelInterface(config)
    interface.validate()
    valid = {
        "annotations": [
            interface.validate_annotation(one) for t in tasks for one in t["annotations"]
        ],
        "predictions": [
            interface.validate_prediction(one) for t in tasks for one in t["predictions"]
        ],
    }
    # A label that the interface does not know, to see that the check can fail.
    wrong = json.loads(json.dumps(tasks[0]["predictions"] + tasks[-1]["annotations"]))[0]
    for one in wrong["result"]:
        if one["type"] == "keypointlabels":
            one["value"]["keypointlabels"] = ["elbow"]
    valid["wrong"] = interface.validate_annotation(wrong)
    with tempfile.TemporaryDirectory() as folder:
        Converter(config, project_dir=None).convert_to_json_min(
            str(project / "tasks.json"), folder, is_dir=False
        )
        converted = json.loads(next(Path(folder).glob("*.json")).read_text())
    controls = {control.name: list(control.labels) for control in interface.controls}
    found = {"valid": valid, "converted": converted, "controls": controls}
    (project / "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
