"""The examples of the documentation's pages on a run that has ended."""

import re

import numpy as np
import pytest

import pipeline_lib
from tests.workflow.running import REPOSITORY

pytestmark = [pytest.mark.workflow]

PYTHON_BLOCK = re.compile(r"^```python\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)


def test_reading_results_in_python(finished, monkeypatch):
    """The page's blocks, one after the other, in the folder that holds the results."""
    page = REPOSITORY / "docs" / "how-to" / "results" / "read-in-python.md"
    blocks = PYTHON_BLOCK.findall(page.read_text(encoding="utf-8"))
    # Sessions have a run of their own, see test_sessions.
    sessions = ("results/triangulated", "results/corrected_views")
    blocks = [block for block in blocks if not any(name in block for name in sessions)]
    assert len(blocks) >= 5
    monkeypatch.chdir(finished.folder)
    found = {}
    exec("\n".join(blocks), found)  # noqa: S102 - it is our own page
    poses = pipeline_lib.open_poses("results/filtered/pose/mouse-01.zarr.zip").load()
    back = poses.position.sel(keypoint="back").isel(individual=0).transpose("time", "space")
    step = np.hypot(*np.diff(back.to_numpy(), axis=0).T)
    speed = np.nanmean(step) / np.diff(poses.time).mean()
    assert found["speed"]["mouse-01"] == pytest.approx(speed, rel=1e-5, nan_ok=True)
    assert found["snout"].shape == (poses.sizes["time"], 2)
    assert {"mouse-01", "mouse-02"} == set(found["done"].video)
    assert found["table"].shape[0] == poses.sizes["time"]
