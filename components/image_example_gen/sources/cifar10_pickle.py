"""Reader of the two pickles of CIFAR-10's Python version, without loading a pickle.

A pickle is a program that can call any function, and even one that only builds NumPy arrays can
read and write memory. Here, its instructions are decoded by ``pickletools``, which executes
nothing, and interpreted for the values of these files: dicts, lists, tuples, numbers, text, bytes
and uint8 arrays. Everything else is refused.

Layouts (https://www.cs.toronto.edu/~kriz/cifar.html):

- ``data_batch_*``, ``test_batch``: ``{"data": uint8 [n, 3072], "labels": [int, ...], ...}``;
- ``batches.meta``: ``{"label_names": [str, ...], ...}``.
"""

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

_PIXELS = 3 * 32 * 32
_MOST_INSTRUCTIONS = 1_000_000
_MOST_CALLS = 12
_MOST_ROWS = 1_000_000


class LayoutError(ValueError):
    """Pickle that is not in one of the two layouts."""


@dataclass(slots=True)
class _Array:
    pixels: np.ndarray | None = None


@dataclass(slots=True)
class _UInt8:
    """The element type of an array."""


class _Mark:
    """Start of the items of a tuple, list or dict on the stack."""


_ARRAY, _DTYPE, _RECONSTRUCT, _ENCODE = "ndarray", "dtype", "_reconstruct", "encode"
_NAMES = {
    "numpy ndarray": _ARRAY,
    "numpy dtype": _DTYPE,
    "numpy.core.multiarray _reconstruct": _RECONSTRUCT,
    "numpy._core.multiarray _reconstruct": _RECONSTRUCT,
    "_codecs encode": _ENCODE,  # How Python 3 writes bytes in the protocols 0 to 2.
}


@dataclass(frozen=True, slots=True)
class _Function:
    """Function that the pickle names; it is recognized, never called."""

    name: str


def parse_batch(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Reads a batch.

    Args:
        data: Content of the file.

    Returns:
        Pixels, uint8 ``[n, 3, 32, 32]``, and labels, int64 ``[n]``.

    Raises:
        LayoutError: The pickle has another layout, or is damaged.
    """
    batch = _interpret(data)
    array, labels = batch.get("data"), batch.get("labels")
    if not isinstance(array, _Array) or array.pixels is None or not isinstance(labels, list):
        raise LayoutError("no array 'data' and list 'labels'")
    pixels = array.pixels.reshape(-1, 3, 32, 32)
    if len(labels) != len(pixels):
        raise LayoutError(f"{len(labels)} labels of {len(pixels)} images")
    if not all(type(label) is int and 0 <= label < 256 for label in labels):
        raise LayoutError("a label is not a number from 0 to 255")
    return pixels, np.asarray(labels, np.int64)


def parse_label_names(data: bytes) -> tuple[str, ...]:
    """Reads the class names from ``batches.meta``.

    Raises:
        LayoutError: The pickle has another layout, or is damaged.
    """
    names = _interpret(data).get("label_names")
    if not isinstance(names, list) or not all(type(name) is str and name for name in names):
        raise LayoutError("no list 'label_names' of text")
    if not 2 <= len(set(names)) == len(names):
        raise LayoutError("'label_names' are not two or more different names")
    return tuple(names)


def _interpret(data: bytes) -> dict[str, Any]:
    machine = _Machine()
    try:
        for number, (opcode, argument, _) in enumerate(pickletools.genops(data)):
            if number >= _MOST_INSTRUCTIONS:
                raise LayoutError(f"more than {_MOST_INSTRUCTIONS:,} instructions")
            machine.execute(opcode.name, argument)
    except LayoutError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise LayoutError(f"a damaged pickle: {error}") from error
    if not machine.stack or not isinstance(result := machine.stack[-1], dict):
        raise LayoutError("not a dict")
    return result


class _Machine:
    """Stack machine for the instructions that the two layouts consist of."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._calls = 0

    def execute(self, name: str, argument: Any) -> None:
        """Executes an instruction.

        Args:
            name: Name as in ``pickletools``.
            argument: Decoded argument.
        """
        if name in _IGNORED:
            return
        if name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name]())
        elif name in _LITERALS:
            self.stack.append(argument)
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            self._name_function(argument)
        elif name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self._memo[len(self._memo) if argument is None else argument] = self.stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            self.stack.append(self._memo[argument])
        elif name in _TUPLES:
            items = [self.stack.pop() for _ in range(_TUPLES[name])]
            self.stack.append(tuple(reversed(items)))
        elif name == "TUPLE":
            self.stack.append(tuple(self._pop_to_mark()))
        elif name == "LIST":
            self.stack.append(self._pop_to_mark())
        elif name == "DICT":
            self.stack.append(_pairs(self._pop_to_mark()))
        elif name == "APPEND":
            self._extend([self.stack.pop()])
        elif name == "APPENDS":
            self._extend(self._pop_to_mark())
        elif name == "SETITEM":
            value, key = self.stack.pop(), self.stack.pop()
            self._update([key, value])
        elif name == "SETITEMS":
            self._update(self._pop_to_mark())
        elif name in ("REDUCE", "BUILD"):
            self._calls += 1
            if self._calls > _MOST_CALLS:
                raise LayoutError(f"more than {_MOST_CALLS} calls")
            argument = self.stack.pop()
            if name == "REDUCE":
                self.stack.append(_call(self.stack.pop(), argument))
            else:
                _set_state(self.stack[-1], argument)
        else:
            raise LayoutError(f"the instruction {name} has no place in this file")

    def _name_function(self, argument: str | None) -> None:
        if argument is None:
            name, module = self.stack.pop(), self.stack.pop()
            argument = f"{module} {name}" if type(name) is type(module) is str else "?"
        if argument not in _NAMES:
            raise LayoutError(f"{argument.replace(' ', '.')} has no place in this file")
        self.stack.append(_Function(_NAMES[argument]))

    def _pop_to_mark(self) -> list[Any]:
        items: list[Any] = []
        while not isinstance(item := self.stack.pop(), _Mark):
            items.append(item)
        return items[::-1]

    def _extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, list):
            raise LayoutError("items are appended to something other than a list")
        target += items

    def _update(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict):
            raise LayoutError("items are set in something other than a dict")
        target.update(_pairs(items))


def _pairs(items: list[Any]) -> dict[str, Any]:
    if not all(type(key) is str for key in items[::2]):
        raise LayoutError("a key is not text")
    return dict(zip(items[::2], items[1::2], strict=True))


def _call(function: Any, arguments: Any) -> Any:
    name = function.name if isinstance(function, _Function) else ""
    match name, arguments:
        case "_reconstruct", (_Function(name="ndarray"), (0,), b"b" | "b"):
            return _Array()
        case "dtype", ("u1", _, _):
            return _UInt8()
        case "encode", (str() as text, "latin1"):
            return text.encode("latin1")
    raise LayoutError("a call that no uint8 array needs")


def _set_state(target: Any, state: Any) -> None:
    match target, state:
        case _UInt8(), (_, "|" | b"|", None, None, None, -1, -1, 0):
            return
        case _Array(pixels=None), (1, (int() as rows, int() as columns), _UInt8(), False, raw):
            content = raw.encode("latin1") if isinstance(raw, str) else raw
            fits = isinstance(content, bytes) and len(content) == rows * columns
            if fits and columns == _PIXELS and 0 <= rows <= _MOST_ROWS:
                target.pixels = np.frombuffer(content, np.uint8).reshape(rows, columns)
                return
    raise LayoutError(f"not an array of uint8 [n, {_PIXELS}]")


_IGNORED = frozenset({"PROTO", "FRAME", "STOP"})
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "MARK": _Mark,
}
_LITERALS = frozenset(
    {
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES"),
        *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE"),
    }
)
