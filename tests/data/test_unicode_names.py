"""One person's name in two Unicode forms: sets that moved to another system, people told apart."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pyarrow.parquet as pq
import pytest
from packing_faces import write_faces
from pair_sets import Memory
from record_files import pack

from marginface.data.formats.folder import open_folder
from marginface.data.formats.record_index import make_index
from marginface.data.listing import listing
from marginface.data.opening import open_images
from marginface.data.sources import OpenOptions
from marginface.data.verification.folds import usual_folds
from marginface.data.verification.pairs import Pairs
from marginface.embeddings.files import embeddings_table
from marginface.errors import MarginfaceError
from marginface.report.collect import identities

PEOPLE = ["Jos\u00e9", "Josf", "\u0141uk\u00e1\u0161", "\u1eadn", "\uac00\ub098"]
SIDE = 12


@pytest.fixture
def said(cli):
    """Run a command; return what it prints, or the line that it ends with."""

    def run(*arguments: object) -> str:
        done = cli(*arguments)
        assert done.status in (0, 2), done
        return done.stderr.splitlines()[-1] if done.status else done.stdout

    return run


@pytest.fixture
def composed(tmp_path) -> Path:
    return write_faces(tmp_path / "composed", dict.fromkeys(PEOPLE, 2), SIDE)


@pytest.fixture
def apart(tmp_path, composed) -> Path:
    """Return the same images as a system keeps them that takes characters apart."""
    root = tmp_path / "apart"
    for path in composed.rglob("*.*"):
        new = root / normalize("NFD", path.relative_to(composed).as_posix())
        new.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, new)
    named = [path.name for path in sorted(root.iterdir(), key=lambda path: path.name)]
    assert [normalize("NFC", name) for name in named] != sorted(PEOPLE)  # sorts otherwise
    return root


@pytest.fixture
def both(composed, apart, tmp_path) -> Path:
    """Return a folder of one person in both forms, and of others."""
    root = tmp_path / "both"
    for source, person in ((composed, PEOPLE[0]), (apart, normalize("NFD", PEOPLE[0]))):
        shutil.copytree(source / person, root / person)
    shutil.copytree(composed / "Josf", root / "Josf")
    return root


def test_a_set_is_the_same_in_either_form(composed, apart, tmp_path) -> None:
    one, other = (
        open_folder(root, OpenOptions(check=True, size=(SIDE, SIDE))) for root in (composed, apart)
    )
    assert [normalize("NFC", name) for name in other.identities] == [*one.identities]
    assert [normalize("NFC", name) for name in other.paths] == [*one.paths]
    assert all((other.root / path).is_file() for path in other.paths)
    assert other.labels.tolist() == one.labels.tolist()
    assert open_folder(apart).labels.tolist() == one.labels.tolist()
    assert other.fingerprint() == one.fingerprint()
    for name in ("a.rec", "a.tfrecord"):
        packed = open_images(pack(apart, tmp_path / name, (SIDE, SIDE)), size=(SIDE, SIDE))
        assert packed.fingerprint() == one.fingerprint()


def test_one_person_in_both_forms_is_refused_where_people_are_told_apart(
    both, tmp_path, said
) -> None:
    told = f"{normalize('NFD', PEOPLE[0])!a} and {PEOPLE[0]!a}, which look alike"
    for name in ("a.rec", "a.tfrecord", "again"):  # packing is how a record file is mended
        assert "3 identities" in said("data", "pack", both, tmp_path / name)
    for source in (both, tmp_path / "a.rec", tmp_path / "a.tfrecord"):
        assert told in said("data", "split", source, "--output", tmp_path / "parts")
        assert told in said("data", "subset", source, tmp_path / "part")
        with pytest.raises(MarginfaceError, match="which look alike"):
            open_images(source, size=(SIDE, SIDE))
        found = said("data", "inspect", source, "--json", tmp_path / "found.json")
        assert "one name in two Unicode forms" in found
        (each,) = json.loads((tmp_path / "found.json").read_text())["sets"]
        assert each["identities_in_two_unicode_forms"] == [[normalize("NFD", PEOPLE[0]), PEOPLE[0]]]
        (tmp_path / "found.json").unlink()
    again = tmp_path / "again"
    for number, path in enumerate((again / normalize("NFD", PEOPLE[0])).iterdir()):
        path.rename(again / PEOPLE[0] / f"moved_{number}.png")
    path.parent.rmdir()
    assert len(open_images(again, size=(SIDE, SIDE)).identities) == 2


def test_leakage_is_found_in_any_form(composed, apart, tmp_path, said) -> None:
    pack(apart, tmp_path / "a.rec", (SIDE, SIDE))
    people = [normalize("NFD", name) for name in PEOPLE]
    lines = [f"{name}\t1\t2\n" for name in people]
    lines += [
        f"{one}\t1\t{other}\t1\n"
        for one, other in zip(people, [*people[1:], people[0]], strict=True)
    ]
    (tmp_path / "pairs.txt").write_text("5\n" + "".join(lines), encoding="utf-8")
    said("data", "pack", composed, tmp_path / "a.zip", "--pairs", tmp_path / "pairs.txt")
    for second in (apart, tmp_path / "a.rec", tmp_path / "a.zip"):
        found = tmp_path / "found.json"
        said("data", "inspect", composed, second, "--json", found)
        (both,) = json.loads(found.read_text())["shared"]
        assert both["identities"] == sorted(PEOPLE)
        assert len(both["images"]) == 10
        found.unlink()


def embedded(path: Path, images: dict[str, int]) -> Path:
    """Write embeddings: those of one person point the same way, each of another length."""
    values = np.eye(8, dtype=np.float32)[list(images.values())]
    values *= 1 + np.arange(len(values), dtype=np.float32)[:, None]
    if path.suffix == ".npz":
        np.savez(path, path=np.array([*images]), embedding=values)
    else:
        pq.write_table(embeddings_table([*images], values), path)
    return path


@pytest.fixture(params=["e.parquet", "e.npz"])
def embeddings(request, tmp_path) -> Path:
    names = [
        (f"{normalize('NFD', who)}/{n}.jpg", at) for at, who in enumerate(PEOPLE) for n in "12"
    ]
    extra = {"bo/1.jpg": 5, "bo/1.5.jpg": 6, "two/1.jpg": 7, "two/1.png": 7}
    return embedded(tmp_path / request.param, dict(names) | extra)


def test_identify_finds_people_and_images_in_any_form(embeddings, tmp_path, said) -> None:
    gallery, probes = tmp_path / "gallery.txt", tmp_path / "probes.txt"
    out = tmp_path / "out"

    def metrics(first: list[str], second: list[str]) -> dict[str, float] | str:
        gallery.write_text("".join(f"{name}\n" for name in first), encoding="utf-8")
        probes.write_text("".join(f"{name}\n" for name in second), encoding="utf-8")
        options = ("--gallery", gallery, "--probes", probes, "--output", out)
        printed = said("identify", "--embeddings", embeddings, *options)
        if "error" in printed:
            return printed
        found = json.loads((out / "metrics.json").read_text())
        shutil.rmtree(out)
        return {name: found[name] for name in ("mated_probes", "subjects")} | found["rank"]

    every = {"mated_probes": 5, "subjects": 5, "1": 1.0, "5": 1.0, "10": 1.0}
    apart = [normalize("NFD", name) for name in PEOPLE]
    assert metrics([f"{p}/1.jpg" for p in PEOPLE], [f"{p}/2.jpg" for p in PEOPLE]) == every
    assert metrics([f"{p}/1.jpg" for p in apart], [f"{p}/2.jpg" for p in PEOPLE]) == every
    assert metrics([f"{p}/1" for p in PEOPLE], [f"{p}/2" for p in apart]) == every
    told = (
        [f"{a}/1.jpg\t{a}" for a in apart],
        [f"{a}/2.jpg\t{p}" for a, p in zip(apart, PEOPLE, strict=True)],
    )
    assert metrics(*told) == every
    assert metrics(["bo/1.5\tbob", "bo/1\tann"], [f"{PEOPLE[0]}/1\tann"])["mated_probes"] == 1
    assert "'two/1' may be two/1.jpg or two/1.png" in metrics(["two/1"], ["bo/1"])
    assert "is both in the gallery" in metrics([f"{PEOPLE[0]}/1"], [f"{apart[0]}/1.jpg"])
    assert "are both image" in metrics([f"{PEOPLE[0]}/1", f"{apart[0]}/1.jpg"], ["bo/1"])
    assert "no embedding of 1 of 2 images, first bo/1.6" in metrics(["bo/1"], ["bo/1.6\tbo"])


def test_templates_find_media_and_scores_in_any_form(embeddings, tmp_path, said) -> None:
    def metrics(media: list[str], scores: list[str]) -> object:
        (tmp_path / "media.txt").write_text("\n".join(media), encoding="utf-8")
        lines = [f"{name} {' '.join('1' * 10)} {0.5 + at / 20}\n" for at, name in enumerate(scores)]
        (tmp_path / "scores.txt").write_text("".join(lines), encoding="utf-8")
        (tmp_path / "pairs.txt").write_text("0 1 1\n0 2 0\n1 3 0\n2 3 1\n")
        files = [f(x) for x in ("media", "scores", "pairs") for f in ("--{}".format, named)]
        out = tmp_path / "out"
        printed = said("templates", "--embeddings", embeddings, *files, "--output", out)
        if "error" in printed:
            return printed
        found = json.loads((out / "metrics.json").read_text())
        shutil.rmtree(out)
        return found

    def named(kind: str) -> Path:
        return tmp_path / f"{kind}.txt"

    whole = [f"{normalize('NFD', who)}/{n}.jpg" for who in PEOPLE[:4:3] for n in "12"]
    forms = [name.removesuffix(".jpg") for name in whole], [normalize("NFC", n) for n in whole]
    expected = metrics([f"{name} {at} 1" for at, name in enumerate(whole)], whole)
    for listed in forms:
        for scored in (whole, forms[1]):
            assert metrics([f"{name} {at} 1" for at, name in enumerate(listed)], scored) == expected
    assert "have no detector score, first" in metrics([f"{whole[0]} 0 1"], whole[1:])
    twice = [f"{whole[0]} 0 1", f"{forms[1][0]} 0 1"]
    assert "is in template 0 under two names" in metrics(twice, whole)
    assert "may be two/1.jpg or two/1.png" in metrics(["two/1 0 1"], whole)


def test_a_record_files_person_may_be_named_in_both_forms() -> None:
    names = [(PEOPLE[0], "1.jpg"), (normalize("NFD", PEOPLE[0]), "2.jpg"), ("Josf", "1.jpg")]
    index = make_index(np.arange(3), np.arange(3), np.array([4, 4, 7]), names)
    assert index.identities == (PEOPLE[0], "Josf")


def test_a_report_knows_a_person_in_both_forms() -> None:
    first = (f"{PEOPLE[0]}/1.jpg", f"{PEOPLE[0]}/1.jpg")
    second = (f"{normalize('NFD', PEOPLE[0])}/2.jpg", "Josf/1.jpg")
    found = identities(
        Pairs(
            Memory({}), first, second, np.array([True, False]), usual_folds(np.array([True, False]))
        )
    )
    assert {*found.values()} == {PEOPLE[0], "Josf"}


def test_a_verification_set_counts_a_person_in_both_forms_once() -> None:
    first = (f"{PEOPLE[0]}/1.jpg", f"{PEOPLE[0]}/1.jpg")
    second = (f"{normalize('NFD', PEOPLE[0])}/2.jpg", "Josf/1.jpg")
    same = np.array([True, False])
    assert listing(Pairs(Memory({}), first, second, same, usual_folds(same))).identities == (
        "Josf",
        PEOPLE[0],
    )
