#!/usr/bin/env bash
# Make environments of tools that we compare with, whose pins do not go with ours:
#   tests/peers/environments.sh NAME ...
# Each is build/peers/NAME, where the tests look for it.
set -euo pipefail
cd "$(dirname "$0")/../.."

for name in "$@"; do
    case $name in
        dandi | datumaro | movement | multiqc) packages=("$name") ;;
        bids) packages=(bids-validator-deno) ;;
        deeplabcut) packages=(--prerelease=allow "deeplabcut>=3.0.0rc1") ;;
        dlclive) packages=("deeplabcut-live[pytorch]") ;;
        ensemble_kalman) packages=(ensemble-kalman-smoother==4.6.2) ;;
        keypoint_moseq) packages=(keypoint-moseq) ;;
        label_studio) packages=(label-studio-sdk label-studio-converter) ;;
        # Its reader of videos on GPUs is in another registry, and not needed.
        lightning_pose) packages=(--override tests/peers/lightning_pose.txt lightning-pose) ;;
        napari) packages=(napari-deeplabcut pyqt5) ;;
        sleap_nn) packages=("sleap-nn[torch]") ;;
        # FFmpeg's libraries must be on the system.
        torchcodec) packages=(torch torchcodec numpy) ;;
        # It imports a function that matplotlib 3.11 has no more.
        vame) packages=(vame-py "matplotlib<3.11") ;;
        *)
            echo "no environment is named $name: expected bids, dandi, datumaro, deeplabcut, dlclive, ensemble_kalman," \
                "keypoint_moseq, label_studio, lightning_pose, movement, multiqc, napari, sleap_nn, torchcodec or vame" >&2
            exit 2
            ;;
    esac
    .venv/bin/uv venv --quiet --clear --python .venv/bin/python "build/peers/$name"
    .venv/bin/uv pip install --quiet --python "build/peers/$name/bin/python" "${packages[@]}"
done
