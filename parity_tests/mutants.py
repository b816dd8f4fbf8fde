"""Break losses and layers on purpose, a line at a time: the suite notices each one.

    python parity_tests/mutants.py              both backends, and the core's layers
    python parity_tests/mutants.py torch 12 13  some mutants of one
    python parity_tests/mutants.py core         the core's: NumPy references, and ONNX
    python parity_tests/mutants.py arcface      those of a loss, or of a case of layers

Prints a line for each mutant and exits with 1 if one survives. A mutant that no longer finds its
line ends the run: the list has to follow the code.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import os
import sys
import types
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import pytest
from core_mutations import CORE
from mutations import MUTANTS, Mutant
from papers import BACKENDS

from marginface.backend import load_backend

PACKAGES = {"torch": "marginface_torch", "tf": "marginface_tf", "core": "marginface"}
HERE = Path(__file__).parent
SUITE = (
    "test_losses.py",
    "test_loss_seam.py",
    "test_head_blocks.py",
    "test_head_precision.py",
    "test_head_sampling.py",
    "test_head_adamw.py",
    "test_head_updates.py",
    "test_head_frozen.py",
    "test_head_scaling.py",
    "test_head_measuring.py",
    "test_class_state.py",
    "test_head_filter.py",
    "test_loss_processes.py",
    "test_layers.py",
)


@contextlib.contextmanager
def mutated(module: types.ModuleType, old: str, new: str) -> Iterator[None]:
    """Let a module's functions run the code of its changed text for a while."""
    source = inspect.getsource(module)
    if old not in source:
        raise SystemExit(f"{module.__name__} has no line with {old!r} any more: mend the mutant")
    changed = source.replace(old, new)
    namespace = {**vars(module)}
    exec(compile(changed, str(module.__file__), "exec"), namespace)
    pairs = list(_functions(vars(module), namespace, module.__name__))
    before = [(function, function.__code__) for function, _ in pairs]
    for function, other in pairs:
        function.__code__ = other.__code__
    _forget(module.__name__.split(".")[0])
    try:
        yield
    finally:
        for function, code in before:
            function.__code__ = code
        _forget(module.__name__.split(".")[0])


def _forget(package: str) -> None:
    """Clear a package's caches: they hold programs compiled from the other code."""
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] == package:
            for value in vars(module).values():
                if hasattr(value, "cache_clear"):
                    value.cache_clear()


def _functions(
    old: dict[str, object], new: dict[str, object], module: str
) -> Iterator[tuple[types.FunctionType, types.FunctionType]]:
    """Pair the functions and methods that two namespaces define under the same names."""
    for name, value in list(old.items()):
        function = _bare(value)
        if isinstance(function, types.FunctionType) and function.__module__ == module:
            yield function, _bare(new[name])
        elif inspect.isclass(value) and value.__module__ == module:
            yield from _functions(dict(vars(value)), vars(new[name]), module)


def _bare(value: Any) -> Any:
    """Return the function itself, without what decorators put around it."""
    return inspect.unwrap(value.__func__ if isinstance(value, staticmethod) else value)


def suite_fails(chosen: str) -> bool:
    """Run the tests that pytest's -k chooses."""
    files = [str(HERE / name) for name in SUITE if (HERE / name).exists()]
    quiet = ["-x", "-q", "-m", "not slow", "-p", "no:cacheprovider", "--no-header"]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        status = pytest.main([*quiet, "-k", chosen, *files])
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise SystemExit(f"the suite did not run: pytest's exit status is {status}")
    return status == pytest.ExitCode.TESTS_FAILED


@cache
def require_success(chosen: str) -> None:
    """End the run where tests fail without a mutant."""
    print(f"{chosen}: its tests without a mutant", flush=True)
    if suite_fails(chosen):
        raise SystemExit(f"the tests of {chosen} fail as they are: nothing can be told")


def killed(backend: str, mutant: Mutant) -> bool:
    """Whether the suite fails: first on the loss that was changed, then as a whole."""
    file, old, new = mutant.of(backend)
    module = importlib.import_module(f"{PACKAGES[backend]}.{file}")
    tests = "test_layers" if backend == "core" else backend
    for chosen in (f"{tests} and {mutant.loss}", tests):
        require_success(chosen)
        with mutated(module, old, new):
            if suite_fails(chosen):
                return True
    return False


def main(arguments: list[str]) -> int:
    """Try the mutants; return the exit status."""
    names = set(arguments) - set(PACKAGES)
    chosen = [
        (backend, number, mutant)
        for backend in [a for a in arguments if a in PACKAGES] or PACKAGES
        for number, mutant in enumerate(CORE if backend == "core" else MUTANTS)
        if not names or names & {str(number), mutant.loss}
    ]
    if not chosen:
        raise SystemExit(f"no mutant is called {' '.join(arguments)}")
    for backend in {backend for backend, _, _ in chosen} & set(BACKENDS):
        load_backend(backend)
    survivors = 0
    for backend, number, mutant in chosen:
        dead = killed(backend, mutant)
        survivors += not dead
        file, old, new = mutant.of(backend)
        said = "killed  " if dead else "SURVIVED"
        print(
            f"{backend:5} {number:3} {said} {file}: {old.strip()} -> {new.strip()}",
            flush=True,
        )
    print(f"{len(chosen) - survivors} killed, {survivors} survived")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
