"""Pickles that would keep a reader busy without end, or fill the memory, are refused at once.

Each is loaded in a process of its own, with a limit on time and memory.
"""

import pickle
import struct
import subprocess
import sys

import h5py
import numpy as np
import pandas as pd
import pytest

from pipeline_lib.core.errors import StoreError
from pipeline_lib.io.detections.deeplabcut import read_detections
from pipeline_lib.io.foreign.pandas_hdf5 import read_pandas_table
from pipeline_lib.io.foreign.restricted_pickle import load_pickled_bytes

_PRIME = 2**61 - 1
_KEY = "has a key that is neither a text nor a usual number"
_LOAD = """
import resource, sys
from pathlib import Path
from pipeline_lib.core.errors import StoreError
from pipeline_lib.io.foreign.pandas_hdf5 import read_pandas_table
from pipeline_lib.io.foreign.restricted_pickle import load_pickled_bytes
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, used + 2**30))
resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
for path in sys.argv[1:]:
    try:
        load_pickled_bytes(Path(path).read_bytes(), "x")
    except StoreError as error:
        print(error)
    else:
        print("loaded")
"""


def tuples(levels: int) -> bytes:
    """Use each tuple twice in the next one."""
    return b"K\x01K\x02\x86\x94" + b"".join(b"0h%ch%c\x86\x94" % (n, n) for n in range(levels))


def wide_tuple() -> bytes:
    """Use a tuple of 1,000 values 1,000 times in the next one, in four levels."""
    levels = [b"(" + b"h%c" % n * 1000 + b"t\x94" for n in range(4)]
    return b"(" + b"K\x01" * 1000 + b"t\x94" + b"".join(levels)


def lists(levels: int) -> bytes:
    made = b"".join(b"]\x940" for _ in range(levels + 1))
    return made + b"".join(b"h%c(h%ch%ce0" % (n, n + 1, n + 1) for n in range(levels)) + b"h\x00"


def collide(count: int) -> bytes:
    """Return a mapping of whole numbers that all have the hash 0."""
    numbers = ((n * _PRIME).to_bytes(11, "little") for n in range(1, count))
    return b"}(" + b"".join(b"\x8a\x0b" + one + b"N" for one in numbers) + b"u"


def call(name: bytes, argument: bytes) -> bytes:
    return b"c" + name.replace(b".", b"\n") + b"\n" + argument + b"\x85R"


# An array whose shape or data says what it asks for.
def array(code: bytes, shape: bytes, data: bytes = b"C\x00") -> bytes:
    dtype = b"cnumpy\ndtype\n\x8c%c%b\x85R" % (len(code), code)
    return (
        b"cnumpy._core.multiarray\n_reconstruct\n)R(K\x01" + shape + dtype + b"\x89" + data + b"tb"
    )


PROGRAMS = {
    "a tuple as key": (b"}" + tuples(60) + b"Ns", _KEY),
    "in a mapping of several": (b"}(K\x01N" + tuples(60) + b"Nu", _KEY),
    "of a mapping without a name": (b"(" + tuples(60) + b"Nd", _KEY),
    "in a set": (b"\x8f(" + tuples(60) + b"\x90", _KEY),
    "in a frozen set": (b"(" + tuples(60) + b"\x91", _KEY),
    "a frozen set as key": (b"}((K\x01\x91Ns", _KEY),
    "hidden by a state": (b"}" + tuples(60) + b"NbNs", _KEY),
    "hidden by no items": (b"}" + tuples(60) + b"(eNs", _KEY),
    "hidden by no pairs": (b"}" + tuples(60) + b"(uNs", _KEY),
    "twice by one operation": (b"}K\x01\x85" + b"2\x86" * 60 + b"Ns", _KEY),
    "a wide one": (b"}" + wide_tuple() + b"Ns", _KEY),
    "a deep one": (b"}" + b")" + b"\x85" * 2_000_000 + b"Ns", _KEY),
    "a set by its class": (call(b"builtins.set", b"](" + tuples(60) + b"e"), _KEY),
    "a frozen set by its class": (call(b"builtins.frozenset", b"](" + tuples(60) + b"e"), _KEY),
    "a mapping by its class": (
        call(b"collections.OrderedDict", b"](](" + tuples(60) + b"Nee"),
        _KEY,
    ),
    "ruamel's": (b"cruamel.yaml.comments\nCommentedMap\n](](" + tuples(60) + b"Nee\x85R", _KEY),
    "a tuple by its class": (b"}" + call(b"builtins.tuple", b"](" + tuples(60) + b"e") + b"Ns", ""),
    "numbers of one hash": (collide(60_000), _KEY),
    "lists in lists": (lists(60), "unfolds to more than 1,000,000 values"),
    "tuples in tuples": (tuples(60), "unfolds to more than 1,000,000 values"),
    "a list in itself": (b"]\x94h\x00a", "has a value that stands in itself"),
    "a mapping in itself": (b"}\x94K\x01h\x00s", "has a value that stands in itself"),
    "a tuple in itself": (b"]\x94h\x00\x85\x94a", "has a value that stands in itself"),
    "deep lists": (b"]" * 200_000 + b"a" * 199_999, "is nested in more than 100 levels"),
    "deep tuples": (b")" + b"\x85" * 200_000, "is nested in more than 100 levels"),
    "a far place": (b"Nr" + struct.pack("<I", 2**32 - 1), "stores a value at place 4294967295"),
    "a far place as text": (b"Np4000000000\n", "stores a value at place 4000000000"),
    "a long shape": (array(b"O8", b"(J\x00\xca\x9a\x3bK\x64t", b"]"), "names numpy.dtype('O')"),
    "texts of no letter": (array(b"U0", b"(J\x00\xca\x9a\x3bt"), "unfolds to more than 1,000,000"),
    "a text as shape": (
        array(b"f8", b"(C\x09aaaaaaaaaJ\x00\xca\x9a\x3bt"),
        "a shape that no array",
    ),
    "a number of no end": (b"\x8b" + struct.pack("<i", 2**31 - 1), "expected a whole pickle"),
    "bytes of no end": (b"\x8e" + struct.pack("<Q", 2**62), "expected a whole pickle"),
    "a frame of no end": (b"\x95" + struct.pack("<Q", 2**62) + b"N", ""),
}


def test_bombs_are_refused_in_little_time_and_memory(tmp_path):
    paths = [tmp_path / f"{number}" for number in range(len(PROGRAMS))]
    for path, (program, _) in zip(paths, PROGRAMS.values(), strict=True):
        path.write_bytes(b"\x80\x04" + program + b".")
    done = subprocess.run(
        [sys.executable, "-c", _LOAD, *paths],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    said = done.stdout.splitlines()
    assert len(said) == len(PROGRAMS)
    for (name, (_, expected)), line in zip(PROGRAMS.items(), said, strict=True):
        # Those without a message come to an end, whatever it is.
        assert expected in line, name
        assert line != "loaded" or not expected, name


@pytest.mark.parametrize("protocol", range(6))
def test_usual_values_of_every_protocol_are_loaded(protocol):
    shared = ["a", (1, 2)]
    value = {"x": shared, "y": [shared, -1, 2**60, 2.5, None], 3: {"z": {4, "b"}}, b"k": ()}
    value |= {-5: np.float32(2), 2**31: frozenset({1}), True: bytearray(b"ab")}
    assert load_pickled_bytes(pickle.dumps(value, protocol), "x") == value


def test_every_file_that_holds_a_pickle_is_bounded(tmp_path):
    """Try detections, what stands beside them, and an attribute of a label table."""
    bomb = b"\x80\x04}\x8c\x08metadata}" + tuples(60) + b"Nss."
    path = tmp_path / "vDLC_full.pickle"
    path.write_bytes(bomb)
    with pytest.raises(StoreError, match=_KEY):
        read_detections(path)
    path.write_bytes(b"\x80\x04}\x8c\x08metadata}\x94\x8c\x08PAFgraphh\x00ss.")
    with pytest.raises(StoreError, match="stands in itself"):
        read_detections(path)


def test_an_attribute_of_a_label_table(tmp_path):
    path = tmp_path / "CollectedData_a.h5"
    pd.DataFrame({"x": [1.0]}, index=["a"]).to_hdf(path, key="df", mode="w")
    with h5py.File(path, "a") as file:
        file["df"].attrs["pandas_type"] = np.bytes_(b"\x80\x04}" + tuples(60) + b"Ns.")
    with pytest.raises(StoreError, match=_KEY):
        read_pandas_table(path, "df")
