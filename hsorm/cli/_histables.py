"""History in Zinc and Parquet files: the items of the points that they name."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from hsorm.codecs import zinc
from hsorm.errors import CodecError
from hsorm.his.arrays import load_arrow
from hsorm.kinds import Grid, Ref

__all__ = ["Items", "read_parquet", "read_zinc", "write_parquet", "zinc_head"]

_ROWS = 65_536
_LINE = 1 << 24

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


def zinc_head(file: BinaryIO, name: str, only: str | None) -> tuple[list[str], int] | None:
    """Return the points of the columns of a grid, and where its rows begin.

    None where it does not begin with two lines for itself and its columns, or is no such grid.
    """
    file.seek(0)
    lines = file.readline(_LINE) + file.readline(_LINE)
    try:
        grid = zinc.loads(lines)
        columns = _points_of(grid, name, only)
    except CodecError:
        return None
    return (list(columns.values()), len(lines)) if lines.endswith(b"\n") else None


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


def read_parquet(
    path: Path, only: str | None, ids: Mapping[str, str]
) -> tuple[int, Iterator[tuple[int, Any]]]:
    """Read a Parquet file as record batches of `id`, `ts`, `val` and `obj`.

    Args:
        path: The file: long as `his_arrow` returns it, or wide, a column a point.
        only: The point of a file with the columns `ts` and `val` alone.
        ids: The ids of points by what the file calls them, where these are others.

    Returns:
        How many rows the file has; and of each batch from how many of them it is, and the batch.

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
    turned = _named if "id" in names else _long

    def batches() -> Iterator[tuple[int, Any]]:
        for batch in source.iter_batches(_ROWS, use_threads=False):
            for number, part in enumerate(turned(pa, batch, ids)):
                yield (0 if number else len(batch)), part

    return source.metadata.num_rows, batches()


def _named(pa: Any, batch: Any, ids: Mapping[str, str]) -> Iterator[Any]:
    own = batch["id"]
    if not pa.types.is_dictionary(own.type):
        own = own.dictionary_encode()
    names = pa.array([ids.get(id, id) for id in own.dictionary.to_pylist()], pa.string())
    own = pa.DictionaryArray.from_arrays(own.indices.cast(pa.int32()), names)
    many = len(batch)
    obj = batch["obj"] if "obj" in batch.schema.names else pa.nulls(many, pa.string())
    columns = [own, batch["ts"], batch["val"].cast(pa.float64()), obj]
    yield pa.record_batch(columns, names=["id", "ts", "val", "obj"])


def _long(pa: Any, batch: Any, ids: Mapping[str, str]) -> Iterator[Any]:
    """Turn a column a point into a row an item; a null is no item."""
    import pyarrow.compute as pc

    for name in batch.schema.names:
        if name == "ts":
            continue
        there = pc.is_valid(batch[name])
        values, ts = batch[name].filter(there), batch["ts"].filter(there)
        many = len(values)
        if pa.types.is_boolean(values.type) or pa.types.is_string(values.type):
            texts = [json.dumps(value, ensure_ascii=False) for value in values.to_pylist()]
            val, obj = pa.nulls(many, pa.float64()), pa.array(texts, pa.string())
        else:
            val, obj = values.cast(pa.float64()), pa.nulls(many, pa.string())
        codes = pa.array([0] * many, pa.int32())
        id = pa.DictionaryArray.from_arrays(codes, pa.array([ids.get(name, name)], pa.string()))
        yield pa.record_batch([id, ts, val, obj], names=["id", "ts", "val", "obj"])


async def write_parquet(schema: Any, tables: AsyncIterator[Any], path: Path) -> int:
    """Write Arrow tables of one schema into a Parquet file, and return how many rows they had."""
    import pyarrow.parquet as pq

    count = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        async for table in tables:
            writer.write_table(table)
            count += len(table)
    return count
