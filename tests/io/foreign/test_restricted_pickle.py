"""Test that pickles in files restore pandas' own objects and no others."""

import collections
import pickle

import numpy as np
import pandas as pd
import pytest

from pipeline_lib.core.errors import StoreError
from pipeline_lib.io.foreign.restricted_pickle import LoadedArray, as_array, load_pickled_bytes

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def load(value, protocol):
    return load_pickled_bytes(pickle.dumps(value, protocol), "a.h5: attribute `x`")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_names_and_numbers(protocol):
    names = pd.MultiIndex.from_product([["a"], ["x", "y"]], names=["one", "two"]).names
    assert load(names, protocol) == ["one", "two"]
    plain = {"a": [(1, 2.5, None, True), "ä", b"\xff", bytearray(b"x"), {3}, frozenset({4})]}
    assert load(plain, protocol) == plain
    assert load(np.str_("nose"), protocol) == "nose"
    assert load(np.float64(0.25), protocol) == 0.25


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_numbers_and_of_objects(protocol, order):
    numbers = np.array([[1.5, 2], [3, 4]], order=order)
    np.testing.assert_array_equal(as_array(load(numbers, protocol)), numbers)
    objects = np.array([["a", 1, 2.5], [None, "b", np.float64(3)]], dtype=object, order=order)
    loaded = load(objects, protocol)
    assert isinstance(loaded, LoadedArray)
    assert loaded.value.tolist() == objects.tolist()
    with pytest.raises(ValueError, match="expected numbers"):
        as_array([objects.tolist()])


@pytest.mark.parametrize(
    "value",
    [
        print,
        np.array([print], dtype=object),
        collections.Counter("a"),
        pd.Timestamp("2020-01-01"),
        pd.DataFrame({"a": [1]}),
        np.array([(1, 2)], dtype=[("a", int), ("b", int)]),
    ],
)
def test_other_objects_are_not_loaded(value):
    with pytest.raises(StoreError, match="is not loaded from a file") as error:
        load(value, 2)
    assert str(error.value).startswith("a.h5: attribute `x`: names ")


@pytest.mark.parametrize(
    "program",
    [
        b"cbuiltins\nbytes\n(I1000000000000\ntR.",
        b"cbuiltins\nbytearray\n(I1000000000000\ntR.",
        b"cnumpy\ndtype\n(S'S1000000000'\ntR(I0\nI1000000\ntR.",
        b"(lp0\n",
        b"",
        b"\x80\x7f.",
    ],
)
def test_programs_that_ask_for_memory_or_end_too_early(program):
    with pytest.raises(StoreError, match="expected a whole pickle"):
        load_pickled_bytes(program, "a.h5")
