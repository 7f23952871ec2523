"""Make a results folder after inference: two videos of the same file name, labels and poses."""

import numpy as np
import pandas as pd
from PIL import Image

from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.core.tables import LABEL_COLUMNS, PLAN_COLUMNS, PROBE_COLUMNS, FrameStatus
from pipeline_lib.io.corrections.labels import read_label_corrections, settle_corrections
from pipeline_lib.io.images import write_png
from pipeline_lib.io.labels.table import Labels, write_labels
from pipeline_lib.io.poses.write import create_poses
from pipeline_lib.io.stage_tables import write_table
from pipeline_lib.steps.label_projects.merge import MergeOptions, run_merge_labels
from pipeline_lib.steps.label_projects.write import ProjectOptions, run_write_label_project
from pipeline_lib.steps.refine.run import REFINEMENT_COLUMNS

BODYPARTS = ("nose", "ear", "tail")
WIDTH, HEIGHT, FRAMES = 96, 64, 60
CHOSEN = (("day2-cam", 9), ("day1-cam", 9), ("day1-cam", 40))
NAN = float("nan")


class Run:
    """A working directory; paths are relative to it, so that tests enter it.

    Parameters
    ----------
    folder
        Which exists.
    individuals
        Names of the animals.
    unique
        Bodyparts that a frame shows once.
    """

    def __init__(self, folder, individuals=("animal",), unique=()):
        self.folder, self.individuals, self.unique = folder, individuals, unique
        self.results = Results(folder / "results")
        self.bodyparts = (*BODYPARTS, *unique)
        sheet = "video\tpath\nday1-cam\tday1/cam.mp4\nday2-cam\tday2/cam.mp4\n"
        (folder / "cohort.tsv").write_text(sheet)
        self.config = parse_config(
            {"cohort": "cohort.tsv", "individuals": {"max": len(individuals)}}
        )
        self.write_plan()
        self.write_labels()
        self.write_chosen()
        for video in ("day1-cam", "day2-cam"):
            self.write_poses(video)

    @property
    def slots(self):
        return (*self.individuals, *(["single"] if self.unique else []))

    def write_plan(self, videos=("day1-cam", "day2-cam")):
        rows = [{"video": name, "shard": "00001", "state": "active"} for name in videos]
        write_table(self.results.plan, PLAN_COLUMNS, rows)
        facts = {"status": "done", "frames": FRAMES, "fps": 25, "width": WIDTH, "height": HEIGHT}
        paths = {"day1-cam": "day1/cam.mp4", "day2-cam": "day2/cam.mp4"}
        for path in paths.values():
            (self.folder / path).parent.mkdir(exist_ok=True)
            (self.folder / path).touch()
        probed = [{"video": name, "path": paths[name], **facts} for name in videos]
        write_table(self.results.shard("00001").probe, PROBE_COLUMNS, probed)

    def label(self, image, individual, bodypart):
        """Return the position that a label has in the table."""
        place = self.slots.index(individual) * 20 + self.bodyparts.index(bodypart) * 5
        if individual == "single" or bodypart in self.unique:
            return (90.0, 60.0) if individual == "single" else (NAN, NAN)
        # The second image lacks the tail of every animal.
        return (NAN, NAN) if (image, bodypart) == (3, "tail") else (place + image / 8, 30.5)

    def write_labels(self):
        rows = []
        for image in (0, 3):
            file = self.folder / "mine" / "old" / f"img{image:03d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (WIDTH, HEIGHT), (image, 0, 0)).save(file)
            for individual in self.slots:
                for bodypart in self.bodyparts:
                    if (bodypart in self.unique) == (individual == "single"):
                        x, y = self.label(image, individual, bodypart)
                        first = individual == self.individuals[0]
                        hidden = image == 0 and first and bodypart == "ear"
                        row = {
                            "video": "old",
                            "frame": image,
                            "individual": individual,
                            "bodypart": bodypart,
                            "x": x,
                            "y": y,
                            "visible": not np.isnan(x),
                            "source": "mine",
                            "split": "train",
                            "image": str(file),
                            "iteration": 0,
                            "visibility": "hidden" if hidden else "visible",
                        }
                        rows.append(row)
        table = pd.DataFrame(rows, columns=list(LABEL_COLUMNS))
        skeleton = Skeleton(
            bodyparts=self.bodyparts, edges=(("nose", "ear"),), unique_bodyparts=self.unique
        )
        labels = Labels(table, self.bodyparts, tuple(self.individuals), skeleton)
        write_labels(self.results.labels, labels)

    def write_chosen(self, chosen=CHOSEN):
        rows = []
        for rank, (video, frame) in enumerate(chosen, 1):
            image = f"frames/{video}/frame-{frame:07d}.png"
            file = self.results.refined("pose") / image
            file.parent.mkdir(parents=True, exist_ok=True)
            write_png(file, np.full((HEIGHT, WIDTH, 3), (frame, 9, 200), np.uint8))
            row = dict.fromkeys(REFINEMENT_COLUMNS, "")
            rows.append(row | {"rank": rank, "video": video, "frame": frame, "image": image})
        write_table(self.results.refined_table("pose"), REFINEMENT_COLUMNS, rows)

    def predict(self, video, frame, individual, bodypart):
        """Return the predicted position."""
        place = self.slots.index(individual) * 20 + self.bodyparts.index(bodypart) * 5
        return place + frame / 16 + 10 * (video == "day2-cam") + 0.25, 20 + frame / 8

    def write_poses(self, video):
        count = len(self.slots), len(self.bodyparts)
        position = np.full((FRAMES, *count, 2), np.nan, np.float32)
        for i, individual in enumerate(self.slots):
            for k, bodypart in enumerate(self.bodyparts):
                if (bodypart in self.unique) == (individual == "single"):
                    for frame in range(FRAMES):
                        position[frame, i, k] = self.predict(video, frame, individual, bodypart)
        confidence = np.where(np.isnan(position[..., 0]), 0, 0.9).astype(np.float32)
        # Below `refinement.pcutoff`: nothing to start from.
        confidence[40, :, self.bodyparts.index("tail")] = 0.2
        several = len(self.slots) > 1
        path = self.results.tracked("pose", video) if several else self.results.poses("pose", video)
        status = np.full(FRAMES, FrameStatus.DECODED, np.uint8)
        times = np.arange(FRAMES) / 25
        with create_poses(path, times, self.bodyparts, self.slots, {"key": video}) as writer:
            writer.write(0, position, confidence, status)

    def hand_over(self, form, name="project", **options):
        folder = self.folder / name
        run_write_label_project(
            self.config, self.results, folder, ProjectOptions(form, "Ada", **options)
        )
        return folder

    def merge(self, path, **options):
        return run_merge_labels(self.config, self.results, path, MergeOptions(**options))

    def corrections(self):
        """Return all points by frame, as the newest corrections have them."""
        chosen, _ = settle_corrections(read_label_corrections(self.folder / "corrections"))
        return {
            (key.video, key.frame, key.image): {
                (one.individual, one.bodypart): (round(one.x, 3), round(one.y, 3), one.visibility)
                for one in correction.keypoints
            }
            for key, correction in chosen.items()
        }

    def expect(self, video, frame, **moved):
        """Return a prediction as corrections have it, with some bodyparts moved."""
        found = {}
        for individual in self.slots:
            for bodypart in self.bodyparts:
                if (bodypart in self.unique) == (individual == "single"):
                    if frame == 40 and bodypart == "tail":
                        continue
                    x, y = self.predict(video, frame, individual, bodypart)
                    found[individual, bodypart] = (round(x, 3), round(y, 3), "visible")
        for name, place in moved.items():
            found[self.individuals[0], name] = (*place, "visible")
        return found
