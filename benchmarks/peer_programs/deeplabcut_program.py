"""Drive DeepLabCut 3, in its own environment: make a network, analyse videos, read the poses.

    PYTHON deeplabcut_program.py make FOLDER [WIDTH HEIGHT]
    PYTHON deeplabcut_program.py run FOLDER OUTPUT BATCH VIDEO ...
    PYTHON deeplabcut_program.py read FOLDER OUTPUT VIDEO POSES.npy

``make`` writes a project with its default ResNet-50 for one animal and random weights;
``FOLDER/network`` holds the network alone. ``run`` calls ``analyze_videos`` once with all videos.
"""

import shutil
import sys
from pathlib import Path

import numpy as np
import yaml

BODYPARTS = ["snout", "leftear", "rightear", "tailbase"]
# As DeepLabCut names the folder of a trained network.
TASK, DATE, FRACTION = "peers", "Nov29", 0.95


def make(folder):
    import torch
    from deeplabcut.pose_estimation_pytorch.config.enums import NetType
    from deeplabcut.pose_estimation_pytorch.config.make_pose_config import (
        build_pose_config_defaults,
    )
    from deeplabcut.pose_estimation_pytorch.config.metadata import PoseMetadata
    from deeplabcut.pose_estimation_pytorch.models import PoseModel
    from deeplabcut.pose_estimation_pytorch.task import Task
    from deeplabcut.utils.auxiliaryfunctions import create_config_template
    from seeded import draw_weights

    metadata = PoseMetadata(
        project_path=str(folder), bodyparts=BODYPARTS, individuals=["animal"], unique_bodyparts=[]
    )
    found = build_pose_config_defaults(
        NetType("resnet_50"), metadata, task=Task.BOTTOM_UP, multi_animal=False
    )
    config = plain(found)
    config["device"] = "cpu"
    network = folder / "network"
    network.mkdir(parents=True)
    (network / "pytorch_config.yaml").write_text(yaml.safe_dump(config))
    model = PoseModel.build(found["model"]).eval()
    state = {
        name: torch.from_numpy(draw_weights(name, tuple(value.shape)))
        for name, value in model.state_dict().items()
    }
    model.load_state_dict(state)
    record = {"epoch": 200, "metrics": {"test.rmse": 1.5}, "losses": {}}
    torch.save({"model": state, "metadata": record}, network / "snapshot-200.pt")
    project, _ = create_config_template(multianimal=False)
    project.update(
        Task=TASK,
        scorer="peer",
        date=DATE,
        project_path=str(folder),
        multianimalproject=False,
        bodyparts=BODYPARTS,
        TrainingFraction=[FRACTION],
        iteration=0,
        engine="pytorch",
        video_sets={},
        snapshotindex=-1,
        identity=False,
        skeleton=[],
        default_net_type="resnet_50",
        batch_size=8,
        cropping=False,
    )
    (folder / "config.yaml").write_text(yaml.safe_dump(plain(dict(project))))
    shuffle = f"{TASK}{DATE}-trainset{int(100 * FRACTION)}shuffle1"
    model_folder = folder / "dlc-models-pytorch" / "iteration-0" / shuffle
    shutil.copytree(network, model_folder / "train")
    (model_folder / "test").mkdir()
    tested = {"dataset": "", "all_joints": [[n] for n in range(4)], "all_joints_names": BODYPARTS}
    (model_folder / "test" / "pose_cfg.yaml").write_text(yaml.safe_dump(tested))


def plain(value):
    """Return values of YAML alone."""
    if isinstance(value, dict):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def run(folder, output, batch, videos):
    import deeplabcut

    Path(output).mkdir(parents=True, exist_ok=True)
    deeplabcut.analyze_videos(
        str(folder / "config.yaml"),
        [str(video) for video in videos],
        shuffle=1,
        destfolder=str(output),
        batch_size=int(batch),
        device="cpu",
    )


def read(output, video, target):
    import pandas as pd

    (path,) = Path(output).glob(f"{Path(video).stem}DLC*.h5")
    values = pd.read_hdf(path).to_numpy().reshape(-1, len(BODYPARTS), 3)
    np.save(target, values[..., :2].astype(np.float32))


if __name__ == "__main__":
    verb, place, *others = sys.argv[1:]
    if verb == "make":
        make(Path(place).absolute())
    elif verb == "run":
        run(Path(place).absolute(), others[0], others[1], others[2:])
    else:
        read(*others)
