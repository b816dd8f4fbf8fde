"""Margin-based face recognition in PyTorch or TensorFlow, with one answer."""

TYPE_CHECKING = False  # typing's own would have to be imported
if TYPE_CHECKING:
    from marginface import backbones, losses
    from marginface.backend import load_backend
    from marginface.errors import MarginfaceError

__all__ = ["MarginfaceError", "__version__", "backbones", "load_backend", "losses"]
__version__ = "0.1.0"
_PLACES = {"MarginfaceError": "errors", "load_backend": "backend"}


def __getattr__(name: str) -> object:
    """Import what is asked for: a command must hear Ctrl-C before it imports NumPy."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module = import_module(f"{__name__}.{_PLACES.get(name, name)}")
    return getattr(module, name) if name in _PLACES else module
