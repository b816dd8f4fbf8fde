from itertools import pairwise

import pytest
import yaml

from marginface import losses
from marginface.data.augmentation import PRESETS
from marginface.errors import MarginfaceError
from marginface.optimizers import SGD, AdamW
from marginface.training.config.files import (
    LOCAL,
    RESUMABLE,
    config_text,
    read_config_file,
    resolve_config,
    resume_config,
)
from marginface.training.config.keys import TrainConfig
from marginface.training.config.recipes import RECIPES

SMALL = RECIPES["small-set"].values
NEEDED = {"data": "faces", "output": "run"}


def make(**values):
    return TrainConfig(**{**NEEDED, **values})


def file_with(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return path


def test_defaults_are_complete():
    config = make()
    assert (config.backend, config.backbone, config.epochs, config.max_steps) == (
        "torch",
        "iresnet50",
        20,
        None,
    )
    assert config.make_loss() == losses.get("arcface")
    assert config.make_optimizer() == SGD()
    assert config.model_spec().input_size == (112, 112)


def test_shorthands_and_loss_parameters_meet_in_the_loss():
    config = make(scale=16, margin=0.2, loss_parameters={"past_pi": "clip"})
    assert config.make_loss() == losses.get("arcface", scale=16, margin=0.2, past_pi="clip")
    combined = make(loss="combined_margin", loss_parameters="m3=0.2")
    assert combined.make_loss() == losses.get("combined_margin", m3=0.2)


def test_the_recorded_configuration_states_every_default():
    config = make(loss="cosface")
    assert (config.scale, config.margin, config.momentum, config.power) == (64.0, 0.4, 0.9, 1.0)
    assert make(optimizer="adamw").weight_decay == AdamW().weight_decay
    assert make(optimizer="adamw").momentum is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"batchsize": 3}, "unknown config key 'batchsize'; did you mean 'batch_size'?"),
        ({"loss": "arcfase"}, "unknown loss 'arcfase'; did you mean 'arcface'?"),
        ({"output": ""}, "^output: expected a folder, got an empty name$"),
        ({"embedding_size": 10**10}, "embedding_size must be less than or equal to 65536, got"),
        ({"batch_size": 0}, "batch_size must be greater than or equal to 2, got 0"),
        ({"lr": 0}, "lr must be greater than 0, got 0"),
        ({"lr": "fast"}, "lr must be a number, got 'fast'"),
        ({"lr": float("nan")}, "lr must be a finite number, got nan"),
        ({"momentum": 1}, "momentum must be less than 1, got 1"),
        ({"dropout": -0.1}, "dropout must be greater than or equal to 0, got -0.1"),
        ({"epochs": 0}, "epochs must be greater than or equal to 1, got 0"),
        ({"optimizer": "sdg"}, "^unknown optimizer 'sdg'; did you mean 'sgd'?"),
        ({"schedule": "plynomial"}, "^unknown schedule 'plynomial'; did you mean 'polynomial'?"),
        ({"compile": "of"}, "^unknown compile 'of'; did you mean 'off'?"),
        ({"channels": "rbg"}, "^unknown channels 'rbg'; did you mean 'rgb'?"),
        ({"channels": ["rgb"]}, "^channels must be one of rgb, bgr, got"),
        ({"mean": "1,2"}, "^mean must be one number or three, got '1,2'"),
        ({"std": "wide"}, "^std must be one number or three, got 'wide'"),
        ({"std": {"r": 1}}, "^std must be one number or three, got {'r': 1}"),
        ({"input_size": "1,2,3"}, "^input_size must be height,width or one number, got '1,2,3'"),
        ({"input_size": "112xlarge"}, "^input_size must be a whole number, got 'large'"),
        ({"std": "0"}, "std must be positive"),
        ({"scale": -1}, "arcface: scale must be greater than 0, got -1"),
        ({"scale": 8, "loss_parameters": {"scale": 9}}, "scale is given twice: .*8.* scale=9"),
        ({"loss_parameters": "easy"}, "loss_parameters must be name=value.*got 'easy'"),
        ({"loss_parameters": "a=1,a=2"}, "'a' is given twice"),
        ({"loss_parameters": "marginn=1"}, "unknown arcface parameter 'marginn'"),
        ({"loss_parameters": [1]}, "loss_parameters must be a list of names with values"),
        ({"loss": "softmax", "margin": 0.5}, "unknown softmax parameter 'margin'"),
        ({"optimizer": "adamw", "momentum": 0.9}, "momentum has no effect with optimizer adamw"),
        ({"schedule": "cosine", "power": 2}, "power has no effect with schedule cosine"),
        ({"gamma": 0.5}, "gamma has no effect with schedule polynomial"),
        ({"schedule": "step"}, "schedule step needs milestones"),
        ({"schedule": "step", "milestones": "20,10"}, "milestones must rise"),
        ({"val_images": "faces"}, "val_images is given without val_pairs"),
        ({"val_every": 5}, "val_every has no effect without val_images"),
        ({"processes": 0}, "processes must be greater than or equal to 1, got 0"),
        ({"batch_size": 8, "processes": 3}, "batch_size 8 cannot be shared evenly by 3 processes"),
        ({"people_per_batch": 8}, "people_per_batch is given without images_per_person; give both"),
        ({"images_per_person": 8}, "images_per_person is given without people_per_batch; give b"),
        (
            {"people_per_batch": 8, "images_per_person": 4, "batch_size": 30},
            "batch_size is 30, but people_per_batch 8 x images_per_person 4 is 32; leave",
        ),
        (
            {"people_per_batch": 3, "images_per_person": 3, "processes": 2},
            "batch_size 9 cannot be shared evenly by 2 processes",
        ),
        ({"people_per_batch": 0, "images_per_person": 2}, "people_per_batch must be greater"),
        ({"people_per_batch": "few", "images_per_person": 2}, "people_per_batch must be a whole"),
        ({"stop_after": 0, "keep_best": "auc", "val": "lfw.bin"}, "stop_after must be greater"),
        ({"sample_rate": 0}, "sample_rate must be greater than 0, got 0"),
        ({"sample_rate": "1.5"}, "sample_rate must be less than or equal to 1, got '1.5'"),
        ({"sample_rate": "few"}, "sample_rate must be a number, got 'few'"),
        ({"interclass_filter": 0}, "interclass_filter must be greater than 0, got 0"),
        ({"interclass_filter": "1"}, "interclass_filter must be less than 1, got '1'"),
        (
            {"loss": "uniface", "interclass_filter": 0.4},
            "interclass_filter does not go with uniface, which takes no logsumexp",
        ),
        ({"head_precision": "half"}, "unknown head_precision 'half'"),
        ({"sampling": "partial_fc"}, "sampling has no effect with sample_rate 1; leave it out"),
        ({"sample_rate": 0.5, "sampling": "correct"}, "'correct'; did you mean 'corrected'"),
    ],
)
def test_bad_values_give_one_line_with_key_value_and_range(values, message):
    with pytest.raises(MarginfaceError, match=message) as caught:
        make(**values)
    assert "\n" not in str(caught.value)


def test_a_missing_key_says_how_to_give_it():
    with pytest.raises(MarginfaceError, match="data is missing; give --data or 'data:' in"):
        TrainConfig(output="run")


def test_text_from_the_command_line_is_read():
    config = make(
        augment="flip",
        mean="127.5",
        std="1,2,3",
        input_size="112x96",
        clip_norm="0",
        milestones=None,
    )
    assert config.augment == ("flip",)
    assert config.mean == (127.5,) * 3
    assert config.std == (1.0, 2.0, 3.0)
    assert config.input_size == (112, 96)
    assert config.make_optimizer().clip_norm is None
    assert make(augment="").augment == ()
    assert make(schedule="step", milestones="10,20").milestones == (10, 20)


def test_a_preset_is_recorded_as_what_it_stood_for_when_the_run_began(monkeypatch):
    run = make(augment="affine,adaface")
    expanded = ("affine", "crop", "low_resolution", "color_jitter", "flip")
    assert run.augment == expanded
    assert yaml.safe_load(config_text(run))["augment"] == list(expanded)
    assert resume_config(run, {"augment": "affine,adaface"}) == run
    monkeypatch.setitem(PRESETS, "adaface", ("flip",))
    assert resume_config(run, {}).augment == expanded
    with pytest.raises(MarginfaceError, match="cannot change augment"):
        resume_config(run, {"augment": "affine,adaface"})


def test_an_unknown_augmentation_is_named_with_the_nearest():
    with pytest.raises(MarginfaceError, match="augmentation 'adafase'; did you mean 'adaface'"):
        make(augment="flip,adafase")


def test_the_run_ends_with_epochs_or_max_steps_whichever_is_first():
    assert make().total_steps(10) == 200
    assert make(max_steps=7).total_steps(10) == 7
    assert make(max_steps=700).total_steps(10) == 700
    assert make(max_steps=70, epochs=2).total_steps(10) == 20


def test_command_line_overrides_file_overrides_recipe_overrides_default():
    config = resolve_config(
        {**NEEDED, "recipe": "small-set", "lr": 0.05, "batch_size": 16}, {"batch_size": 8}
    )
    assert (config.batch_size, config.lr, config.scale, config.seed) == (8, 0.05, SMALL["scale"], 0)


@pytest.mark.parametrize(
    ("loss", "kept"),
    [
        ("cosface", {"scale": SMALL["scale"]}),
        ("normface", {"scale": SMALL["scale"]}),
        ("combined_margin", {"scale": SMALL["scale"]}),
        ("softmax", {}),
        ("arcface", {"scale": SMALL["scale"], "margin": SMALL["margin"]}),
    ],
)
def test_another_loss_keeps_the_scale_of_cosines_and_nothing_else(loss, kept):
    config = resolve_config(NEEDED, {"recipe": "small-set", "loss": loss})
    assert config.make_loss() == losses.get(loss, **kept)


@pytest.mark.parametrize(
    ("total", "warmup"), [(1, 0), (12, 1), (144, 12), (300, 24), (2496, 200), (20000, 1600)]
)
def test_the_small_set_recipe_warms_up_for_a_share_of_the_run(total, warmup):
    schedule = resolve_config(NEEDED, {"recipe": "small-set"}).make_schedule(total)
    schedule.require_reached()
    assert schedule.warmup_steps == warmup


@pytest.mark.parametrize("share", [0.0, 0.08, 0.5, 0.999])
@pytest.mark.parametrize("total", [1, 2, 10, 999])
def test_a_share_leaves_steps_at_the_full_rate(share, total):
    make(warmup_share=share).make_schedule(total).require_reached()


def test_steps_and_share_of_warm_up_replace_each_other_and_exclude_each_other():
    recipe = resolve_config(NEEDED, {"recipe": "small-set", "warmup_steps": 7})
    assert recipe.make_schedule(100).warmup_steps == 7
    run = make(warmup_steps=200)
    assert resume_config(run, {"warmup_share": 0.1}).make_schedule(100).warmup_steps == 10
    old = make(recipe="small-set", warmup_steps=200)  # as runs recorded it before the share
    assert resume_config(old, {"epochs": 30}).make_schedule(1000).warmup_steps == 200
    with pytest.raises(MarginfaceError, match="both say how long the warm-up is; give one"):
        make(warmup_steps=7, warmup_share=0.1)


def test_sampling_has_a_default_below_rate_1_only():
    assert (make().sample_rate, make().sampling) == (1.0, None)
    assert make(sample_rate="0.1").sampling == "partial_fc"
    assert make(sample_rate=0.3, optimizer="adamw").sampling == "partial_fc"
    assert make(sample_rate=0.1, sampling="corrected").sampling == "corrected"
    file = {**NEEDED, "sample_rate": 0.1, "sampling": "corrected"}
    assert resolve_config(file, {"sample_rate": "0.2"}).sampling == "corrected"
    assert resolve_config(file, {"sample_rate": "1"}).sampling is None


def test_another_loss_takes_what_is_given_with_it_or_above():
    given = {"recipe": "small-set", "loss": "cosface", "margin": 0.4}
    cosface = losses.get("cosface", scale=SMALL["scale"], margin=0.4)
    assert resolve_config(NEEDED, given).make_loss() == cosface
    assert resolve_config({**NEEDED, **given}, {"loss": "cosface"}).make_loss() == cosface
    assert resolve_config({**NEEDED, "loss": "softmax"}, given | {"scale": 8}).scale == 8
    file = {**NEEDED, "margin": 0.3, "loss_parameters": {"past_pi": "clip"}}  # of the default loss
    assert resolve_config(file, {"loss": "cosface"}).make_loss() == losses.get("cosface")
    assert resolve_config(file, {"loss": "arcface"}).margin == 0.3


def test_another_optimizer_or_schedule_drops_what_belonged_to_the_first():
    given = {"recipe": "small-set", "optimizer": "adamw", "schedule": "cosine"}
    config = resolve_config(NEEDED, given)
    assert (config.momentum, config.power) == (None, None)
    assert config.weight_decay == AdamW().weight_decay
    assert resolve_config(NEEDED, given | {"weight_decay": 0.01}).weight_decay == 0.01
    same = resolve_config(NEEDED, {"recipe": "ms1mv3-mbf", "optimizer": "sgd"})
    assert same.weight_decay == RECIPES["ms1mv3-mbf"].values["weight_decay"]


def test_loss_parameters_of_file_and_command_line_are_merged():
    file = {**NEEDED, "loss_parameters": {"past_pi": "clip"}}
    config = resolve_config(file, {"loss_parameters": "gradient=straight_through"})
    assert config.loss_parameters["past_pi"] == "clip"
    assert config.loss_parameters["gradient"] == "straight_through"


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_valid_and_says_where_it_comes_from(name):
    config = resolve_config(NEEDED, {"recipe": name})
    assert config.recipe == name
    assert RECIPES[name].source


def test_an_unknown_recipe_names_the_nearest():
    with pytest.raises(
        MarginfaceError, match="unknown recipe 'smallset'; did you mean 'small-set'"
    ):
        resolve_config(NEEDED, {"recipe": "smallset"})


def test_a_recorded_configuration_reads_back_the_same(tmp_path):
    config = make(schedule="step", milestones="10,20", optimizer="adamw", loss="combined_margin")
    path = file_with(tmp_path, config_text(config))
    assert TrainConfig(**read_config_file(path)) == config
    assert set(yaml.safe_load(config_text(config))) == set(TrainConfig.model_fields)


def test_a_value_that_is_used_again_may_have_a_name(tmp_path):
    path = file_with(tmp_path, "val_every: &n 500\ncheckpoint_every: *n\n")
    assert read_config_file(path) == {"val_every": 500, "checkpoint_every": 500}


# Three hundred characters that stand for 8 ** 9 values.
BOMB = "lr: [&a [x], " + ", ".join(
    f"&{name} [{', '.join([f'*{before}'] * 8)}]" for before, name in pairwise("abcdefghij")
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("batch_sise: 3", "unknown config key 'batch_sise'; did you mean 'batch_size'?"),
        ("lr: -1", "lr must be greater than 0, got -1"),
        ("schedule: plynomial", "unknown schedule 'plynomial'; did you mean 'polynomial'?"),
        ("- lr", "expected 'key: value' lines, got a list"),
        ("lr: 1\nseed: [", "line 2: not valid YAML"),
        ("seed: 2020-13-45", "not valid YAML"),
        ("lr: 1\nseed: 2\nlr: 3", "line 3: not valid YAML: 'lr' is given twice"),
        ("lr: [&a [1, 2], *a]", "line 1: not valid YAML: '*a' stands for several values; write"),
        (BOMB, "line 1: not valid YAML: '*a' stands for several values; write them out"),
        ("mean: &a [1, 2, *a]", "line 1: not valid YAML: '*a' stands for several values"),
        ("loss_parameters: &a {m: *a}", "line 1: not valid YAML: '*a' stands for several values"),
        ('output: "a\\0b"', "line 1: not valid YAML: a text with the character NUL"),
        ("epochs: yes", "epochs must be a number, got yes"),
        ("data: 5", "data must be a path, got 5"),
        ("learning-rate: 1", "did you mean 'lr'?"),
        ("LR: 1", "did you mean 'lr'?"),
        ("loss_parameters: {m3: 0, m3: 1}", "line 1: not valid YAML: 'm3' is given twice"),
        (f"lr: {'[' * 3000}", "not valid YAML: values are nested too deeply"),
    ],
)
def test_errors_in_a_file_name_it(tmp_path, text, message):
    path = file_with(tmp_path, text)
    with pytest.raises(MarginfaceError) as caught:
        read_config_file(path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MarginfaceError, match=r"cannot read the config file .*no.yaml: No such"):
        read_config_file(tmp_path / "no.yaml")


def test_an_empty_file_changes_nothing(tmp_path):
    assert read_config_file(file_with(tmp_path, "# nothing\n")) == {}


def test_yaml_numbers_in_exponent_form_are_numbers(tmp_path):
    assert read_config_file(file_with(tmp_path, "weight_decay: 5e-4")) == {"weight_decay": 5e-4}


@pytest.mark.parametrize("word", ["on", "off", "'off'"])
def test_yaml_on_and_off_are_what_was_typed(tmp_path, word):
    assert read_config_file(file_with(tmp_path, f"compile: {word}"))["compile"] == word.strip("'")


def test_a_resumed_run_may_change_how_long_and_where():
    run = make(batch_size=8)
    config = resume_config(run, {"backend": "tf", "max_steps": 50, "batch_size": 8, "threads": 1})
    assert (config.backend, config.max_steps, config.epochs, config.threads) == ("tf", 50, None, 1)
    assert resume_config(config, {"epochs": 3}).total_steps(10) == 30
    assert resume_config(run, {}) == run
    pair = resume_config(run, {"processes": "2"})
    assert (pair.processes, resume_config(pair, {}).processes) == (2, 2)
    with pytest.raises(MarginfaceError, match="batch_size 8 cannot be shared evenly by 3 proc"):
        resume_config(pair, {"processes": 3})


def test_a_resumed_run_may_not_become_another_one():
    run = make(loss_parameters={"past_pi": "clip"})
    assert resume_config(run, {"loss_parameters": "past_pi=clip", "loss": "arcface"}) == run
    with pytest.raises(MarginfaceError) as caught:
        resume_config(run, {"batch_size": 4, "loss": "cosface", "loss_parameters": "past_pi=none"})
    message = str(caught.value)
    for part in (
        "batch_size (128 to 4)",
        "loss (arcface to cosface)",
        "loss_parameters",
        "--output",
    ):
        assert part in message
    with pytest.raises(MarginfaceError, match="unknown config key 'batchsize'"):
        resume_config(run, {"batchsize": 4})


# What makes another run of it, so that a resumed one may not change it.
FIXED = {
    *("recipe", "init", "init_head", "init_partial", "frozen_statistics", "seed", "batch_size"),
    *("people_per_batch", "images_per_person"),
    *("loss", "scale", "margin", "loss_parameters", "num_classes", "sample_rate", "sampling"),
    "interclass_filter",
    *("backbone", "embedding_size", "input_size", "crop", "dropout", "mean", "std", "channels"),
    *("optimizer", "momentum", "weight_decay", "decay_norm_and_bias", "clip_norm"),
    *("join_identities", "augment", "resize", "skip_bad"),
    *("precision", "head_precision", "accumulation"),
    *("freeze", "frozen_statistics"),
}


def test_balanced_batches_say_how_large_they_are():
    balanced = {"people_per_batch": "16", "images_per_person": "4"}
    assert make(**balanced).batch_size == 64
    assert make(**balanced, batch_size=64).batch_size == 64
    assert resolve_config({"recipe": "small-set"}, {**NEEDED, **balanced}).batch_size == 64
    file = {"people_per_batch": 16, "images_per_person": 2, "batch_size": 32}
    assert resolve_config(file, {**NEEDED, "images_per_person": 4}).batch_size == 64


def test_every_key_is_resumable_or_fixed():
    keys = set(TrainConfig.model_fields)
    undecided = sorted(keys - set(RESUMABLE) - FIXED)
    assert not undecided, (
        f"may --resume change {', '.join(undecided)}? If so, add it to PLACES, LENGTH, COURSE or "
        "RECORDS in training/config/files.py; if that makes another run of it, to FIXED here"
    )
    assert set(RESUMABLE).isdisjoint(FIXED)
    assert FIXED.union(RESUMABLE) <= keys


def test_keys_of_paths_are_each_process_s_own():
    fields = TrainConfig.model_fields.items()
    shared = [key for key, field in fields if "Path" in str(field.annotation) and key not in LOCAL]
    assert not shared, (
        f"{', '.join(shared)}: the same path on every machine? Add it to LOCAL in "
        "training/config/files.py"
    )
    assert set(LOCAL) <= set(TrainConfig.model_fields)


def test_every_key_has_a_default_for_the_runs_of_before():
    required = {key for key, field in TrainConfig.model_fields.items() if field.is_required()}
    assert required == {"data", "output"}, (
        "config.yaml files that are there lack it: they must load"
    )


@pytest.mark.parametrize(
    "lines", ["data: []", "data: [ ]\noutput: run", "data:\n  []", "data: !!seq []"]
)
def test_an_empty_list_is_told_in_plain_words(tmp_path, lines):
    with pytest.raises(MarginfaceError, match="data is an empty list; give at least one"):
        read_config_file(file_with(tmp_path, lines))
