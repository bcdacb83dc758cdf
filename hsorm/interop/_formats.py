"""Grids on the wire: which format a body is in, and which one an answer shall have.

Source: docHaystack, HttpApi (content negotiation).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl

from hsorm.codecs import hayson, json3, trio, zinc
from hsorm.errors import CodecError
from hsorm.kinds import Grid

__all__ = [
    "JSON",
    "ZINC",
    "Format",
    "UnsupportedFormatError",
    "choose",
    "format_of",
    "grid_of_query",
    "read_grid",
    "write_grid",
]


class Format(NamedTuple):
    """A format of grids.

    Attributes:
        name: Its name in `filetypes`.
        mime: The media type of what is in it.
        version: The version of JSON, where it is JSON.
        send: Whether answers can be in it.
    """

    name: str
    mime: str
    version: str = ""
    send: bool = True

    @property
    def content_type(self) -> str:
        """What the header says of an answer."""
        if self.mime == _VENDOR:
            return f"{self.mime};version={self.version}"
        return self.mime if self.version else f"{self.mime}; charset=utf-8"


class UnsupportedFormatError(ValueError):
    """A media type that no grid can be read from; the text says which ones there are."""


_VENDOR: Final = "application/vnd.haystack+json"
ZINC: Final = Format("zinc", "text/zinc")
JSON: Final = Format("json", "application/json", "4")
TRIO: Final = Format("trio", "text/trio", send=False)

FORMATS: Final = (
    ZINC,
    JSON,
    Format("json", _VENDOR, "4"),
    Format("json3", _VENDOR, "3", send=False),
    TRIO,
)
"""All of them; of one media type that of the version that counts without any stands first."""


@dataclass(frozen=True, slots=True)
class _MediaType:
    """One entry of an Accept header, or a Content-Type."""

    mime: str
    params: Mapping[str, str]

    @property
    def quality(self) -> float:
        try:
            return float(self.params.get("q", "1"))
        except ValueError:
            return 0.0

    def fits(self, format: Format) -> bool:
        if self.mime == format.mime:
            return not format.version or self.params.get("version", "4") == format.version
        kind = format.mime.partition("/")[0]
        return self.mime in ("*/*", f"{kind}/*")

    @property
    def width(self) -> int:
        """How much it takes in: 0 is one media type, 2 is every one."""
        return self.mime.count("*")


def _parse(text: str) -> _MediaType:
    mime, *params = (part.strip().lower() for part in text.split(";"))
    pairs = (param.partition("=") for param in params)
    return _MediaType(mime, {name.strip(): val.strip(' "') for name, _, val in pairs})


# ---- requests -----------------------------------------------------------------------------------


def format_of(content_type: str) -> Format:
    """Return the format of a body.

    Raises:
        UnsupportedFormatError: It is none of ours.
    """
    given = _parse(content_type)
    for format in FORMATS:
        if not given.width and given.fits(format):
            return format
    known = ", ".join(dict.fromkeys(format.mime for format in FORMATS))
    what = f"{content_type!r} is not understood" if content_type else "the header is missing"
    raise UnsupportedFormatError(f"Content-Type: {what}; {known} are")


def read_grid(body: bytes, format: Format) -> Grid:
    """Read a request; an empty body is an empty grid.

    JSON may be a dict or an array of dicts instead of a grid, and Trio always is: its rows.

    Raises:
        CodecError: The body is not in this format; the error says where.
    """
    if not body.strip():
        return Grid()
    match format.name:
        case "zinc":
            return zinc.loads(body)
        case "trio":
            return Grid.of(trio.loads(body))
        case "json3":
            return json3.loads(body)
    return _json_grid(hayson.parse_json(body))


def _json_grid(parsed: Any) -> Grid:
    # Of a grid `rows` or `cols` may be absent, but not both: a dict may well have one of them.
    if isinstance(parsed, dict) and len(parsed.keys() & {"meta", "cols", "rows"}) > 1:
        parsed = {"_kind": "grid", **parsed}
    value = hayson.decode(parsed)
    if isinstance(value, Grid):
        return value
    rows: Any = [value] if isinstance(value, Mapping) else value
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise CodecError("no grid: expected an object with 'meta', 'cols' and 'rows'")
    return Grid.of(rows)


def grid_of_query(query: str) -> Grid:
    """Read the grid of one row that a GET request has in its query.

    Values are Zinc, and text where they are not. Those of `filter`, `range` and `search` are always
    text: `2024-03-10` is a range, and `M` a spec's name.

    Raises:
        CodecError: A name comes twice, or the query is no UTF-8.
    """
    row: dict[str, Any] = {}
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=100)
    except ValueError as exc:  # UnicodeDecodeError is one
        raise CodecError(f"the query cannot be read: {exc}") from None
    for name, text in pairs:
        if name in row:
            raise CodecError(f"{name!r} comes twice in the query: send a grid with POST")
        row[name] = text if name in _TEXTS else _value_of(text)
    return Grid.of([row]) if row else Grid()


_TEXTS: Final = ("filter", "range", "search")


def _value_of(text: str) -> Any:
    try:
        return zinc.loads_value(text)
    except CodecError:
        return text


# ---- answers ------------------------------------------------------------------------------------


def choose(accept: str, request: Format | None) -> Format | None:
    """Return the format that an answer shall have by the request's Accept header.

    Args:
        accept: The header; nothing in it is `*/*`.
        request: The format of the request's body, which a wildcard stands for; else it is Zinc.

    Returns:
        None where no format of ours will do.
    """
    wanted = [_parse(part) for part in accept.split(",") if part.strip()] or [_parse("*/*")]
    found: Format | None = None
    best = (0.0, 0)
    for format in _preferred(request):
        # Of the entries that let a format through the narrowest counts (RFC 9110, 12.5.1); of the
        # formats that are as welcome that which was named first: `application/json, */*`.
        fitting = (at for at, entry in enumerate(wanted) if entry.fits(format))
        at = min(fitting, key=lambda at: wanted[at].width, default=None)
        if at is not None and (wanted[at].quality, -at) > best:
            found, best = format, (wanted[at].quality, -at)
    return found


def _preferred(request: Format | None) -> Iterable[Format]:
    first = [] if request is None else [request] if request.send else [JSON] * bool(request.version)
    return [*first, *(format for format in FORMATS if format.send)]


def write_grid(grid: Grid, format: Format) -> bytes:
    """Write an answer.

    Raises:
        CodecError: A value, a unit or a name has no form in Zinc.
    """
    if format.name == "zinc":
        return zinc.dumps(grid).encode()
    return hayson.dumps(grid).encode()
