"""`marginface identify`: the search of probe images in a gallery of images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from marginface.cli import metrics_output as options
from marginface.cli import model_options as models
from marginface.cli.output_options import Overwrite, claim_folder
from marginface.errors import MarginfaceError


def identify(
    context: typer.Context,
    gallery: Annotated[
        Path,
        typer.Option(
            "--gallery",
            help="Of photos: a folder with a folder for each person, or a .parquet of one. With "
            "--embeddings: folder, .rec or .tfrecord, or list of `subject/image` or "
            "`image<TAB>subject`.",
        ),
    ],
    probes: Annotated[
        Path,
        typer.Option(
            "--probes",
            help="Of photos: a folder of any, or a .parquet of one. With --embeddings: given as "
            "--gallery is; without a subject they are searched for but not measured.",
        ),
    ],
    embeddings: Annotated[
        list[Path] | None,
        typer.Option(
            "--embeddings",
            help="Instead of --model, what `marginface embed` wrote: .parquet or .npz; again for "
            "more files of one model.",
        ),
    ] = None,
    model: Annotated[
        Path | None, typer.Option("--model", "--run", help="Run folder or ONNX file.")
    ] = None,
    detector: Annotated[
        Path | None,
        typer.Option(
            "--detector",
            help="SCRFD with five points or YuNet, in ONNX; without one, folders hold crops.",
        ),
    ] = None,
    far: Annotated[
        float | None,
        typer.Option(
            "--far",
            help="False accept rate of one comparison to decide at, such as 1e-2, of a model that "
            "was calibrated for it.",
        ),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(
            "--top",
            min=1,
            help="People to list for each face (default: 3), or probe (5).",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            help="Folder for candidates.parquet, and contact_sheet.png or metrics.json.",
        ),
    ] = None,
    flip: Annotated[
        bool | None,
        typer.Option(
            "--flip/--no-flip",
            help="Of photos: add the embedding of the mirror image; default: as calibrated.",
            show_default=False,
        ),
    ] = None,
    min_score: Annotated[
        float | None,
        typer.Option("--min-score", help="Of photos: what the detector scores less is no face."),
    ] = None,
    min_face: Annotated[
        float | None,
        typer.Option(
            "--min-face", min=0, help="Of photos: pixels that the longer side of a crop must span."
        ),
    ] = None,
    skip_bad: Annotated[
        bool,
        typer.Option("--skip-bad", help="Of photos: leave out and list those that are unreadable."),
    ] = False,
    overwrite: Overwrite = False,
    backend: models.Backend = "onnx",
    mean: models.Mean = None,
    std: models.Std = None,
    channels: models.Channels = None,
    crop: models.Crop = None,
    output_name: models.OutputName = None,
    checkpoint: models.Checkpoint = None,
    provider: models.Provider = "auto",
    device: models.Device = "auto",
    threads: models.Threads = None,
) -> None:
    """Find who the faces of photos are, or measure how often a search of embeddings is right (1:N).

    With --model and photos: for each face of the probes the people whom it resembles most, and with
    --far whether it is one of them or nobody.

    With --embeddings: rank rates of the probes whose person is in the gallery, FPIR of the others,
    TPIR at FPIR where there are both. Probes of whom the list says nothing do not count. Images are
    named as in the embeddings: relative to the folder that was embedded.
    """
    if (model is None) == (embeddings is None):
        raise MarginfaceError(
            "give photos and --model, or --embeddings, and not both"
            if model is not None
            else "give --model for photos, or --embeddings that were written before"
        )
    running = {
        "mean": mean,
        "std": std,
        "channels": channels,
        "crop": crop,
        "output_name": output_name,
        "checkpoint": checkpoint,
        "threads": threads,
    }
    if model is not None:
        _in_photos(
            gallery,
            probes,
            model,
            output,
            detector=detector,
            far=far,
            top=top or 3,
            flip=flip,
            min_score=0.5 if min_score is None else min_score,
            min_face=min_face or 0,
            skip_bad=skip_bad,
            overwrite=overwrite,
            backend=backend,
            provider=provider,
            device=device,
            **running,
        )
        return
    assert embeddings is not None
    given = {
        "--detector": detector is not None,
        "--far": far is not None,
        "--flip": flip is not None,
        "--min-score": min_score is not None,
        "--min-face": min_face is not None,
        "--skip-bad": skip_bad,
        "--backend": backend != "onnx",
        "--provider": provider != "auto",
        "--device": device != "auto",
        **{f"--{name.replace('_', '-')}": value is not None for name, value in running.items()},
    }
    for option in (name for name, there in given.items() if there):
        raise MarginfaceError(f"{option} does not go with --embeddings; leave out one of them")
    _in_embeddings(context, embeddings, gallery, probes, top or 5, output, overwrite=overwrite)


def _in_photos(gallery: Path, probes: Path, model: Path, output: Path | None, **how: Any) -> None:
    from marginface.api.identify import identify as run
    from marginface.terminal import Terminal

    result = run(gallery, probes, model=model, output=output, **how)
    console, notes = Terminal(), Terminal(stderr=True, soft_wrap=True)
    console.print(result.table())
    for note in result.notes:
        notes.print(f"marginface: note: {note}")
    for path in result.written:
        console.print(f"wrote {path}", soft_wrap=True)


def _in_embeddings(
    context: typer.Context,
    embeddings: list[Path],
    gallery: Path,
    probes: Path,
    top: int,
    output: Path | None,
    *,
    overwrite: bool,
) -> None:
    import numpy as np

    from marginface.data.lookup import ImageNames
    from marginface.embeddings.reader import embeddings_of, read_names
    from marginface.evaluation import identification
    from marginface.evaluation.image_lists import read_subjects_of_images
    from marginface.evaluation.output import METRICS_NAME
    from marginface.tables.identification import candidates_table, identification_table
    from marginface.terminal import Terminal

    if output is not None:  # before any work: it needs Arrow, which the rest may not
        from marginface.evaluation import candidates
    inputs = [*embeddings, gallery, probes]
    claim_folder(context, output, METRICS_NAME, overwrite=overwrite, inputs=inputs)
    origin = options.open_origin(embeddings)
    embedded = frozenset(read_names(embeddings))  # for several lists
    enrolled = read_subjects_of_images(gallery, ImageNames(embedded))
    searched = read_subjects_of_images(probes, ImageNames(embedded), all_known=False)
    for name in searched:
        if name in enrolled:
            raise MarginfaceError(
                f"image {name} is both in the gallery {gallery} and among the probes {probes}; it "
                "would find itself"
            )
    values = embeddings_of(embeddings, [*enrolled, *searched])
    names, truth = list(searched), list(searched.values())
    searches = identification.search(
        values[: len(enrolled)], list(enrolled.values()), values[len(enrolled) :], truth, top=top
    )
    result = identification.measure(searches, np.array(truth) != "")
    options.note_missing_mates({gallery.name: result})
    console = Terminal()
    console.print(candidates_table(names, truth, searches))
    console.print(identification_table({gallery.name: result}))
    metrics = {
        "kind": "identification",
        "embeddings": None if origin is None else origin.to_json(),
        **result.to_json(),
    }

    def write_candidates(folder: Path) -> Path:
        path = folder / candidates.CANDIDATES_NAME
        candidates.write_candidates(path, names, truth, searches)
        return path

    options.write_metrics(output, metrics, console, write_candidates)
