"""The bytes of a file to entities, whichever of the text formats they are in.

No file is opened here: `name` says what the bytes come from, for the extension and for errors.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from hsorm.codecs import hayson, json3, trio, zinc
from hsorm.codecs._text import place, text_of
from hsorm.errors import CodecError
from hsorm.kinds import Entity, Grid, Ref

__all__ = ["FORMATS", "detect_format", "read_entities"]

FORMATS: Final = ("json", "json3", "trio", "zinc")
"""The names that `format` takes; "json" is Hayson."""

_EXTENSIONS: Final = {
    "json": "json", "jsonl": "json", "ndjson": "json", "hayson": "json",
    "zinc": "zinc", "zn": "zinc", "trio": "trio",
}  # fmt: skip

_ZINC = re.compile(r"\s*ver\s*:\s*\"")
_JSON = re.compile(r"\s*[\[{]")
_TRIO = re.compile(
    r"(?:[ \t]*(?://[^\r\n]*|-+[^\r\n]*)?[\r\n]+)*[a-z_][A-Za-z0-9_]*[ \t]*(?:[:\r\n]|\Z)"
)
_LINES = re.compile(r"\r\n|\r|\n")
# Each refs and markers are written so in one version only, and no entity is without its id.
_V3 = re.compile(r'"(?:m:"|r:[^"])')


def detect_format(name: str, data: bytes) -> str:
    """Return which format a file is in: `"json"` (Hayson), `"json3"`, `"zinc"` or `"trio"`.

    The extension decides; where it says nothing the content does, and always between the two
    versions of JSON.

    Raises:
        CodecError: Neither says anything.
    """
    text = data.decode(errors="replace").removeprefix("\ufeff")
    by_name = _EXTENSIONS.get(name.rpartition(".")[2].lower()) if "." in name else None
    found = by_name or _by_content(text)
    if found is None:
        what = "is empty" if not text.strip() else "is no JSON, Zinc or Trio"
        raise CodecError(f"the file {what}", where=name)
    return _json_version(text) if found == "json" else found


def _by_content(text: str) -> str | None:
    if _ZINC.match(text):
        return "zinc"
    if _JSON.match(text):
        return "json"
    return "trio" if _TRIO.match(text) else None


def _json_version(text: str) -> str:
    return "json3" if '"_kind"' not in text and _V3.search(text) else "json"


def read_entities(data: bytes, *, name: str = "-", format: str | None = None) -> list[Entity]:
    """Read the entities of a file.

    JSON may be a grid, an array of dicts, one dict, or a dict in each line. UTF-8 with or without
    byte order mark. A column or tag that is null is absent.

    Args:
        data: The whole file.
        name: Its name, for its extension and for errors; `"-"` is standard input.
        format: One of `FORMATS`, None to let `detect_format` find out.

    Raises:
        CodecError: The file is empty, no UTF-8, not in its format, or holds a dict without a Ref
            as `id`; the error names the file and, where it can, the line.
    """
    if format is not None and format not in FORMATS:
        raise CodecError(f"unknown format {format!r}: {', '.join(FORMATS)}", where=name)
    try:
        text = text_of(data)
        if not text.strip():
            raise CodecError("the file is empty")  # noqa: TRY301 - the handler adds the name
        return list(_READERS[format or detect_format(name, data)](text))
    except CodecError as exc:
        inner = exc.where if exc.where != name else None
        where = f"{name}: {inner}" if inner else name
        reason = exc.reason + _hint(data, name, format)
        raise CodecError(reason, exc.line, exc.column, where) from None


def _hint(data: bytes, name: str, format: str | None) -> str:
    """Say so when the content looks like another format than the one that it was read as."""
    text = data.decode(errors="replace").removeprefix("\ufeff")
    looks = _by_content(text)
    if looks is None:
        return ""
    looks = _json_version(text) if looks == "json" else looks
    used = format or detect_format(name, data)
    return f" (read as {used}, but it looks like {looks})" if looks != used else ""


# ---- one reader for each format -----------------------------------------------------------------


def _entity(value: Any, place: str, line: int | None = None) -> Entity:
    """Return a value that is a dict with an id; `place` says which one it is."""
    if not isinstance(value, dict):
        raise CodecError("an entity has to be a dict", line, where=place)
    id = value.get("id")
    if not isinstance(id, Ref):
        what = "has no 'id'" if id is None else f"has an 'id' that is no Ref: {str(id)[:40]!r}"
        dis = value.get("dis")
        named = f" (dis {dis[:40]!r})" if isinstance(dis, str) else ""
        raise CodecError(f"the entity{named} {what}", line, where=place)
    return value


def _no_error(grid: Grid) -> None:
    """Refuse what a server answers when it has failed: its `err` grid is no empty building."""
    if "err" in grid.meta:
        raise CodecError(f"no entities but the error of a server: {grid.meta.get('dis', 'err')}")


def _read_zinc(text: str) -> Iterator[Entity]:
    reader = zinc.Reader(text)
    grid = reader.document()
    _no_error(grid)
    for at, row in enumerate(grid.rows):
        if not isinstance(row.get("id"), Ref):
            _entity(row, f"rows[{at}]", place(text, reader.row_at[at])[0])
        yield dict(row)


def _read_trio(text: str) -> Iterator[Entity]:
    for line, entity in trio.entities_with_lines(text):
        yield _entity(entity, "", line)


def _read_hayson(text: str) -> Iterator[Entity]:
    return _read_json(text, hayson.decode)


def _read_json3(text: str) -> Iterator[Entity]:
    return _read_json(text, json3.decode)


_Decode = Callable[[Any], Any]


def _read_json(text: str, decode: _Decode) -> Iterator[Entity]:
    try:
        value = hayson.parse_json(text)
    except CodecError:
        if not _is_object(_LINES.split(text.strip(), maxsplit=1)[0]):
            raise
        yield from _read_lines(text, decode)
        return
    yield from _json_entities(value, decode)


def _is_object(line: str) -> bool:
    try:
        return isinstance(hayson.parse_json(line), dict)
    except CodecError:
        return False


def _read_lines(text: str, decode: _Decode) -> Iterator[Entity]:
    for number, line in enumerate(_LINES.split(text), start=1):
        if line.strip():
            try:
                value = decode(hayson.parse_json(line))
            except CodecError as exc:
                raise CodecError(exc.reason, number, exc.column, exc.where) from None
            yield _entity(value, "", number)


def _json_entities(value: Any, decode: _Decode) -> Iterator[Entity]:
    if isinstance(value, list):
        for at, item in enumerate(value):
            yield _entity(_decode_at(f"[{at}]", item, decode), f"[{at}]")
        return
    if isinstance(value, dict) and "rows" in value and "cols" in value and "_kind" not in value:
        value = {"_kind": "grid", **value} if decode is hayson.decode else value
    decoded = decode(value)
    if not isinstance(decoded, Grid):
        yield _entity(decoded, "")
        return
    _no_error(decoded)
    for at, row in enumerate(decoded.rows):
        yield _entity(dict(row), f"rows[{at}]")


def _decode_at(where: str, value: Any, decode: _Decode) -> Any:
    try:
        return decode(value)
    except CodecError as exc:
        raise CodecError(exc.reason, where=f"{where}.{exc.where}" if exc.where else where) from None


_READERS: Final[dict[str, Callable[[str], Iterator[Entity]]]] = {
    "json": _read_hayson,
    "json3": _read_json3,
    "zinc": _read_zinc,
    "trio": _read_trio,
}
