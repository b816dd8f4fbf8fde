"""`marginface.identify`: who the faces of photos are, among the people of a gallery of photos."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path

from PIL import Image
from rich.table import Table

from marginface.api.claims import claimed_folder
from marginface.api.models import Model, open_model, providers
from marginface.api.progress import image_progress
from marginface.calling import public, worded
from marginface.cards.hub import fetched
from marginface.checks import as_path
from marginface.data.image_files import require_folder
from marginface.embeddings.origin import SHORT_HASH, Origin, common_origin
from marginface.errors import MarginfaceError
from marginface.evaluation.calibration import check_far, named
from marginface.outputs import filling, refuse_among
from marginface.serving.contact_sheet import contact_sheet, crops_in, own_crop
from marginface.serving.gallery import DECISIONS, Answer, Gallery
from marginface.serving.identifying import (
    Enrolment,
    LeftOut,
    Source,
    ask,
    check_apart,
    enrol_people,
)
from marginface.serving.recogniser import Detector, Recogniser
from marginface.serving.thresholds import Calibration, find_calibration, read_calibrations
from marginface.tables.answers import answers_table
from marginface.tables.showing import as_html, as_text
from marginface.text import printable

NAMED = 3  # of people, in a note
MANY = 0.01  # of strangers


@dataclass(frozen=True, repr=False)
class IdentifyResult:
    """Who the faces are; it shows itself as a table.

    Args:
        answers: for each face of the probes.
        gallery: to ask for more faces, `result.gallery.search(faces)`.
        enrolment: who was enrolled.
        left_out: photos and faces that were not used, and why.
        notes: what to know of the answers, a sentence each.
        places: the folders of gallery and probes, None for a file of embeddings.
        crop_size: (height, width) of the model's crops.
        written: the files of the output.
    """

    answers: tuple[Answer, ...]
    gallery: Gallery
    enrolment: Enrolment
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...]
    places: tuple[Path | None, Path | None]
    crop_size: tuple[int, int]
    written: tuple[Path, ...] = ()

    @property
    def counts(self) -> Counter[str]:
        """Return how many faces are found, unsure and nobody; empty where nothing was decided."""
        return Counter(each.decision for each in self.answers if each.decision)

    def contact_sheet(self) -> list[Image.Image]:
        """Return pages of each face beside the people whom it resembles; [] without photos."""
        gallery, probes = self.places
        if probes is None or not self.answers:
            return []
        share = self.gallery.false_alarms()
        warning = [] if share is None else [f"up to {_of_strangers(share)}"]
        return contact_sheet(
            self.answers,
            [self.summary(), *warning],
            probe_crop=crops_in(probes, self.crop_size),
            gallery_crop=own_crop if gallery is None else crops_in(gallery, self.crop_size),
        )

    def summary(self) -> str:
        """Return in a line how the faces were decided."""
        one = self.enrolment
        against = f"against {one.people:,} people ({one.faces:,} faces)"
        if self.gallery.calibration is None or self.gallery.far is None:
            return f"{against}; scores alone"
        at = self.gallery.calibration.at(self.gallery.far)
        counts = self.counts
        told = ", ".join(f"{counts[each]:,} {each}" for each in DECISIONS if counts[each])
        return (
            f"{told} {against}; threshold {at.value:.3f} ({at.low:.3f} to {at.high:.3f}) at FAR "
            f"{self.gallery.far:g}"
        ).strip()

    def table(self) -> Table:
        """Return the table of the first faces."""
        return answers_table(self.answers, self.summary())

    def write(self, output: Path) -> list[Path]:
        """Write candidates.parquet and .csv, left_out.csv and contact_sheet.png to a new folder."""
        from marginface.serving import answers as files  # needs Arrow

        with filling(output) as folder:
            files.write_candidates(folder, self.answers)
            files.write_left_out(folder, self.left_out)
            pages = files.write_pages(folder, self.contact_sheet())
        return [output / name for name in (files.CANDIDATES, files.TABLE, files.LEFT_OUT, *pages)]

    def __repr__(self) -> str:
        notes = (f"note: {printable(note)}" for note in self.notes)
        return "\n".join([as_text(self.table()), *notes])

    def _repr_html_(self) -> str:
        notes = "".join(f"<p>{escape(printable(note))}</p>" for note in self.notes)
        return as_html(self.table()) + notes


@public
def identify(
    gallery: str | Path,
    probes: str | Path,
    *,
    model: str | Path | Model,
    detector: str | Path | Detector | None = None,
    far: float | None = None,
    top: int = 3,
    output: str | Path | None = None,
    flip: bool | None = None,
    min_score: float = 0.5,
    min_face: float = 0,
    skip_bad: bool = False,
    overwrite: bool = False,
    backend: str = "onnx",
    mean: str | float | Sequence[float] | None = None,
    std: str | float | Sequence[float] | None = None,
    channels: str | None = None,
    crop: str | Sequence[int] | None = None,
    output_name: str | None = None,
    checkpoint: str | int | None = None,
    provider: str = "auto",
    device: str = "auto",
    threads: int | None = None,
) -> IdentifyResult:
    """Return who the faces of photos are, among the people of a gallery of photos.

    Args:
        gallery: a folder with a folder of photos for each person, or a .parquet that `embed` wrote
            of one. Of a photo with several faces the largest is enrolled.
        probes: a folder of photos, or a .parquet of one: all their faces are searched for.
        model: a run folder or an ONNX file, or what `load` returned.
        detector: finds the faces: SCRFD or YuNet as ONNX, or a function as `Recogniser` takes it.
            Without one, folders hold aligned crops.
        far: false accept rate of one comparison, one that the model is calibrated for: decides
            who is found, and who is nobody. Scores alone for None.
        top: people to name for each face.
        output: a folder to write candidates.parquet and .csv, left_out.csv and contact_sheet.png.
        flip: sum the embeddings of a crop and of its mirror image; as calibrated for None.
        min_score: what the detector scores less is no face.
        min_face: pixels that the longer side of a crop must span.
        skip_bad: leave out photos that cannot be read instead of stopping at them.
        overwrite: replace an existing output.
        backend: what runs the network: "onnx", or for a run "torch" or "tf".
        mean: subtracted from pixels (0..255), one number or three; the model's own for None.
        std: divides pixels after the mean; the model's own for None.
        channels: channel order of the network, "rgb" or "bgr"; the model's own for None.
        crop: (top, left, height, width) in pixels that is cut out of each image.
        output_name: output of an ONNX file that is the embedding; by its shape for None.
        checkpoint: of a run: "best" (of `keep_best`), "last" or a step; the last for None.
        provider: what ONNX Runtime computes on: "auto", "cpu", "cuda" or another that it has.
        device: what a framework computes on, if it is the backend: "auto", "cpu", "cuda"...
        threads: CPU threads; all for None.

    Raises:
        MarginfaceError: the model, the photos, the rate or the output cannot be used.
    """
    if far is not None:
        check_far(far)
    model_path = model.path if isinstance(model, Model) else fetched(as_path("model", model))
    people, inbox = as_path("gallery", gallery), as_path("probes", probes)
    reads = [model_path, people, inbox]
    reads += [] if detector is None or callable(detector) else [as_path("detector", detector)]
    with ExitStack() as claims:
        target = None if output is None else as_path("output", output)
        if target is not None:
            from marginface.serving import answers  # before any work: it needs Arrow

            name = answers.CANDIDATES
            claims.enter_context(claimed_folder(target, name, overwrite=overwrite, inputs=reads))
        for place in (people, inbox):
            if target is not None:
                refuse_among(target, place)
            _require_source(place)
        sources = [Source("gallery", people, skip_bad), Source("probes", inbox, skip_bad)]
        check_apart(*sources)
        of_model, of_detector = providers(provider, model, backend, detector)
        opened = open_model(
            model,
            backend=backend,
            provider=of_model,
            device=device,
            threads=None if isinstance(model, Model) else 1,  # each photo has one
            mean=mean,
            std=std,
            channels=channels,
            crop=crop,
            output_name=output_name,
            checkpoint=checkpoint,
        )
        recogniser = Recogniser(
            opened,
            detector,
            min_score=min_score,
            min_face=min_face,
            provider=of_detector,
            threads=threads,
        )
        origin = _origin(sources, recogniser, opened)
        calibration, notes = _calibration(model_path, recogniser, origin, sources, far, flip)
        known = Gallery(calibration, far)
        with image_progress("Enrolling") as on_progress:
            enrolment = enrol_people(known, sources[0], recogniser, on_progress)
        with image_progress("Searching") as on_progress:
            found = tuple(ask(known, sources[1], recogniser, top, on_progress))
        if not found:
            raise MarginfaceError(
                f"no face of the probes {inbox} can be searched for: "
                f"{_reasons(sources[1].left_out)}; lower --min-score or --min-face, or look at the "
                "photos"
            )
        result = IdentifyResult(
            found,
            known,
            enrolment,
            tuple(each for source in sources for each in source.left_out),
            tuple(map(worded, (*notes, *_notes(known, enrolment, sources)))),
            (people if sources[0].is_folder else None, inbox if sources[1].is_folder else None),
            recogniser.embedder.image_size(resize=True) or recogniser.embedder.input_size,
        )
        if target is not None:
            result = replace(result, written=tuple(result.write(target)))
        return result


def _require_source(place: Path) -> None:
    """Refuse what is neither a folder of photos nor a .parquet of their faces."""
    if place.is_file() and place.suffix.lower() != ".parquet":
        raise MarginfaceError(
            f"{place} is a file, expected a folder of photos, or a .parquet that marginface embed "
            "wrote of one"
        )
    if not place.is_file():
        require_folder(place)


def _origin(sources: Sequence[Source], recogniser: Recogniser, model: Model) -> Origin | None:
    """Return what made the files of embeddings, if there are any; refuse those of another model."""
    files = [each.path for each in sources if not each.is_folder]
    if not files:
        return None
    from marginface.embeddings.reader import read_origins

    origin = common_origin(read_origins(files))
    own = recogniser.embedder.fingerprint
    if origin is not None and origin.fingerprint != own:
        raise MarginfaceError(
            f"{files[0]} was made by model {origin.fingerprint[:SHORT_HASH]}, {model.path} is "
            f"{own[:SHORT_HASH]}: their embeddings cannot be compared; give the model that made "
            "it, or embed again"
        )
    return origin


def _calibration(
    model: Path,
    recogniser: Recogniser,
    origin: Origin | None,
    sources: Sequence[Source],
    far: float | None,
    flip: bool | None,
) -> tuple[Calibration | None, list[str]]:
    """Return what decides, and what to note of it; let the recogniser embed in the same way."""
    if origin is not None:
        if flip not in (None, origin.flip):
            done = "with" if origin.flip else "without"
            raise MarginfaceError(
                f"the files were embedded {done} --flip; do the same here, or embed them again"
            )
        flip = origin.flip
    folder = any(each.is_folder for each in sources)
    faces = recogniser.faces_origin if folder or origin is None else origin.faces
    kept = read_calibrations(model)
    calibration, notes = None, []
    if far is not None:
        calibration, note = find_calibration(
            kept, recogniser.embedder, far=far, flip=flip, faces=faces
        )
        flip, notes = calibration.flip, [note] * bool(note)
    elif kept:
        own = [each for each in kept if each.fingerprint == recogniser.embedder.fingerprint]
        ready = {each.far for one in own for each in one.thresholds if each.supported}
        rates = ", ".join(dict.fromkeys(map(named, sorted(ready, reverse=True))))
        notes = [f"scores alone; give --far to decide, one that the model has: {rates or 'none'}"]
    else:
        notes = [
            "scores alone: the model has no thresholds; marginface calibrate measures them on "
            "pairs, and --far 1e-2 decides by them"
        ]
    recogniser.embedder.check_flip(bool(flip))
    recogniser.flip = bool(flip)
    return calibration, notes


def _notes(gallery: Gallery, enrolment: Enrolment, sources: Sequence[Source]) -> list[str]:
    """Return what to know of the answers."""
    warning = _false_alarms(gallery)
    notes = [warning] if warning else []
    if enrolment.several:
        photos = _count(enrolment.several, "photo has", "photos have")
        notes.append(f"gallery: {photos} several faces, of which the largest is enrolled")
    if enrolment.without:
        named = ", ".join(enrolment.without[:NAMED])
        more = len(enrolment.without) - NAMED
        people = _count(len(enrolment.without), "person is", "people are")
        notes.append(
            f"gallery: {people} left out, as no photo of theirs can be used: {named}"
            + (f" and {more:,} more" if more > 0 else "")
        )
    notes += [
        f"{source.part}: left out {_reasons(source.left_out)}"
        for source in sources
        if source.left_out
    ]
    return notes


def _false_alarms(gallery: Gallery) -> str:
    """Return what a FAR means for a gallery of so many faces; "" without one."""
    share, faces = gallery.false_alarms(), len(gallery)
    if share is None:
        return ""
    told = (
        f"a FAR is for one comparison: with {faces:,} enrolled faces, up to 1 - (1 - "
        f"{gallery.far:g})^{faces} = {_of_strangers(share)}"
    )
    if share > MANY:
        told += f"; for {MANY:.0%} it takes --far {1 - (1 - MANY) ** (1 / faces):.0e}"
    return told


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def _of_strangers(share: float) -> str:
    percent = f"{share:.2%}" if share < 0.1 else f"{share:.0%}"
    return f"{percent} of strangers are taken for somebody"


def _reasons(left_out: Sequence[LeftOut]) -> str:
    reasons = Counter(each.reason for each in left_out)
    return ", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common())
