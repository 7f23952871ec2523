"""Check a run and plan its shards, as the main process does before any job."""

import os
import sys
from pathlib import Path

import yaml

from pipeline_lib.core.layout import Results
from pipeline_lib.steps.runs.plan import make_plan
from pipeline_lib.steps.runs.preflight import check_run


def main() -> None:
    """Check and plan the run in the given folder."""
    os.chdir(sys.argv[1])
    values = yaml.safe_load(Path("config.yaml").read_text(encoding="utf-8"))
    config, videos = check_run(values)
    make_plan(videos, Results(Path(config.results)), config.inference)


if __name__ == "__main__":
    main()
