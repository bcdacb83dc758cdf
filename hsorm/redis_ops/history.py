"""The history of a point in Redis: what is written, what is asked, and what the answers mean.

Three keys hold it, in one slot, and each item lies in one of them:

- `h:<id>`, a time series: its numbers;
- `b:<id>`, a time series: its bools, as 1 and 0. So a key says of what kind an item was written
  (rule H16), and both serve rollups and people who read with `TS.RANGE`;
- `o:<id>`, a sorted set: everything else, that is Str, NA, Coord, INF and NaN, which a series
  refuses, and what lies before 1970. Its members, all of score 0, are a key that sorts by instant
  (`key_of`) and Hayson text.

The stamps of a series are microseconds, not the milliseconds that RedisTimeSeries speaks of: it
only compares and subtracts them. So no instant is rounded, at no cost: what is written at whole
seconds takes the same memory either way.

Nothing here talks to a server. Writing is one script (`lua/history.lua`), which takes packed lists:
that is two to three times as fast as pipelined `TS.MADD`, whose arguments the driver packs one by
one, and nothing is done of a call that does not arrive whole.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from hsorm.codecs import hayson
from hsorm.his.instants import from_micros, local_datetimes, to_micros
from hsorm.his.rows import from_row, to_row
from hsorm.his.span import Span
from hsorm.kinds import REMOVE, Kind, Number

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    import numpy as np

__all__ = [
    "Extent",
    "HisKeys",
    "Rows",
    "Samples",
    "found_by",
    "key_of",
    "packed",
    "with_floats",
]

Command = tuple[Any, ...]
Item = tuple[dt.datetime, Kind]

CHUNK: Final = 1_000
"""Samples of one TS.MADD: Lua hands a function at most 8,000 arguments."""

_EXACT: Final = 2**53
"""Beyond it (in the year 2255) not every microsecond is a double."""


class HisKeys(NamedTuple):
    """The keys of a point's history."""

    numbers: str
    bools: str
    others: str

    @staticmethod
    def of(base: str, id: str) -> HisKeys:
        """Return the keys of a point whose bucket has this base."""
        return HisKeys(f"{base}h:{id}", f"{base}b:{id}", f"{base}o:{id}")


def key_of(stamp: int) -> str:
    """Return a stamp as text that sorts as instants do, those before 1970 first."""
    return f"{stamp:018d}" if stamp >= 0 else f"-{10**18 + stamp:018d}"


def _stamp_of(member: str) -> tuple[int, str]:
    """Return the stamp and the Hayson text of a member of `o:<id>`."""
    if member[0] == "-":
        return int(member[1:19]) - 10**18, member[19:]
    return int(member[:18]), member[18:]


# ---- writing ------------------------------------------------------------------------------------


class Packed(NamedTuple):
    """A write as the scripts take it.

    Attributes:
        puts: What to write where, and the values: `n<stamps>` and `b<stamps>` for the two series,
            `o<key>` for one of the others, `c<first key>` for a range to clear up to a last key.
        gone: Keys of what is to be deleted.
    """

    puts: list[tuple[str, str]]
    gone: list[str]


def packed(items: Iterable[Item], clear: Span | None = None) -> Packed:
    """Return a write of checked items: ascending by instant, each once, as `check_items` gives.

    Args:
        items: Instant in UTC and value; REMOVE deletes the item at its instant.
        clear: What to delete before.
    """
    numbers = _Samples("n")
    bools = _Samples("b")
    others: list[tuple[str, str]] = []
    gone: list[str] = []
    number, value, stamp_of = numbers.stamps.append, numbers.values.append, to_micros
    for ts, val in items:
        stamp = stamp_of(ts)
        if type(val) is Number and stamp >= 0 and (plain := val.val) - plain == 0:  # finite
            number(stamp)
            value(plain)
        elif type(val) is bool and stamp >= 0:
            bools.stamps.append(stamp)
            bools.values.append(int(val))
        elif val is REMOVE:
            gone.append(key_of(stamp))
        else:
            others.append((f"o{key_of(stamp)}", _text(val)))
    puts = _clearing(clear)
    return Packed([*puts, *numbers.chunks(), *bools.chunks(), *others], gone)


def _clearing(span: Span | None) -> list[tuple[str, str]]:
    if span is None or span.start >= span.end:
        return []
    first, last = keys_within(span)
    return [(f"c{first}", last)]


def keys_within(span: Span) -> tuple[str, str]:
    """Return the first and the last key that lie in a span that is not empty."""
    return key_of(to_micros(span.start)), key_of(to_micros(span.end) - 1)


def _text(val: Kind) -> str:
    if isinstance(val, Number):
        # The unit is the point's: numbers follow when it changes (rule H29).
        return hayson.dumps(Number(val.val))
    if isinstance(val, bool):
        return "true" if val else "false"
    return hayson.dumps(val)


class _Samples:
    """Samples for one of the series."""

    def __init__(self, code: str) -> None:
        self._code = code
        self.stamps: list[int] = []
        self.values: list[float] = []

    def chunks(self) -> Iterator[tuple[str, str]]:
        for first in range(0, len(self.stamps), CHUNK):
            stamps = map(str, self.stamps[first : first + CHUNK])
            values = map(repr, self.values[first : first + CHUNK])
            yield self._code + ",".join(stamps), ",".join(values)


# ---- reading ------------------------------------------------------------------------------------


class Rows(NamedTuple):
    """The items of a point in a span, as they are stored: each list oldest first.

    Attributes:
        numbers: Stamp and value; under RESP2 the value is text.
        bools: The same.
        others: Members of `o:<id>`.
    """

    numbers: Sequence[Sequence[Any]]
    bools: Sequence[Sequence[Any]]
    others: Sequence[bytes | str]

    @staticmethod
    def commands(keys: HisKeys, span: Span, limit: int | None = None) -> list[Command]:
        """Return the commands that read a span, oldest items first.

        They are to be run at once (MULTI), for an item may go from one key to another. The answer
        of a series that does not exist is an error, which `of` takes for no items.

        Args:
            keys: The point's.
            span: Where to read.
            limit: So many items at most, 1 or more; each of the keys gives so many, see `items`.
        """
        start, end = to_micros(span.start), to_micros(span.end)
        first, last = max(start, 0), max(end - 1, -1)
        count = () if limit is None else ("COUNT", limit)
        most = () if limit is None else ("LIMIT", 0, limit)
        # From 1 to 0 there is nothing: a series knows no stamps below 0.
        bounds = (first, last) if first <= last else (1, 0)
        return [
            ("TS.RANGE", keys.numbers, *bounds, *count),
            ("TS.RANGE", keys.bools, *bounds, *count),
            ("ZRANGEBYLEX", keys.others, f"[{key_of(start)}", f"({key_of(end)}", *most),
        ]

    @staticmethod
    def commands_before(keys: HisKeys, ts: dt.datetime) -> list[Command]:
        """Return the commands that read the last item of each key before an instant."""
        end = to_micros(ts)
        bounds = (0, end - 1) if end > 0 else (1, 0)
        return [
            ("TS.REVRANGE", keys.numbers, *bounds, "COUNT", 1),
            ("TS.REVRANGE", keys.bools, *bounds, "COUNT", 1),
            ("ZREVRANGEBYLEX", keys.others, f"({key_of(end)}", "-", "LIMIT", 0, 1),
        ]

    @staticmethod
    def of(answers: Sequence[Any]) -> Rows:
        """Return the answers to `commands`, in their order."""
        numbers, bools, others = map(found_by, answers)
        return Rows(numbers, bools, others)

    def items(self, zone: ZoneInfo, unit: str | None, limit: int | None = None) -> list[Any]:
        """Return the items, oldest first, as `his_read` does.

        Args:
            zone: That of their `ts`.
            unit: The point's, which its numbers take.
            limit: Leave out what is beyond.
        """
        if not self.bools and not self.others:
            rows = with_floats(self.numbers)
            stamps = local_datetimes([stamp for stamp, _ in rows], zone)
            return [
                {"ts": ts, "val": Number(val, unit)}
                for ts, (_, val) in zip(stamps, rows, strict=True)
            ]
        merged = self.merged(unit)[:limit]
        stamps = local_datetimes([stamp for stamp, _ in merged], zone)
        return [{"ts": ts, "val": val} for ts, (_, val) in zip(stamps, merged, strict=True)]

    def merged(self, unit: str | None) -> list[tuple[int, Kind]]:
        """Return the items, oldest first, as stamp and value."""
        found: list[tuple[int, Kind]] = [
            (stamp, Number(val, unit)) for stamp, val in with_floats(self.numbers)
        ]
        found += [(stamp, float(val) == 1.0) for stamp, val in self.bools]
        found += [(stamp, from_row(None, text, unit)) for stamp, text in self._texts()]
        found.sort(key=_stamp)  # runs that are in order already: next to nothing
        return found

    def stamps(self) -> tuple[list[int], list[int], list[int]]:
        """Return the stamps of the items of each key."""
        others = [stamp for stamp, _ in self._texts()]
        return [row[0] for row in self.numbers], [row[0] for row in self.bools], others

    def last(self, unit: str | None) -> list[tuple[dt.datetime, Kind]]:
        """Return the last of the items, or none."""
        return [(from_micros(stamp), val) for stamp, val in self.merged(unit)[-1:]]

    def _texts(self) -> Iterator[tuple[int, str]]:
        for member in self.others:
            yield _stamp_of(_decoded(member))

    def samples(self) -> Samples:
        """Return the items, oldest first, as arrays."""
        np = _numpy()
        ts, val = _arrays(np, self.numbers)
        if not self.bools and not self.others:
            return Samples(ts, val, {})
        bool_ts, bool_val = _arrays(np, self.bools)
        texts = list(self._texts())
        other_ts = np.array([stamp for stamp, _ in texts], np.int64)
        parts = [to_row(from_row(None, text, None)) for _, text in texts]
        other_val = np.array([np.nan if one is None else one for one, _ in parts], np.float64)
        stamps = np.concatenate([ts, bool_ts, other_ts])
        order = np.argsort(stamps, kind="stable")
        values = np.concatenate([val, bool_val, other_val])
        known = ["true" if one else "false" for one in bool_val.tolist()]
        obj = dict(enumerate([*known, *(text for _, text in parts)], len(ts)))
        places = np.empty(len(order), np.int64)
        places[order] = np.arange(len(order))
        placed = {int(places[at]): text for at, text in obj.items() if text is not None}
        return Samples(stamps[order], values[order], placed)


class Samples(NamedTuple):
    """The items of a point as arrays, oldest first.

    Attributes:
        ts: Microseconds since 1970, int64.
        val: float64; NaN where there is none.
        obj: Hayson text of what is no Number, by its place; a Bool has `val` besides.
    """

    ts: np.ndarray[Any, np.dtype[np.int64]]
    val: np.ndarray[Any, np.dtype[np.float64]]
    obj: dict[int, str]


def with_floats(rows: Sequence[Sequence[Any]]) -> Sequence[Sequence[Any]]:
    """Return samples with numbers in them, where under RESP2 they have text."""
    if not rows or isinstance(rows[0][1], float):
        return rows
    return [(stamp, float(val)) for stamp, val in rows]


def _decoded(member: bytes | str) -> str:
    return member if isinstance(member, str) else member.decode()


def _stamp(item: tuple[int, Any]) -> int:
    return item[0]


def _numpy() -> Any:
    import numpy

    return numpy


def _arrays(np: Any, rows: Sequence[Sequence[Any]]) -> tuple[Any, Any]:
    """Return stamps and values of samples, without an object for each where they are doubles."""
    size = len(rows)
    if not rows or not isinstance(rows[0][1], float) or rows[-1][0] > _EXACT:
        ts = np.fromiter((row[0] for row in rows), np.int64, size)
        return ts, np.fromiter((float(row[1]) for row in rows), np.float64, size)
    flat = np.fromiter(chain.from_iterable(rows), np.float64, 2 * size)
    return flat[0::2].astype(np.int64), flat[1::2].copy()


def found_by(answer: Any) -> Sequence[Any]:
    """Return what a command about a series found: nothing where there is no series."""
    return () if isinstance(answer, Exception) else answer


# ---- extent -------------------------------------------------------------------------------------


class Extent(NamedTuple):
    """How much history a point has."""

    size: int
    first: dt.datetime | None
    last: dt.datetime | None

    @staticmethod
    def commands(keys: HisKeys) -> list[Command]:
        """Return the commands that tell, to be run at once like those of `Rows`."""
        ranges: list[Command] = [
            (command, key, "-", "+", "COUNT", 1)
            for key in (keys.numbers, keys.bools)
            for command in ("TS.RANGE", "TS.REVRANGE")
        ]
        return [
            ("TS.INFO", keys.numbers),
            ("TS.INFO", keys.bools),
            ("ZCARD", keys.others),
            *ranges,
            ("ZRANGE", keys.others, 0, 0),
            ("ZRANGE", keys.others, -1, -1),
        ]

    @staticmethod
    def of(answers: Sequence[Any]) -> Extent:
        """Return what the answers to `commands` say."""
        numbers, bools, others, *ends = answers
        size = _total(numbers) + _total(bools) + int(others)
        stamps = [row[0] for answer in ends[:4] for row in found_by(answer)]
        stamps += [_stamp_of(_decoded(member))[0] for member in chain.from_iterable(ends[4:])]
        if not stamps:
            return Extent(0, None, None)
        return Extent(size, from_micros(min(stamps)), from_micros(max(stamps)))


def _total(answer: Any) -> int:
    """Return how many samples TS.INFO speaks of: a map under RESP3, a flat list under RESP2."""
    found: Any = found_by(answer)
    info = found if isinstance(found, dict) else dict(zip(found[::2], found[1::2], strict=True))
    return int(info.get(b"totalSamples") or info.get("totalSamples") or 0)
