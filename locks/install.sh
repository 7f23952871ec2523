#!/usr/bin/env bash
# Install lock files into the environment of a Python, and cohortpose itself as this checkout has it:
#
#   locks/install.sh PYTHON FILE...
#
# With uv, where there is a wheel of it, else with pip; INSTALLER=pip asks for pip.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$1
shift
install=("$python" -m pip install --quiet)
if [ "${INSTALLER:-uv}" = uv ] && "${install[@]}" --no-deps --requirement locks/uv.txt; then
    install=("$python" -m uv pip install --quiet --python "$python")
fi
# One by one: PyTorch for CPUs is of an index of its own.
for file in "$@"; do
    "${install[@]}" --no-deps --requirement "$file"
done
"${install[@]}" --no-deps --editable .
