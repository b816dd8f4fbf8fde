"""What PyTorch compiles: the same values, compiled once, and a way on where no compiler works."""

import importlib
import shutil
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from comparison import assert_same_arrays, assert_same_evaluation, state_of
from frameworks import Framework
from test_head_precision import BATCH, LABELS, evaluate, make, problem
from tiny_training import CLASSES, MODEL, batches

from marginface import losses
from marginface.learner import LearnerSpec
from marginface.optimizers import SGD

needs_gxx = pytest.mark.skipif(shutil.which("g++") is None, reason="compiling on a CPU needs g++")
must_compile = pytest.mark.filterwarnings("error:torch.compile failed")


@pytest.fixture
def fuse(torch: Framework, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Let heads compile from here on what they would compile on a GPU."""
    passes, compiler = torch.module("heads.passes"), importlib.import_module("torch").compiler
    passes._compiled.cache_clear()
    compiler.reset()  # it would take what another test has compiled
    yield lambda: monkeypatch.setattr(passes, "FUSING_DEVICES", {"cpu"})
    passes._compiled.cache_clear()
    compiler.reset()


@pytest.fixture
def no_compiler() -> Iterator[None]:
    """A machine without a C++ compiler."""
    pytest.importorskip("torch")
    config = importlib.import_module("torch._inductor.config")
    with config.patch({"cpp.cxx": (None, "no-such-compiler"), "force_disable_caches": True}):
        yield


@pytest.mark.slow
@needs_gxx
@must_compile
@pytest.mark.parametrize("name", losses.names())
def test_a_compiled_head_is_the_same(torch: Framework, name: str, fuse: Callable[[], None]) -> None:
    """What runs on a GPU, compiled for this CPU."""
    loss = losses.get(name)
    wanted = evaluate(torch, loss, "bfloat16")
    fuse()
    found = evaluate(torch, loss, "bfloat16")
    assert torch.module("heads.passes")._compiled.cache_info().currsize == 2  # forward and backward
    # exp and log of another library, and slopes that round the other way.
    np.testing.assert_allclose(found.loss, wanted.loss, rtol=1e-9)
    assert_same_arrays(found.gradients, wanted.gradients, 2 * 2.0**-8)


@pytest.mark.slow
@needs_gxx
@must_compile
def test_other_labels_do_not_compile_it_anew(torch: Framework, fuse: Callable[[], None]) -> None:
    loss = losses.get("curricularface")  # compiled in parts
    x, w, more = problem(loss)
    head = make(torch, loss, "bfloat16")
    fuse()
    torch.evaluate(head, x, w, LABELS, **more)
    compiler = importlib.import_module("torch").compiler
    with compiler.set_stance("fail_on_recompile"):
        for labels in ([0] * BATCH, [0, 4, 4, 4, 4, 4], [0, 1, 2, 3, 4, 8]):
            torch.evaluate(head, x, w, np.array(labels), **more)


@pytest.mark.usefixtures("no_compiler")
def test_without_a_compiler_a_head_runs_as_it_is(
    torch: Framework, fuse: Callable[[], None]
) -> None:
    loss = losses.get("arcface")
    wanted = evaluate(torch, loss, "bfloat16")
    fuse()
    with pytest.warns(UserWarning, match=r"torch.compile failed: .*ompiler") as said:
        found = evaluate(torch, loss, "bfloat16")
    ours = [each for each in said if "torch.compile failed" in str(each.message)]
    assert len(ours) == 2  # once for each function, though there are several blocks
    assert_same_evaluation(found, wanted, 1e-14)


@pytest.mark.usefixtures("no_compiler", "fuse")
def test_without_a_compiler_a_backbone_trains_as_it_is(torch: Framework) -> None:
    made = [
        torch.backend.create_learner(
            LearnerSpec(MODEL, losses.get("softmax"), CLASSES, SGD(), seed=0)
        )
        for _ in range(2)
    ]
    ((images, labels),) = batches(1)
    wanted = made[0].step(images, labels, 0.1, {}).loss
    made[1].compile()
    with pytest.warns(UserWarning, match=r"torch.compile failed: .*ompiler"):
        assert made[1].step(images, labels, 0.1, {}).loss == wanted
    assert_same_arrays(state_of(made[1]), state_of(made[0]), rtol=0)


@pytest.mark.usefixtures("fuse")
def test_a_compiler_that_cannot_start_is_done_without(
    torch: Framework, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise FileNotFoundError(2, "No such file or directory", "/nowhere/cache")

    compiling = torch.module("compiling")
    monkeypatch.setattr(compiling.torch, "compile", failing)
    with pytest.warns(UserWarning, match=r"torch.compile failed: .*/nowhere/cache"):
        assert compiling.compiled(len)([1, 2]) == 2


@pytest.mark.usefixtures("no_compiler", "fuse")
@must_compile
def test_a_wrong_argument_is_not_the_compilers_fault(torch: Framework) -> None:
    """Without a compiler, so that both would fail."""
    array = torch.torch.ones
    called = torch.module("compiling").compiled(lambda a, b: a @ b)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        called(array(2, 3), array(2, 3))
