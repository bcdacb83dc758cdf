"""The shape of a filter: what is the same in filters that differ in their literals alone.

`site and area > 500kW` and `site and area > 900kW` have one shape, so what was worked out for the
one serves for the other, with another literal in its place.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator
from typing import Any, NamedTuple

from hsorm.filter.ast import And, Cmp, Node, Or
from hsorm.kinds import Number, Symbol, Uri, symbol_form

__all__ = ["Shape", "shape_of"]


class Shape(NamedTuple):
    """A filter, taken apart.

    Attributes:
        key: Equal for filters that differ in nothing but these literals.
        terms: The comparisons, whose literals these are, in their order in the filter.
    """

    key: Hashable
    terms: tuple[Cmp, ...]


def shape_of(node: Node) -> Shape | None:
    """Return the shape of a filter; None of one in which a comparison stands twice.

    What is worked out for it may say two equal terms in one place, where another filter of this
    shape has two literals.
    """
    terms: list[Cmp] = []
    key = _key(node, terms)
    return Shape(key, tuple(terms)) if len(set(terms)) == len(terms) else None


def _key(node: Node, terms: list[Cmp]) -> Hashable:
    match node:
        case And(parts) | Or(parts):
            return type(node), *(_key(part, terms) for part in parts)
        case Cmp(path, op, val):
            terms.append(node)
            return path, op, *_facets(val)
        case _:
            return node


def _facets(val: Any) -> Iterator[Any]:
    """Yield what a statement depends on in a literal, beside the texts that it binds."""
    yield type(val)
    match val:
        case bool():
            yield val
        case str() | Uri():
            yield "\0" in str(val)
        case Number(number, unit):
            yield str(number) if not math.isfinite(number) else None
            yield unit is None
        case Symbol(name):
            yield symbol_form(name)
