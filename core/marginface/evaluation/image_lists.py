"""Lists of images with the person that each shows, for galleries and probes."""

from __future__ import annotations

from pathlib import Path

from marginface.data.formats.registry import IMAGE_SETS
from marginface.data.lines import numbered_lines
from marginface.data.lookup import same_form
from marginface.data.opening import open_by_name
from marginface.errors import MarginfaceError


def read_subjects_of_images(path: Path, *, all_known: bool = True) -> dict[str, str]:
    """Return the subject of each image that a set holds or a list names, in order.

    A list has a line for each image: its name, or `name<TAB>subject`. Without a subject, as in a
    set, it is the name's first folder, as in `ann/1.jpg`.

    Args:
        path: the list, or a folder or file of images.
        all_known: refuse an image without a subject, which is '' otherwise.

    Raises:
        MarginfaceError: unreadable, empty, an image twice, or an image without a subject.
    """
    if (path.is_file() or path.is_dir()) and IMAGE_SETS.get(path):
        lines = [(str(path / name), name) for name in open_by_name(path)[1]]
    else:
        sets = ", ".join(IMAGE_SETS.names)
        rows = numbered_lines(path, f"a list of images, or a set of them: {sets}", piped=True)
        lines = [(f"{path}:{number}", line) for number, line in rows]
    subjects: dict[str, str] = {}
    for where, line in lines:
        name, _, subject = (part.strip() for part in line.partition("\t"))
        folder, slash, _ = name.partition("/")
        subject = same_form(subject or (folder if slash else ""))
        if not name or (all_known and not subject):
            raise MarginfaceError(
                f"{where}: no subject; expected 'subject/image' or 'image<TAB>subject', got "
                f"{line.strip()[:80]!r}"
            )
        if name in subjects:
            raise MarginfaceError(f"{where}: image {name} is listed already; remove one")
        subjects[name] = subject
    return subjects
