"""The page of a model: what it is, how to use it, what is stated about it."""

from __future__ import annotations

import yaml

from marginface.cards.card import Card
from marginface.model import ModelSpec, Preprocessing
from marginface.text import printable

NOT_STATED = "not stated"


def readme(name: str, spec: ModelSpec, card: Card, parameters: int, sha256: str) -> str:
    """Return a model's page in Markdown, with the head that model hubs read.

    Args:
        name: of the model.
        spec: its network and preprocessing.
        card: what is stated about it.
        parameters: how many it has.
        sha256: of its weights.
    """
    facts = facts_of(
        spec.backbone,
        parameters,
        spec.input_size,
        spec.preprocessing,
        spec.embedding_size,
        card,
    )
    facts["SHA-256 of the weights"] = sha256
    rows = [f"| {what} | {_cell(value)} |" for what, value in facts.items()]
    figures = [f"| {_cell(what)} | {value:g} |" for what, value in card.figures.items()]
    stated = ["## Figures", "", "As stated by whoever wrote this card.", ""]
    stated += ["| measured on | |", "|---|---|", *figures, ""]
    lines = [
        _head(card),
        f"# {_cell(name)}",
        "",
        "A face recognition model: an aligned face to an embedding; the cosine of two embeddings "
        "says how alike the faces are.",
        "",
        "| | |",
        "|---|---|",
        *rows,
        "",
        *(stated if figures else []),
        "## Use",
        "",
        "```python",
        "import marginface as mf",
        "",
        'model = mf.load("FOLDER")  # this folder; or hf://OWNER/NAME@COMMIT',
        'embeddings = model.embed(["face.jpg"])',
        "```",
        "",
    ]
    return "\n".join(lines)


def facts_of(
    architecture: str,
    parameters: int,
    input_size: tuple[int, int] | None,
    steps: Preprocessing | None,
    embedding_size: int | None,
    card: Card,
) -> dict[str, str]:
    """Return what a model is, in words, by what they say; no sizes for what embeds no face."""
    faces = {}
    if input_size and embedding_size:
        height, width = input_size
        order = "" if height == width else " (height x width)"
        faces = {
            "input": f"{height} x {width} pixels{order}; "
            + (in_words(steps) if steps else NOT_STATED),
            "embedding": f"{embedding_size} numbers",
        }
    return {
        "architecture": architecture,
        "parameters": f"{parameters:,}",
        **faces,
        "loss": _loss(card) or NOT_STATED,
        "training data": card.training_data or NOT_STATED,
        "from": card.origin or NOT_STATED,
        "licence": card.licence or NOT_STATED,
    }


def in_words(steps: Preprocessing) -> str:
    """Say what is done to pixels before the network.

    >>> in_words(Preprocessing(channels="bgr"))
    'BGR, (x - 127.5) / 127.5'
    """
    mean, std = (_numbers(values) for values in (steps.mean, steps.std))
    cut = "" if steps.crop is None else f", crop {','.join(map(str, steps.crop))}"
    return f"{steps.channels.upper()}, (x - {mean}) / {std}{cut}"


def _numbers(values: tuple[float, float, float]) -> str:
    shown = [f"{value:g}" for value in values]
    return shown[0] if len(set(shown)) == 1 else f"({', '.join(shown)})"


def _loss(card: Card) -> str:
    parameters = ", ".join(f"{name}={value}" for name, value in card.loss_parameters.items())
    return f"{card.loss}({parameters})" if parameters else card.loss


def _cell(text: str) -> str:
    """Escape what would be Markdown or HTML; a cell is one line."""
    for character in "\\`*_[]<>|":
        text = text.replace(character, f"\\{character}")
    return printable(" ".join(text.split()))


def _head(card: Card) -> str:
    values: dict[str, object] = {"license": card.licence} if card.licence else {}
    values |= {
        "library_name": "marginface",
        "pipeline_tag": "feature-extraction",
        "tags": ["face-recognition", *([card.loss] if card.loss else [])],
    }
    return f"---\n{yaml.safe_dump(values, sort_keys=False)}---\n"
