"""The opcodes of pickles that hold plain data, protocols 0 to 5, and what each does to a machine.

https://docs.python.org/3/library/pickletools.html
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from typing import Any

from marginface.pickles.machine import Machine, Refused, Unfit

HIGHEST_PROTOCOL = 5
STOP, INST = b".i"

Opcodes = Mapping[int, Callable[[Machine], None]]


def run(machine: Machine, opcodes: Opcodes) -> Any:
    """Read one pickle, from where the machine stands to its end, and return what it holds.

    Raises:
        Refused: it asks for what is not admitted.
        Unfit: it is damaged.
    """
    while (code := machine.number(1)) != STOP:
        if code not in opcodes:
            raise Refused(_asked(machine, code))
        opcodes[code](machine)
        machine.start = machine.at
    value = machine.pop()
    if machine.stack or machine.marks:
        raise Unfit("values are left over")
    return value


def _asked(machine: Machine, code: int) -> str:
    """Name what an unsupported opcode asks for."""
    if code == INST:  # the opcode holds a name
        return ".".join(machine.line().decode("latin-1") for _ in range(2))
    for known in pickletools.opcodes:
        if known.code == chr(code):
            return f"the pickle opcode {known.name}"
    raise Unfit(f"no pickle has an opcode {code:#04x}")


def _append_one(machine: Machine) -> None:
    machine.append([machine.pop()])


def _frame(machine: Machine) -> None:
    if machine.number(8) > len(machine.buffer) - machine.at:
        raise Unfit("a frame that is longer than the file")


def _protocol(machine: Machine) -> None:
    version = machine.number(1)
    if version > HIGHEST_PROTOCOL:
        raise Unfit(f"pickle protocol {version}, at most {HIGHEST_PROTOCOL} is known")


def _global(machine: Machine) -> None:
    machine.named(*(machine.line().decode("latin-1") for _ in range(2)))


PLAIN: Opcodes = {  # no dictionaries: who reads those adds them
    ord(code): read
    for code, read in {
        # flags and numbers
        "N": lambda m: m.stack.append(None),
        "\x88": lambda m: m.stack.append(True),
        "\x89": lambda m: m.stack.append(False),
        "I": Machine.integer,
        "J": lambda m: m.push(m.number(4, signed=True)),
        "K": lambda m: m.push(m.number(1)),
        "M": lambda m: m.push(m.number(2)),
        "L": lambda m: m.push(m.decimal()),
        "\x8a": lambda m: m.push(m.number(m.number(1), signed=True)),
        # bytes, Python 2's strings among them
        "S": Machine.quoted,
        "T": lambda m: m.push(m.take(m.number(4, signed=True))),
        "U": lambda m: m.push(m.take(m.number(1))),
        "B": lambda m: m.push(m.take(m.number(4))),
        "C": lambda m: m.push(m.take(m.number(1))),
        "\x8e": lambda m: m.push(m.take(m.number(8))),
        "\x96": lambda m: m.push(m.take(m.number(8))),
        # text
        "V": lambda m: m.text(m.line(), "raw-unicode-escape"),
        "X": lambda m: m.text(m.take(m.number(4))),
        "\x8c": lambda m: m.text(m.take(m.number(1))),
        "\x8d": lambda m: m.text(m.take(m.number(8))),
        # lists and tuples
        "(": Machine.mark,
        "]": lambda m: m.push([]),
        "l": lambda m: m.push(m.pop_to_mark()),
        "a": _append_one,
        "e": lambda m: m.append(m.pop_to_mark()),
        ")": lambda m: m.push(()),
        "t": lambda m: m.push(tuple(m.pop_to_mark())),
        "\x85": lambda m: m.push(m.pop_some(1)),
        "\x86": lambda m: m.push(m.pop_some(2)),
        "\x87": lambda m: m.push(m.pop_some(3)),
        # callables
        "c": _global,
        "\x93": lambda m: m.named(*m.pop_some(2)),
        "R": Machine.reduce,
        "b": Machine.build,
        # the memo
        "g": lambda m: m.recall(m.decimal()),
        "h": lambda m: m.recall(m.number(1)),
        "j": lambda m: m.recall(m.number(4)),
        "p": lambda m: m.remember(m.decimal()),
        "q": lambda m: m.remember(m.number(1)),
        "r": lambda m: m.remember(m.number(4)),
        "\x94": lambda m: m.remember(len(m.memo)),
        # the frame
        "\x80": _protocol,
        "\x95": _frame,
    }.items()
}
