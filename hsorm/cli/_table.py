"""Entities as a table that fits the terminal: the columns that tell the most."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from rich import box
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from hsorm.cli._values import text_of
from hsorm.kinds import MARKER, Entity, Number, Ref
from hsorm.ops.display import dis_of

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["entity_table", "plain_table"]

_GAP: Final = 2
_MOST: Final = 24
_DIS_MOST: Final = 40
_DIS_LEAST: Final = 12

# What people look for first; other tags weigh 1.
_TELLING: Final = {
    "curVal": 4.0, "unit": 2.5, "kind": 2.0, "equipRef": 1.6, "area": 1.5, "geoCity": 1.5,
    "curStatus": 1.5, "siteRef": 1.2, "spaceRef": 1.2, "tz": 0.8, "enum": 0.6, "navName": 0.3,
    "disMacro": 0.2, "navId": 0.01, "mod": 0.01,
}  # fmt: skip


def plain_table(console: Console, headers: Sequence[str]) -> Table:
    """Return an empty table: with a rule under its header on a terminal, bare elsewhere."""
    ruled = console.is_terminal
    table = Table(
        box=box.SIMPLE_HEAD if ruled else None,
        show_edge=False,
        pad_edge=False,
        padding=(0, _GAP - ruled, 0, 0),  # a box has a blank of its own between columns
        header_style="bold",
    )
    for name in headers:
        table.add_column(Text(name), no_wrap=True, overflow="ellipsis")
    return table


def entity_table(
    console: Console, entities: Sequence[Entity], cols: Sequence[str] | None
) -> tuple[Table, int]:
    """Return a table of entities, and how many of their tags it leaves out.

    Args:
        console: Where it will be printed: its width counts.
        entities: The rows, at least one.
        cols: The columns, in this order; None chooses those that tell the most and fit.
    """
    texts = [_texts(entity) for entity in entities]
    names = list(cols) if cols is not None else _chosen(console.width, entities, texts)
    table = plain_table(console, names)
    for column, name in zip(table.columns, names, strict=True):
        if name == "id":
            column.style, column.overflow = "cyan", "fold"
            column.min_width = min(_width("id", texts), max(console.width // 2, 8))
        elif cols is None:
            column.max_width = _dis_most(console.width) if name == "dis" else max(_MOST, len(name))
        if all(isinstance(entity.get(name), Number | None) for entity in entities):
            column.justify = "right"
    for row in texts:
        table.add_row(*(Text(row.get(name, "")) for name in names))
    every = {name for entity in entities for name in entity}
    return table, len(every.difference(names))


def _dis_most(width: int) -> int:
    return min(_DIS_MOST, max(_DIS_LEAST, width * 2 // 5))


def _texts(entity: Entity) -> dict[str, str]:
    texts = {name: text_of(value) for name, value in entity.items()}
    texts["dis"] = text_of(dis_of(entity))
    return texts


def _width(name: str, texts: Iterable[Mapping[str, str]]) -> int:
    return max(cell_len(name), *(cell_len(row.get(name, "")) for row in texts))


def _chosen(width: int, entities: Sequence[Entity], texts: Sequence[dict[str, str]]) -> list[str]:
    """Return `id`, `dis`, and the most telling of the tags that fit beside them."""
    left = width - min(_width("id", texts), width // 2)
    names = ["id"]
    if any(row["dis"] for row in texts):
        names.append("dis")
        left -= _GAP + max(min(_width("dis", texts), _dis_most(width), left - _GAP), _DIS_LEAST)
    tags = {name for entity in entities for name in entity} - {"id", "dis"}
    weights = {name: _weight(name, entities, texts) for name in tags}
    for name in sorted(tags, key=lambda name: (-weights[name], name)):
        needed = _GAP + min(_width(name, texts), max(_MOST, cell_len(name)))
        if needed <= left:
            names.append(name)
            left -= needed
    return names


def _weight(name: str, entities: Sequence[Entity], texts: Sequence[Mapping[str, str]]) -> float:
    """Say how much a column tells: of how many rows, how differently, and of which kind."""
    there = [entity[name] for entity in entities if name in entity]
    values = Counter(row.get(name, "") for row in texts)
    share = len(there) / len(entities)
    if len(entities) == 1:
        variety = 1.0
    elif len(values) == 1:
        variety = 0.15  # the same in each row tells nothing of any
    else:
        variety = 0.6 + 0.4 * _evenness(values, len(entities))
    repeats = all(text and text in row["dis"] for row in texts if (text := row.get(name)))
    return (
        share * variety * _kind_weight(there) * _TELLING.get(name, 1.0) * (0.1 if repeats else 1.0)
    )


def _evenness(values: Counter[str], rows: int) -> float:
    """Return 0 to 1: how much of what could be told apart is."""
    shares = [count / rows for count in values.values()]
    return -sum(share * math.log2(share) for share in shares) / math.log2(rows)


def _kind_weight(values: Sequence[Any]) -> float:
    first = values[0]
    if first is MARKER:
        return 0.5
    if isinstance(first, (bool, Number, Ref)):
        return 1.0
    if isinstance(first, str):
        return 0.8 if max(len(str(value)) for value in values) <= _MOST else 0.3
    return 0.1 if isinstance(first, (list, dict)) else 0.4
