"""The names of the wild: whose weights a file holds, of which network, and back again."""

from marginface.backbones.naming.account import Account
from marginface.backbones.naming.recognising import Recognised, recognise
from marginface.backbones.naming.table import NAMINGS, Naming, naming

__all__ = ["NAMINGS", "Account", "Naming", "Recognised", "naming", "recognise"]
