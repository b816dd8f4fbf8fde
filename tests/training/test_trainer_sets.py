"""Training verified on several sets: what is recorded, and what is refused before it begins."""

from __future__ import annotations

import numpy as np
import pytest
from rich.console import Console
from runs import QUIET, STEPS, on_processes, record, resumed

from marginface.data.verification.bin_file import write_bin
from marginface.data.verification.container import write_container
from marginface.data.verification.opening import open_verification
from marginface.errors import MarginfaceError
from marginface.runs.checkpoints import latest_checkpoint, load_checkpoint
from marginface.training.config.files import read_config_file
from marginface.training.config.keys import TrainConfig
from marginface.training.trainer import train

pytestmark = pytest.mark.usefixtures("fake_backend")
FIGURES = ("accuracy", "accuracy_std", "accuracy_at_one_threshold", "auc", "eer")
FIGURES += ("tar@1e-1", "tar@1e-2", "tar@1e-3", "tar@1e-4")


@pytest.fixture
def sets(tmp_path, tiny_faces, pairs_file):
    pairs = open_verification(pairs_file, tiny_faces)
    write_bin(tmp_path / "lfw.bin", pairs)
    lines = [
        f"person_{n}/person_{n}_0001.png person_{m}/person_{m}_0005.png {int(n + m < 3)}"
        for n in range(3)
        for m in range(3)
    ]
    (tmp_path / "list.txt").write_text("\n".join(lines) + "\n")
    write_container(tmp_path / "few.zip", open_verification(tmp_path / "list.txt", tiny_faces))
    return [tmp_path / "lfw.bin", tmp_path / "few.zip"]


def verified(run):
    return [line for line in record(run) if line["kind"] == "verification"]


def test_a_set_in_one_file_is_recorded_as_a_list_of_pairs_is(make, sets, tiny_faces, pairs_file):
    folder = make("folder", val_images=tiny_faces, val_pairs=pairs_file, val_every=10)
    file = make("file", val=[sets[0]], val_every=10)
    for config in (folder, file):
        train(config, console=QUIET)
    assert verified(file.output) == verified(folder.output)
    assert len(verified(file.output)) == 3
    assert set(verified(file.output)[0]) == {
        *("kind", "step", "epoch", "best_accuracy", "threshold", *FIGURES),
    }


def test_several_sets_are_recorded_by_name_and_as_their_mean(make, sets, capsys):
    config = make(val=",".join(map(str, sets)), val_every=10)
    result = train(config, console=Console(stderr=True, width=200))
    lines = verified(config.output)
    assert [line["step"] for line in lines] == [10, 20, STEPS]
    for line in lines:
        for key in FIGURES:
            assert line[key] == np.mean([line[f"lfw/{key}"], line[f"few/{key}"]])
    assert any(line["lfw/accuracy"] != line["few/accuracy"] for line in lines)
    assert result.best_accuracy == max(line["accuracy"] for line in lines)
    saved = load_checkpoint(latest_checkpoint(config.output / "checkpoints")).extra["progress"]
    assert saved["best_accuracy"] == result.best_accuracy
    last = lines[-1]
    said = f"lfw {last['lfw/accuracy']:.2%}  few {last['few/accuracy']:.2%}"
    assert said in capsys.readouterr().err
    assert TrainConfig(**read_config_file(config.output / "config.yaml")) == config


def test_sets_beside_a_list_of_pairs(make, sets, tiny_faces, pairs_file):
    config = make(val=[sets[1]], val_images=tiny_faces, val_pairs=pairs_file)
    train(config, console=QUIET)
    assert {"few/auc", "pairs/auc"} <= set(verified(config.output)[0])


def test_a_resumed_run_may_be_verified_on_other_sets(make, sets):
    config = make(val=[sets[0]])
    train(config, console=QUIET)
    train(resumed(config, val=str(sets[1]), max_steps=STEPS + 4), resume=True, console=QUIET)
    assert verified(config.output)[-1]["step"] == STEPS + 4


def test_processes_verify_together(make, fake_backend, sets):
    config = make("several", val=sets, val_every=10, processes=2)
    on_processes(fake_backend, 2, lambda _: train(config, console=QUIET))
    alone = make("alone", val=sets, val_every=10)
    train(alone, console=QUIET)
    several, one = verified(config.output), verified(alone.output)
    assert [line["lfw/auc"] for line in several] == pytest.approx([line["lfw/auc"] for line in one])
    assert len(several) == 3


def test_bad_sets_end_a_run_before_it_begins(make, sets, tiny_faces, tmp_path):
    sets[0].write_bytes(b"cposix\nsystem\n(S'echo'\ntR.")
    for values, message in (
        ({"val": sets}, "asks for posix.system"),
        ({"val": [tmp_path / "none.bin"]}, "no such file or folder: .*none.bin"),
        ({"val": [sets[1]], "val_images": tiny_faces}, "leave the images .* out"),
        ({"val": [tmp_path / "list.txt"]}, "give them, too .*--images; .*val_images"),
        ({"val": [sets[1], sets[1]]}, "given 2 times"),
    ):
        config = make(**values)
        with pytest.raises(MarginfaceError, match=message):
            train(config, console=QUIET)
        assert not config.output.exists()


def test_the_key_takes_commas_and_lists(make, tmp_path):
    expected = tuple(tmp_path / name for name in ("a.bin", "b.bin", "c.bin"))
    texts = [str(path) for path in expected]
    assert make(val=", ".join(texts)).val == expected
    assert make(val=[f"{texts[0]},{texts[1]}", texts[2]]).val == expected
    assert make(val="").val == make().val == ()
    with pytest.raises(MarginfaceError, match="val_images is given without val_pairs"):
        make(val_images=tmp_path)
    with pytest.raises(MarginfaceError, match="val_pairs is given without val_images"):
        make(val_pairs=tmp_path, val=texts)
