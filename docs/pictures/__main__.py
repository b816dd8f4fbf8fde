"""Write all pictures, and numbers.json."""

from __future__ import annotations

import json
from typing import Any

import matplotlib as mpl

from pictures import PICTURES
from pictures.panel import STYLE
from pictures.people import FOLDER, drawing


def main() -> None:
    """Write all pictures, and numbers.json: what each page states, and a check of the drawing."""
    numbers: dict[str, Any] = {"drawing": drawing()}
    with mpl.rc_context(STYLE):
        for page, pictures in PICTURES.items():
            numbers[page] = {}
            for name, draw in pictures.items():
                figure, stated = draw()
                options = {"quality": 85} if name.endswith(".jpg") else {"optimize": True}
                figure.savefig(FOLDER / name, pil_kwargs=options)
                numbers[page] |= stated
    (FOLDER / "numbers.json").write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
