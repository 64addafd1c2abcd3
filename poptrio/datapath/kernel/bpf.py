"""Classic BPF (the kernel's networking/filter.rst): programs with labels, assembled, and handed to the kernel.

A program is a list: instructions by name, and strings that label the instruction behind them. Jumps go forward only.
"""

import ctypes
import fcntl
import socket
from collections.abc import Iterable
from struct import Struct

_SO_ATTACH_FILTER = 26
_INSTRUCTION = Struct("=HBBI")
_PROGRAM = Struct("@HP")  # struct sock_fprog, with the padding of this machine

_CODES = {
    "ldh": 0x48,  # A = 16 bits at X + k
    "ldb": 0x50,  # A = 8 bits at X + k
    "ldh_abs": 0x28,
    "ldb_abs": 0x30,
    "ld_abs": 0x20,
    "ldx_ip_header": 0xB1,  # X = 4 * (low four bits at k)
    "ldx": 0x01,
    "and": 0x54,
    "rsh": 0x74,
    "add": 0x04,
    "add_x": 0x0C,
    "tax": 0x07,
    "txa": 0x87,
    "jeq": 0x15,
    "jge": 0x35,
    "jset": 0x45,
    "ret": 0x06,
}

ACCEPT = 0xFFFFFFFF
DROP = 0

Instruction = tuple[str, int] | tuple[str, int, str, str]
"""A name and its constant; a jump also has the labels where it goes if true and if false ("" is the next one)."""


def assemble(program: Iterable[Instruction | str]) -> bytes:
    """The program in the kernel's form."""
    instructions: list[Instruction] = []
    labels: dict[str, int] = {}
    for line in program:
        if isinstance(line, str):
            labels[line] = len(instructions)
        else:
            instructions.append(line)

    def distance(position: int, label: str) -> int:
        return labels[label] - position - 1 if label else 0

    packed = []
    for position, (name, constant, *targets) in enumerate(instructions):
        if_true, if_false = (distance(position, label) for label in targets) if targets else (0, 0)
        packed.append(_INSTRUCTION.pack(_CODES[name], if_true, if_false, constant))
    return b"".join(packed)


def attach_to_socket(descriptor: int, program: bytes) -> None:
    """Make ``program`` the filter of a socket, in place of the one before. Raises OSError when the kernel refuses."""
    octets = ctypes.create_string_buffer(program, len(program))
    with socket.socket(fileno=descriptor) as borrowed:
        try:
            borrowed.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, _program(octets))
        finally:
            borrowed.detach()


def attach_by_ioctl(descriptor: int, request: int, program: bytes) -> None:
    """Hand ``program`` to an ioctl that takes a ``struct sock_fprog``. Raises OSError when the kernel refuses."""
    octets = ctypes.create_string_buffer(program, len(program))
    fcntl.ioctl(descriptor, request, _program(octets))


def _program(octets: "ctypes.Array[ctypes.c_char]") -> bytes:
    return _PROGRAM.pack(len(octets) // _INSTRUCTION.size, ctypes.addressof(octets))
