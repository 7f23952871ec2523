"""Train SLEAP-NN on labelled images for a time, in its own environment, and predict others.

    PYTHON sleap_nn_training_program.py train LABELS.npz FOLDER
    PYTHON sleap_nn_training_program.py predict LABELS.npz FOLDER POSES.npy

``LABELS.npz`` has ``image`` (paths), ``position``, shape (image, keypoint, 2), NaN where
unlabelled, ``train``, shape (image,), and ``bodyparts``. ``train`` goes on until it is killed; the
best network by its own validation frames is kept meanwhile. ``predict`` writes the poses of the
images that are not for training, in their order, shape (image, keypoint, 2).
"""

import sys
from pathlib import Path

import numpy as np
from sleap_nn_program import describe_unet

RUN = "run"
# Epochs that no training of minutes reaches.
EPOCHS = 100_000
# At full size a step of four frames of 640 x 480 px takes four seconds of one core.
SCALE, OUTPUT_STRIDE = 0.5, 2
AUGMENTATION = {
    "rotation_min": -180.0,
    "rotation_max": 180.0,
    "rotation_p": 1.0,
    "scale_min": 0.9,
    "scale_max": 1.1,
    "scale_p": 1.0,
}


def write_labels(path, target, *, training):
    """Write the images for training, or the others, as SLEAP's labels; return their number."""
    import sleap_io

    with np.load(path) as told:
        chosen = told["train"] == training
        images = [str(one) for one in told["image"][chosen]]
        positions = told["position"][chosen]
        skeleton = sleap_io.Skeleton([str(name) for name in told["bodyparts"]])
    frames = []
    for image, points in zip(images, positions, strict=True):
        video = sleap_io.Video.from_filename([image])
        instance = sleap_io.Instance.from_numpy(points, skeleton=skeleton)
        frames.append(sleap_io.LabeledFrame(video=video, frame_idx=0, instances=[instance]))
    sleap_io.Labels(frames).save(str(target))
    return len(images)


def train(labels, folder):
    from sleap_nn.train import train as train_network

    folder.mkdir(parents=True, exist_ok=True)
    write_labels(labels, folder / "train.slp", training=True)
    heads = dict.fromkeys(("centroid", "centered_instance", "bottomup"))
    confmaps = {"part_names": None, "sigma": 5.0, "output_stride": OUTPUT_STRIDE}
    train_network(
        train_labels_path=[str(folder / "train.slp")],
        validation_fraction=0.1,
        data_pipeline_fw="torch_dataset_cache_img_memory",
        ensure_rgb=True,
        scale=SCALE,
        geometry_aug=AUGMENTATION,
        backbone_config={"unet": describe_unet(OUTPUT_STRIDE)},
        head_configs={**heads, "single_instance": {"confmaps": confmaps}},
        batch_size=4,
        min_train_steps_per_epoch=24,
        max_epochs=EPOCHS,
        trainer_accelerator="cpu",
        trainer_num_devices=1,
        enable_progress_bar=False,
        save_ckpt=True,
        ckpt_dir=str(folder),
        run_name=RUN,
        lr_scheduler="reduce_lr_on_plateau",
        seed=0,
    )


def predict(labels, folder, target):
    import sleap_io
    from sleap_nn.cli import cli

    count = write_labels(labels, folder / "test.slp", training=False)
    found = folder / "found.slp"
    options = ["-i", str(folder / "test.slp"), "-m", str(folder / RUN), "-o", str(found)]
    options += ["-b", "4", "-d", "cpu", "--only_labeled_frames", "--peak_threshold", "0"]
    cli(["track", *options], standalone_mode=False)
    told = sleap_io.load_slp(str(found), open_videos=False)
    with np.load(labels) as given:
        images = [str(one) for one in given["image"][~given["train"]]]
        poses = np.full((count, given["position"].shape[1], 2), np.nan, np.float32)
    for frame in told.labeled_frames:
        name = frame.video.filename
        place = images.index(name[0] if isinstance(name, list) else name)
        for instance in frame.predicted_instances[:1]:
            poses[place] = instance.numpy()[:, :2]
    np.save(target, poses)


if __name__ == "__main__":
    verb, given, place, *others = sys.argv[1:]
    if verb == "train":
        train(Path(given).absolute(), Path(place).absolute())
    else:
        predict(Path(given).absolute(), Path(place).absolute(), others[0])
