"""Make small labelling projects, and compare what readers make of them."""

import numpy as np
from PIL import Image

from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.io.label_projects.project import Animal, LabelProject, ProjectFrame, Recording

BODYPARTS = ("nose", "left ear", "Schwanz", "corner")
WIDTH, HEIGHT = 64, 48
NAN = float("nan")


def make_animal(name, points, *, hidden=(), confidence=None):
    """Return an individual; points by bodypart."""
    position = np.full((len(BODYPARTS), 2), NAN)
    scores = np.full(len(BODYPARTS), NAN)
    for bodypart, point in points.items():
        position[BODYPARTS.index(bodypart)] = point
        if confidence is not None:
            scores[BODYPARTS.index(bodypart)] = confidence
    return Animal(name, position, np.array([part in hidden for part in BODYPARTS]), scores)


def make_frame(root, folder, name, number, *, video=None, recording=None, **content):
    """Return a frame whose image has a colour of its own."""
    file = root / "given" / folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (WIDTH, HEIGHT), (number % 256, 20, 200)).save(file)
    video = video or folder
    image = "" if recording else f"mine/{folder}/{name}"
    size = (WIDTH, HEIGHT)
    return ProjectFrame(
        video, number, image, file, size, folder, name, recording=recording, **content
    )


def make_project(root, *, several=False, linked=False):
    """Return a project of two videos: of one animal, or of two with a unique bodypart.

    Both have images of the same name, as videos in `day1` and `day2` have.
    """
    names = ("mus musculus", "2nd") if several else ("animal",)
    unique = ("corner",) if several else ()
    first, last = names[0], names[-1]
    labels = [make_animal(first, {"nose": (1.2345, 2.5), "left ear": (63.25, 47)}, hidden=["nose"])]
    if several:
        labels += [
            make_animal(last, {"Schwanz": (30.0625, 7.75)}),
            make_animal("single", {"corner": (0, 0)}),
        ]
    else:
        labels[0].position[3] = 0, 0
    predicted = [make_animal(first, {"nose": (5.5, 6.5), "Schwanz": (9, 9)}, confidence=0.75)]
    if several:
        predicted.append(make_animal(last, {"nose": (40.5, 6.5)}, confidence=0.5))
    day1 = Recording(root / "day1/cam.mp4", "day1-cam.mp4", 60, 25.0)
    day2 = Recording(root / "day2/cam.mp4", "day2-cam.mp4", 60, 25.0)
    if linked:
        day1, day2 = (Recording(one.path, str(one.path), 60, 25.0) for one in (day1, day2))
    frames = [
        make_frame(
            root, "day2-cam", "frame-0000007.png", 7, recording=day2, predictions=tuple(predicted)
        ),
        make_frame(root, "day1-cam", "frame-0000007.png", 7, recording=day1, labels=tuple(labels)),
        make_frame(root, "day1-cam", "frame-0000030.png", 30, recording=day1, labels=()),
        make_frame(root, "day1-cam", "frame-0000031.png", 31, recording=day1),
        make_frame(root, "old.one", "img012.png", 12, labels=tuple(labels)),
    ]
    skeleton = Skeleton(
        bodyparts=BODYPARTS,
        edges=(("nose", "left ear"), ("nose", "Schwanz")),
        symmetries=(),
        unique_bodyparts=unique,
    )
    return LabelProject(
        "my-project", "Ada", "pose-1", 2, skeleton, names, tuple(frames), linked=linked
    )


def list_expected(animals, *, hidden=True):
    """Return what a reader has to find: individual, bodypart, x, y and hidden, sorted."""
    return sorted(
        (animal.name, BODYPARTS[k], *animal.position[k].tolist(), bool(animal.hidden[k]) and hidden)
        for animal in animals
        for k in np.flatnonzero(animal.present)
    )


def list_found(points, image_end):
    """Return the same of a source's points, of the image whose path has an end."""
    rows = points[points["image"].str.endswith(image_end) & points["visible"]]
    hidden = rows["hidden"] if "hidden" in rows else [False] * len(rows)
    columns = [rows[name] for name in ("individual", "bodypart", "x", "y")]
    return sorted(zip(*columns, hidden, strict=True))


def assert_same(found, expected):
    """Compare names and whether they are hidden, and positions to 1e-3 px."""
    assert [(*one[:2], one[4]) for one in found] == [(*one[:2], one[4]) for one in expected]
    np.testing.assert_allclose(
        [one[2:4] for one in found], [one[2:4] for one in expected], rtol=0, atol=1e-3
    )
