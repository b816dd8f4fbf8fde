"""`marginface clean`: find the images that do not belong to their identity, by sub-centres."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from marginface.api.progress import image_progress
from marginface.cli import model_options as options
from marginface.cli.output_options import Overwrite, claim_file
from marginface.errors import MarginfaceError
from marginface.regular import real_path

if TYPE_CHECKING:
    from marginface.data.sources import LabelledImages
    from marginface.runs.folder import RunFolder


def clean(
    context: typer.Context,
    run: Annotated[
        Path,
        typer.Option("--model", "--run", help="Run folder of a run with --loss subcenter_arcface."),
    ],
    data: Annotated[
        list[Path],
        typer.Option("--data", help="Images that it was trained on; repeat for more sets."),
    ],
    output: Annotated[Path, typer.Option("--output", help="CSV file to write.")],
    max_angle: Annotated[
        float,
        typer.Option(
            "--max-angle",
            min=0,
            max=180,
            help="Largest angle in degrees; images farther away are dropped.",
        ),
    ] = 75.0,
    link_to: Annotated[
        Path | None,
        typer.Option("--link-to", help="New folder for the kept images, as hard links."),
    ] = None,
    checkpoint: options.Checkpoint = None,
    backend: options.Backend = "onnx",
    batch_size: options.BatchSize = 64,
    resize: options.Resize = "no",
    skip_bad: Annotated[
        bool,
        typer.Option(
            "--skip-bad", help="Leave out the images that training left out with --skip-bad."
        ),
    ] = False,
    overwrite: Overwrite = False,
    rebuild_index: options.RebuildIndex = False,
    provider: options.Provider = "auto",
    device: options.Device = "auto",
    threads: options.Threads = None,
) -> None:
    """Measure each image's angle to its identity's dominant centre, and keep images that are near.

    Sub-center ArcFace's cleaning step: train with it, clean, train again on what is kept.
    """
    from marginface.data.cleaning import centers_per_class, judge, write_table
    from marginface.data.image_batches import ImageReader
    from marginface.data.joined import called
    from marginface.data.linking import link_files
    from marginface.data.opening import open_sets
    from marginface.data.sources import ImagesByName
    from marginface.embeddings.embedder import MODELS
    from marginface.model import ALIGNED_SIZE, resize_choice
    from marginface.runs.folder import RunFolder
    from marginface.terminal import Terminal
    from marginface.training.config.files import read_config_file

    inputs = [run, *data]
    _check_links(link_to, data, output, overwrite=overwrite, inputs=inputs)
    claim_file(context, output, overwrite=overwrite, inputs=inputs)
    MODELS.find(run)  # there is such a file or folder
    named = run.parent.name == "checkpoints"
    where = RunFolder(run.parents[1] if named else run)
    where.require_model()
    chosen, weight = _class_weights(where, run if named else None, checkpoint)
    embedder = options.open_model(
        chosen, backend, None, None, None, None, threads, provider=provider, device=device
    )
    identities, scaling = where.read_identities(), embedder.resizing(resize_choice(resize))
    joined = len(data) > 1 and read_config_file(where.config).get("join_identities", False)
    centers = centers_per_class(weight, identities, f"run {run}")
    size = embedder.image_size(resize=scaling) or ALIGNED_SIZE
    with image_progress("Checking") as on_progress:
        images = open_sets(
            data,
            join_identities=joined,
            names=where.read_set_names(len(data)),
            size=size,
            resize=scaling,
            skip_bad=skip_bad,
            rebuild_index=rebuild_index,
            on_progress=on_progress,
        )
    if not where.was_trained_on(images.identities):
        raise MarginfaceError(
            f"{called(data)} has {len(images.identities)} identities that differ "
            f"from the {len(identities)} which run {run} was trained on; clean the same data"
        )
    reader = ImageReader(ImagesByName(images), size, resize=scaling)
    with image_progress("Embedding") as on_progress:

        def embedded(paths: Sequence[str]) -> Iterator[tuple[Sequence[str], Any]]:
            done = 0
            for names, batch in reader.batches(paths, batch_size):
                yield names, embedder(batch)
                done += len(names)
                on_progress(done, len(paths))

        judged = judge(images, embedded, weight, centers, max_angle)
    if link_to is not None:
        link_files((_file(images, each.number) for each in judged if each.kept), link_to)
    write_table(images, judged, output)
    dropped = sum(not each.kept for each in judged)
    identities_left = len({each.identity for each in judged if each.kept})
    console = Terminal(soft_wrap=True)
    console.print(
        f"{len(identities):,} identities, {len(judged):,} images, {dropped:,} dropped "
        f"({dropped / len(judged):.1%} farther than {max_angle:g} degrees); wrote {output}",
    )
    if identities_left < len(identities):
        console.print(f"{len(identities) - identities_left:,} identities have no image left")
    if link_to is not None:
        console.print(f"linked {len(judged) - dropped:,} images to {link_to}")


def _file(images: LabelledImages, number: int) -> tuple[Path, str]:
    """Return the file that holds an image, and its name in the whole set."""
    from marginface.data.joined import JoinedImages
    from marginface.data.names import image_path

    name = images.name(number)
    root, inside = (
        images.origin(number) if isinstance(images, JoinedImages) else (images.root, name)
    )
    return image_path(root, inside), name


def _check_links(
    link_to: Path | None,
    data: Sequence[Path],
    output: Path,
    *,
    overwrite: bool,
    inputs: Sequence[Path],
) -> None:
    """Raise before the work if no folder of links can be made."""
    from marginface.outputs import check_folder

    if link_to is None:
        return
    check_folder(link_to, overwrite=overwrite, inputs=inputs, whole=True)
    for path in data:
        if path.is_file():
            raise MarginfaceError(
                f"--link-to links files of images, but {path} is one file; leave it out, and then "
                f"write the images that are kept with `marginface data subset {quote(str(path))} "
                f"NEW --kept {quote(str(output))}`"
            )
        if real_path(link_to).is_relative_to(real_path(path)):
            raise MarginfaceError(
                f"--link-to {link_to} lies in {path}, among the images; choose a folder outside"
            )


def _class_weights(run: RunFolder, named: Path | None, checkpoint: str | None) -> tuple[Path, Any]:
    """Return the named or chosen checkpoint, and its head's weight."""
    from marginface.runs.checkpoints import check_checkpoint, load_checkpoint
    from marginface.runs.chosen import read_chosen
    from marginface.runs.folder import named_twice, no_checkpoint

    if named and checkpoint is not None:
        raise named_twice(named, checkpoint)

    def read(path: Path) -> tuple[Path, Any]:
        check_checkpoint(path)  # all of it: backbone and head are to be of one checkpoint
        state = load_checkpoint(path, prefix="head.weight").state
        if "head.weight" not in state:
            raise MarginfaceError(
                f"checkpoint {path} has no class weights (head.weight), from which images are "
                "judged; give a run of marginface train --loss subcenter_arcface"
            )
        return path, state["head.weight"]

    read_from = read(named) if named else read_chosen(run.checkpoints, checkpoint, read)
    if read_from is None:
        raise no_checkpoint(run.path)
    return read_from
