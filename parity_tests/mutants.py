"""Break each backend's losses on purpose, one line at a time: the suite must notice every one.

    python parity_tests/mutants.py              both backends
    python parity_tests/mutants.py torch 12 13  some mutants of one

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
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import pytest

from marginface.backend import load_backend

HERE = Path(__file__).parent
SUITE = (
    "test_losses.py",
    "test_loss_seam.py",
    "test_head_blocks.py",
    "test_head_sampling.py",
    "test_loss_processes.py",
)
PACKAGES = {"torch": "marginface_torch", "tf": "marginface_tf"}


class Mutant(NamedTuple):
    """One change: in which file, what for what, and the loss whose tests come first.

    `old` and `new` are one text for both backends, or a pair, torch's and tf's.
    """

    file: str
    loss: str
    old: str | tuple[str, str]
    new: str | tuple[str, str]

    def texts(self, backend: str) -> tuple[str, str]:
        """Return what to replace by what in a backend."""
        place = list(PACKAGES).index(backend)
        old, new = (text if isinstance(text, str) else text[place] for text in self[2:])
        return old, new


MUTANTS = [
    # margins dropped, signs flipped
    Mutant("losses.cosface", "cosface", "cosines - self.spec.margin", "cosines"),
    Mutant("losses.cosface", "cosface", "cosines - self.spec.margin", "cosines + self.spec.margin"),
    Mutant("losses.arcface", "arcface", "1.0, self.spec.margin, easy", "1.0, 0.0, easy"),
    Mutant("losses.arcface", "arcface", "easy_margin=self.spec.easy_margin", "easy_margin=False"),
    Mutant("losses.arcface", "combined_margin", "[0] - self.spec.m3", "[0] + self.spec.m3"),
    Mutant(
        "losses.arcface", "combined_margin", "self.spec.m1, self.spec.m2)", "self.spec.m1, 0.0)"
    ),
    Mutant("losses.arcface", "combined_margin", "cosines, self.spec.m1,", "cosines, 1.0,"),
    # the angle, its slope, what happens past pi
    Mutant("losses.angular", "arcface", "angle(c) + shift", "angle(c) - shift"),
    Mutant(
        "losses.angular",
        "arcface",
        "fall * m1 * inverse_sine(c), -fall",
        "-fall * m1 * inverse_sine(c), -fall",
    ),
    Mutant("losses.angular", "combined_margin", "fall * m1 * inverse", "fall * inverse"),
    Mutant("losses.angular", "arcface", "fall * m1 * inverse_sine(c), -fall", "fall * m1, -fall"),
    Mutant("losses.angular", "magface", "inverse_sine(c), -fall", "inverse_sine(c), fall"),
    Mutant("losses.angular", "arcface", "turned > math.pi", "turned > 2 * math.pi"),
    Mutant(
        "losses.angular",
        "arcface",
        ("c - shift * torch.sin(shift)", "c - shift * tf.sin(shift)"),
        ("c - shift", "c - shift"),
    ),
    Mutant(
        "losses.angular",
        "magface",
        ("-torch.sin(shift) - shift", "-tf.sin(shift) - shift"),
        ("-torch.sin(shift) + shift", "-tf.sin(shift) + shift"),
    ),
    Mutant("losses.angular", "combined_margin", "sign * value - 2 * turns", "sign * value"),
    Mutant("losses.angular", "combined_margin", "1 - 2 * (turns % 2)", "1 + 0 * turns"),
    Mutant(
        "losses.angular",
        "arcface",
        ("torch.where(past, 1, slope)", "tf.where(past, ones, slope)"),
        ("slope", "slope"),
    ),
    Mutant(
        "losses.angular",
        "arcface",
        ("torch.where(c > 0, value, c)", "tf.where(c > 0, value, c)"),
        ("torch.where(c > 0.1, value, c)", "tf.where(c > 0.1, value, c)"),
    ),
    Mutant("losses.angular", "arcface", '== "straight_through"', '== "straight"'),
    # the seam itself
    Mutant("losses.base", "arcface", ("c.add_(1)", "(1 + c)"), ("c.add_(0)", "(1 - c)")),
    Mutant(
        "losses.base",
        "li_arcface",
        "MIN_SINE**2",
        "(10 * MIN_SINE) ** 2",
    ),
    # the pass over the classes
    Mutant("classes", "arcface", "<= MIN_NORM", "<= 1e-5"),
    Mutant(
        "losses.uniface",
        "uniface",
        ("softplus(-target, threshold=40)", "tf.nn.softplus(-target)"),
        ("softplus(target, threshold=40)", "tf.nn.softplus(target)"),
    ),
    Mutant("losses.sphereface2", "sphereface2", "alpha * ", "(1 - alpha) * "),
    Mutant("classes", "arcface", "right = wide * ", "right = 2 * wide * "),
    Mutant(
        "classes",
        "arcface",
        ("value=-1", "d_block -= w"),
        ("value=1", "d_block += w"),
    ),
    Mutant(
        "classes", "arcface", ("inverse[place] ** 2", "inverse**2"), ("inverse[place]", "inverse")
    ),
    Mutant(
        "classes",
        "arcface",
        ("self.top + self.total.log()", "top + tf.math.log(total)"),
        ("self.total.log()", "tf.math.log(total)"),
    ),
    Mutant(
        "classes",
        "arcface",
        ("self.total.mul_((self.top - top).exp_())", "total * tf.exp(top - highest)"),
        ("self.total", "total"),
    ),
    Mutant(
        "classes",
        "arcface",
        ("logits[block.samples, block.columns] = self.lowest", "block.hidden, dtype.min, logits"),
        ("pass", "block.hidden & False, dtype.min, logits"),
    ),
    Mutant(
        "classes",
        "uniface",
        ("if found.free is None else slopes.mul_(found.free)", "& found.free"),
        ("", ""),
    ),
    Mutant(
        "classes",
        "softmax",
        ("to_bias.index_add_(0, block.columns,", "own.labels[:, None], d_own)"),
        ("to_bias.index_add_(0, block.columns * 0,", "own.labels[:, None] * 0, d_own)"),
    ),
    Mutant(
        "classes",
        "sphereface",
        ("        d_radius *= d_others", "        d_radius *= upstream.others"),
        ("        d_radius *= 2 * d_others", "        d_radius *= 2 * upstream.others"),
    ),
    Mutant(
        "classes",
        "arcface",
        ("kept[k] if k < len(kept) else", "saved.products[k] if keep else"),
        ("kept[0] if k < len(kept) else", "saved.products[0] if keep else"),
    ),
    # SphereFace and its relatives
    Mutant("losses.sphereface", "sphereface", '{"step": step}', '{"step": state["step"]}'),
    Mutant("losses.sphereface", "sphereface", 'state["step"] + 1', 'state["step"] + 2'),
    Mutant("losses.sphereface", "sphereface", "self.spec.gamma *", "2 * self.spec.gamma *"),
    Mutant(
        "losses.sphereface",
        "sphereface",
        ("falling.clamp(min=self.spec.lambda_min)", "tf.maximum(falling, self.spec.lambda_min)"),
        ("falling", "falling"),
    ),
    Mutant("losses.sphereface", "sphereface", "cosines + psi) / (1 + annealing)", "cosines + psi)"),
    Mutant(
        "losses.sphereface",
        "sphereface_r_v2",
        ("angle(cosines).div_(self.spec.margin)", "angle(cosines) / self.spec.margin"),
        "angle(cosines)",
    ),
    Mutant(
        "losses.sphereface",
        "sphereface_r_v2",
        "/ self.spec.margin * inverse_sine",
        "* inverse_sine",
    ),
    Mutant("losses.sphereface2", "sphereface2", "cosines, -self.spec.margin", "cosines, 0.0"),
    Mutant("losses.sphereface2", "sphereface2", "cosines, self.spec.margin", "cosines, 0.0"),
    Mutant("losses.sphereface2", "sphereface2", "self.spec.t - 1", "self.spec.t"),
    Mutant("losses.sphereface2", "sphereface2", "(1 - alpha) * others", "alpha * others"),
    Mutant("losses.sphereface2", "sphereface2", "self.spec.lw / self.spec.scale", "self.spec.lw"),
    # the others
    Mutant("losses.li_arcface", "li_arcface", (".add_(margin)", " + margin)"), ("", ")")),
    Mutant("losses.li_arcface", "li_arcface", "(cosines, 0.0)", "(cosines, self.spec.margin)"),
    Mutant("losses.li_arcface", "li_arcface", "(2 / math.pi)", "(1 / math.pi)"),
    Mutant("losses.magface", "magface", "(a - spec.l_a)", "(a - spec.u_a)"),
    Mutant("losses.magface", "magface", "slope * spec.margin_slope * inside", "slope * 0 * inside"),
    Mutant(
        "losses.magface",
        "magface",
        "slope * spec.margin_slope * inside",
        "slope * spec.margin_slope",
    ),
    Mutant("losses.magface", "magface", "a / highest**2 + 1 / a,", "1 / a,"),
    Mutant("losses.magface", "magface", "1 / a**2) * inside", "1 / a**2)"),
    Mutant("losses.magface", "magface", "return self.spec.lambda_g *", "return 20 *"),
    Mutant("losses.adaface", "adaface", "- shift, ", "+ shift, "),
    Mutant("losses.adaface", "adaface", "(self.spec.margin + shift)", "self.spec.margin"),
    Mutant("losses.adaface", "adaface", "<= 1 - eps", "<= 1"),
    Mutant("losses.adaface", "adaface", "turned <= math.pi - eps", "turned <= math.pi"),
    Mutant("losses.adaface", "adaface", "turned >= eps", "turned >= 0"),
    Mutant("losses.adaface", "adaface", "std + STD_OFFSET", "std"),
    Mutant("losses.adaface", "adaface", "spec.h * (safe", "(safe"),
    Mutant("losses.adaface", "adaface", '"mean": mean, "std"', '"mean": state["mean"], "std"'),
    Mutant("losses.adaface", "adaface", '"std": std}', '"std": state["std"]}'),
    Mutant(
        "losses.adaface",
        "adaface",
        ("safe.std()", "count - 1, 1"),
        ("safe.std(correction=0)", "count, 1"),
    ),
    Mutant("losses.adaface", "adaface", "limit = 1 - self.spec.eps", "limit = 1"),
    Mutant("losses.curricularface", "curricularface", '{"t": t}\n', '{"t": state["t"]}\n'),
    Mutant("losses.curricularface", "curricularface", "(t + cosines)", "(1 + t + cosines)"),
    Mutant("losses.curricularface", "curricularface", "cosines > threshold", "cosines < threshold"),
    Mutant("losses.curricularface", "curricularface", '(1 - alpha) * state["t"]', 'state["t"]'),
    Mutant(
        "losses.elasticface", "elasticface_cos", 'cosines - prepared["margin"]', "cosines - 0.35"
    ),
    Mutant(
        "losses.elasticface", "elasticface_arc", '1.0, prepared["margin"]', "1.0, self.spec.margin"
    ),
    Mutant(
        "losses.elasticface",
        "elasticface_arc_plus",
        ("descending=True", '"DESCENDING"'),
        ("descending=False", '"ASCENDING"'),
    ),
    Mutant("losses.elasticface", "elasticface_arc_plus", 'assignment == "released"', "std > 0"),
    Mutant("head", "uniface", "if self.loss.logit_limit is not None", "if False"),
    Mutant("losses.uniface", "uniface", "self.spec.negative_weight * others", "2.0 * others"),
    Mutant("losses.circle", "circle", "1 + margin - c", "1 - margin - c"),
    Mutant("losses.circle", "circle", "(c - (1 - margin))", "(c - margin)"),
    Mutant(
        "losses.circle",
        "circle",
        ("(c - margin).mul_", "weight * (c - margin)"),
        ("(c + margin).mul_", "weight * (c + margin)"),
    ),
    Mutant("losses.circle", "circle", '== "detached"', '!= "detached"'),
    # the head
    Mutant(
        "classes",
        "subcenter_arcface",
        (".amax(2)", "tf.reduce_max(tf.reshape(best, centers), 2)"),
        (".mean(2)", "tf.reduce_mean(tf.reshape(best, centers), 2)"),
    ),
    Mutant("head", "sphereface", ("target * norms", "target *= norms"), ("target", "pass")),
    Mutant("head", "magface", " + self._ops.penalty(norms)", ""),
    Mutant("head", "arcface", "prepared) * self.loss.scale", "prepared)"),
    Mutant("head", "sphereface2", ("target + own_bias", "target += own_bias"), ("target", "pass")),
    # steps in the backward pass, and samples of classes
    Mutant(
        "head",
        "steps_as_the_optimizer",
        ("mul_(self.update.momentum)", "self.update.momentum * velocities + gradient"),
        ("mul_(1.0)", "velocities + gradient"),
    ),
    Mutant(
        "head",
        "steps_as_the_optimizer",
        ("add_(value, alpha=decay)", "+ decay * values"),
        ("add_(value, alpha=0)", ""),
    ),
    Mutant(
        "head",
        "head_of_its_classes",
        ("add_(value, alpha=decay)", "+ decay * value\n"),
        ("add_(value, alpha=0)", "\n"),
    ),
    Mutant(
        "head",
        "steps_as_the_optimizer",
        ("sub_(velocity, alpha=self.rate)", "assign_sub(rate * velocity)"),
        ("add_(velocity, alpha=self.rate)", "assign_add(rate * velocity)"),
    ),
    Mutant(
        "classes",
        "correction",
        ("logits + found.log_weights", "logits += found.log_weights"),
        ("logits", "pass"),
    ),
    Mutant(
        "classes",
        "correction",
        ("terms *= found.log_weights.exp()", "terms *= tf.exp(found.log_weights)"),
        ("pass", "pass"),
    ),
    Mutant(
        "classes",
        "corrected",
        ("slopes.add_(log_weights)", "others[:, None] - found.log_weights"),
        ("slopes", "others[:, None]"),
    ),
    Mutant(
        "classes",
        "corrected",
        ("slopes *= log_weights.exp()", "slopes *= tf.exp(found.log_weights)"),
        ("pass", "pass"),
    ),
    Mutant(
        "classes",
        "head_of_its_classes",
        (
            "self._centers(self.sampled[start:stop])",
            "self.sampled[:, None] * number + centers",
        ),
        ("self._centers(self.sampled[start:stop] * 0)", "self.sampled[:, None] * 0 + centers"),
    ),
]


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
    _forget(module)
    try:
        yield
    finally:
        for function, code in before:
            function.__code__ = code
        _forget(module)


def _forget(module: types.ModuleType) -> None:
    """Clear a module's caches: they hold programs compiled from the other code."""
    for value in vars(module).values():
        if hasattr(value, "cache_clear"):
            value.cache_clear()


def _functions(
    old: dict[str, object], new: dict[str, object], module: str
) -> Iterator[tuple[types.FunctionType, types.FunctionType]]:
    """Pair the functions and methods that two namespaces define under the same names."""
    for name, value in list(old.items()):
        found = _bare(value)
        if isinstance(found, types.FunctionType) and found.__module__ == module:
            yield found, _bare(new[name])
        elif inspect.isclass(value) and value.__module__ == module:
            yield from _functions(dict(vars(value)), vars(new[name]), module)


def _bare(value: Any) -> Any:
    """Return the function itself, without what decorators put around it."""
    return inspect.unwrap(value.__func__ if isinstance(value, staticmethod) else value)


def killed(backend: str, loss: str) -> bool:
    """Whether the suite fails: first on the loss that was changed, then as a whole."""
    files = [str(HERE / name) for name in SUITE if (HERE / name).exists()]
    quiet = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", "--no-header"]
    for chosen in (f"{backend} and {loss}", backend):
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            status = pytest.main([*quiet, "-k", chosen, *files])
        if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            raise SystemExit(f"the suite did not run: pytest's exit status is {status}")
        if status == pytest.ExitCode.TESTS_FAILED:
            return True
    return False


def main(arguments: list[str]) -> int:
    """Try the mutants; return the exit status."""
    backends = [a for a in arguments if a in PACKAGES] or list(PACKAGES)
    chosen = [int(a) for a in arguments if a.isdigit()] or range(len(MUTANTS))
    survivors = 0
    for backend in backends:
        load_backend(backend)
        if killed(backend, "arcface"):
            raise SystemExit(f"the suite fails for {backend} as it is: nothing can be told")
        for number in chosen:
            mutant = MUTANTS[number]
            old, new = mutant.texts(backend)
            module = importlib.import_module(f"{PACKAGES[backend]}.{mutant.file}")
            with mutated(module, old, new):
                dead = killed(backend, mutant.loss)
            survivors += not dead
            said = "killed  " if dead else "SURVIVED"
            print(
                f"{backend:5} {number:3} {said} {mutant.file}: {old.strip()} -> {new.strip()}",
                flush=True,
            )
    print(f"{len(backends) * len(chosen) - survivors} killed, {survivors} survived")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
