"""Several processes, started from Python."""

import pytest
from packing_faces import write_faces
from small_training import PEOPLE, small

import marginface as mf


@pytest.mark.slow
def test_a_run_of_two_processes_ends_with_a_result_and_is_resumed(tmp_path):
    faces = write_faces(tmp_path / "faces", PEOPLE, side=112)
    result = mf.train(small(faces, tmp_path / "run", max_steps=2), processes=2)
    assert (result.step, result.signal) == (2, None)
    assert [record["step"] for record in result.metrics] == [1, 2]
    assert mf.train(output=tmp_path / "run", resume=True, processes=2, max_steps=3).step == 3
    with pytest.raises(mf.MarginfaceError, match="already holds a run"):
        mf.train(small(faces, tmp_path / "run"), processes=2)
    with pytest.raises(mf.MarginfaceError, match="with them give processes=1"):
        mf.train(small(faces, tmp_path / "new"), processes=2, callbacks=[print])
    with pytest.raises(mf.MarginfaceError, match="ended with exit status 2; see above"):
        mf.train(small(tmp_path / "none", tmp_path / "new"), processes=2)
