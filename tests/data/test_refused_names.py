"""Names that become no files: the message says each thing that is not taken."""

from pathlib import Path

import pytest

from marginface.data.names import inner_path
from marginface.errors import MarginfaceError


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ann/~1.jpg", "tilde"),
        ("~ann/1.jpg", "tilde"),
        ("ann/.1.jpg", "leading dot"),
        ("ann/1:2.jpg", "colons"),
        ("ann\\1.jpg", "backslashes"),
        ("a\nn/1.jpg", "control characters"),
    ],
)
def test_a_refused_name_is_told_what_it_has(name, said):
    with pytest.raises(MarginfaceError, match=f"without .*{said}"):
        inner_path(Path("faces"), name)
