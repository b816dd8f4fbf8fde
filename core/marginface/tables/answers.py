"""The table of who was found, for the terminal and for notebooks."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from marginface.serving.gallery import Answer

SHOWN = 20  # faces


def answers_table(answers: Sequence[Answer], caption: str) -> Table:
    """Build the table of the first faces: the decision, and the people whom they resemble."""
    decided = any(each.decision for each in answers)
    table = Table(title="Who it is")
    for name in ("photo", "face", *(["decision"] if decided else []), "resembles", "score", "then"):
        numbers = name in ("face", "score")
        table.add_column(name, justify="right" if numbers else "left", overflow="fold")
    for answer in answers[:SHOWN]:
        best, *others = answer.candidates
        table.add_row(
            answer.face.photo,
            str(answer.number),
            *([answer.decision] if decided else []),
            best.name,
            f"{best.score:.3f}",
            ", ".join(f"{each.name} {each.score:.3f}" for each in others),
        )
    table.caption = caption
    if len(answers) > SHOWN:
        table.caption += f"; the first {SHOWN} of {len(answers):,} faces"
    return table
