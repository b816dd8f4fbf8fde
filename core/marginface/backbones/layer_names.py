"""Names of layers, which PyTorch's modules, state_dicts and ONNX files carry."""

from __future__ import annotations

import re

from marginface.errors import MarginfaceError

NAME = re.compile(r"[a-z]\w*(\.[a-z0-9]\w*)*", re.ASCII | re.IGNORECASE)

# The attributes of a torch.nn.Module, of which no submodule may take the name; "graph",
# "recomputing" and "set_arrays" are the backbone's, and "module" is dropped where a wrapper put it
# before names.
_MODULE = """
T_destination add_module apply bfloat16 buffers call_super_init children compile cpu cuda
double dump_patches eval extra_repr float forward get_buffer get_extra_state get_parameter
get_submodule half ipu load_state_dict modules mtia named_buffers named_children named_modules
named_parameters parameters register_backward_hook register_buffer register_forward_hook
register_forward_pre_hook register_full_backward_hook register_full_backward_pre_hook
register_load_state_dict_post_hook register_load_state_dict_pre_hook register_module
register_parameter register_state_dict_post_hook register_state_dict_pre_hook requires_grad_
set_extra_state set_submodule share_memory state_dict to to_empty train training type xpu
zero_grad
graph recomputing set_arrays module
"""
RESERVED = frozenset(_MODULE.split())


class LayerNames:
    """The names of a graph's layers: all differ, and none is the beginning of another.

    So no two arrays have one name, either: theirs begin with their layer's.
    """

    def __init__(self) -> None:
        self._begun: dict[str, str] = {}  # the first layer behind each beginning of a name

    def take(self, name: object) -> None:
        """Take a name for a layer.

        Raises:
            MarginfaceError: it is no name, or one that is taken.

        >>> LayerNames().take("stage1.train")
        Traceback (most recent call last):
        marginface.errors.MarginfaceError: 'stage1.train' cannot be a layer's name, for 'train' \
means something else in PyTorch; rename it
        """
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise MarginfaceError(
                f"a layer's name must be words joined by dots, such as 'stage1.conv', got {name!r}"
            )
        parts = name.split(".")
        if clash := RESERVED.intersection(parts):
            raise MarginfaceError(
                f"'{name}' cannot be a layer's name, for '{min(clash)}' means something else in "
                "PyTorch; rename it"
            )
        beginnings = [".".join(parts[:count]) for count in range(1, len(parts) + 1)]
        if self._begun.get(name) == name:
            raise MarginfaceError(f"two layers are called '{name}'; rename one")
        others = [self._begun[name]] if name in self._begun else []
        others += [beginning for beginning in beginnings if self._begun.get(beginning) == beginning]
        if others:
            raise MarginfaceError(
                f"layers cannot be called both '{others[0]}' and '{name}', for one name begins "
                "the other; rename one"
            )
        for beginning in beginnings:
            self._begun.setdefault(beginning, name)
