"""Refuse small pickles that unfold to more than they store, before they are loaded.

A pickle may use what it has made again and again: some hundred bytes hold a tuple of tuples that
takes years to hash as a key, or to go through. So its operations are counted first, what is used
again as long as it is. That takes about as long as loading: it is for files of few values.
"""

import pickletools
from dataclasses import dataclass

MOST_BYTES = 2**20
MOST_VALUES = 1_000_000
_PUT = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
_GET = frozenset({"GET", "BINGET", "LONG_BINGET"})
# They change the object below, which remains.
_FILL = frozenset({"APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD"})
_GROWING = frozenset({"EMPTY_LIST", "EMPTY_DICT", "EMPTY_SET", "LIST", "DICT"})
_MARK = pickletools.markobject


class UnboundedPickleError(ValueError):
    """Report that a pickle unfolds to too much, in one line."""


@dataclass
class _Value:
    """Hold what an object unfolds to, and whether more can be put into it."""

    size: int = 1
    grows: bool = False
    mark: bool = False


def check_pickle(data: bytes) -> None:
    """Refuse a pickle that is long, or unfolds to more than a million values.

    Lists, mappings and sets that stand at several places are refused, too: more may be put into
    them later.

    Raises
    ------
    UnboundedPickleError
        With the reason.
    Exception
        Any other, if it is no pickle.
    """
    if len(data) > MOST_BYTES:
        raise UnboundedPickleError(f"is larger than {MOST_BYTES // 2**20} MiB")
    stack: list[_Value] = []
    memo: dict[int, _Value] = {}
    for operation, argument, _ in pickletools.genops(data):
        name = operation.name
        if name in _PUT:
            memo[int(str(argument))] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in _GET:
            stack.append(_use_again(memo[int(str(argument))]))
        elif name == "DUP":
            stack.append(_use_again(stack[-1]))
        elif name == "MARK":
            stack.append(_Value(mark=True))
        else:
            _apply(operation, stack)


def _use_again(value: _Value) -> _Value:
    if value.grows:
        raise UnboundedPickleError("has a list, mapping or set at several places")
    return value


def _apply(operation: pickletools.OpcodeInfo, stack: list[_Value]) -> None:
    """Take from the stack what an operation takes, and put on it what it makes."""
    size = 1
    needed = operation.stack_before
    if _MARK in needed:
        while not stack[-1].mark:
            size += stack.pop().size
        stack.pop()
        needed = needed[: needed.index(_MARK)]
    taken = [stack.pop() for _ in needed]
    size += sum(value.size for value in taken)
    if size > MOST_VALUES:
        raise UnboundedPickleError(f"unfolds to more than {MOST_VALUES:,} values")
    if operation.name in _FILL:
        # The first one, which was taken last.
        taken[-1].size = size
        stack.append(taken[-1])
        return
    stack += [_Value(size, operation.name in _GROWING) for _ in operation.stack_after]
