"""What ONNX Runtime computes on: one of the execution providers that its package has."""

from __future__ import annotations

import ctypes
import io
import re
import sys
import warnings
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from marginface.errors import MarginfaceError
from marginface.extras import ONE_ONNX_RUNTIME, needs, onnx_runtimes

with needs("onnx"):
    import onnxruntime as ort
    from onnxruntime.capi import onnxruntime_pybind11_state as ort_state

SUFFIX = "ExecutionProvider"
REMOTE = "azure"  # sends what it computes to a server; CPU packages list it, too
CUDA_FAILURE = re.compile(r"CUDA failure \d+: [^;]*[^; ]")
SILENT, WARNING = 4, 2  # severities of ONNX Runtime's log; the latter is its default
OF_PROVIDERS = (RuntimeError, ort_state.EPFail, ort_state.RuntimeException)  # others: of a model


def available_providers() -> dict[str, str]:
    """Return ONNX Runtime's names of its providers by ours: `cpu`, and `cuda` or others.

    >>> available_providers()["cpu"]
    'CPUExecutionProvider'
    """
    names = {name.removesuffix(SUFFIX).lower(): name for name in ort.get_available_providers()}
    names.pop(REMOTE, None)
    return dict(sorted(names.items()))


def create_session(
    source: str | bytes, options: ort.SessionOptions, provider: str
) -> ort.InferenceSession:
    """Return a session that computes on `provider`: one of `available_providers`, or "auto".

    What a provider has no operation for runs on the CPU. "auto" is CUDA where the package has it,
    else the CPU; where CUDA cannot be used it is the CPU, with a warning.

    Raises:
        MarginfaceError: there is no such provider, or it cannot be used.
        Exception: ONNX Runtime's, of a model that it cannot load.
    """
    names = available_providers()
    if provider not in ("auto", *names):
        raise MarginfaceError(_missing(provider, names))
    chosen = provider
    if provider == "auto":
        chosen = "cuda" if "cuda" in names else "cpu"
        if chosen == "cpu" and len(onnx_runtimes()) > 1:
            warnings.warn(f"computing on the CPU: {_both()}", stacklevel=2)
    if chosen == "cpu":
        return ort.InferenceSession(source, options, providers=[names["cpu"]])
    session, reason = _try(source, options, chosen, [names[chosen], names["cpu"]])
    if session is not None:
        return session
    problem = f"ONNX Runtime has the provider {chosen} but cannot use it: {reason}"
    if provider != "auto":
        raise MarginfaceError(f"{problem}; mend that, or take --provider cpu")
    session = ort.InferenceSession(source, options, providers=[names["cpu"]])
    warnings.warn(f"{problem}; computing on the CPU (--provider cpu: without this)", stacklevel=2)
    return session


def _try(
    source: str | bytes, options: ort.SessionOptions, provider: str, names: list[str]
) -> tuple[Any, str]:
    """Return a session, None where it does not run on the first of `names`, and why not."""
    ort.set_default_logger_severity(SILENT)  # else it also says on standard error what is raised
    try:
        if provider == "cuda":
            with redirect_stdout(io.StringIO()):  # it prints what it does not find
                ort.preload_dlls()  # of NVIDIA's packages beside it
        # Its own fallback prints on standard output.
        session = ort.InferenceSession(source, options, providers=names, enable_fallback=0)
    except OF_PROVIDERS as error:
        text = " ".join(str(error).split())
        cuda = CUDA_FAILURE.search(text)  # amid functions' names, files and the host's name
        return None, cuda[0] if cuda else text
    finally:
        ort.set_default_logger_severity(WARNING)
    if names[0] in session.get_providers():
        return session, ""
    return None, _unloadable(provider)


def _unloadable(provider: str) -> str:
    """Return why the system cannot load a provider's library, which ONNX Runtime only logs."""
    wanted = (
        f"; it needs an NVIDIA driver, CUDA {ort.cuda_version} and cuDNN 9"
        if provider == "cuda"
        else ""
    )
    folder = Path(ort.__file__).parent / "capi"
    stem, suffix = ("", ".dll") if sys.platform == "win32" else ("lib", ".so")
    shared, own = (
        str(folder / f"{stem}onnxruntime_providers_{name}{suffix}") for name in ("shared", provider)
    )
    try:
        ctypes.CDLL(shared, mode=ctypes.RTLD_GLOBAL)
        ctypes.CDLL(own)
    except OSError as error:
        return f"{error}{wanted}"
    return f"its library does not load{wanted}"


def _missing(provider: str, names: dict[str, str]) -> str:
    there = onnx_runtimes()
    found = f"this ONNX Runtime has no provider {provider!r}, only {', '.join(names)}"
    if provider != "cuda":
        return f"{found}; give one of these, or auto"
    if len(there) > 1:
        return f"{found}: {_both()}"
    return (
        f"{found}; for a GPU run: pip uninstall -y {' '.join(there)}, then: "
        "pip install 'marginface[onnx-gpu]'"
    )


def _both() -> str:
    return (
        f"{' and '.join(onnx_runtimes())} are both installed, and overwrite each other; "
        f"{ONE_ONNX_RUNTIME}"
    )
