"""`marginface bench`: what each prints, writes and refuses."""

import json
import math
from dataclasses import asdict

import numpy as np
import pytest
from PIL import Image

from marginface.benchmarking import interleave, ratios
from marginface.benchmarking.comparing import ratio_interval
from marginface.benchmarking.cost import Cost
from marginface.benchmarking.files import read_costs
from marginface.benchmarking.losses import measure, parse_sizes


@pytest.mark.parametrize("backend", ["torch", "tf"])
def test_what_is_measured(cli, tmp_path, backend):
    pytest.importorskip({"torch": "torch", "tf": "tensorflow"}[backend])
    status, out, _ = cli(
        "bench",
        *("losses", "--backend", backend, "--losses", "arcface,adaface", "--sizes", "4x30"),
        *("--rounds", 2, "--output", tmp_path / "out"),
    )
    assert status == 0
    assert f"{backend}, batch 4, 30 classes" in out
    record = json.loads((tmp_path / "out" / "losses.json").read_text())
    assert [cost["name"] for cost in record["costs"]] == ["normface", "arcface", "adaface"]
    for cost in record["costs"]:
        assert len(cost["seconds"]) == 2
        assert all(0 < each < 60 for each in cost["seconds"])
        middle, low, high = cost["to_base"]
        assert 0 < low <= middle <= high
    assert record["costs"][0]["to_base"] == [1, 1, 1]
    assert all(cost["memory"] is None for cost in record["costs"])  # minutes, so by --memory alone
    assert record["machine"]["cores"] >= 1
    table = (tmp_path / "out" / "losses.md").read_text("utf-8")
    assert f"**{backend}, batch 4, 30 classes**" in table
    assert "| arcface | " in table
    assert np.asarray(Image.open(tmp_path / "out" / "losses.png").convert("RGB")).std() > 10


def test_alone_it_says_what_there_is(cli):
    _, out, err = cli("bench")
    for name in ("losses", "heads", "data", "step", "export", "compare"):
        assert f" {name} " in out + err


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (
            ("heads", "--backend", "torch", "--sizes", "4x50", "--threads", 1),
            ["blocks", "one block", "bfloat16", "update inside", "sampled 0.1"],
        ),
        (
            ("heads", "--backend", "tf", "--sizes", "4x50"),
            ["blocks", "one block", "bfloat16", "update inside", "sampled 0.1"],
        ),
        (("data", "--batch-size", 8), ["decoder alone", "as given", ".rec", ".tfrecord"]),
        (
            ("step", "--backend", "torch", "--backbones", "mobilefacenet", "--batch-size", 2),
            ["mobilefacenet"],
        ),
        (
            ("export", "--backend", "torch", "--threads", 1),
            ["graph for any", "graph for a CPU", "framework"],
        ),
    ],
    ids=lambda value: "-".join(map(str, value[:3])) if isinstance(value, tuple) else "",
)
def test_every_bench_writes_what_it_measured(cli, tmp_path, arguments, names):
    if "torch" in arguments:
        pytest.importorskip("torch")
    elif "tf" in arguments:
        pytest.importorskip("tensorflow")
    status, out, error = cli("bench", *arguments, "--rounds", 2, "--output", tmp_path / "out")
    assert status == 0, error
    bench = arguments[0]
    record = read_costs(tmp_path / "out" / f"{bench}.json")
    assert list(dict.fromkeys(cost.name for cost in record.costs)) == names
    assert record.base == names[0]
    for cost in record.costs:
        assert len(cost.seconds) == len(cost.base_seconds) == 2
        assert f"{cost.backend}, {cost.case}" in out
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {f"{bench}.md", f"{bench}.png"}


COSTS = (
    '{"machine": {}, "base": "blocks", "costs": [{"backend": "torch", "name": "blocks", '
    '"case": "batch 4", "seconds": %s, "base_seconds": %s, "to_base": [1, 1, 1]}]}'
)


def record(path, *costs, base="blocks"):
    path.write_text(
        json.dumps({"machine": {"cores": 2}, "base": base, "costs": [asdict(c) for c in costs]})
    )
    return path


def cost(name, seconds, base_seconds):
    return Cost("torch", name, "batch 4", seconds, base_seconds, (1.0, 1.0, 1.0))


def test_compare_tells_a_rival_from_the_machine(cli, tmp_path):
    rng = np.random.default_rng(0)
    base = rng.uniform(0.9, 1.1, 9)
    old = record(
        tmp_path / "old.json",
        *(cost("blocks", [*base], [*base]), cost("half", [*base], [*base])),
        cost("twice", [*base], [*base]),
        cost("same", [*(base * 3)], [*base]),
    )
    slow = base * 2  # a machine of half the speed
    new = record(
        tmp_path / "new.json",
        *(cost("blocks", [*slow], [*slow]), cost("half", [*(slow / 2)], [*slow])),
        cost("twice", [*(slow * 2)], [*slow]),
        cost("same", [*(slow * 3)], [*slow]),
    )
    status, out, error = cli("bench", "compare", old, new)
    assert status == 0, error
    rows = {line.split()[0]: line.split() for line in out.splitlines() if line.strip()}
    assert rows["half"][-1] == "faster"
    assert rows["twice"][-1] == "slower"
    assert not {"faster", "slower"} & {*rows["same"], *rows["blocks"]}
    assert rows["blocks"][3] == "2.00"  # its own time has doubled, and the machine's with it


def test_the_interval_of_a_ratio_holds_what_it_says():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(60):
        old, new = rng.lognormal(0, 0.1, 15), rng.lognormal(np.log(1.2), 0.1, 15)
        _, low, high = ratio_interval([*old], [*new])
        held += low <= 1.2 <= high
    assert held >= 52  # of 60, near 57


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (COSTS % ("[1.0, 1.0]", "[1.0]"), "2 rounds of blocks and 1 of its base"),
        (COSTS % ("[]", "[]"), "0 rounds of blocks"),
        (COSTS % ("[0.0]", "[1.0]"), "times of blocks that are none"),
        (COSTS % ("[1.0]", "[1e999]"), "times of blocks that are none"),
        ("{", "is no record of costs"),
        ('{"machine": {}, "base": "a", "costs": [{}]}', "costs.0"),
        ('{"machine": {}, "base": "a", "costs": []}', "times over blocks"),
        ('{"machine": {}, "base": "blocks", "costs": []}', "nothing"),
    ],
)
def test_what_is_no_record_is_refused(cli, tmp_path, text, said):
    old = record(tmp_path / "old.json", cost("blocks", [1.0], [1.0]))
    (tmp_path / "new.json").write_text(text)
    status, _, error = cli("bench", "compare", old, tmp_path / "new.json")
    assert status == 2
    assert said.replace("nothing", "in common") in error
    assert error.strip().count("\n") == 0


def test_rivals_take_turns():
    order = []
    rivals = {name: lambda name=name: order.append(name) for name in ("ours", "theirs")}
    seconds = interleave(rivals, rounds=3, repeats=1, warm_up=1)
    assert order == ["ours", "theirs"] * 4
    assert {name: len(values) for name, values in seconds.items()} == {"ours": 3, "theirs": 3}


def test_ratios_are_within_a_round():
    seconds = {"base": [1.0, 2.0, 6.0], "rival": [2.0, 2.0, 2.0]}
    assert ratios(seconds, "base", "rival") == (1.0, 0.5, 3.0)


def test_a_loss_that_is_not_finite_is_no_result():
    pytest.importorskip("torch")
    with pytest.raises(RuntimeError, match="the loss of broken is not finite"):
        measure("torch", [], 2, 3, rounds=1, rivals=lambda *_: {"broken": lambda: math.nan})


def test_sizes():
    assert parse_sizes("128x10000, 512x7") == [(128, 10000), (512, 7)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["losses", "--losses", "arcfase"], "did you mean 'arcface'"),
        (["losses", "--backend", "jax"], "unknown backend 'jax'"),
        (["losses", "--sizes", "128"], "expected batch x classes such as"),
        (["losses", "--sizes", "0x5"], "expected batch x classes such as"),
        (["speed"], "unknown command 'speed'"),
        (["step", "--backbones", "r50x"], "unknown backbone 'r50x'"),
        (["step", "--backbones", "mbf,mbf"], "mbf"),
        (["heads", "--backend", "jax"], "unknown backend 'jax'"),
    ],
)
def test_refusals(cli, arguments, said):
    status, _, error = cli("bench", *arguments)
    assert status == 2
    assert said in error
    assert error.strip().count("\n") == 0


def test_output_must_be_a_folder(cli, tmp_path):
    (tmp_path / "file").write_text("")
    status, _, error = cli("bench", "losses", "--output", tmp_path / "file")
    assert status == 2
    assert "needs a folder, but" in error
