"""Model cards: what a model is, in words and figures; folders of models with one."""

from marginface.cards.card import Card
from marginface.cards.folder import (
    ModelFolder,
    is_model_folder,
    read_model_folder,
    write_model_folder,
)

__all__ = ["Card", "ModelFolder", "is_model_folder", "read_model_folder", "write_model_folder"]
