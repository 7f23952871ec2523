"""Test that networks of other bodyparts give their weights to those that are shared."""

import torch

from pipeline_lib.models.network.backbone import Backbone
from pipeline_lib.models.network.network import PoseNetwork
from pipeline_lib.models.training.transfer import ChannelSources, match_channels, transfer_weights

BACKBONE = "mobilenetv3_small_050"


def build(seed, keypoints, edges):
    torch.manual_seed(seed)
    network = PoseNetwork(Backbone(BACKBONE, "none", 8), keypoints, 8, edges=edges)
    torch.nn.init.normal_(network.score.bias)
    torch.nn.init.normal_(network.offset.bias)
    return network


def test_bodyparts_are_matched_by_name_or_by_the_table_and_edges_either_way():
    found = match_channels(
        ("tail", "ear", "nose", "paw"),
        ((0, 2), (2, 1), (0, 3)),
        ("snout", "tail", "ear"),
        ((0, 1), (0, 2)),
        {"nose": "snout"},
    )
    assert found.bodyparts == (1, 2, 0, None)
    # tail-nose runs from snout to tail there.
    assert found.edges == ((0, True), (1, False), None)


def test_shared_channels_keep_their_weights_and_new_ones_are_new():
    old, new = build(0, 3, 2), build(1, 4, 3)
    before = {name: value.clone() for name, value in new.state_dict().items()}
    old.mean += 0.1
    sources = ChannelSources((1, 2, 0, None), ((0, True), (1, False), None), offset_factor=2.0)
    transfer_weights(new, old.state_dict(), sources)
    after, theirs = new.state_dict(), old.state_dict()
    assert torch.equal(after["score.weight"][:3], theirs["score.weight"][[1, 2, 0]])
    assert torch.equal(after["score.bias"][3], before["score.bias"][3])
    assert torch.equal(after["score.weight"][3], before["score.weight"][3])
    assert torch.equal(after["offset.weight"][:2], 2 * theirs["offset.weight"][2:4])
    assert torch.equal(after["offset.bias"][4:6], 2 * theirs["offset.bias"][0:2])
    assert torch.equal(after["offset.weight"][6:], before["offset.weight"][6:])
    assert torch.equal(after["affinity.weight"][:2], -theirs["affinity.weight"][:2])
    assert torch.equal(after["affinity.weight"][2:4], theirs["affinity.weight"][2:4])
    assert torch.equal(after["affinity.weight"][4:], before["affinity.weight"][4:])
    for name, value in theirs.items():
        if name.startswith(("backbone.", "head.", "mean")):
            assert torch.equal(after[name], value), name
    assert new.backbone.mean == tuple(old.mean.flatten().tolist())
