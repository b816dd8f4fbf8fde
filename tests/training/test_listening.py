"""Ports that are kept to this machine."""

import json
import os
import socket
import sys
import time

import pytest
from sockets import listeners

from marginface.training.processes.groups import STORE
from marginface.training.processes.listening import (
    keep_to_this_machine,
    loopback,
    opened_to_this_machine,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux alone binds what listens")


def open_port(address):
    """Listen as a library does that knows no better."""
    return socket.create_server(
        (address, 0),
        family=socket.AF_INET6 if ":" in address else socket.AF_INET,
        dualstack_ipv6=address == "::",
    )


@pytest.fixture
def from_outside():
    """Return an address of this machine that is none of its loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # documentation's; nothing is sent
        except OSError:
            pytest.skip("this machine has no network")
        return probe.getsockname()[0]


def found(port):
    (listener,) = [each for each in listeners(os.getpid()) if each.port == port]
    return listener


def test_what_listens_is_told():
    with open_port("0.0.0.0") as server:
        listener = found(server.getsockname()[1])
    assert (listener.address, listener.device) == ("0.0.0.0", "")
    assert not listener.is_of_this_machine


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "127.0.0.1"])
def test_a_port_is_kept_to_this_machine(address):
    with open_port(address) as server, open_port("0.0.0.0") as other:
        port = server.getsockname()[1]
        assert keep_to_this_machine(port)
        assert keep_to_this_machine(port)  # twice is once
        assert found(port).device == loopback() == "lo"
        assert not found(other.getsockname()[1]).is_of_this_machine
        with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
            accepted = server.accept()[0]
            assert keep_to_this_machine(port)  # which leaves this connection
            client.sendall(b"hello")
            assert accepted.recv(5) == b"hello"
            accepted.close()


@pytest.mark.parametrize("address", ["0.0.0.0", "::"])
def test_others_find_it_closed(from_outside, address):
    with open_port(address) as server:
        port = server.getsockname()[1]
        with socket.create_connection((from_outside, port), timeout=5) as early:
            accepted = server.accept()[0]
            assert keep_to_this_machine(port)
            assert early.recv(1) == b""  # it came in before, and is out
            accepted.close()
        with pytest.raises(OSError, match=r"refused|timed out"):
            socket.create_connection((from_outside, port), timeout=5)


def test_a_port_is_kept_as_soon_as_it_is_open():
    with open_port("::") as taken:
        port = taken.getsockname()[1]
    with opened_to_this_machine(port):
        time.sleep(0.05)
        with socket.create_server(("", port)):
            ending = time.monotonic() + 5
            while not found(port).is_of_this_machine:
                assert time.monotonic() < ending
                time.sleep(0.01)


def test_a_port_that_nothing_listens_at_is_not_kept():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        assert not keep_to_this_machine(bound.getsockname()[1])
        with opened_to_this_machine(bound.getsockname()[1]):
            pass


def test_where_the_system_cannot_it_says_so(monkeypatch, tmp_path):
    with open_port("0.0.0.0") as server:
        monkeypatch.setattr("marginface.training.processes.listening.OWN_FILES", tmp_path / "none")
        assert not keep_to_this_machine(server.getsockname()[1])


@pytest.mark.parametrize(
    ("hosts", "rank", "kept", "said"),
    [
        ("127.0.0.1 127.0.0.1", 0, True, ""),
        ("127.0.0.1 127.0.0.1", 0, False, "the ports 1000, 1001: who reaches them can read and wr"),
        ("localhost localhost", 0, False, "the ports 1000, 1001: "),
        ("127.0.0.1 127.0.0.1", 1, False, ""),  # process 0 says it
        ("10.0.0.1 10.0.0.2", 0, False, ""),  # they are to reach each other
        ("127.0.0.1", 0, False, ""),  # has no server
    ],
)
def test_tensorflow_says_what_stays_open(monkeypatch, recwarn, hosts, rank, kept, said):
    tf = pytest.importorskip("tensorflow")
    from marginface_tf import processes

    addresses = [f"{host}:{1000 + i}" for i, host in enumerate(hosts.split())]
    config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": rank}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    monkeypatch.delenv(STORE, raising=False)
    monkeypatch.setattr(tf.distribute, "MultiWorkerMirroredStrategy", lambda: "strategy")
    monkeypatch.setattr(processes, "keep_to_this_machine", lambda _: kept)
    recwarn.clear()  # TensorFlow's own, of its import
    assert processes._strategy() == "strategy"
    warned = [str(each.message) for each in recwarn]
    assert len(warned) == bool(said)
    assert said in "".join(warned)
