"""The demo's page: the report on the model before and after training, and what stands around it."""

from __future__ import annotations

import base64
import html
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from marginface.report.collect import Report
from marginface.report.page import Frame, write_page

ROWS, COLUMNS = 3, 12  # of people trained on, and their pictures


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """What the demo found.

    Args:
        report: the model after and before training, on the people held out.
        summary: a sentence that says what was trained, on what, and how long it took.
        training: a sentence about the run.
        train: the folder of images trained on.
        framework: name and version of the framework.
        export: the ONNX file.
        difference: largest absolute difference between its embeddings and the framework's.
        compared: number of images that were compared.
        embedding_size: of the model.
        commands: what to do next, one a line; lines that begin with # explain.
        footer: versions and machine.
    """

    report: Report
    summary: str
    training: str
    train: Path
    framework: str
    export: Path
    difference: float
    compared: int
    embedding_size: int
    commands: str
    footer: str

    @property
    def before(self) -> float:
        """Verification accuracy without training."""
        return self.report.measured[1][0].comparison.result.accuracy

    @property
    def after(self) -> float:
        """Verification accuracy with training."""
        return self.report.measured[0][0].comparison.result.accuracy


def write_demo_page(demo: DemoResult, output: Path) -> Path:
    """Write `output`/index.html, whole or not at all, and return its path."""
    before, after = f"{demo.before:.1%}", f"{demo.after:.1%}"
    pairs = demo.report.sets[0]
    frame = Frame(
        title=f"marginface demo: {before} → {after}",
        opening=_filled(
            "opening.html",
            summary=html.escape(demo.summary),
            before=before,
            after=after,
            held_out=len({Path(name).parts[0] for name in (*pairs.first, *pairs.second)}),
            training=html.escape(demo.training),
            faces=_faces(demo.train),
        ),
        closing=_filled(
            "closing.html",
            export=(
                f"<b>✓</b> {html.escape(demo.export.name)} gives the embeddings of "
                f"{html.escape(demo.framework)}: largest difference {demo.difference:.1e} over "
                f"{demo.compared} pictures."
            ),
            framework=html.escape(demo.framework.partition(" ")[0]),
            embedding_size=demo.embedding_size,
            commands=html.escape(demo.commands),
        ),
        style=_part("page.css"),
        footer=demo.footer,
    )
    return write_page(demo.report, output, frame)


def _part(name: str) -> str:
    return files("marginface.demo").joinpath(name).read_text("utf-8")


def _filled(name: str, **values: Any) -> str:
    return Template(_part(name)).substitute(values)


def _faces(train: Path) -> str:
    people = sorted(folder for folder in train.iterdir() if folder.is_dir())[:ROWS]
    pictures = [picture for one in people for picture in sorted(one.glob("*.jpg"))[:COLUMNS]]
    content = (base64.b64encode(picture.read_bytes()).decode("ascii") for picture in pictures)
    return "\n".join(f'<img alt="" src="data:image/jpeg;base64,{each}">' for each in content)
