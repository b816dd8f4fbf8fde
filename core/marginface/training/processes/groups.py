"""Several processes as one run: this one's rank, and agreement among all."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from marginface.errors import AgreedError, MarginfaceError, message_of
from marginface.learner import Group

STORE = "MARGINFACE_STORE"  # the variable with the file by which one machine's processes meet


@dataclass(frozen=True)
class Place:
    """This process's place in the run, from the variables of torchrun or `--processes`.

    Args:
        rank: which process of the run this is, from 0.
        size: how many processes the run has.
        local_rank: which one of this machine.
        local_size: how many are on this machine.
        named: False where the environment names no run of several processes.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    named: bool = False

    def threads(self) -> int | None:
        """Return this process's share of CPU threads; None leaves the framework its default."""
        if self.local_size == 1:
            return None
        threads = os.environ.get("OMP_NUM_THREADS", "")
        if threads.isdecimal() and int(threads):
            return int(threads)
        return share_of_cores(self.local_size)


def this_process(environment: Mapping[str, str] = os.environ) -> Place:
    """Read this process's place from the environment; without RANK it is alone.

    >>> this_process({"RANK": "1", "WORLD_SIZE": "2"})
    Place(rank=1, size=2, local_rank=0, local_size=1, named=True)
    """
    if "RANK" not in environment:
        return Place()
    defaults = {"LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    settings = {name: environment.get(name, defaults.get(name, "nothing")) for name in names}
    if all(value.isdecimal() for value in settings.values()):
        rank, size, local_rank, local_size = map(int, settings.values())
        place = Place(rank, size, local_rank, local_size, named=True)
        if place.rank < place.size and place.local_rank < place.local_size <= place.size:
            return place
    listed = ", ".join(f"{name} is {value}" for name, value in settings.items())
    raise MarginfaceError(
        f"the environment names no process of a run: {listed}; torchrun and --processes set these, "
        "unset RANK to train with one process"
    )


def meet(folder: Path, place: Place, seconds: float = 300) -> None:
    """Wait until all processes of a run on one machine are here, `seconds` at most.

    Args:
        folder: of this run alone; each leaves an empty file there.
        place: which process this is.
        seconds: the longest wait; then it goes on.
    """
    (folder / f"here-{place.rank}").touch()
    ending = time.monotonic() + seconds
    while time.monotonic() < ending:
        if all((folder / f"here-{rank}").exists() for rank in range(place.size)):
            break
        time.sleep(0.01)


def share_of_cores(processes: int) -> int:
    """Return the cores of this machine for each of `processes`, at least one."""
    usable = getattr(os, "sched_getaffinity", None)
    cores = len(usable(0)) if usable else os.cpu_count() or 1
    return max(1, cores // processes)


class Alone:
    """The group of a process that has no other."""

    rank = 0
    size = 1

    def exchange(self, text: str) -> list[str]:
        """Return this process's text, the only one."""
        return [text]


ALONE = Alone()


def agree(
    group: Group, received: int | None = None, error: MarginfaceError | OSError | None = None
) -> int | None:
    """Return the stop signal that any process received, or raise what failed on any.

    Args:
        group: all processes, which call this together.
        received: number of the stop signal that this one received.
        error: what failed on this one.

    Raises:
        AgreedError: on every process, naming those on which something failed.
    """
    if group.size == 1:
        if error is not None:
            raise error
        return received
    mine = json.dumps([received, error and message_of(error)])
    answers = [json.loads(text) for text in group.exchange(mine)]
    failed = {rank: message for rank, (_, message) in enumerate(answers) if message is not None}
    if failed:
        rank, message = next(iter(failed.items()))
        everywhere = len(failed) == group.size and len(set(failed.values())) == 1
        where = "" if everywhere else f"process {rank} of {group.size}: "
        raise AgreedError(f"{where}{message}") from error
    return next((number for number, _ in answers if number is not None), None)


@contextmanager
def together(group: Group) -> Iterator[None]:
    """Meet all processes at the end of the block: an error on one of them is raised on each."""
    failure = None
    try:
        yield
    except AgreedError:
        raise
    except (MarginfaceError, OSError) as error:
        failure = error
    agree(group, error=failure)


def require_same(group: Group, facts: Sequence[str], remedy: str) -> None:
    """Raise unless all processes give the same facts.

    Args:
        group: all processes, which call this together.
        facts: such as "40 identities", in the same order on every process.
        remedy: how to mend it.

    Raises:
        AgreedError: on every process, naming two of them and each fact that differs.
    """
    answers = [json.loads(text) for text in group.exchange(json.dumps(list(facts)))]
    for rank, theirs in enumerate(answers):
        pairs = [(a, b) for a, b in zip(theirs, answers[0], strict=True) if a != b]
        if pairs:
            there, here = (" and ".join(side) for side in zip(*pairs, strict=True))
            raise AgreedError(f"process {rank} has {there}, process 0 has {here}; {remedy}")
