"""What an entity may hold, and how a change is merged into it (rules K20–K28, C1–C9, R12)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from hsorm.codecs import hayson
from hsorm.errors import CodecError, ConflictError, InvalidTagError
from hsorm.kinds import (
    REMOVE,
    Coord,
    Entity,
    Grid,
    GridCol,
    Marker,
    NAType,
    Number,
    Ref,
    Remove,
    Symbol,
    Uri,
    XStr,
    as_ref,
    deep_copy,
    equal,
    is_ref_id,
    is_tag_name,
    native,
    plain_text,
)
from hsorm.ops.display import dis_of
from hsorm.ops.live import LIVE_TAGS
from hsorm.zones import with_zone

__all__ = [
    "MANAGED_TAGS",
    "as_read",
    "check_changes",
    "check_entity",
    "check_id",
    "check_live",
    "check_live_batch",
    "check_loaded",
    "check_new",
    "check_tags",
    "check_update",
    "conflict",
    "merge",
    "merged_tags",
    "next_mod",
    "only_live",
    "stamp",
    "why_refused",
]

MANAGED_TAGS: Final = frozenset(
    (
        "id", "mod", "transient",
        "hisId", "hisSize", "hisStart", "hisStartVal", "hisEnd", "hisEndVal",
    )
)  # fmt: skip
"""The names of the tags that only a storage itself sets (C8)."""

_MAX_STR = 32_767
_MAX_URI = 1_000
_MAX_ID = 1_000  # a key of PostgreSQL holds some 2,700 bytes
_TICK = dt.timedelta(milliseconds=1)


def check_entity(raw: Mapping[str, Any]) -> Entity:
    """Return an entity in kinds, ready to be stored.

    `int` and `float` become Numbers, Hayson values are decoded; REMOVE tags are dropped (C5).

    Raises:
        InvalidTagError: The id, a tag name or a value cannot be stored.
    """
    entity = check_changes(raw)
    if any(val is REMOVE for val in entity.values()):
        return {name: val for name, val in entity.items() if val is not REMOVE}
    return entity


def check_changes(raw: Mapping[str, Any]) -> Entity:
    """Return the changes of an update in kinds: as `check_entity`, but REMOVE stays.

    Raises:
        InvalidTagError: The id, a tag name or a value cannot be stored.
    """
    id = check_id(raw)
    out = check_tags(raw, id.val)
    out["id"] = id
    return out


def check_tags(raw: Mapping[str, Any], id: str) -> Entity:
    """Return tags of the entity `id` in kinds; REMOVE stays.

    Raises:
        InvalidTagError: A tag name or a value cannot be stored.
    """
    out: Entity = {}
    for given, value in raw.items():
        name = _tag_name(given)
        if name is None:
            raise InvalidTagError(id, str(given), _NAME_RULE)
        kind = type(value)
        if kind is Marker or kind is bool or (kind is Ref and _is_plain_ref(value)):
            out[name] = value
        else:
            out[name] = _checked(value, id, name)
    return out


# ---- by the way they come in --------------------------------------------------------------------


def check_loaded(raw: Mapping[str, Any]) -> Entity:
    """Return an entity of a load, without the tags that only a storage sets.

    An export of another system has those of that system (`hisSize`…), which mean nothing here.

    Raises:
        InvalidTagError: The id, a tag name or a value cannot be stored.
    """
    entity = check_entity(raw)
    for name in MANAGED_TAGS & entity.keys():
        if name != "id":
            del entity[name]
    return entity


def check_new(raw: Mapping[str, Any]) -> Entity:
    """Return an entity to create, without the `mod` that it may have.

    Raises:
        InvalidTagError: The id, a tag name or a value cannot be stored, or a tag is one that only a
            storage sets (C8, C9).
    """
    entity = check_entity(raw)
    entity.pop("mod", None)
    _refuse(entity, but=("id",))
    return entity


def check_update(raw: Mapping[str, Any]) -> Entity:
    """Return the changes of an update; REMOVE stays, and so do `id` and `mod`.

    Raises:
        InvalidTagError: As for `check_new`.
    """
    changes = check_changes(raw)
    _refuse(changes, but=("id", "mod"))
    return changes


def check_live(id: str, tags: Mapping[str, Any]) -> Entity:
    """Return live tags to set in kinds; REMOVE stays.

    Raises:
        InvalidTagError: A tag is none of the live ones, or its value cannot be stored.
    """
    for name in tags:
        if name not in LIVE_TAGS:
            raise InvalidTagError(id, str(name), "no live tag: update or commit changes it")
    return check_tags(tags, id)


def check_live_batch(changes: Mapping[Ref | str, Mapping[str, Any]]) -> dict[str, Entity]:
    """Return live tags to set by id, as `check_live` does; two forms of one id are one.

    Raises:
        InvalidTagError: One of the tags cannot be set.
    """
    checked: dict[str, Entity] = {}
    for id, tags in changes.items():
        val = as_ref(id).val
        checked[val] = {**checked.get(val, {}), **check_live(val, tags)}
    return checked


def _refuse(tags: Entity, *, but: Sequence[str]) -> None:
    for name, val in tags.items():
        if name not in but and (reason := why_refused(name, val)) is not None:
            raise InvalidTagError(tags["id"].val, name, reason)


def why_refused(name: str, val: Any) -> str | None:
    """Return why nobody may set a tag to this value, None where anybody may (C8, C9)."""
    if name in MANAGED_TAGS:
        return "only the storage sets this tag: leave it out"
    if name == "name" and val is not REMOVE and not (isinstance(val, str) and is_ref_id(val)):
        return f"{val!r} is no name: a Str of {_REF_RULE}"
    return None


# ---- values -------------------------------------------------------------------------------------


def check_id(raw: Mapping[str, Any]) -> Ref:
    """Return the `id` of an entity as a Ref.

    Raises:
        InvalidTagError: It is missing or cannot be stored (C3, K20).
    """
    id = raw.get("id")
    if isinstance(id, Mapping):
        id = _decoded(id, None, "id")
    if not isinstance(id, Ref):
        found = "missing" if id is None else f"{id!r}"
        raise InvalidTagError(None, "id", f"an entity needs a Ref as its id, this one is {found}")
    if not (isinstance(id.val, str) and _ref_id_fits(id.val)):
        raise InvalidTagError(None, "id", f"{id.val!r} is no id: {_REF_RULE}")
    if len(id.val) > _MAX_ID:
        reason = f"{len(id.val)} characters are too many: at most {_MAX_ID}"
        raise InvalidTagError(None, "id", reason)
    return _check_ref(id, id.val, "id")


_NAME_RULE = "a tag's name starts lower-case (or with _), then letters, digits, _; at most 60"
_REF_RULE = "letters, digits and _ : - . ~ only, and at least one"


# Names and refs repeat from entity to entity: remembering beats matching anew.
@lru_cache(maxsize=16384)
def _tag_name(name: object) -> str | None:
    """Return a name that a tag may have as plain text, None for any other."""
    # _kind is what tells a kind from a dict in the stored form.
    if isinstance(name, str) and is_tag_name(name) and name != "_kind":
        return plain_text(name)
    return None


@lru_cache(maxsize=65536)
def _ref_id_fits(val: str) -> bool:
    return is_ref_id(val)


def _is_plain_ref(ref: Ref) -> bool:
    return ref.dis is None and type(ref.val) is str and _ref_id_fits(ref.val)


def _checked(value: Any, id: str, tag: str) -> Any:
    try:
        return _check_value(value, id, tag)
    except RecursionError:
        raise InvalidTagError(id, tag, "the value is nested too deep") from None


def _check_value(value: Any, id: str, tag: str) -> Any:
    """Return one value in kinds; every kind but null can be stored (K28, OC 4)."""
    check = _CHECKS.get(type(value))
    if check is not None:
        return check(value, id, tag)
    if value is None:
        raise InvalidTagError(id, tag, "null is no value: leave the tag out, or use REMOVE")
    for base, check in _CHECKS.items():
        # Subclasses: a str enum, a pandas timestamp; datetime stands before date in the table.
        if isinstance(value, base):
            return check(value, id, tag)
    found = native(value)
    if found is None:
        reason = f"{value!r:.80} is of no Haystack kind: give one of hsorm's, or a text, number, …"
        raise InvalidTagError(id, tag, reason)
    return found


def _take(value: Any, id: str, tag: str) -> Any:
    return value


def _check_number(value: Number, id: str, tag: str) -> Number:
    if value.unit is not None:
        _check_text(value.unit, _MAX_STR, id, tag)
    return value


def _number(value: Any, id: str, tag: str) -> Number:
    return Number(value)


def _check_date(value: dt.date, id: str, tag: str) -> dt.date:
    return value if type(value) is dt.date else dt.date(value.year, value.month, value.day)


def _check_time(value: dt.time, id: str, tag: str) -> dt.time:
    # A Time is its fields, of no zone (K5).
    return dt.time(value.hour, value.minute, value.second, value.microsecond)


def _check_str(value: str, id: str, tag: str) -> str:
    return _check_text(value, _MAX_STR, id, tag)


def _check_ref(value: Ref, id: str, tag: str) -> Ref:
    if not (isinstance(value.val, str) and _ref_id_fits(value.val)):
        raise InvalidTagError(id, tag, f"{value.val!r} is no ref id: {_REF_RULE}")
    val, dis = plain_text(value.val), value.dis
    if dis is not None:
        dis = _check_text(dis, _MAX_STR, id, tag)
    return value if val is value.val and dis is value.dis else Ref(val, dis)


def _check_uri(value: Uri, id: str, tag: str) -> Uri:
    return Uri(_check_text(value.val, _MAX_URI, id, tag))


def _check_xstr(value: XStr, id: str, tag: str) -> XStr:
    return XStr(plain_text(value.type), _check_text(value.val, _MAX_STR, id, tag))


def _check_datetime(value: dt.datetime, id: str, tag: str) -> dt.datetime:
    if type(value) is not dt.datetime:
        value = _plain_datetime(value, id, tag)
    if value.utcoffset() is None:
        raise InvalidTagError(id, tag, f"{value.isoformat()} has no time zone: add one")
    try:
        value.astimezone(dt.UTC)
        return with_zone(value)
    except OverflowError:
        reason = f"{value.isoformat()} is outside the years 1 to 9999 in UTC"
        raise InvalidTagError(id, tag, reason) from None


def _plain_datetime(value: dt.datetime, id: str, tag: str) -> dt.datetime:
    """Return a datetime of a subclass, such as a timestamp of pandas, as one of Python's own."""
    try:
        return dt.datetime.combine(value.date(), value.time(), value.tzinfo)
    except ValueError:  # the NaT of pandas
        raise InvalidTagError(id, tag, f"{value!r} is no dateTime: leave the tag out") from None


def _check_grid(grid: Grid, id: str, tag: str) -> Grid:
    if grid.ver not in hayson.GRID_VERSIONS:
        known = " and ".join(hayson.GRID_VERSIONS)
        raise InvalidTagError(id, tag, f"a grid of version {grid.ver!r}: {known} are known")
    if "ver" in grid.meta:
        raise InvalidTagError(id, tag, "a grid with ver in its meta: the version is `Grid.ver`")
    return Grid(
        _check_dict(grid.meta, id, f"{tag}.meta"),
        tuple(_check_col(col, id, tag) for col in grid.cols),
        tuple(_check_dict(row, id, f"{tag}.rows[{i}]") for i, row in enumerate(grid.rows)),
        grid.ver,
    )


def _check_col(col: GridCol, id: str, tag: str) -> GridCol:
    name = _check_text(col.name, _MAX_STR, id, tag)
    return GridCol(name, _check_dict(col.meta, id, f"{tag}.cols.{col.name}"))


def _check_list(value: Sequence[Any], id: str, tag: str) -> list[Any]:
    return [_check_value(val, id, f"{tag}[{i}]") for i, val in enumerate(value)]


def _check_dict(value: Mapping[Any, Any], id: str, tag: str) -> Any:
    if "_kind" in value:
        return _check_value(_decoded(value, id, tag), id, tag)
    return dict(_check_member(name, val, id, tag) for name, val in value.items())


def _check_member(given: object, value: Any, id: str, tag: str) -> tuple[str, Any]:
    if not isinstance(given, str):
        raise InvalidTagError(id, tag, f"{given!r} is no name of a tag")
    name = _check_text(given, _MAX_STR, id, tag)
    return name, _check_value(value, id, f"{tag}.{name}")


def _check_text(text: object, most: int, id: str, tag: str) -> str:
    """Return a text that can be stored as plain text, whatever subclass of `str` it is of."""
    if not isinstance(text, str):
        raise InvalidTagError(id, tag, f"{text!r} is no text")
    text = plain_text(text)
    if len(text) > most:
        raise InvalidTagError(id, tag, f"{len(text)} characters are too many: at most {most}")
    if "\0" in text:
        raise InvalidTagError(id, tag, "a text with U+0000, which databases cannot hold")
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        raise InvalidTagError(id, tag, "a text with a lone surrogate, which is no Unicode text")
    return text


def _decoded(value: Mapping[str, Any], id: str | None, tag: str) -> Any:
    try:
        return hayson.decode(dict(value))
    except CodecError as exc:
        raise InvalidTagError(id, tag, str(exc)) from None


_CHECKS: Final[dict[type, Callable[[Any, str, str], Any]]] = {
    Marker: _take,
    NAType: _take,
    Remove: _take,
    bool: _take,
    Number: _check_number,
    Symbol: _take,
    Coord: _take,
    dt.time: _check_time,
    int: _number,
    float: _number,
    str: _check_str,
    Ref: _check_ref,
    Uri: _check_uri,
    XStr: _check_xstr,
    dt.datetime: _check_datetime,
    dt.date: _check_date,
    Grid: _check_grid,
    list: _check_list,
    tuple: _check_list,
    dict: _check_dict,
    Mapping: _check_dict,
}


def next_mod(now: dt.datetime, previous: dt.datetime | None = None) -> dt.datetime:
    """Return the `mod` of a change made now: in milliseconds, later than the previous one (C6)."""
    mod = now.replace(microsecond=now.microsecond // 1000 * 1000)
    return mod if previous is None or mod > previous else previous.astimezone(dt.UTC) + _TICK


def stamp(entity: Entity, mod: dt.datetime) -> Entity:
    """Return an entity with a `mod`, as it is stored."""
    return {**entity, "mod": mod}


def as_read(entity: Entity) -> Entity:
    """Fill the display text into the `id` of an entity that was just made for a caller (R12)."""
    entity["id"] = Ref(entity["id"].val, dis_of(entity))
    return entity


def merge(old: Entity, changes: Entity, now: dt.datetime) -> Entity:
    """Return an entity after a change (C4, C5, C13); live tags alone leave its `mod` as it was.

    Args:
        old: The entity as stored.
        changes: Checked changes, with the `id` and perhaps the `mod` that they are based on.
        now: The time of the change, in UTC.

    Raises:
        ConflictError: The changes are based on another `mod` than the stored one.
    """
    stored, expected = old.get("mod"), changes.get("mod")
    if expected is not None and not equal(expected, stored):
        raise conflict(old, expected)
    merged = merged_tags(old, changes)
    if only_live(changes):
        return merged if stored is None else stamp(merged, stored)
    return stamp(merged, next_mod(now, stored if isinstance(stored, dt.datetime) else None))


def merged_tags(old: Entity, changes: Entity) -> Entity:
    """Return an entity after changes tag by tag, REMOVE deletes (C5); its id stays its own."""
    merged = {**old, **changes, "id": _own_id(old)}
    return {name: val for name, val in merged.items() if val is not REMOVE}


def only_live(changes: Entity) -> bool:
    """Tell whether changes are of live tags alone, so that they do not touch `mod`."""
    tags = changes.keys() - {"id", "mod"}
    return bool(tags) and tags <= LIVE_TAGS


def conflict(old: Entity, expected: object) -> ConflictError:
    """Return the error of a change that was based on another `mod` than that of `old`."""
    current = as_read(deep_copy(old))
    return ConflictError(current["id"].val, _mod_text(expected), _mod_text(old.get("mod")), current)


def _own_id(entity: Entity) -> Ref:
    """Return an entity's id without the display text that `as_read` filled in from its tags."""
    id: Ref = entity["id"]
    filled = dis_of({name: val for name, val in entity.items() if name != "id"})
    return id if filled is None else Ref(id.val)


def _mod_text(mod: object) -> str:
    return mod.isoformat() if isinstance(mod, dt.datetime) else str(mod)
