"""YAML that says each thing once."""

from __future__ import annotations

from typing import Any

import yaml

LONGEST = 256  # bits of a whole number


def load_yaml(text: str) -> Any:
    """Parse a YAML text into plain types.

    Raises:
        yaml.YAMLError: it is none, has a key twice, of which YAML takes the last, names that
            stand for several values, a few lines of which would be more than fits memory, or a
            number of more than `LONGEST` bits.
    """
    try:
        return yaml.load(text, _StrictLoader)
    except RecursionError:
        raise yaml.MarkedYAMLError(problem="values are nested too deeply") from None


class _StrictLoader(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping, once its keys are found to differ."""
        seen = []
        for key, _ in node.value:
            if key.value in seen:
                problem = f"'{key.value}' is given twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.append(key.value)
        return super().construct_mapping(node, deep)

    def construct_number(self, node: yaml.ScalarNode) -> int:
        """Build a whole number that can be written out: Python refuses that for very long ones."""
        value: int = self.construct_yaml_int(node)
        if value.bit_length() > LONGEST:
            problem = f"a number of more than {LONGEST} bits"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return value

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            # PyYAML's stubs leave peek_event without types.
            alias = self.peek_event()  # type: ignore[no-untyped-call]
            # A few lines of lists of aliases of lists would name more values than fit memory.
            if isinstance(self.anchors.get(alias.anchor), yaml.CollectionNode):
                problem = f"'*{alias.anchor}' stands for several values; write them out"
                raise yaml.composer.ComposerError(None, None, problem, alias.start_mark)
        return super().compose_node(parent, index)


_StrictLoader.add_constructor("tag:yaml.org,2002:int", _StrictLoader.construct_number)
