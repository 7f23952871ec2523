"""Refuse pickles that keep a reader busy without end, or that fill the memory.

A pickle may use what it has made again and again: some hundred bytes hold a tuple of tuples that
takes years to hash as a key, or to go through. So two things are checked:

- before loading, `check_keys`: keys of mappings and members of sets are texts, numbers and the
  like. A tuple may take for ever to hash, or overflow the stack; whole numbers beyond 61 bits may
  all have one hash.
- after loading, `check_values`: no value stands in itself, is nested deeply, or unfolds to many
  times what is stored.
"""

import pickletools
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

MOST_BYTES = 2**20
MOST_VALUES = 1_000_000
_MOST_TIMES = 16
_MOST_LEVELS = 100
_MOST_GAP = 2**16
# Python takes hashes of whole numbers modulo 2**61 - 1; those of texts cannot be foreseen.
_MOST_KEY = 2**61 - 2
# As they stand in a pickle: bytes behind a length, or letters in a line.
_MOST_DIGITS = {"INT": 18, "LONG": 18, "LONG1": 1 + 7, "LONG4": 4 + 7}

_BAD = "has a key that is neither a text nor a usual number"

# Kinds of what is on the stack of a pickle's program.
_MARK, _HARMLESS, _BAD_KEY = 3, 1, 2
_PUT = {"PUT", "BINPUT", "LONG_BINPUT"}
_GET = {"GET", "BINGET", "LONG_BINGET"}
_TUPLES = {"TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_TUPLE"}
_WHOLE = {"INT", "LONG", "LONG1", "LONG4"}
# Between a mark and these stand pairs, or members.
_PAIRS, _MEMBERS = {"SETITEMS", "DICT"}, {"ADDITEMS", "FROZENSET"}
_LOOKED_AT = _PUT | _GET | _WHOLE | {"MEMOIZE", "DUP", "SETITEM", "STOP"}
# What follows an operation: so many bytes, or lines, or a length of so many bytes and as many more.
_LENGTHS = {
    pickletools.TAKEN_FROM_ARGUMENT1: 1,
    pickletools.TAKEN_FROM_ARGUMENT4: 4,
    pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}


class UnboundedPickleError(ValueError):
    """Report that a pickle unfolds to too much, in one line."""


def check_keys(data: bytes) -> None:
    """Refuse a pickle with keys that may take for ever to find, running nothing.

    Parameters
    ----------
    data
        Of any protocol. Only its operations are followed.

    Raises
    ------
    UnboundedPickleError
        With the reason.
    Exception
        Any other, if it is no pickle.
    """
    stack: list[int] = []
    memo: dict[int, int] = {}
    at = 0
    while True:
        action = _ACTIONS[data[at]]
        size, _, takes, puts, name = action
        start = at + 1
        at = start + size if size >= 0 else _skip(data, start, action)
        if not name:
            if takes:
                del stack[-takes:]
            if puts:
                stack.append(puts)
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in _GET:
            stack.append(memo[_read_place(action, data[start:at])])
        elif name == "STOP":
            return
        else:
            _apply(action, data[start:at], stack, memo)


class _Action(NamedTuple):
    """Describe an operation of a pickle.

    `bytes` is the number of bytes that follow it, less than 0 for a length of so many bytes and as
    many more. It takes values from the stack and puts one of a kind there, if any. Those that have
    a name need to be looked at.
    """

    bytes: int
    lines: int
    takes: int
    puts: int
    name: str


def _skip(data: bytes, start: int, action: _Action) -> int:
    """Return where an operation ends whose argument says how long it is."""
    if not action.lines:
        end = start - action.bytes
        return end + int.from_bytes(data[start:end], "little")
    for _ in range(action.lines):
        start = data.index(b"\n", start) + 1
    return start


def _apply(action: _Action, argument: bytes, stack: list[int], memo: dict[int, int]) -> None:
    """Take from the stack what an operation takes, and put on it what it makes."""
    name = action.name
    if name in _PUT:
        place = _read_place(action, argument)
        if place > len(memo) + _MOST_GAP:
            # Python takes memory for all before it.
            raise UnboundedPickleError(f"stores a value at place {place} of its memory")
        memo[place] = stack[-1]
    elif name == "DUP":
        stack.append(stack[-1])
    elif name in _WHOLE:
        # Of eight bytes, or of as many letters, and more.
        stack.append(_HARMLESS if len(argument) <= _MOST_DIGITS[name] else _BAD_KEY)
    elif name == "SETITEM":
        _check_kinds([stack.pop(), stack.pop()][1:])
    else:
        first = len(stack) - stack[::-1].index(_MARK)
        taken = stack[first:]
        del stack[first - 1 :]
        if name in _PAIRS:
            _check_kinds(taken[::2])
        elif name in _MEMBERS:
            _check_kinds(taken)
        if action.puts:
            stack.append(action.puts)


def _check_kinds(kinds: list[int]) -> None:
    if _BAD_KEY in kinds:
        raise UnboundedPickleError(_BAD)


def _read_place(action: _Action, argument: bytes) -> int:
    return int(argument) if action.lines else int.from_bytes(argument, "little")


def _describe(operation: pickletools.OpcodeInfo) -> _Action:
    name, argument = operation.name, operation.arg
    size = argument.n if argument else 0
    lines = 0
    if size in _LENGTHS:
        size = -_LENGTHS[size]
    elif size == pickletools.UP_TO_NEWLINE:
        # A class is named in two lines.
        lines, size = 2 if name in {"GLOBAL", "INST"} else 1, -1
    marked = pickletools.markobject in operation.stack_before
    takes, puts = len(operation.stack_before), _HARMLESS if operation.stack_after else 0
    if name in _TUPLES or name == "FROZENSET":
        puts = _BAD_KEY
    elif name == "MARK":
        puts = _MARK
    elif name in {"APPEND", "BUILD"}:
        # The one below stays, whatever it is.
        takes, puts = 1, 0
    elif name in {"APPENDS", "SETITEMS", "ADDITEMS"}:
        puts = 0
    return _Action(size, lines, takes, puts, name if marked or name in _LOOKED_AT else "")


_ACTIONS = {ord(one.code): _describe(one) for one in pickletools.opcodes}


def check_key(key: object) -> None:
    """Refuse a key that may take for ever to find.

    Raises
    ------
    UnboundedPickleError
        If it is neither a text nor a usual number.
    """
    plain = isinstance(key, str | bytes | float | np.generic | type(None))
    if not plain and not (isinstance(key, int) and abs(key) <= _MOST_KEY):
        raise UnboundedPickleError(_BAD)


def check_values(value: Any, size: int) -> None:  # noqa: ANN401
    """Refuse values that unfold to much more than is stored, stand in themselves or are nested.

    Parameters
    ----------
    value
        What a pickle of plain containers held.
    size
        Bytes of the pickle.

    Raises
    ------
    UnboundedPickleError
        With the reason.
    """
    most = max(MOST_VALUES, _MOST_TIMES * size)
    sizes: dict[int, int] = {}
    # Each with the values in it that are still to be seen.
    waiting: list[tuple[Any, Iterator[Any]]] = []
    open_ones: set[int] = set()
    following: Any = value if _holds_values(value) else None
    while following is not None or waiting:
        if following is not None:
            if len(waiting) >= _MOST_LEVELS:
                raise UnboundedPickleError(f"is nested in more than {_MOST_LEVELS} levels")
            open_ones.add(id(following))
            waiting.append((following, _list_containers(following)))
        container, rest = waiting[-1]
        following = next((one for one in rest if id(one) not in sizes), None)
        if following is not None:
            if id(following) in open_ones:
                raise UnboundedPickleError("has a value that stands in itself")
            continue
        held = len(container) + sum(sizes[id(one)] for one in _list_containers(container))
        if held > most:
            raise UnboundedPickleError(f"unfolds to more than {most:,} values")
        sizes[id(container)] = held
        open_ones.discard(id(container))
        waiting.pop()


def _holds_values(value: object) -> bool:
    return isinstance(value, list | tuple | dict | set | frozenset)


def _list_containers(container: Any) -> Iterator[Any]:  # noqa: ANN401
    """Yield the values in a container that hold values; keys hold none."""
    values: Iterable[Any] = container.values() if isinstance(container, dict) else container
    return (one for one in values if isinstance(one, list | tuple | dict | set | frozenset))
