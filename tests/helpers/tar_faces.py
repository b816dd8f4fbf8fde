"""A format of one's own: images in a tar file, identity/image."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np

from marginface.data.formats.record_images import RecordImages
from marginface.data.formats.record_index import make_index
from marginface.data.sources import OpenOptions


class Tar:
    """A tar file, read where its images lie."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with tarfile.open(path) as archive:
            self.members = {each.offset_data: each for each in archive if each.isfile()}

    def image(self, offset: int) -> bytes:
        with self.path.open("rb") as file:
            file.seek(offset)
            return file.read(self.members[offset].size)


def open_tar(path: Path, options: OpenOptions) -> RecordImages:
    tar = Tar(path)
    names = [member.name.partition("/")[::2] for member in tar.members.values()]
    identities = sorted({identity for identity, _ in names})
    index = make_index(
        np.array([*tar.members]),
        np.arange(len(names)),
        np.array([identities.index(identity) for identity, _ in names]),
        names,
    )
    return RecordImages(tar, index, options.size, options.resize).checked(options)


def tarred(faces: Path, path: Path) -> Path:
    with tarfile.open(path, "w") as archive:
        for each in sorted(faces.rglob("*.*")):
            archive.add(each, each.relative_to(faces).as_posix())
    return path
