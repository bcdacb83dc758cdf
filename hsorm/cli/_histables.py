"""History in Zinc and Parquet files: the items of the points that they name."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from hsorm.codecs import zinc
from hsorm.errors import CodecError
from hsorm.his.arrays import load_arrow
from hsorm.kinds import Grid, Ref

__all__ = ["Items", "read_parquet", "read_zinc", "write_parquet"]

Items: TypeAlias = dict[str, list[tuple[int, dict[str, Any]]]]
"""Of each point by its id: the row in the file (from 1), and the item."""


def read_zinc(text: str, name: str, only: str | None, ids: Mapping[str, str]) -> Items:
    """Return the items of a grid: of one point (its id in the meta), or of a batch (rule H11).

    Args:
        text: The file.
        name: Its name, for errors.
        only: The point of a grid that does not say which it is of.
        ids: The ids of points by what the file calls them, where these are others.

    Raises:
        CodecError: It is no Zinc, or no such grid.
    """
    try:
        grid = zinc.loads(text)
    except CodecError as exc:
        raise CodecError(exc.reason, exc.line, exc.column, name) from None
    columns = _points_of(grid, name, only)
    out: Items = {}
    for column, id in columns.items():
        own = out.setdefault(ids.get(id, id), [])
        # An empty cell is no item (H11).
        own.extend(
            (number, {"ts": row.get("ts"), "val": row[column]})
            for number, row in enumerate(grid.rows, 1)
            if column in row
        )
    return out


def _points_of(grid: Grid, name: str, only: str | None) -> dict[str, str]:
    """Return the point of each column but `ts`."""
    names = [col.name for col in grid.cols]
    own = Ref(only) if only else grid.meta.get("id")
    if names == ["ts", "val"] and isinstance(own, Ref):
        return {"val": own.val}
    if names[:1] == ["ts"] and len(names) > 1:
        found = {col.name: col.meta.get("id") for col in grid.cols[1:]}
        ids = {column: id.val for column, id in found.items() if isinstance(id, Ref)}
        if ids.keys() == found.keys():
            return ids
    raise CodecError(
        "expected the columns ts and val with the point's id in the meta of the grid (or --id), or "
        "ts and columns with an id in the meta of each",
        where=name,
    )


def read_parquet(path: Path, only: str | None, ids: Mapping[str, str]) -> Iterator[Any]:
    """Yield the parts of a Parquet file as Arrow tables of `id`, `ts`, `val` and `obj`.

    Args:
        path: The file: long as `his_arrow` returns it, or wide, a column a point.
        only: The point of a file with the columns `ts` and `val` alone.
        ids: The ids of points by what the file calls them, where these are others.

    Raises:
        CodecError: It is no Parquet, or has other columns.
        MissingExtraError: pyarrow is not installed.
    """
    pa = load_arrow("a Parquet file")
    import pyarrow.parquet as pq

    try:
        source = pq.ParquetFile(path)
    except pa.ArrowException as exc:
        raise CodecError(f"no Parquet: {exc}", where=str(path)) from None
    names = set(source.schema_arrow.names)
    if names == {"ts", "val"} and only:
        ids = {"val": only}
    elif not names >= {"id", "ts", "val"} and ("ts" not in names or names & {"id", "val", "obj"}):
        reason = "expected the columns id, ts and val, or ts and a column named by each point"
        raise CodecError(f"{reason}; there are {', '.join(sorted(names))}", where=str(path))
    for number in range(source.num_row_groups):
        table = source.read_row_group(number)
        yield _named(pa, table, ids) if "id" in names else _long(pa, table, ids)


def _named(pa: Any, table: Any, ids: Mapping[str, str]) -> Any:
    own = table.column("id").to_pylist()
    renamed = pa.array([ids.get(id, id) for id in own], pa.string())
    obj = table["obj"] if "obj" in table.column_names else pa.nulls(len(table), pa.string())
    columns = [renamed, table["ts"], table["val"].cast(pa.float64()), obj]
    return pa.table(columns, names=["id", "ts", "val", "obj"])


def _long(pa: Any, table: Any, ids: Mapping[str, str]) -> Any:
    """Turn a column a point into a row an item; a null is no item."""
    import pyarrow.compute as pc

    parts = []
    for name in table.column_names:
        if name == "ts":
            continue
        own = table.select(["ts", name]).filter(pc.is_valid(table[name]))
        values, many = own[name], len(own)
        if pa.types.is_boolean(values.type) or pa.types.is_string(values.type):
            texts = [json.dumps(value, ensure_ascii=False) for value in values.to_pylist()]
            val, obj = pa.nulls(many, pa.float64()), pa.array(texts, pa.string())
        else:
            val, obj = values.cast(pa.float64()), pa.nulls(many, pa.string())
        id = pa.array([ids.get(name, name)] * many, pa.string())
        parts.append(pa.table([id, own["ts"], val, obj], names=["id", "ts", "val", "obj"]))
    return pa.concat_tables(parts)


def write_parquet(table: Any, path: Path) -> None:
    """Write an Arrow table into a Parquet file."""
    import pyarrow.parquet as pq

    pq.write_table(table, path, compression="zstd")
