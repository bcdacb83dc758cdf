"""Files of diffs: one dict for each, as JSON, Zinc or Trio."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any, Final

from hsorm.codecs import hayson, trio, zinc
from hsorm.codecs.files import detect_format
from hsorm.errors import CodecError
from hsorm.kinds import MARKER, Grid, Ref, as_ref
from hsorm.ops.commits import Diff

__all__ = ["read_diffs"]

_FLAGS: Final = {
    "transient": "transient",
    "force": "force",
    "bypassRestricted": "bypass_restricted",
}
_KNOWN: Final = ("op", "id", "changes", "mod", *_FLAGS)


def read_diffs(data: bytes, name: str) -> list[Diff]:
    """Read the diffs of a file.

    Each is a dict with `op` ("add", "update" or "remove"), `id` (a Ref, or text), `changes` (a
    dict), `mod` (a dateTime, or ISO text), and `transient`, `force`, `bypassRestricted` (a marker
    or true).

    Args:
        data: The file: an array of objects (or one) or a grid in JSON, a grid in Zinc, or Trio.
        name: Its name, for its extension and for errors.

    Raises:
        CodecError: The file is malformed, or one of its dicts is no diff.
    """
    try:
        if not data.strip():
            raise CodecError("the file is empty")  # noqa: TRY301 - the handler adds the name
        found = list(_dicts(data, detect_format(name, data)))
    except CodecError as exc:
        inner = exc.where if exc.where != name else None
        where = f"{name}: {inner}" if inner else name
        raise CodecError(exc.reason, exc.line, exc.column, where) from None
    diffs = []
    for number, value in enumerate(found, 1):
        try:
            diffs.append(_diff(value))
        except CodecError as exc:
            raise CodecError(exc.reason, where=f"{name}, diff {number}") from None
    return diffs


def _dicts(data: bytes, format: str) -> Iterable[Any]:
    if format == "zinc":
        return zinc.loads(data).rows
    if format == "trio":
        return trio.loads(data)
    value = hayson.loads(data)
    if isinstance(value, Grid):
        return value.rows
    return value if isinstance(value, list) else [value]


def _diff(value: Any) -> Diff:
    """Return a dict as the diff that it describes; a CodecError says what is wrong with it."""
    if not isinstance(value, Mapping):
        raise CodecError(f"{str(value)[:40]!r} is no dict: " + _form())
    for name in value:
        if name not in _KNOWN:
            raise CodecError(f"{name!r} is nothing of a diff: tags to change belong in 'changes'")
    op, changes = value.get("op"), value.get("changes", {})
    if op not in ("add", "update", "remove"):
        raise CodecError(f"'op' is {op!r}: " + _form())
    if not isinstance(changes, Mapping):
        raise CodecError(f"'changes' is no dict: {str(changes)[:40]!r}")
    flags = {field: _flag(name, value.get(name)) for name, field in _FLAGS.items()}
    return Diff(op, _id(value.get("id")), dict(changes), _mod(value.get("mod")), **flags)


def _form() -> str:
    return 'a diff is {"op": "add"|"update"|"remove", "id": …, "changes": {…}, "mod": …}'


def _flag(name: str, value: Any) -> bool:
    if value is None or isinstance(value, bool):
        return bool(value)
    if value is MARKER:
        return True
    raise CodecError(f"{name!r} is {value!s}: a marker, true or false is needed")


def _id(value: Any) -> Ref | None:
    if value is None or isinstance(value, Ref):
        return value
    if isinstance(value, str):
        return as_ref(value)
    raise CodecError(f"'id' is {value!s}: a Ref is needed")


def _mod(value: Any) -> dt.datetime | None:
    if value is None or isinstance(value, dt.datetime):
        return value
    try:
        mod = dt.datetime.fromisoformat(value)
    except (TypeError, ValueError):
        mod = None
    if mod is None or mod.utcoffset() is None:
        raise CodecError(f"'mod' is {value!s}: a dateTime is needed, as the entity was read")
    return mod
