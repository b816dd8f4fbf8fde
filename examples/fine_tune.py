"""From public weights and crops of 20 people to a model of one's own, compared with the weights.

    python examples/fine_tune.py       # draws faces, and trains weights to start from
    python examples/fine_tune.py --init backbone.pth --backbone iresnet50 \
        --people crops/ --others lfw/ --pairs lfw/pairs.txt --freeze stem,layer1,layer2

People are aligned crops, as `marginface data align` makes them, in a folder for each person. Others
are faces that have nothing to do with them: they show what the model forgets. The new folder
fine_tuned then has both models, before.onnx and tuned.onnx, and the run.
"""

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any

from drawn_faces import SIDE, draw_photos
from PIL import Image

import marginface as mf
from marginface.data.listing import open_training_set
from marginface.data.subsets import split, write_split
from marginface.data.verification.pair_drawing import draw_pairs

Figures = dict[str, dict[str, float]]


def hold_out(people: Path, output: Path, pairs: int) -> dict[str, Path]:
    """Hold out 3 of 10 people, whom no training sees; return where their images and pairs are."""
    images = open_training_set(people)
    parts = split(images, 0.3)
    write_split(images, parts, output, pairs=draw_pairs(images, parts[1], pairs))
    return {"images": output / "validation", "pairs": output / "pairs.txt"}


def fine_tune(
    init: Path, people: Path, held_out: dict[str, Path], run: Path, lr: float = 0.003, **keys: Any
) -> Path:
    """Train on people as long as it helps with those held out; return the run."""
    result = mf.train(
        data=people,
        output=run,
        recipe="small-set",
        init=init,
        init_head="centers",  # a person's class weight starts as the mean of their images
        frozen_statistics=True,  # BatchNorm keeps those of thousands of people
        lr=lr,
        lr_factor={"backbone": 0.3, "head": 1},  # what is known moves less than what is new
        **held_out,
        keep_best="auc",  # accuracy may be 100 % from the start
        stop_after=5,
        **keys,
    )
    print(result)
    return result.run


def compare(model: Path, photos: list[Path], others: dict[str, Path]) -> float:
    """Say whether two photos show one person; return the cosine."""
    # The same cosine means something else to each model, so each has a threshold of its own.
    [measured] = mf.evaluate(model, **others, flip=False)
    threshold = measured.result.tar_at_far_threshold["1e-2"]
    one, other = mf.load(model).embed(photos)
    cosine = float(one @ other / (one @ one * (other @ other)) ** 0.5)
    answer = "the same person" if cosine >= threshold else "two people"
    print(
        f"{model.stem}: {answer}, cosine {cosine:.2f}; {threshold:.2f} lets 1 in 100 strangers in"
    )
    return cosine


def main(
    output: Path,
    init: Path,
    people: Path,
    others: dict[str, Path],
    network: dict[str, Any],
    freeze: str,
    pairs: int = 600,
    **keys: Any,
) -> Figures:
    """Fine-tune, export, compare; return what was measured of both models.

    Args:
        output: a new folder.
        init: the weights to start from.
        people: a folder of crops for each.
        others: `images` and `pairs` of other people.
        network: whose weights these are, and how it takes images.
        freeze: its parts that do not learn: the first layers, which serve all faces.
        pairs: number of pairs of people held out, some multiple of 20.
        keys: of the training, besides.
    """
    output.mkdir(parents=True)
    held_out = hold_out(people, output / "people", pairs)
    before = mf.export(output / "before.onnx", weights=init, **network)
    run = fine_tune(
        init,
        output / "people" / "train",
        held_out,
        output / "run",
        freeze=freeze,
        **network,
        **keys,
    )
    tuned = mf.export(output / "tuned.onnx", model=run, checkpoint="best")

    models = [before, tuned]
    figures: Figures = {model.stem: {} for model in models}
    for name, where in {"people held out": held_out, "others": others}.items():
        results = mf.evaluate(models, **where)
        print(f"\nOn {name}:", results, sep="\n")
        for model, each in zip(models, results, strict=True):
            figures[model.stem][name] = each.result.accuracy
    photos = sorted(held_out["images"].glob("*/*"))[:2]  # of one person
    for model in models:
        figures[model.stem]["cosine"] = compare(model, photos, others)
    return figures


def on_drawn_faces(output: Path, backend: str = "torch", epochs: int = 12) -> Figures:
    """Draw people, train weights on some of them, and go on from there with others."""
    for seed, name in enumerate(("known", "own", "others")):
        for number, photo in enumerate(draw_photos(people=20, pictures=8, seed=seed)):
            person = output / name / f"person_{number // 8:02d}"
            person.mkdir(parents=True, exist_ok=True)
            Image.fromarray(photo).save(person / f"{number % 8}.png")
    network = {"backbone": "mobilefacenet", "embedding_size": 64, "input_size": (SIDE, SIDE)}
    quick = {"backend": backend, "batch_size": 16, "compile": "off"}
    public = mf.train(
        data=output / "known",
        output=output / "public",
        recipe="small-set",
        epochs=epochs,
        **network,
        **quick,
    )
    return main(
        output / "tuned",
        mf.export(output / "public.onnx", model=public.run),
        output / "own",
        hold_out(output / "others", output / "others_parts", pairs=200),
        network,
        freeze="stem,blocks",
        pairs=200,
        lr=0.02,  # for these weights have still much to learn
        epochs=max(1, epochs // 3),
        **quick,
    )


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("fine_tuned"))
    parser.add_argument("--backend", choices=["torch", "tf"], default="torch")
    for name in ("people", "others", "pairs", "init"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--backbone", default="iresnet50")
    parser.add_argument("--embedding-size", type=int, default=512)
    parser.add_argument("--input-size", default="112,112")
    parser.add_argument("--crop")
    parser.add_argument("--std", default="127.5")
    parser.add_argument("--freeze", default="stem,layer1,layer2")
    given = parser.parse_args()
    if given.init is None:
        on_drawn_faces(given.output, given.backend)
    else:
        keys = ("backbone", "embedding_size", "input_size", "crop", "std")
        main(
            given.output,
            given.init,
            given.people,
            {"images": given.others, "pairs": given.pairs},
            {name: getattr(given, name) for name in keys},
            given.freeze,
            backend=given.backend,
        )
