#!/usr/bin/env bash
# Adds cohortpose to the environment of cohortpose.yaml: from the checkout that Snakemake runs, or from
# what COHORTPOSE_SOURCE names (a folder, or git+https://...@VERSION).
set -euo pipefail
if [ -z "${COHORTPOSE_SOURCE:-}" ]; then
    echo "COHORTPOSE_SOURCE is not set: name the folder or the git+https address of cohortpose" >&2
    exit 1
fi
# Conda has brought what it depends on.
options=(--no-deps)
# A checkout is followed when it changes.
[ -d "$COHORTPOSE_SOURCE" ] && options+=(--editable)
python -m pip install "${options[@]}" "$COHORTPOSE_SOURCE"
