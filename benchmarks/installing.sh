#!/usr/bin/env bash
# Time the installation of all locks by uv and by pip, in turn, each from nothing and without a cache.
#
#   benchmarks/installing.sh DIR [ROUNDS]
#
# DIR receives one environment after the other.
set -euo pipefail
folder=$1
rounds=${2:-1}
for round in $(seq "$rounds"); do
    for way in uv pip; do
        rm -rf "$folder/$way"
        python3 -m venv "$folder/$way"
        begin=$SECONDS
        INSTALLER=$way UV_NO_CACHE=1 PIP_NO_CACHE_DIR=1 "$(dirname "$0")/../locks/install.sh" \
            "$folder/$way/bin/python" locks/torch.txt locks/run.txt locks/develop.txt
        echo "round $round: $way $((SECONDS - begin)) s, $(du -sm "$folder/$way" | cut -f1) MB"
        rm -rf "$folder/$way"
    done
done
