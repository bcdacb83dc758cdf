"""Small worlds, each with a filter that a backend once answered wrongly.

Found by generated worlds and shrunk to what matters. Every backend must find the same `ids`, which
the rule named decides; `hsorm.testing.filter_cases` holds the cases that were thought of instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from hsorm.kinds import MARKER, Entity, Number, Ref

__all__ = ["FOUND", "Found"]


@dataclass(frozen=True, slots=True)
class Found:
    """One filter and its answer.

    Attributes:
        rule: The rule that decides, such as `"F55"`.
        filter: The filter's text.
        ids: What it finds, in order.
        entities: The whole world.
        before: A filter that was asked before; None where it did not matter.
    """

    rule: str
    filter: str
    ids: list[str]
    entities: list[Entity]
    before: str | None = None


_TWO_BEHIND_REFS: Final[list[Entity]] = [
    {"id": Ref("e0"), "dis": "a", "n": Number(1)},
    {"id": Ref("e1"), "dis": "b", "n": Number(2)},
    {"id": Ref("e2"), "r": Ref("e0")},
    {"id": Ref("e3"), "r": Ref("e1")},
]

FOUND: Final[list[Found]] = [
    # "not over a list further on" is not the opposite of has.
    Found(
        "F55",
        "not r->l->a",
        ["e0", "e1", "e2", "e3"],
        [
            {"id": Ref("e0"), "r": Ref("e1")},
            {"id": Ref("e1"), "l": [Ref("e2"), Ref("e3")]},
            {"id": Ref("e2"), "a": MARKER},
            {"id": Ref("e3")},
        ],
    ),
    # Behind an arrow, and behind "not", a name may look like that of a spec.
    Found(
        "F6",
        "not Foo->Bar",
        ["e0", "e1"],
        [
            {"id": Ref("e0"), "foo": Ref("e1")},
            {"id": Ref("e1")},
        ],
    ),
    # Two comparisons of one shape: what was said once for equal ones does not serve for others.
    Found(
        "F34",
        'r->dis == "a" or r->dis == "b"',
        ["e2", "e3"],
        _TWO_BEHIND_REFS,
        before='r->dis == "a" or r->dis == "a"',
    ),
    Found(
        "F36",
        "r->n >= 1 and not r->m and r->n >= 2",
        ["e3"],
        _TWO_BEHIND_REFS,
        before="r->n >= 1 and not r->m and r->n >= 1",
    ),
]
