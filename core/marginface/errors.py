"""Errors that a user can mend: one line that says what was found, what was expected, what to do."""

import difflib
from collections.abc import Iterable, Mapping

LONGEST = 100  # characters of a name that is unknown
MOST_NAMED = 5  # of the names that there are


class MarginfaceError(ValueError):
    """Base of every error that the library raises on bad input; the command line exits with 2."""


class MissingPackageError(MarginfaceError, ImportError):
    """A package that only some uses need is not installed."""


class TrainingDivergedError(MarginfaceError):
    """The loss became NaN or infinite."""


class BusyError(MarginfaceError):
    """Another process is writing the same output."""


class AgreedError(MarginfaceError):
    """What ends a run of several processes on all of them; process 0 reports it."""


def message_of(error: MarginfaceError | OSError) -> str:
    """Return an error as one line, with the file that the system complains of.

    >>> message_of(FileNotFoundError(2, "No such file or directory", "faces"))
    'faces: No such file or directory'
    """
    if not isinstance(error, OSError):
        return str(error)
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}"


def unknown_name(
    kind: str,
    name: object,
    choices: Iterable[str],
    others: Mapping[str, str] | None = None,
    *,
    listed_by: str = "",
) -> MarginfaceError:
    """Return the error for a name that is not among `choices`, with the nearest ones.

    Args:
        kind: of what is named.
        name: as given.
        choices: the names that there are.
        others: names that people know some choices by, which come before the nearest.
        listed_by: the command that lists all, said where the message does not.

    >>> print(unknown_name("loss", "arcfase", ["arcface", "cosface"]))
    unknown loss 'arcfase'; did you mean 'arcface'? (known: arcface, cosface)
    """
    known, text = sorted(choices), str(name)
    text = text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
    plain = text.lower().replace("-", "_")
    meant = plain if plain in known else (others or {}).get(plain)
    near = [meant] if meant else difflib.get_close_matches(text, known, n=1, cutoff=0.5)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return MarginfaceError(f"unknown {kind} '{text}'{hint} ({_known(plain, known, listed_by)})")


def _known(name: str, known: list[str], listed_by: str) -> str:
    """Name what there is, of many the nearest: a list that fills the screen hides the advice."""
    if len(known) <= MOST_NAMED:
        return f"known: {', '.join(known)}"

    def likeness(other: str) -> float:
        return difflib.SequenceMatcher(None, name, other).ratio()

    nearest = sorted(known, key=likeness, reverse=True)[:MOST_NAMED]
    all_of_them = f"; {listed_by} lists all" if listed_by else ""
    return f"nearest of {len(known)}: {', '.join(nearest)}{all_of_them}"
