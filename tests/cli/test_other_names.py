import pytest

from marginface.errors import MarginfaceError
from marginface.training.config.keys import check_keys


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["train", "--learning-rate", "0.1"], "option '--learning-rate'; did you mean '--lr'?"),
        (["train", "--Learning_Rate", "0.1"], "did you mean '--lr'?"),
        (["train", "--LR", "0.1"], "did you mean '--lr'?"),
        (["train", "--batchsize", "2"], "did you mean '--batch-size'?"),
        (["train", "--gpu", "2"], "did you mean '--device'?"),
        (["train", "--mixup", "2"], "unknown option '--mixup'; see marginface train --help"),
        (["train", "--num-workers", "2"], "did you mean '--loader-threads'?"),
        (["train", "--gradient-accumulation", "2"], "did you mean '--accumulation'?"),
        (["train", "--lrr", "2"], "did you mean '--lr'?"),
        (["verify"], "unknown command 'verify'; did you mean 'compare'?"),
        (["validate"], "did you mean 'evaluate'?"),
        (["Verify"], "did you mean 'compare'?"),
        (["predict"], "did you mean 'embed'?"),
        (["fit"], "did you mean 'train'?"),
        (["templat"], "did you mean 'templates'?"),
    ],
)
def test_names_of_other_programs_lead_to_ours(cli, typed, meant):
    status, _, err = cli(*typed)
    assert status == 2
    assert meant in err


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("learning_rate", "lr"),
        ("fp16", "precision"),
        ("arch", "backbone"),
        ("Learning-Rate", "lr"),
        ("BATCH_SIZE", "batch_size"),
        ("los", "loss"),
    ],
)
def test_keys_of_other_programs_lead_to_ours(typed, meant):
    with pytest.raises(MarginfaceError, match=f"unknown config key '{typed}'; .* '{meant}'"):
        check_keys({typed: 1})
