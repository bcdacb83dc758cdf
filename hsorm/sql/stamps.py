"""How far somebody has seen the changes of a database: the cursor of watches and the change feed.

Every row of entities, live tags, removals and history writes has a stamp, `changed`, that triggers
keep. On PostgreSQL it is the transaction that wrote it. Transactions do not become visible in the
order of their numbers, so how far a reader has come is what was visible to its statement: all
transactions below a number, but those that were still open then. What was open, or came later, is
what there is to see next time: nothing is lost and nothing comes twice, without any clock. On
SQLite there is one writer at a time, so a counter will do: the same cursor, with nothing open.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Text, bindparam

from hsorm.codecs.hayson import to_json
from hsorm.sql.constructs import ChangedSince

__all__ = ["Cursor", "changed_since"]


@dataclass(frozen=True, slots=True)
class Cursor:
    """What has been seen: every stamp below `following` that is not among `open`.

    Its text is `following:open,open,…`.
    """

    following: int
    open: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Read the text of a cursor.

        Raises:
            ValueError: It is none.
        """
        following, _, open = text.partition(":")
        return cls(int(following), tuple(int(number) for number in open.split(",") if number))

    def __str__(self) -> str:
        return f"{self.following}:{','.join(map(str, self.open))}"

    @property
    def numbers(self) -> tuple[int, ...]:
        """All the stamps that it is made of."""
        return self.following, *self.open

    def sees(self, stamp: int | None) -> bool:
        """Tell whether a stamp is among what has been seen; None was never changed."""
        return stamp is None or (stamp < self.following and stamp not in self.open)

    def knows_all_to(self, stamp: int | None) -> bool:
        """Tell whether a stamp and all before it are among what has been seen."""
        return stamp is None or (stamp < self.following and all(n > stamp for n in self.open))

    def bound(self, name: str = "since") -> dict[str, Any]:
        """Return what to bind for `changed_since` of the same name."""
        return {
            name: self.following,
            f"{name}_open": to_json(list(self.open)).decode(),
            f"{name}_least": min(self.numbers),
        }


def changed_since(changed: ColumnElement[Any], name: str = "since") -> ColumnElement[bool]:
    """Return the condition that a stamp is not among what a cursor, bound by name, has seen."""
    return ChangedSince(
        changed,
        bindparam(name, type_=BigInteger()),
        bindparam(f"{name}_open", type_=Text()),
        bindparam(f"{name}_least", type_=BigInteger()),
    )
