import os
import re
import shutil
import signal
import subprocess
import sys

import pytest
import typer
import yaml
from PIL import Image

from marginface import __version__
from marginface.cli.app import COMMANDS
from marginface.cli.lazy import load_command
from marginface.losses import names
from marginface.runs.checkpoints import latest_checkpoint
from marginface.training.config.keys import TrainConfig


@pytest.fixture
def train_options(tiny_faces, tmp_path):
    return [
        *("train", "--data", tiny_faces, "--output", tmp_path / "run"),
        *("--backbone", "mobilefacenet", "--embedding-size", 4, "--batch-size", 4),
        *("--max-steps", 8),
    ]


def changed(options, *given):
    """Return options and their values with others in place of some."""
    command, *rest = options
    pairs = zip(rest[::2], rest[1::2], strict=True)
    return [command, *(word for pair in pairs if pair[0] not in given for word in pair), *given]


def test_help_lists_every_command(cli):
    status, out, _ = cli("--help")
    assert status == 0
    for name, summary in COMMANDS.items():
        assert re.search(rf"{name}\s+{re.escape(summary)}", out)


@pytest.mark.parametrize("group", [(), ("bench",), ("data",)])
def test_a_group_alone_says_what_there_is_and_is_no_error(cli, group):
    alone = cli(*group)
    assert (alone.status, alone.stderr) == (0, "")
    assert alone.stdout.strip() == cli(*group, "--help").stdout.strip()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_exists_and_has_help(cli, name):
    found = load_command("marginface.cli", name)
    assert isinstance(found, typer.Typer) or found.__name__ == name
    status, out, _ = cli(name, "--help")
    assert status == 0
    assert f"marginface {name}" in out


@pytest.mark.parametrize("name", ["train", "evaluate", "embed"])
def test_the_help_of_a_narrow_terminal_cuts_no_option(cli, name):
    wide, narrow = (cli(name, "--help", columns=columns).stdout for columns in (200, 40))
    options = re.findall(r"(?<=│ )[ *]*(--[a-z-]+)", wide)
    assert len(options) > 5
    assert all(re.search(rf"{option}[ ,\n]", narrow) for option in options)
    assert "…" not in narrow
    assert ("--model,--run" if name != "train" else "--init,--init-weights") in wide


def test_version(cli):
    assert cli("--version") == (0, f"marginface {__version__}\n", "")


@pytest.mark.parametrize(
    ("name", "nearest"), [("trian", "; did you mean 'train'?"), ("frobnicate", "")]
)
def test_an_unknown_command_names_the_nearest_and_where_all_are(cli, name, nearest):
    status, out, err = cli(name)
    assert (status, out) == (2, "")
    start = f"marginface: error: unknown command '{name}'{nearest} (nearest of {len(COMMANDS)}: "
    assert err.startswith(start)
    named, _, where = err.removeprefix(start).partition("; ")
    assert len(set(named.split(", ")) & set(COMMANDS)) == 5
    assert where == "marginface --help lists all)\n"


def test_many_known_names_are_cut_to_the_nearest_five(cli):
    status, _, err = cli("losses", "arcfase")
    assert status == 2
    assert err == (
        "marginface: error: unknown loss 'arcfase'; did you mean 'arcface'? (nearest of "
        f"{len(names())}: arcface, arcnegface, li_arcface, adaface, cosface; marginface losses "
        "lists all)\n"
    )


def test_pairs_are_named_in_training_as_where_they_are_verified(cli, train_options):
    for kind in ("images", "pairs"):
        refused = {cli(*train_options, f"--{each}{kind}", "nowhere") for each in ("", "val-")}
        assert len(refused) == 1
        assert f"val_{kind} is given without" in refused.pop().stderr


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        (("train", "--epocs", 3), "'--epocs'; did you mean '--epochs'?"),
        (("train", "--resumee"), "'--resumee'; did you mean '--resume'?"),
        (("embed", "--modle", "x"), "'--modle'; did you mean '--model'?"),
        (("train", "--frobnicate", 1), "'--frobnicate'; see marginface train --help"),
    ],
)
def test_an_unknown_option_names_the_nearest(cli, arguments, nearest):
    assert cli(*arguments) == (2, "", f"marginface: error: unknown option {nearest}\n")


def test_every_configuration_key_is_an_option_with_its_help(cli):
    status, out, _ = cli("train", "--help")
    assert status == 0
    for name, field in TrainConfig.model_fields.items():
        assert re.search(rf"--{name.replace('_', '-')}[ ,]", out), name
        first_words = " ".join(str(field.description).split()[:3]).rstrip(".;,")
        assert first_words in out, name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--loss", "arcfase"], "unknown loss 'arcfase'; did you mean 'arcface'?"),
        (["--backbone", "iresnet51"], "unknown backbone 'iresnet51'; did you mean 'iresnet50'?"),
        (["--recipe", "small"], "unknown recipe 'small'; did you mean 'small-set'?"),
        (["--lr", "-1"], "lr must be greater than 0, got '-1'"),
        (["--lr", "fast"], "lr must be a number, got 'fast'"),
        (["--data", "nowhere"], "nowhere"),
        (["--config", "nowhere.yaml"], "cannot read the config file nowhere.yaml: No such file"),
        (["--num-classes", 9], "num_classes is 9, but"),
        (["--resume"], "cannot resume: "),
        (["--skip-bad=yes"], "Option '--skip-bad' does not take a value."),
        (["--resize", "stretch"], "unknown resize 'stretch' (known: fit, letterbox, squeeze)"),
        (["--lr"], "Option '--lr' requires an argument."),
    ],
)
@pytest.mark.usefixtures("fake_backend")
def test_what_the_user_can_mend_is_one_line_and_status_2(
    cli, train_options, tmp_path, options, message
):
    status, out, err = cli(*changed(train_options, *options))
    assert (status, out) == (2, "")
    assert err.startswith("marginface: error: ")
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_an_unknown_backend_names_the_nearest(cli, train_options, tmp_path):
    status, _, err = cli(*train_options, "--backend", "tff")
    assert status == 2
    assert err.startswith("marginface: error: unknown backend 'tff'; did you mean 'tf'?")
    assert not (tmp_path / "run").exists()


def test_file_and_options_train_a_model(cli, train_options, tmp_path, fake_backend):
    file = tmp_path / "config.yaml"
    file.write_text("loss: combined_margin\nbatch_size: 6\nlr: 0.01\nresize: true\n")
    options = ["--config", file, "--loss-parameters", "m3=0.1", "--no-resize", "--augment", ""]
    status, _, err = cli(*train_options, *options, "--mean", "1,2,3")
    assert status == 0, err
    written = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert written["loss_parameters"]["m3"] == 0.1
    assert (written["batch_size"], written["lr"], written["resize"]) == (4, 0.01, False)
    assert (written["augment"], written["mean"]) == ([], [1.0, 2.0, 3.0])
    assert fake_backend.created.loss.m3 == 0.1
    assert "finished 8 steps" in err


@pytest.mark.usefixtures("fake_backend")
def test_skipped_images_are_named_and_counted(cli, train_options, tiny_faces, tmp_path):
    shutil.copytree(tiny_faces, tmp_path / "faces")
    (tmp_path / "faces" / "person_0" / "odd.png").write_bytes(b"no image")
    Image.new("RGB", (96, 112)).save(tmp_path / "faces" / "person_1" / "small.png")
    options = changed(train_options, "--data", tmp_path / "faces")
    status, _, err = cli(*options)
    assert status == 2
    assert "2 of 26 images in" in err
    status, _, err = cli(*options, "--skip-bad")
    assert status == 0
    assert "skipped person_0/odd.png: cannot read the image" in err
    assert "skipped person_1/small.png: the image is 112x96" in err
    assert "skipped 2 bad images in all" in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_says_how_to_go_on_and_sets_the_status(
    cli, train_options, tmp_path, fake_backend, number
):
    def prepare(learner):
        learner.on_step = lambda step: os.kill(os.getpid(), number) if step == 5 else None

    fake_backend.prepare = prepare
    status, _, err = cli(*train_options)
    assert status == 128 + number
    again = re.search(r"continue: marginface (train --output \S+ --resume)", err)
    assert again, err
    assert "stopped at step 5, saved " in err
    assert latest_checkpoint(tmp_path / "run" / "checkpoints").name == "step-00000005"

    fake_backend.prepare = lambda _: None
    status, _, err = cli(*again[1].split(), "--backend", "tf")
    assert status == 0
    assert "resuming at step 5" in err
    assert latest_checkpoint(tmp_path / "run" / "checkpoints").name == "step-00000008"


def test_a_second_run_in_the_same_folder_is_refused(cli, train_options, fake_backend):
    assert cli(*train_options)[0] == 0
    assert fake_backend.learner.steps == 8
    status, _, err = cli(*train_options)
    assert status == 2
    assert "already holds a run; continue it with --resume, or choose another --output" in err


@pytest.mark.usefixtures("fake_backend")
def test_resuming_as_another_run_is_refused(cli, train_options):
    assert cli(*train_options)[0] == 0
    status, _, err = cli(*changed(train_options, "--batch-size", 6), "--resume")
    assert status == 2
    assert "cannot change batch_size (4 to 6); leave that out (--config too, the run has" in err


@pytest.mark.usefixtures("fake_backend")
def test_a_run_is_resumed_for_more_steps_only(cli, train_options, tmp_path):
    assert cli(*train_options)[0] == 0
    file = tmp_path / "run" / "config.yaml"
    before = file.read_bytes()
    again = ["train", "--output", tmp_path / "run", "--resume"]
    for length in (["--max-steps", 3], ["--epochs", 1], ["--max-steps", 3, "--processes", 2]):
        status, out, err = cli(*again, *length)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert "has taken 8 steps already, but" in err
    status, out, err = cli(*again)
    assert (status, out, err.count("\n")) == (0, "", 1)
    assert err.startswith("nothing left to do: all 8 steps of ")
    assert file.read_bytes() == before
    status, _, err = cli(*again, "--max-steps", 16, "--lr", 0.05)
    assert status == 0
    assert "learning rate at step 8: 0.025, was 0.0125 at step 7, the last; now poly" in err
    assert yaml.safe_load(file.read_text())["lr"] == 0.05


@pytest.mark.usefixtures("fake_backend")
def test_several_sets_are_given_by_options_or_in_a_file(cli, train_options, tiny_faces, tmp_path):
    more = shutil.copytree(tiny_faces / "person_0", tmp_path / "more" / "person_0").parent
    assert cli(*train_options, "--data", more)[0] == 0
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config["data"] == [str(tiny_faces), str(more)]
    names = (tmp_path / "run" / "identities.txt").read_text().split()
    assert names == [*(f"faces/person_{number}" for number in range(3)), "more/person_0"]
    file = tmp_path / "train.yaml"
    file.write_text(yaml.safe_dump({**config, "output": str(tmp_path / "other")}))
    assert cli("train", "--config", file, "--join-identities")[0] == 0
    names = (tmp_path / "other" / "identities.txt").read_text().split()
    assert names == ["person_0", "person_1", "person_2"]


@pytest.mark.usefixtures("fake_backend")
def test_a_disk_error_is_one_line(cli, train_options, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", "run/config.yaml")

    monkeypatch.setattr("marginface.training.trainer.record_start", refuse)
    status, _, err = cli(*train_options)
    assert (status, err) == (2, "marginface: error: run/config.yaml: Permission denied\n")


@pytest.fixture
def launched(monkeypatch):
    """Record what would be launched, which then ends with status 3."""
    calls = []
    monkeypatch.setattr("marginface.cli.train.launch", lambda *given: calls.append(given) or 3)
    return calls


def test_several_processes_are_launched_with_the_same_options(
    cli, train_options, launched, tmp_path
):
    options = [*map(str, train_options), "--processes", "2"]
    assert cli(*options) == (3, "", "")
    ((command, count, output),) = launched
    assert command[0] == sys.executable
    assert command[-len(options) :] == options
    assert (count, output) == (2, tmp_path / "run")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--processes", 3], "batch_size 4 cannot be shared evenly by 3 processes"),
        (["--processes", 2, "--loss", "arcfase"], "unknown loss 'arcfase'"),
        (["--processes", 2, "--resume"], "cannot resume: "),
        (["--processes", 0], "processes must be greater than or equal to 1"),
    ],
)
def test_nothing_is_launched_for_a_run_that_cannot_work(
    cli, train_options, launched, options, message
):
    status, _, err = cli(*train_options, *options)
    assert (status, launched, err.count("\n")) == (2, [], 1)
    assert message in err


@pytest.mark.usefixtures("fake_backend")
def test_a_resumed_run_has_its_number_of_processes_unless_another_is_given(
    cli, train_options, launched, tmp_path
):
    assert cli(*changed(train_options, "--max-steps", 4))[0] == 0
    file = tmp_path / "run" / "config.yaml"
    file.write_text(file.read_text().replace("processes: 1", "processes: 2"))
    again = ["train", "--output", tmp_path / "run", "--resume"]
    assert cli(*again)[0] == 3
    assert cli(*again, "--processes", 4)[0] == 3
    assert [count for _, count, _ in launched] == [2, 4]
    assert cli(*again, "--processes", 1, "--max-steps", 8)[0] == 0
    assert yaml.safe_load(file.read_text())["processes"] == 1


@pytest.mark.usefixtures("fake_backend")
def test_the_environment_decides_how_many_processes_there_are(
    cli, train_options, launched, monkeypatch
):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    status, _, err = cli(*train_options, "--processes", 2)
    assert status == 2
    assert "processes is 2, but the environment names 1 (WORLD_SIZE); leave processes out" in err
    assert cli(*train_options, "--processes", 1)[0] == 0
    monkeypatch.setenv("WORLD_SIZE", "3")
    status, _, err = cli(*train_options, "--resume")
    assert status == 2
    assert "batch_size 4 cannot be shared evenly by 3 processes" in err
    assert launched == []


def test_what_ends_all_processes_is_said_by_one(train_options, tmp_path):
    options = [*map(str, train_options), "--processes", "2", "--backend", "tff"]
    command = [sys.executable, "-m", "marginface.cli.main", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("marginface: error: unknown backend 'tff'; did you mean 'tf'?")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()
