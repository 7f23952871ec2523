"""Test that a bundle from a stranger runs nothing, reads nothing else and is checked whole."""

import hashlib
import io
import json
import os
import pickle
import stat
import zipfile
from pathlib import Path

import onnx
import pytest
import torch
from safetensors.torch import save

from pipeline_lib.core.errors import ModelError
from pipeline_lib.core.untrusted.bundle_address import parse_address
from pipeline_lib.models.zoo.archive import read_bundle
from pipeline_lib.models.zoo.manifest import MANIFEST
from pipeline_lib.models.zoo.weights import unpack_weights
from tests.models.zoo.bundles import (
    change,
    edit_card,
    read_members,
    write_members,
    write_tiny_bundle,
)


class Payload:
    """Write a file when unpickled."""

    def __reduce__(self):
        return os.mkdir, ("pwned",)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return write_tiny_bundle(tmp_path_factory.mktemp("good"))


@pytest.fixture(autouse=True)
def _stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    assert not Path("pwned").exists()


def refuse(path, match):
    with pytest.raises(ModelError, match=match) as caught:
        read_bundle(path)
    assert str(path) in str(caught.value)


def test_a_truncated_file_or_none_is_refused(good, tmp_path):
    content = good.read_bytes()
    for name, part in (
        ("half", content[: len(content) // 2]),
        ("empty", b""),
        ("end", content[:-1]),
    ):
        path = tmp_path / name
        path.write_bytes(part)
        refuse(path, "expected a bundle, a ZIP file|cannot be read")
    refuse(tmp_path / "nothing", "no such bundle")
    refuse(tmp_path, "expected a bundle")
    os.mkfifo(tmp_path / "fifo")
    refuse(tmp_path / "fifo", "no regular file")


def test_a_changed_byte_is_found_wherever_it_is(good, tmp_path):
    with pytest.raises(ModelError, match="expected a bundle with SHA-256 0000"):
        read_bundle(good, "0" * 64)
    for name in read_members(good):
        members = read_members(good)
        members[name] = bytes([members[name][0] ^ 1]) + members[name][1:]
        refuse(write_members(tmp_path / "changed", members), "SHA-256|expected JSON")


@pytest.mark.parametrize(
    ("edit", "match"),
    [
        (lambda values: values.update(format_version=2), "bundle of version 2.* reads version 1"),
        (lambda values: values.update(format="zoo"), "expected `format`"),
        (lambda values: values.update(command="rm"), "`command`: Extra inputs"),
        (lambda values: values.update(name="../x"), "`name`"),
        (lambda values: values["members"].pop("network.onnx"), r"lists no network\.onnx"),
        (
            lambda values: values["members"].update(x=values["members"]["README.md"]),
            "lists 'x', which no bundle has",
        ),
    ],
)
def test_a_manifest_of_another_kind_is_refused(good, tmp_path, edit, match):
    refuse(change(good, tmp_path / "b", manifest=edit), match)


def test_members_that_no_bundle_has_are_refused(good, tmp_path):
    for name in ("../evil.py", "/etc/passwd", "network.pt", "model.json\0", "locator/../x"):
        path = write_members(tmp_path / "b", {**read_members(good), name: b"x"})
        refuse(path, "which no bundle has|has .* twice")
    members = list(read_members(good).items())
    with zipfile.ZipFile(tmp_path / "b", "w") as archive:
        for name, content in members:
            archive.writestr(name, content)
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("README.md", b"other")
    refuse(tmp_path / "b", r"has 'README\.md' twice")


def test_links_bombs_and_encryption_are_refused(good, tmp_path):
    members = read_members(good)

    def write(name, content, kind=zipfile.ZIP_STORED, mode=stat.S_IFREG):
        with zipfile.ZipFile(tmp_path / "b", "w") as archive:
            for one, bytes_ in members.items():
                entry = zipfile.ZipInfo(one)
                if one == name:
                    entry.compress_type, entry.external_attr = kind, (mode | 0o644) << 16
                archive.writestr(entry, content if one == name else bytes_)
        return tmp_path / "b"

    refuse(write("README.md", b"/etc/passwd", mode=stat.S_IFLNK), "is a link")
    bomb = write("weights.safetensors", bytes(10_000_000), zipfile.ZIP_DEFLATED)
    refuse(bomb, "is compressed")
    refuse(write("README.md", bytes(5_000_000)), "too many for a text")
    # A size in the directory that the file does not have.
    content = bytearray(good.read_bytes())
    place = content.rindex(b"weights.safetensors") - 46 + 20
    content[place : place + 8] = (2**31).to_bytes(4, "little") * 2
    (tmp_path / "b").write_bytes(content)
    refuse(tmp_path / "b", "larger than the file|ZIP file")


def test_a_long_directory_is_refused_before_it_is_read(good, tmp_path, monkeypatch):
    path = tmp_path / "b"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(300):
            archive.writestr(f"{number}", b"")
    opened = []
    with monkeypatch.context() as patch:
        patch.setattr(zipfile, "ZipFile", lambda *_: opened.append(1))
        refuse(path, "has 300 entries in a directory of .* a bundle has at most")
        # The count may say anything; the length of the directory is what is read.
        content = bytearray(path.read_bytes())
        content[-22 + 8 : -22 + 12] = bytes(4)
        content[-22 + 12 : -22 + 16] = (10**6).to_bytes(4, "little")
        path.write_bytes(content)
        refuse(path, "has 0 entries in a directory of 1000000 bytes")
        # Nor do a comment or the record of a larger file hide it.
        end = bytes(content[-22:-2])
        path.write_bytes(bytes(content[:-22]) + end + (3).to_bytes(2, "little") + b"abc")
        refuse(path, "directory of 1000000 bytes")
        small = good.read_bytes()
        path.write_bytes(small[:-22] + b"PK\6\7" + bytes(16) + small[-22:])
        refuse(path, "countless entries")
    assert opened == []


def test_too_many_members_are_refused_though_the_directory_is_short(tmp_path):
    path = tmp_path / "b"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(200):
            archive.writestr(f"{number}", b"")
    content = bytearray(path.read_bytes())
    content[-22 + 8 : -22 + 12] = bytes(4)
    path.write_bytes(content)
    refuse(path, "has 200 members; a bundle has at most")


def test_a_member_of_another_size_is_named_with_both_sizes(good, tmp_path):
    def lengthen(values):
        values["members"]["model.json"]["bytes"] += 1

    length = len(read_members(good)["model.json"])
    path = change(good, tmp_path / "b", manifest=lengthen)
    refuse(path, rf"model\.json has {length} bytes, but bundle\.json says {length + 1}")


def test_pickles_are_refused_in_any_place(good, tmp_path):
    program = io.BytesIO()
    torch.save({"score.weight": Payload()}, program)
    for content in (program.getvalue(), pickle.dumps(Payload())):
        path = change(good, tmp_path / "b", weights_safetensors=content)
        bundle = read_bundle(path)
        with pytest.raises(ModelError, match="expected safetensors"):
            unpack_weights(bundle.read("weights.safetensors"), bundle.card, str(path))
        refuse(change(good, tmp_path / "c", network_onnx=content), "another network")


def with_network(good, target, edit):
    """Write a bundle whose exported network is another, with the right hash in the card."""
    members = read_members(good)
    model = onnx.load_model_from_string(members["network.onnx"])
    edit(model)
    content = model.SerializeToString()
    card = json.loads(members["model.json"])
    card["network_sha256"] = hashlib.sha256(content).hexdigest()
    return change(good, target, network_onnx=content, model_json=json.dumps(card).encode())


def set_external(model):
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def set_custom(model):
    model.graph.node[0].domain = "com.evil"
    model.opset_import.add(domain="com.evil", version=1)


def set_inner(model):
    inner = onnx.helper.make_node("X", [], ["y"], domain="com.evil")
    graph = onnx.helper.make_graph([inner], "g", [], [])
    node = onnx.helper.make_node("If", ["c"], ["z"], then_branch=graph, else_branch=graph)
    model.graph.node.append(node)


def set_frames(kind=onnx.TensorProto.UINT8, **lengths):
    def edit(model):
        tensor = model.graph.input[0].type.tensor_type
        tensor.elem_type = kind
        for axis, name in enumerate(("batch", "height", "width", "channels")):
            if name in lengths:
                tensor.shape.dim[axis].dim_value = lengths[name]

    return edit


def set_output(number, axis, length):
    def edit(model):
        dims = model.graph.output[number].type.tensor_type.shape.dim
        dims[axis].dim_value = length

    return edit


def clear_shape(port):
    port.type.tensor_type.ClearField("shape")


@pytest.mark.parametrize(
    ("edit", "match"),
    [
        (set_external, "tensors are all inside"),
        (set_custom, r"operators of 'com\.evil'"),
        (set_inner, r"operators of 'com\.evil'"),
        (lambda model: model.functions.add(name="f", domain="x"), "operators of its own"),
        (lambda model: model.graph.output.pop(), "expected a network that takes frames"),
        (
            set_frames(onnx.TensorProto.FLOAT),
            r"frames as float of shape \(any, any, any, 3\)",
        ),
        (set_frames(batch=1, height=64, width=96), r"uint8 of shape \(1, 64, 96, 3\)"),
        (set_frames(height=64), r"uint8 of shape \(any, 64, any, 3\)"),
        (set_frames(channels=1), r"uint8 of shape \(any, any, any, 1\)"),
        (lambda model: clear_shape(model.graph.input[0]), "uint8 of no stated shape"),
        (set_output(0, axis=1, length=4), r"gives score as float of shape \(any, 4, any, any\)"),
        (set_output(1, axis=2, length=3), r"gives offset as float of shape \(any, 3, 3, any"),
        (set_output(1, axis=1, length=1), r"gives offset as float of shape \(any, 1, 2, any"),
    ],
)
def test_a_network_that_is_more_than_a_network_is_refused(good, tmp_path, edit, match):
    refuse(with_network(good, tmp_path / "b", edit), match)


def test_a_card_of_other_bodyparts_or_impossible_numbers_is_refused(good, tmp_path):
    four = {"bodyparts": ["a", "b", "c", "d"], "edges": [], "symmetries": []}
    refuse(edit_card(good, tmp_path / "b", skeleton=four), "network of other bodyparts")
    for name, value in (
        ("scale", 1e9),
        ("stride", 0),
        ("window", 10**6),
        ("std", [0, 1, 1]),
        ("edges", [[0, 7]]),
        ("individuals", []),
    ):
        refuse(edit_card(good, tmp_path / "b", **{name: value}), f"`{name}` cannot be")
    training = json.loads(read_members(good)["model.json"])["training"]
    for number in (float("nan"), float("inf")):
        for name, value in (
            ("training", {**training, "seconds": number}),
            ("training", {**training, "settings": {"some": [{"where": number}]}}),
            ("chosen", {"targets.scale": {"value": number, "reason": ""}}),
        ):
            refuse(edit_card(good, tmp_path / "b", **{name: value}), "expected finite numbers")
    text = read_members(good)["model.json"].replace(b'"seconds": 0.0', b'"seconds": 1e999')
    refuse(change(good, tmp_path / "b", model_json=text), "holds the number 1e999")
    refuse(change(good, tmp_path / "b", model_json=b"[" * 100_000), "nested too deeply")
    refuse(edit_card(good, tmp_path / "b", window=224), "no locator")
    refuse(edit_card(good, tmp_path / "b", format_version=9), "not a model card")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("locating.window", ["abc", None, 1e9, 2**20, -5, 100, True, "auto"]),
        ("locating.scale", [0, -1, 2.0, None]),
        ("targets.stride", [3, None]),
        ("targets.sigma", [-1.0, "wide"]),
        ("training.augmentation.rotation", [400.0, None]),
        ("training.stop.plateau", [3]),
        ("training.crop", [33]),
        ("training.backbone", ["auto", 3]),
        ("training.weights", ["timm"]),
        ("locating", [1]),
        ("__class__", [1]),
    ],
)
def test_a_chosen_value_is_one_that_its_setting_may_have(good, tmp_path, name, values):
    for value in values:
        chosen = {name: {"value": value, "reason": "because"}}
        refuse(edit_card(good, tmp_path / "b", chosen=chosen), f"`chosen`: '{name}'")


def test_chosen_values_and_windows_of_settings_are_kept(good, tmp_path):
    chosen = {"locating.window": {"value": 160, "reason": "r"}, "training.crop": {"value": None}}
    chosen["training.crop"]["reason"] = "whole frames"
    path = edit_card(good, tmp_path / "b", chosen=chosen)
    assert read_bundle(path).card.chosen["locating.window"].value == 160

    def widen(values):
        values["settings"]["locating"]["window"] = 2**20

    refuse(change(good, tmp_path / "c", manifest=widen), "`settings.locating.window`: 1048576 px")


def test_weights_of_another_architecture_are_refused(good):
    card = read_bundle(good).card
    state = unpack_weights(read_members(good)["weights.safetensors"], card, "w")
    wrong = {**state, "score.weight": torch.zeros(4, 8, 1, 1)}
    lacking = {name: value for name, value in state.items() if name != "score.bias"}
    for other, match in (
        (wrong, r"score\.weight is \(4, 8, 1, 1\)"),
        (lacking, "lacks score.bias: weights of another network"),
        ({**state, "extra": torch.zeros(1)}, "'extra' belongs to another network"),
        ({**state, "score.bias": state["score.bias"].double()}, "float64"),
        ({**state, "score.bias": state["score.bias"] * torch.nan}, "score.bias has values that"),
        ({**state, "mean": state["mean"] + 0.1}, "`mean` is .*, but the card says"),
        ({**state, "std": state["std"] * 2}, "`std` is .*, but the card says"),
    ):
        with pytest.raises(ModelError, match=match):
            unpack_weights(save(other), card, "w")
    # A card that asks for more memory than there is costs none.
    huge = card.model_copy(update={"head_channels": 2**16})
    with pytest.raises(ModelError, match="of the card has"):
        unpack_weights(save(state), huge, "w")


def test_a_text_for_people_controls_no_terminal(good, tmp_path):
    path = change(good, tmp_path / "b", README_md=b"# \x1b[2Jpose\x07\nnext")
    assert read_bundle(path).readme == "# [2Jpose\nnext"
    assert MANIFEST not in read_bundle(path).manifest.members


@pytest.mark.parametrize(
    "text",
    [
        "http://host/a.cohortpose",
        "ftp://host/a",
        "file:///etc/passwd",
        "s3://bucket/a",
        "https:///a",
        "https://user:secret@host/a",
        "https://host/a#other",
        "a.cohortpose#sha256=12",
        "hf://owner/a",
        "hf://owner/name/../x",
        "hf://owner/name/a@../x",
        "",
        "a\nb",
    ],
)
def test_other_addresses_are_refused(text):
    with pytest.raises(ValueError, match=r"expected|names no host|no user"):
        parse_address(text)


DETECTOR = {"variant": "ssdlite320_mobilenet_v3_large", "score_threshold": 0.5}
POSE = {"backbone": "resnet18", "height": 64, "width": 64, "downsample_factor": 2}
UNET = {
    "channels": 1,
    "filters": 8,
    "filters_rate": 1.5,
    "kernel_size": 3,
    "convs_per_block": 2,
    "max_stride": 16,
    "output_stride": 2,
    "up_interpolate": True,
    "whole_greys": False,
}


@pytest.mark.parametrize(
    ("name", "layout", "match"),
    [
        # The card is of a network of three bodyparts, whose maps have cells.
        ("detector", DETECTOR, "`detector` cannot be"),
        ("lightning_pose", POSE, "`lightning_pose` cannot be"),
        ("sleap_nn", UNET, "`sleap_nn` cannot be"),
        ("detector", {**DETECTOR, "variant": "keypointrcnn"}, "not a model card: `detector.var"),
        ("lightning_pose", {**POSE, "backbone": "list_models"}, "not a model card: `lightning_po"),
        ("lightning_pose", {**POSE, "height": 2**40}, "not a model card: `lightning_pose.height"),
        ("sleap_nn", {**UNET, "filters": 10**9}, "not a model card: `sleap_nn.filters"),
        ("sleap_nn", {**UNET, "output_stride": 16}, "not a model card: `sleap_nn"),
    ],
)
def test_networks_of_other_tools_are_only_what_they_can_be(good, tmp_path, name, layout, match):
    refuse(edit_card(good, tmp_path / "b", **{name: layout}), match)
