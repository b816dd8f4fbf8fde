"""Models of a hub, by name and commit: hf://OWNER/NAME@COMMIT."""

from __future__ import annotations

import re
from pathlib import Path

from marginface.cards.folder import CONFIG, FILES, WEIGHTS, is_model_folder
from marginface.errors import MarginfaceError
from marginface.extras import needs
from marginface.text import shown

ADDRESS = re.compile(r"hf:/{1,2}(?P<name>[\w.-]+/[\w.-]+)(@(?P<commit>.*))?")  # Path drops a slash
COMMIT = re.compile(r"[0-9a-f]{40}")


def is_address(place: str | Path) -> bool:
    """Return whether a text or path is meant as a hub's address.

    >>> is_address("hf://owner/name@0123"), is_address("models/hf")
    (True, False)
    """
    return str(place).startswith("hf:/")


def fetched(place: str | Path) -> Path:
    """Return the local folder of a model on a hub; any other path as it is.

    The weights inside a model folder stand for the folder, which says what pixels they take.

    The files come from huggingface_hub's cache, or are downloaded into it; HF_HUB_OFFLINE and its
    other variables count. A commit's files never change, so those in the cache need no network; the
    weights are held to the SHA-256 in their config.json when they are read.

    Raises:
        MarginfaceError: no commit is named, there is no such model, or it cannot be fetched.
    """
    if not is_address(place):
        path = Path(place)
        return path.parent if path.name == WEIGHTS and is_model_folder(path.parent) else path
    found = ADDRESS.fullmatch(str(place))
    if found is None:
        raise MarginfaceError(f"{shown(str(place))} is no address; expected hf://OWNER/NAME@COMMIT")
    name, commit = found["name"], found["commit"]
    if commit is None or not COMMIT.fullmatch(commit):
        said = "names no commit" if commit is None else f"has {shown(commit)} for a commit"
        raise MarginfaceError(
            f"hf://{name} {said}; give all 40 digits, hf://{name}@COMMIT, so that nobody can "
            "change the model: the model's page lists its commits"
        )
    with needs("hub"):
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return _cached(name, commit) or Path(
            snapshot_download(name, revision=commit, allow_patterns=[*FILES])
        )
    except LocalEntryNotFoundError as error:
        raise MarginfaceError(
            f"hf://{name}@{commit[:12]}... is not in the cache, and the hub cannot be reached or "
            "is switched off (HF_HUB_OFFLINE)"
        ) from error
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), repr(error))
        raise MarginfaceError(f"hf://{name}@{commit[:12]}...: {reason}") from error


def _cached(name: str, commit: str) -> Path | None:
    """Return the folder in the cache; None where it has not the whole model."""
    with needs("hub"):
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(name, revision=commit, local_files_only=True))
    except LocalEntryNotFoundError:
        return None
    return folder if all((folder / each).is_file() for each in (CONFIG, WEIGHTS)) else None
