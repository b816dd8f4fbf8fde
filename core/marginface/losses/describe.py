"""The losses' docstrings as a page: `marginface losses` and docs/losses.md.

python -m marginface.losses.describe docs/losses.md            writes the page
python -m marginface.losses.describe mine.md my_file:MyLoss    with losses of one's own
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from marginface.atomic import replacing
from marginface.losses.hyperparameters import Parameter, declared
from marginface.losses.registry import BUILT_IN, find, load

FIRST_LINE = re.compile(r"(?P<title>[^(:]+?)\s*(?:\((?P<source>[^)]*)\))?: (?P<summary>.+)", re.S)
ARXIV = re.compile(r"\d{4}\.\d{5}")
INTRODUCTION = """\
# The losses

Written by `python -m marginface.losses.describe docs/losses.md` from the code's own docstrings.

Every loss is the mean over a batch of

```text
loss_i = logaddexp(t_i, n_i) - t_i
t_i = scale * psi(cos(theta_y)) + b                         the target logit
n_i = logsumexp over j != y of scale * nu(cos(theta_j)) + b     the other classes
```

where theta_j is the angle between an embedding and class weight j; nu is the cosine itself and b
is 0 unless a loss says otherwise. SphereFace2 and UniFace sum softplus terms instead. Margins are
radians where they are angles. [A loss of one's own](#a-loss-of-ones-own) needs a class and a few
lines of tensor code. These choices, which public code makes silently, are parameters:

- `gradient`: `exact` is the derivative of the formula. `straight_through` takes d psi / d cos as
  1, as InsightFace's code has done since December 2022. The exact slope has a pole at theta = 0;
  below sin(theta) = 0.001 it is held constant, so that it is finite in every dtype.
- `past_pi`: what happens where theta + m passes pi and the cosine would rise again: `monotone` goes
  on falling, `clip` stops at pi, `none` does nothing.
- State (running statistics, annealing) is an explicit array in `head.state` and in checkpoints,
  that of the whole batch under data parallelism. Randomness comes in from outside.

![Target logits, their gradients and decision boundaries](losses.png)
"""

ONE_OF_YOUR_OWN = """
## A loss of one's own

A loss is a dataclass with its formula in NumPy, and some lines of tensor code for each framework
that is to compute it; one is enough. `my_losses.py`, in the folder where commands are called:

```python title="my_losses.py"
from dataclasses import dataclass
from typing import ClassVar

from marginface.losses import Logit, MarginLoss, parameter, register


@dataclass(frozen=True, kw_only=True)
class EasyCosFace(MarginLoss):
    \"""EasyCosFace (ours): CosFace's margin where the cosine is positive.

    target logit = scale * (cos(theta) - margin) where cos(theta) > 0, else scale * cos(theta)
    \"""

    name: ClassVar[str] = "easy_cosface"

    margin: float = parameter(0.3, low=0, below=2, help="subtracted from the target cosine")

    def target(self, cosine, norm, prepared):
        return Logit(cosine - self.margin if cosine > 0 else cosine, slope=1.0)


register(EasyCosFace, torch="my_losses_torch:EasyCosFaceOps", tf="my_losses_tf:EasyCosFaceOps")
```

`my_losses_torch.py`:

```python title="my_losses_torch.py"
import torch

from marginface_torch.losses import LossOps


class EasyCosFaceOps(LossOps):
    def target(self, cosines, norms, prepared):
        return torch.where(cosines > 0, cosines - self.spec.margin, cosines)
```

`my_losses_tf.py`:

```python title="my_losses_tf.py"
import tensorflow as tf

from marginface_tf.losses import LossOps


class EasyCosFaceOps(LossOps):
    def target(self, cosines, norms, prepared):
        return tf.where(cosines > 0, cosines - self.spec.margin, cosines)
```

Then:

```sh
marginface parity --loss my_losses:EasyCosFace     # is the tensor code the formula, gradients too?
marginface train --loss my_losses:EasyCosFace --margin 0.35 --data faces/ --output run/
marginface train --loss my_losses:EasyCosFace --output run/ --resume
marginface losses my_losses:EasyCosFace --plot easy.png
marginface bench losses --losses cosface,my_losses:EasyCosFace
```

In Python, importing `my_losses` is enough: `MarginHead("easy_cosface", ...)`. Embeddings of a
trained model do not need the loss: `evaluate`, `embed` and `export` work without its code. Code is
imported only where the command line names it, never because a run's file does, so `--resume` wants
`--loss` again. A package that is installed offers its losses by an entry point, and they need no
colon:

```toml
[project.entry-points."marginface.losses"]
easy_cosface = "my_losses:EasyCosFace"
```

What else a loss may have: `negative` (another class's logit), `initial_state` and `prepare`
(running statistics), `draws` and `draw` (randomness), `initial_bias`, `reduce`, `penalty`,
`num_centers`; `help(marginface.losses.MarginLoss)` has them all. Ops have the same in tensors.
Both are tried on two samples of three classes, the loss when it is registered and its Ops when a
head is made, so that a wrong name, shape or type is told before training.
Gradients are what autograd makes of the tensor code; where that has a pole, as an arccosine has at
cos = +-1, compute value and slope apart and join them: `with_slope` in
`marginface_torch.losses.base`, as `li_arcface` does.
"""


@dataclass(frozen=True)
class Description:
    """The description of a loss."""

    name: str
    title: str
    source: str  # empty for softmax
    summary: str
    formula: list[str]
    notes: list[str]  # paragraphs
    divergences: list[str]  # what public code does otherwise
    parameters: list[Parameter]


def describe(name: str) -> Description:
    """Read a loss's description from its docstring and defaults.

    >>> describe("cosface").formula
    ['target logit = scale * (cos(theta) - margin)']
    """
    loss = find(name)
    text = inspect.cleandoc(loss.__doc__ or "")
    paragraphs = [part for part in text.split("\n\n") if not part.startswith("Args:\n")]
    # A user's own may say less; a test holds those here to all of it.
    first = FIRST_LINE.fullmatch(_joined(paragraphs[0]))
    wild, notes = "", []
    for paragraph in paragraphs[2:]:
        head, _, body = paragraph.partition("\n")
        if head == "In the wild:":
            wild = inspect.cleandoc(body)
        elif not head.startswith(">>>"):
            notes.append(paragraph if "\n- " in paragraph else _joined(paragraph))
    return Description(
        name=name,
        title=first["title"] if first else loss.__name__,
        source=(first and first["source"]) or "",
        summary=first["summary"] if first else _joined(paragraphs[0]),
        formula=paragraphs[1].splitlines() if paragraphs[1:] else [],
        notes=notes,
        divergences=[_joined(item) for item in re.split(r"^- ", wild, flags=re.M)[1:]],
        parameters=list(declared(loss).values()),
    )


def page(more: Sequence[str] = ()) -> str:
    """Return docs/losses.md, of the losses here and of `more`."""
    every = [describe(name) for name in [*BUILT_IN, *more]]
    lines = [INTRODUCTION, "| loss | what it is | source |", "|---|---|---|"]
    lines += [
        f"| [{loss.name}](#{loss.name}) | {loss.title}: {loss.summary} | {_linked(loss.source)} |"
        for loss in every
    ]
    for loss in every:
        lines += ["", f"## {loss.name}", "", f"**{loss.title}**: {loss.summary}"]
        if loss.source:
            lines += ["", f"Source: {_linked(loss.source)}."]
        lines += ["", "```text", *loss.formula, "```"]
        for note in loss.notes:
            lines += ["", note]
        lines += ["", "| parameter | default | must be | meaning |", "|---|---|---|---|"]
        lines += [
            f"| `{p.name}` | `{p.default!r}` | {p.allowed} | {p.meaning} |" for p in loss.parameters
        ]
        if loss.divergences:
            lines += ["", "In the wild:", ""]
            lines += [f"- {item}" for item in loss.divergences]
    return "\n".join(lines) + "\n" + ONE_OF_YOUR_OWN


def _joined(text: str) -> str:
    return " ".join(text.split())


def _linked(source: str) -> str:
    return ARXIV.sub(lambda number: f"[{number[0]}](https://arxiv.org/abs/{number[0]})", source)


if __name__ == "__main__":
    with replacing(Path(sys.argv[1])) as temporary:
        text = page([load(each).name for each in sys.argv[2:]])
        temporary.write_text(text, encoding="utf-8")
