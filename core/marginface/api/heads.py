"""MarginHead in the framework that is in use."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from marginface.backend import MODULES, Head, default_backend, load_backend

if TYPE_CHECKING:
    from marginface.losses import MarginLoss


def MarginHead(
    loss: MarginLoss | str,
    embedding_size: int = 512,
    num_classes: int | None = None,
    *,
    backend: str | None = None,
    **options: Any,
) -> Head:
    """Return the margin head of a framework: an `nn.Module` or a Keras layer.

    Args:
        loss: a loss from `marginface.losses.get`, or its name.
        embedding_size: length of the embeddings.
        num_classes: number of identities.
        backend: "torch" or "tf"; for None the one that is imported, else the one installed,
            torch of both.
        options: parameters of a loss that is given by its name, such as margin=0.3, and what else
            `marginface_torch.MarginHead` and `marginface_tf.MarginHead` take.

    Raises:
        MarginfaceError: an unknown loss, parameter or backend, or a size below 1.
    """
    made = load_backend(backend or _imported() or default_backend())
    return made.MarginHead(loss, embedding_size, num_classes, **options)


def _imported() -> str | None:
    """Return the one framework that is imported, or None for neither or both."""
    imported = [name for name, module in MODULES.items() if module in sys.modules]
    return imported[0] if len(imported) == 1 else None
