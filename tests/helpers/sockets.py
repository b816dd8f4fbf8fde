"""What the processes of this machine listen at, as the kernel tells it."""

import ipaddress
import socket
import struct
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

SOCK_DIAG, OF_A_FAMILY, DUMP = 4, 20, 0x301  # linux/netlink.h, linux/sock_diag.h
DONE = 3
LISTENS = 10  # the state, include/net/tcp_states.h


class Listener(NamedTuple):
    """A TCP socket that waits for connections.

    Args:
        address: it is bound to.
        port: it is bound to.
        device: name of the network interface it is bound to; "" for all.
        inode: of the socket.
    """

    address: str
    port: int
    device: str
    inode: int

    @property
    def is_of_this_machine(self) -> bool:
        """Whether other machines do not reach it."""
        return ipaddress.ip_address(self.address).is_loopback or self.device == "lo"


def listeners(process: int) -> list[Listener]:
    """Return the sockets at which a process listens."""
    targets = set()
    for path in Path(f"/proc/{process}/fd").iterdir():
        with suppress(OSError):  # closed by now
            targets.add(str(path.readlink()))
    return [each for each in all_listeners() if f"socket:[{each.inode}]" in targets]


def all_listeners() -> list[Listener]:
    """Return all listening sockets of this network namespace."""
    names, listeners = dict(socket.if_nameindex()), []
    for family in (socket.AF_INET, socket.AF_INET6):
        question = struct.pack("=BBBxI48x", family, socket.IPPROTO_TCP, 0, 1 << LISTENS)
        header = struct.pack("=IHHII", 16 + len(question), OF_A_FAMILY, DUMP, 0, 0)
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, SOCK_DIAG) as kernel:
            kernel.sendto(header + question, (0, 0))
            more = True
            while more:
                data = kernel.recv(1 << 16)
                while data:
                    length, kind = struct.unpack_from("=IH", data)
                    if kind != OF_A_FAMILY:
                        assert kind == DONE
                        more = False
                        break
                    listeners.append(_listener(family, data[16:length], names))
                    data = data[(length + 3) // 4 * 4 :]
    return listeners


def _listener(family: int, message: bytes, names: dict[int, str]) -> Listener:
    """Read a `struct inet_diag_msg`."""
    (port,) = struct.unpack_from(">H", message, 4)
    address = socket.inet_ntop(family, message[8 : 24 if family == socket.AF_INET6 else 12])
    (device,) = struct.unpack_from("=I", message, 40)
    (inode,) = struct.unpack_from("=I", message, 68)
    return Listener(address, port, names.get(device, ""), inode)
