"""Test that only the numbers of a network are taken from files."""

import pytest
import torch

from pipeline_lib.core.errors import ModelError
from pipeline_lib.models.network.plain_tensors import check_tensors

OWN = {"weight": torch.zeros(2), "count": torch.tensor(0), "table": torch.zeros(2, dtype=torch.int)}


def refuse(**tensors):
    with pytest.raises(ModelError) as caught:
        check_tensors(tensors, OWN, "file")
    return str(caught.value)


@pytest.mark.parametrize("kind", ["float64", "float32", "float16", "bfloat16"])
def test_real_numbers_are_weights(kind):
    good = torch.ones(2, dtype=getattr(torch, kind))
    assert check_tensors({"weight": good, "count": good.sum(), "else": None}, OWN, "file") is None


@pytest.mark.parametrize("kind", ["int8", "uint8", "int64", "bool", "float8_e4m3fn", "float8_e5m2"])
def test_weights_are_no_integers_and_not_in_8_bits(kind):
    found = refuse(weight=torch.ones(2).to(getattr(torch, kind)))
    assert found.startswith(f"file: weight is of torch.{kind}: expected weights in float32")


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (torch.tensor([1.0, torch.nan]), "not finite"),
        (torch.tensor([1.0, -torch.inf]), "not finite"),
        (torch.tensor([1.0, 1e300], dtype=torch.float64), "not finite"),
        (torch.tensor([1.0, 1j]), "complex"),
        (torch.eye(2).to_sparse(), "sparse"),
        (torch.ones(2, device="meta"), "empty"),
        (torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8), "quantised"),
    ],
)
def test_weights_are_finite_and_stored_as_they_are(value, why):
    message = refuse(weight=value)
    assert message.startswith("file: weight ")
    assert why in message


def test_counters_and_tables_may_be_integers():
    whole = {"count": torch.tensor(3), "table": torch.ones(2, dtype=torch.int64)}
    assert check_tensors(whole, OWN, "file") is None
    assert "expected integers" in refuse(count=torch.ones((), dtype=torch.bool))
    assert "count has values that are not finite" in refuse(count=torch.tensor(torch.nan))
