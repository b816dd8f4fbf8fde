"""Record a run's metrics: JSON lines, TensorBoard and the terminal."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column

from marginface.atomic import naming
from marginface.bars import progress_bar
from marginface.runs.best import Best
from marginface.runs.folder import RunFolder
from marginface.runs.metrics import TRAIN, VERIFICATION
from marginface.terminal import ROOMY, say
from marginface.training.event_file import EventFile

Callback = Callable[[dict[str, Any]], object]  # is given each record of metrics
WIDE = 100  # columns: enough for the time since the start, too
WIDER = 120  # and for how the last batch that was measured did
OF_A_SET = "/accuracy"  # ends the name of one of several sets' accuracy


class Tracker:
    """Records metrics in the run folder and shows them; use it in a `with` block.

    Args:
        run: an existing run folder.
        total_steps: length of the run.
        first_step: steps taken before.
        console: to print on; a terminal or notebook gets a progress bar, all else plain lines.
        on_record: called with each record, once it is written.
    """

    def __init__(
        self,
        run: RunFolder,
        *,
        total_steps: int,
        first_step: int,
        console: Console,
        on_record: Callback | None = None,
    ) -> None:
        self._on_record = on_record
        self._total = total_steps
        self._path = run.metrics
        self._metrics = run.metrics.open("a", encoding="utf-8")
        self._events = EventFile(run.tensorboard, start_step=first_step + 1)
        self._progress = progress_bar(
            *_columns(console.width),
            console=console,
            speed_estimate_period=300.0,  # steps of large models take many seconds
            disable=not (console.is_interactive or console.is_jupyter),
        )
        self._task = self._progress.add_task(
            "train", total=total_steps, completed=first_step, loss=0.0, lr=0.0, speed=0.0, batch=""
        )

    def step(self, step: int, *, loss: float, lr: float, images_per_second: float) -> None:
        """Show the progress of the run."""
        self._progress.update(self._task, completed=step, loss=loss, lr=lr, speed=images_per_second)

    def train(self, step: int, metrics: dict[str, float], seconds_left: float) -> None:
        """Record training metrics; `seconds_left` is shown where there is no progress bar."""
        self._record(TRAIN, step, metrics)
        batch = f"accuracy {metrics['accuracy']:.1%}  angle {metrics['target_angle']:.2f}"
        self._progress.update(self._task, batch=batch)
        if self._progress.disable:
            left = timedelta(seconds=round(seconds_left))
            self.say(
                f"step {step}/{self._total}  loss {metrics['loss']:.3f}  "
                f"{batch}  lr {metrics['lr']:.3g}  "
                f"{metrics['images_per_second']:.1f} images/s  left {left}"
            )

    def verification(self, step: int, metrics: dict[str, float], best: Best | None = None) -> None:
        """Record and show verification metrics, and which verification is the best."""
        self._record(VERIFICATION, step, metrics)
        self.say(
            f"step {step}/{self._total}  verification accuracy {metrics['accuracy']:.2%} "
            f"(best {metrics['best_accuracy']:.2%}), "
            f"{metrics['accuracy_at_one_threshold']:.2%} at one threshold  AUC {metrics['auc']:.4f}"
            + "".join(
                f"  {name.removesuffix(OF_A_SET)} {value:.2%}"
                for name, value in metrics.items()
                if name.endswith(OF_A_SET)
            )
            + (f"  best {best}" if best else "")
        )

    def say(self, text: str) -> None:
        """Print a line above the progress bar."""
        say(self._progress.console, text)

    def _record(self, kind: str, step: int, metrics: dict[str, float]) -> None:
        record = {"kind": kind, "step": step, **metrics}
        with naming(self._path, self._path):
            self._metrics.write(json.dumps(record) + "\n")
            self._metrics.flush()
        self._events.scalars(step, {f"{kind}/{name}": value for name, value in metrics.items()})
        if self._on_record is not None:
            self._on_record(record)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()
        self._events.close()
        with naming(self._path, self._path):  # what could not be written is tried again
            self._metrics.close()


def _columns(width: int) -> list[ProgressColumn]:
    """Choose what the bar shows: in a narrow terminal the step, the loss and the time left."""

    def text(format_: str) -> TextColumn:
        fold = Column(overflow="fold", no_wrap=width >= ROOMY)
        return TextColumn(format_, table_column=fold)

    steps = [text("step"), MofNCompleteColumn(table_column=Column(no_wrap=True))]
    left = TimeRemainingColumn(elapsed_when_finished=False, table_column=Column(no_wrap=True))
    if width < ROOMY:
        return [*steps, text("loss {task.fields[loss]:.3f}"), text("left"), left]
    return [
        *steps,
        BarColumn(bar_width=None),
        text("loss {task.fields[loss]:.3f}  lr {task.fields[lr]:.2g}"),
        *[text("{task.fields[batch]}")] * (width >= WIDER),
        text("{task.fields[speed]:.1f} images/s"),
        *[TimeElapsedColumn()] * (width >= WIDE),
        text("left"),
        left,
    ]


class Silence(Tracker):
    """The tracker of the processes that leave recording to process 0."""

    def __init__(self) -> None: ...

    def step(self, step: int, *, loss: float, lr: float, images_per_second: float) -> None:
        """Show nothing."""

    def train(self, step: int, metrics: dict[str, float], seconds_left: float) -> None:
        """Record nothing."""

    def verification(self, step: int, metrics: dict[str, float], best: Best | None = None) -> None:
        """Record nothing."""

    def say(self, text: str) -> None:
        """Print nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None: ...
