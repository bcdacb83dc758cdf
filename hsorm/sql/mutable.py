"""`MutableTags`: changes made inside a dict of tags, in any depth, are seen by the unit of work.

tags: Mapped[Entity] = mapped_column(MutableTags.as_mutable(Tags()))

device.tags["area"] = Number(120, "m²")       # written at the next flush
device.tags["custom"]["note"] = "moved"       # this, too
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, SupportsIndex

from sqlalchemy.ext.mutable import Mutable

__all__ = ["MutableTags"]


class _Changed(Protocol):
    def changed(self) -> None: ...


class _TrackedDict(dict[str, Any]):
    """A dict that tells its root of every change, and has the same done by what it holds."""

    _root: _Changed

    def _take(self, root: _Changed, values: Mapping[str, Any]) -> None:
        self._root = root
        for name, value in values.items():
            super().__setitem__(name, _tracked(value, root))

    def __setitem__(self, name: str, value: Any) -> None:
        super().__setitem__(name, _tracked(value, self._root))
        self._root.changed()

    def __delitem__(self, name: str) -> None:
        super().__delitem__(name)
        self._root.changed()

    def __ior__(self, other: Any) -> Any:  # type: ignore[misc]  # `|` gives a plain dict
        self.update(other)
        return self

    def update(self, *args: Any, **kw: Any) -> None:
        for name, value in dict(*args, **kw).items():
            super().__setitem__(name, _tracked(value, self._root))
        self._root.changed()

    def setdefault(self, name: str, default: Any = None) -> Any:
        if name not in self:
            self[name] = default
        return self[name]

    def pop(self, *args: Any) -> Any:
        found = super().pop(*args)
        self._root.changed()
        return found

    def popitem(self) -> tuple[str, Any]:
        found = super().popitem()
        self._root.changed()
        return found

    def clear(self) -> None:
        super().clear()
        self._root.changed()

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        return dict, (dict(self),)  # a copy belongs to no session


class _TrackedList(list[Any]):
    """A list that tells its root of every change, and has the same done by what it holds."""

    _root: _Changed

    def _take(self, root: _Changed, values: Iterable[Any]) -> None:
        self._root = root
        super().extend(_tracked(value, root) for value in values)

    def __setitem__(self, index: Any, value: Any) -> None:
        if isinstance(index, slice):
            value = [_tracked(item, self._root) for item in value]
        else:
            value = _tracked(value, self._root)
        super().__setitem__(index, value)
        self._root.changed()

    def __delitem__(self, index: Any) -> None:
        super().__delitem__(index)
        self._root.changed()

    def __iadd__(self, values: Iterable[Any]) -> Any:  # type: ignore[misc]  # and `+` a plain list
        self.extend(values)
        return self

    def __imul__(self, times: SupportsIndex) -> Any:
        self[:] = list(self) * times
        return self

    def append(self, value: Any) -> None:
        super().append(_tracked(value, self._root))
        self._root.changed()

    def extend(self, values: Iterable[Any]) -> None:
        super().extend([_tracked(value, self._root) for value in values])
        self._root.changed()

    def insert(self, index: SupportsIndex, value: Any) -> None:
        super().insert(index, _tracked(value, self._root))
        self._root.changed()

    def pop(self, index: SupportsIndex = -1) -> Any:
        found = super().pop(index)
        self._root.changed()
        return found

    def remove(self, value: Any) -> None:
        super().remove(value)
        self._root.changed()

    def clear(self) -> None:
        super().clear()
        self._root.changed()

    def reverse(self) -> None:
        super().reverse()
        self._root.changed()

    def sort(self, **kw: Any) -> None:
        super().sort(**kw)
        self._root.changed()

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        return list, (list(self),)


class MutableTags(Mutable, _TrackedDict):
    """A dict of tags whose changes mark its row as changed; it is its own root."""

    def __init__(self, values: Mapping[str, Any] = {}) -> None:
        super().__init__()
        self._take(self, values)

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        return type(self), (dict(self),)  # the unit of work tracks a mapped object's when unpickled

    @classmethod
    def coerce(cls, key: str, value: Any) -> Any:
        """Track a plain dict that is assigned to the attribute."""
        if isinstance(value, cls) or value is None:
            return value
        return cls(value) if isinstance(value, Mapping) else super().coerce(key, value)


def _tracked(value: Any, root: _Changed) -> Any:
    """Return a value whose changes the root is told of: a copy, where it is a dict or a list."""
    tracked: _TrackedDict | _TrackedList
    if isinstance(value, Mapping):
        tracked = _TrackedDict()
    elif isinstance(value, list):
        tracked = _TrackedList()
    else:
        return value
    tracked._take(root, value)
    return tracked
