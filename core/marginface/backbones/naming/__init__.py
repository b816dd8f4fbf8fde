"""The names of the wild: whose weights a file holds, of which network, and back again."""

from marginface.backbones.naming.account import Account
from marginface.backbones.naming.configured import as_configured
from marginface.backbones.naming.epsilon import epsilons, with_epsilon
from marginface.backbones.naming.loading import fit_weights, in_epsilon_of, namings_of
from marginface.backbones.naming.pixels import with_pixels
from marginface.backbones.naming.recognising import Recognised, candidates, recognise
from marginface.backbones.naming.table import NAMINGS, Naming, find_naming
from marginface.backbones.naming.writing import state_dict, write_state_dict

__all__ = [
    "NAMINGS",
    "Account",
    "Naming",
    "Recognised",
    "as_configured",
    "candidates",
    "epsilons",
    "find_naming",
    "fit_weights",
    "in_epsilon_of",
    "namings_of",
    "recognise",
    "state_dict",
    "with_epsilon",
    "with_pixels",
    "write_state_dict",
]
