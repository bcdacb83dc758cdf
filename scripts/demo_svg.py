"""Draw what `hsorm demo` prints as an SVG, for the README: `python scripts/demo_svg.py`."""

from __future__ import annotations

import asyncio
import io
import os
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

from hsorm.cli._session import Session
from hsorm.cli.demo import tour_of

WIDTH = 96
TARGET = Path(__file__).parent.parent / "docs" / "demo.svg"


def main() -> None:
    """Run the demo on a recording console and save the recording."""
    target = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else TARGET
    console = Console(
        record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="256",
        highlight=False, markup=False, emoji=False,
    )  # fmt: skip
    session = Session()
    session.out = console
    session.err = Console(file=io.StringIO())
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # so that the file is called demo.db
        sys.argv[0] = "hsorm"
        console.print(Text("$ hsorm demo", style="green"))
        asyncio.run(tour_of(session, Path("demo.db"), seed=1, days=30))
        os.chdir("/")
    svg = console.export_svg(title="hsorm demo")
    # The font would be fetched from the network by whoever looks at the picture.
    target.write_text(without_web_fonts(svg), "utf-8")
    print(f"{target}: {target.stat().st_size // 1000} kB")


def without_web_fonts(svg: str) -> str:
    """Return the picture with the fonts of its reader, and none from the network."""
    start, end = svg.index("@font-face"), svg.rindex("@font-face")
    end = svg.index("}", end) + 1
    return svg[:start] + svg[end:]


if __name__ == "__main__":
    main()
