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
from marginface.losses.choosing import CHOOSING
from marginface.losses.hyperparameters import Parameter, declared
from marginface.losses.registry import BUILT_IN, find, load

FIRST_LINE = re.compile(r"(?P<title>[^(:]+?)\s*(?:\((?P<source>[^)]*)\))?: (?P<summary>.+)", re.S)
ARXIV = re.compile(r"\d{4}\.\d{5}")
INTRODUCTION = """\
# The losses

Written by `python -m marginface.losses.describe docs/losses.md` from the code's own docstrings.

Which loss does what, with which parameters, and where does public code differ from its paper? Every
loss is the mean over a batch of

```text
loss_i = logaddexp(t_i, n_i) - t_i
t_i = scale * psi(cos(theta_y)) + b                         the target logit
n_i = logsumexp over j != y of scale * nu(cos(theta_j)) + b     the other classes
```

Here theta_j is the angle between an embedding and class weight j. psi is the loss's own function,
with the margin in it. Unless a loss says otherwise, nu is the cosine itself and b is 0. SphereFace2
and UniFace sum softplus terms instead, SFace the logits themselves. Margins on angles are in
radians. [A loss of one's own](#a-loss-of-ones-own) needs a class and a few lines of tensor code.

Public code makes some choices silently. Here they are parameters:

- `gradient`: `exact` is the derivative of the formula. `straight_through` takes d psi / d cos as
  1, as InsightFace's code has done since December 2022. The exact slope has a pole at theta = 0;
  below sin(theta) = 0.001 it is held constant, so that it is finite in every dtype.
- `past_pi`: what happens if theta + m passes pi, where the cosine would rise again. With `monotone`
  the logit keeps falling, as cos(theta) - m sin(m); with `mirror` as -2 - cos(theta + m), which
  has no jump at pi. With `clip` the angle stops at pi, with `none` nothing is done.

State (running statistics, annealing) is an explicit array in `head.state` and in checkpoints. Under
data parallelism it is the state of the whole batch; where a batch would make it NaN or infinite, it
stays as it was. What a loss keeps for each class is in `head.class_state`, with a row a class,
which processes share as they share class weights. Random numbers come from outside, by `draw`.

![Target logits, their gradients and decision boundaries](losses.png)

Losses side by side, logits and gradients of the own class and of another:

```sh
marginface losses arcface mv_arc --plot two.png
```
"""

ONE_OF_YOUR_OWN = """
## A loss of one's own

A loss is a dataclass with its formula in NumPy, and a few lines of tensor code for each framework
that is to compute it; one framework is enough. Put this `my_losses.py` into the folder where you
call commands:

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
marginface losses my_losses:EasyCosFace cosface --plot easy.png    # their logits side by side
marginface bench losses --losses cosface,my_losses:EasyCosFace
```

In Python, import `my_losses` and use `MarginHead("easy_cosface", ...)`. Embeddings of a trained
model do not need the loss, so `evaluate`, `embed` and `export` work without its code. Code is
imported only if the command line names it, never because a file of a run does; this is why
`--resume` needs `--loss` again. An installed package offers its losses by an entry point, and then
the name alone is enough:

```toml
[project.entry-points."marginface.losses"]
easy_cosface = "my_losses:EasyCosFace"
```

A loss may also have `negative` (another class's logit), `initial_state` and `prepare` (running
statistics), `draws` and `draw` (randomness), `initial_bias`, `reduce`, `penalty` and `num_centers`,
and `tally` (what the target takes from the negatives), `adds` (how they add up), `radius` and
`finish` (a scale that follows the batch). It may keep something for each class: `class_state` says
what at first, `remember` what a sample leaves to its class, and `recall` which vector of a class is
mixed into its weights, as VPL does, or is what a `companion` compares with, as USS does. What is
one number a class, such as a count, `prepare` gets for each sample's own class.
`help(marginface.losses.MarginLoss)` explains them all.
Ops have the same methods on tensors.

Both are tried on two samples of three classes, the loss when it is registered and its Ops when a
head is made. So a wrong name, shape or type is reported before training.

Gradients are what autograd derives from the tensor code. If that has a pole, as an arccosine has at
cos = +-1, compute value and slope separately and join them with `with_slope` of
`marginface_torch.losses.base`; `li_arcface` is an example.
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
    lines = [
        INTRODUCTION + CHOOSING,
        "## All losses",
        "",
        "| loss | what it is | source |",
        "|---|---|---|",
    ]
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
