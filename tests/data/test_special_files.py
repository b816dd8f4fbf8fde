"""Pipes, sockets and devices where a file is expected are named, and never waited for."""

import os
import socket
import sys
from pathlib import Path

import pytest

from marginface.data.formats.registry import IMAGE_SETS
from marginface.data.verification.opening import VERIFICATION_SETS
from marginface.errors import MarginfaceError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs named pipes and /dev")


@pytest.mark.parametrize("kinds", [IMAGE_SETS, VERIFICATION_SETS], ids=["images", "pairs"])
@pytest.mark.parametrize("name", ["a.rec", "a.tfrecord", "a.bin", "a.zip", "a.txt", "link.rec"])
def test_a_pipe_is_not_opened(kinds, name, tmp_path):
    pipe = tmp_path / name
    os.mkfifo(tmp_path / "pipe")
    pipe.symlink_to("pipe") if name.startswith("link") else os.mkfifo(pipe)
    with pytest.raises(MarginfaceError, match=f"{name} is no regular file .*; expected a"):
        kinds.find(pipe)


def test_a_socket_and_a_device_are_not_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("s.rec")
        for path in (Path("s.rec"), Path("/dev/zero")):
            with pytest.raises(MarginfaceError, match="is no regular file"):
                IMAGE_SETS.find(path)
