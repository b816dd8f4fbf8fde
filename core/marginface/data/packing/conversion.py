"""Converting a set of images into another format."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from marginface.data.listing import open_set
from marginface.data.names import image_path
from marginface.data.opening import open_by_name
from marginface.data.packing.encoding import Encoding
from marginface.data.packing.partial import telling_what_stays
from marginface.data.packing.targets import target_format
from marginface.data.packing.training_sets import Summary, check_target, pack
from marginface.data.sources import ImageSource, OnProgress, silent
from marginface.data.verification.bin_file import write_bin
from marginface.data.verification.container import write_container
from marginface.data.verification.leaving_out import without_bad
from marginface.data.verification.pair_folder import write_pair_folder
from marginface.data.verification.pair_lists import read_pair_list
from marginface.data.verification.pairs import Pairs
from marginface.errors import MarginfaceError
from marginface.locking import sole_writer

PAIRS_FILES = {".bin": write_bin, ".zip": write_container}
WRITERS = {"": write_pair_folder, **PAIRS_FILES}


def convert(
    source: Path,
    target: Path,
    *,
    pairs: Path | None = None,
    encoding: Encoding,
    skip_bad: bool = False,
    rebuild_index: bool = False,
    overwrite: bool = False,
    on_progress: OnProgress = silent,
) -> Summary | Pairs:
    """Convert a set of images; `target`'s ending decides the format.

    Args:
        source: a folder, .rec, .tfrecord, or a verification set (.bin, .zip).
        target: of a training set .rec, .tfrecord or a folder; of a verification set .bin, .zip or a
            folder, in which a list of the pairs lies then.
        pairs: a list of pairs whose images are in the folder `source`: makes a verification set.
        encoding: format and size of the images; None copies them.
        skip_bad: leave out bad images, and pairs with missing or bad ones.
        rebuild_index: write the .idx of a .rec anew where it is missing or stale.
        overwrite: replace a file that exists, or a folder that marginface wrote.
        on_progress: called with (images done, all images).

    Returns:
        How much a training set holds, or the pairs of a verification set.

    Raises:
        MarginfaceError: the target exists or does not suit the source; the source is damaged.
    """
    if pairs is None:
        opened = open_set(source, on_progress, rebuild_index=rebuild_index)
        if skip_bad and isinstance(opened, Pairs):
            opened = without_bad(opened)
    else:
        if rebuild_index:
            open_by_name(source, rebuild_index=True)  # the list's reader finds a whole index
        opened = read_pair_list(pairs, source, skip_bad=skip_bad)
    if not isinstance(opened, Pairs):
        if target_format(target) in PAIRS_FILES:
            raise MarginfaceError(
                f"{target} would be a verification set, but {source} has no pairs; name a list of "
                "them with --pairs"
            )
        with telling_what_stays(target):
            return pack(
                opened,
                target,
                encoding=encoding,
                skip_bad=skip_bad,
                overwrite=overwrite,
                on_progress=on_progress,
            )
    written = target_format(target)
    if written not in WRITERS:
        raise MarginfaceError(
            f"cannot write a verification set to {target}; expected a name that ends in .bin or "
            f".zip, or another for a folder, not {written}"
        )
    uses = 2 * len(opened) if written == ".bin" else len({*opened.first, *opened.second})
    encoded = _EncodedImages(opened.images, encoding, uses, on_progress)
    with sole_writer(target):
        # Another process may have written it just now.
        check_target(target, opened.images.root, source, pairs, overwrite=overwrite)
        WRITERS[written](target, replace(opened, images=encoded))
    return opened


@dataclass
class _EncodedImages:
    """An `ImageSource` that checks and encodes another source's images."""

    source: ImageSource
    encoding: Encoding
    uses: int
    on_progress: OnProgress
    done: int = 0

    @property
    def root(self) -> Path:
        """The wrapped source's root."""
        return self.source.root

    def encoded(self, name: str) -> bytes:
        """Return an image's bytes in the wanted encoding."""
        encoded = self.encoding(self.source.encoded(name), image_path(self.root, name))
        self.done += 1
        self.on_progress(self.done, self.uses)
        return encoded
