"""Margin-based face recognition in PyTorch or TensorFlow, with one answer."""

from marginface.version import __version__

TYPE_CHECKING = False  # typing's own would have to be imported
if TYPE_CHECKING:
    from marginface import backbones, losses
    from marginface.api.calibrate import calibrate
    from marginface.api.compare import compare, comparer
    from marginface.api.convert import convert
    from marginface.api.embed import embed
    from marginface.api.evaluate import evaluate
    from marginface.api.export import export
    from marginface.api.heads import MarginHead
    from marginface.api.identify import identify
    from marginface.api.info import info
    from marginface.api.models import load
    from marginface.api.train import train
    from marginface.backend import load_backend
    from marginface.errors import MarginfaceError
    from marginface.optimizers import SGD, AdamW
    from marginface.serving.recogniser import Recogniser

__all__ = [
    "SGD",
    "AdamW",
    "MarginHead",
    "MarginfaceError",
    "Recogniser",
    "__version__",
    "backbones",
    "calibrate",
    "compare",
    "comparer",
    "convert",
    "embed",
    "evaluate",
    "export",
    "identify",
    "info",
    "load",
    "load_backend",
    "losses",
    "train",
]

_PLACES = {
    "SGD": "optimizers",
    "AdamW": "optimizers",
    "MarginHead": "api.heads",
    "MarginfaceError": "errors",
    "Recogniser": "serving.recogniser",
    "calibrate": "api.calibrate",
    "compare": "api.compare",
    "comparer": "api.compare",
    "convert": "api.convert",
    "embed": "api.embed",
    "evaluate": "api.evaluate",
    "export": "api.export",
    "identify": "api.identify",
    "info": "api.info",
    "train": "api.train",
    "load": "api.models",
    "load_backend": "backend",
}

if not TYPE_CHECKING:  # a type checker would take any name for one that is there

    def __getattr__(name: str) -> object:
        """Import what is asked for: a command must hear Ctrl-C before it imports NumPy."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        module = import_module(f"{__name__}.{_PLACES.get(name, name)}")
        return getattr(module, name) if name in _PLACES else module

    def __dir__() -> list[str]:
        """List what there is for completion, which has not been imported yet."""
        return __all__
