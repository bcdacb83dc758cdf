"""How fast the codecs read and write entities, beside those of phable, in one run.

Run `python benchmarks/codecs.py [FOLDER]`. FOLDER holds one building as `alpha.json`, `alpha.zinc`
and `alpha.trio`; without it 2,000 generated entities serve. Each cell is the median of seven runs,
taken in turns so that a pause of the machine hits both sides alike.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from phable.io.ph_json import ph_from_json, ph_to_json
from phable.io.ph_zinc import ph_from_zinc, ph_to_zinc
from rich.console import Console
from rich.table import Table

from hsorm.codecs import hayson, trio, zinc
from hsorm.kinds import MARKER, Entity, Grid, Number, Ref

RUNS = 7


def generated(count: int = 2_000) -> Grid:
    """Points as they look in a real building: some 15 tags each, most of them markers."""
    kinds = ["temp", "flow", "pressure", "power"]

    def point(at: int) -> Entity:
        return {
            "id": Ref(f"p-{at:04x}"),
            "dis": f"AHU-{at // 40} {kinds[at % 4].title()} {at % 40}",
            **dict.fromkeys(["point", "sensor", "his", "cur", "air", "discharge"], MARKER),
            kinds[at % 4]: MARKER,
            "equipRef": Ref(f"e-{at // 40:04x}"),
            "siteRef": Ref("s-0000"),
            "kind": "Number",
            "unit": "°F",
            "tz": "Denver",
            "custom": {"description": f"point {at}", "max": Number(at, "kW")},
        }

    return Grid.of(map(point, range(count)))


def texts(folder: Path) -> tuple[str, dict[str, str]]:
    """The three texts of a building, and what to call it."""
    if (folder / "alpha.json").is_file():
        names = {"Hayson": "alpha.json", "Zinc": "alpha.zinc", "Trio": "alpha.trio"}
        return "alpha", {name: (folder / file).read_text() for name, file in names.items()}
    grid = generated()
    made = {"Hayson": hayson.dumps(grid), "Zinc": zinc.dumps(grid), "Trio": trio.dumps(grid.rows)}
    return "generated", made


Call = Callable[[], Any]


def cases(source: dict[str, str]) -> list[tuple[str, Call, Call | None]]:
    """What is measured: name, ours, theirs."""
    grid = hayson.loads(source["Hayson"])
    theirs = ph_from_json(source["Hayson"])
    return [
        (
            "read Hayson",
            lambda: hayson.loads(source["Hayson"]),
            lambda: ph_from_json(source["Hayson"]),
        ),
        ("write Hayson", lambda: hayson.dumps(grid), lambda: ph_to_json(theirs)),
        (
            "read Zinc",
            lambda: zinc.loads(source["Zinc"]),
            lambda: ph_from_zinc(source["Zinc"]),
        ),
        ("write Zinc", lambda: zinc.dumps(grid), lambda: ph_to_zinc(theirs)),
        ("read Trio", lambda: trio.loads(source["Trio"]), None),
        ("write Trio", lambda: trio.dumps(grid.rows), None),
    ]


def seconds(call: Call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def measure(ours: Call, theirs: Call | None) -> tuple[float, float | None]:
    """Median seconds of both sides."""
    seconds(ours)
    pairs = [(seconds(ours), seconds(theirs) if theirs else 0.0) for _ in range(RUNS)]
    mine, other = (statistics.median(side) for side in zip(*pairs, strict=True))
    return mine, other if theirs else None


def main() -> None:
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=beside)
    label, source = texts(parser.parse_args().folder)
    count = len(hayson.loads(source["Hayson"]).rows)
    table = Table(
        title=f"Codecs: {count:,} entities ({label}), Python {platform.python_version()}, "
        f"phable {version('phable')}; entities a second"
    )
    for name in ("", "hsorm", "phable", "hsorm : phable"):
        table.add_column(name, justify="right" if name else "left")
    for name, ours, theirs in cases(source):
        mine, other = measure(ours, theirs)
        rest = (f"{count / other:,.0f}", f"{other / mine:.1f}×") if other else ("has none", "")
        table.add_row(name, f"{count / mine:,.0f}", *rest)
    Console(width=90).print(table)


if __name__ == "__main__":
    main()
