"""Statements for a shape of filter: compiled once, and executed for any literals.

SQLAlchemy takes a millisecond to build and compile the statement of a filter, some of them more.
Most filters that a program makes differ from one before in their literals alone; for these it is
enough to make the texts that are bound.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from hsorm.filter.shape import Shape
from hsorm.sql.constructs import Made

__all__ = ["LIMIT", "Template", "template_of"]

LIMIT: Final = "limit"
"""The name of the limit, which is bound as well."""


@dataclass(frozen=True, slots=True)
class Template:
    """A statement, and what to bind in it.

    Attributes:
        sql: The statement.
        values: In order, functions that make a value of the literals and the limit.
    """

    sql: str
    values: tuple[Callable[[tuple[Any, ...], int | None], Any], ...]

    def args(self, shape: Shape, limit: int | None) -> list[Any]:
        """Return what is bound for a filter of this shape."""
        literals = tuple(term.val for term in shape.terms)
        return [value(literals, limit) for value in self.values]


def template_of(
    sql: str, names: tuple[str, ...], params: Mapping[str, Any], shape: Shape
) -> Template | None:
    """Return the template of a statement that was compiled while recording.

    Args:
        sql: The statement.
        names: The names of what it binds, in order.
        params: What was bound, by name.
        shape: The shape of its filter.

    Returns:
        The template, None where a text was made of no term of the filter.
    """
    places = {id(term): place for place, term in enumerate(shape.terms)}
    values = []
    for name in names:
        param = params[name]
        if isinstance(param, Made):
            place = places.get(id(param.term))
            if place is None:
                return None
            values.append(_of_literal(param.make, place))
        else:
            values.append(_of_limit if name == LIMIT else _constant(param))
    return Template(sql, tuple(values))


def _of_literal(
    make: Callable[[Any], str], place: int
) -> Callable[[tuple[Any, ...], int | None], Any]:
    return lambda literals, limit: make(literals[place])


def _constant(value: Any) -> Callable[[tuple[Any, ...], int | None], Any]:
    return lambda literals, limit: value


def _of_limit(literals: tuple[Any, ...], limit: int | None) -> Any:
    return limit
