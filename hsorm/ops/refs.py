"""Which entities refer to which: dangling refs, and what keeps an entity from being deleted (C11).

A ref counts where a filter finds it (F45): as the value of a tag, or in a list that is the value.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hsorm.errors import ReferencedError
from hsorm.kinds import Ref, is_list
from hsorm.ops.live import LIVE_TAGS

__all__ = ["DanglingRef", "dangling", "referenced", "refs_in"]

_SHOWN = 10


@dataclass(frozen=True, slots=True)
class DanglingRef:
    """A ref to an entity that does not exist: who has it, in which tag, and to whom."""

    id: Ref
    tag: str
    ref: Ref


def refs_in(entity: Mapping[str, Any]) -> Iterator[tuple[str, Ref]]:
    """Yield the refs of an entity with their tags; `id` and live tags are none."""
    for name, value in entity.items():
        if name == "id" or name in LIVE_TAGS:
            continue
        if isinstance(value, Ref):
            yield name, value
        elif is_list(value):
            for item in value:
                if isinstance(item, Ref):
                    yield name, item


def dangling(found: Iterable[tuple[str, str, str]]) -> list[DanglingRef]:
    """Return dangling refs, given as id, tag and ref, each once and in order."""
    return [DanglingRef(Ref(id), tag, Ref(ref)) for id, tag, ref in sorted(set(found))]


def referenced(id: str, by: Iterable[tuple[str, str]]) -> ReferencedError | None:
    """Return the error for an entity that others refer to, given as id and tag; None without."""
    others = sorted({(other, tag) for other, tag in by if other != id})
    return ReferencedError(id, others[:_SHOWN], len(others)) if others else None
