import numpy as np
import pytest

from marginface.api import verifying
from marginface.data.verification.pairs import Pairs
from marginface.errors import MarginfaceError


@pytest.mark.parametrize("fold", [[0], [0, 0], [3, 3, 3], [9] * 20])
def test_a_set_of_one_fold_is_refused_when_it_is_opened(monkeypatch, tmp_path, fold):
    places = np.arange(len(fold))
    pairs = Pairs(None, places, places, places % 2 == 0, np.array(fold), "FP")
    monkeypatch.setattr(verifying, "open_all", lambda *_, **__: [pairs])
    with pytest.raises(MarginfaceError, match="FP has one fold, expected at least 2"):
        verifying.open_sets([tmp_path], None, None, skip_bad=False)


def test_two_folds_are_taken(monkeypatch, tmp_path):
    places = np.arange(4)
    pairs = Pairs(None, places, places, places % 2 == 0, np.array([0, 0, 1, 1]), "FP")
    monkeypatch.setattr(verifying, "open_all", lambda *_, **__: [pairs])
    assert verifying.open_sets([tmp_path], None, None, skip_bad=False) == [pairs]
