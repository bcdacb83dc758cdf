"""`suite`: the whole kit over an adapter, by one call."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from importlib import import_module
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest

from hsorm.storage import protocol
from hsorm.storage.protocol import StorageAdapter
from hsorm.testing.conformance.capabilities import Capability

__all__ = ["Make", "Offer", "suite"]

Make: TypeAlias = Callable[[Path], AbstractAsyncContextManager[Any]]
"""Returns an adapter that is not open yet over the data in a folder, which is empty at first.

The kit opens it by `async with`. A storage that is in no folder has to be empty for each new one.
"""

Offer: TypeAlias = type | str
"""A protocol of `hsorm.storage.protocol`, or the name of one call.

A protocol is offered as a whole; a call by its name only with the parameters that it has.
"""

_PROTOCOLS: Final = tuple(
    found
    for name in protocol.__all__
    if getattr(found := getattr(protocol, name), "_is_protocol", False)
)


def suite(
    make: Make,
    *,
    name: str,
    offers: Iterable[Offer] = (StorageAdapter,),
    capabilities: Collection[Capability] = (),
) -> dict[str, Any]:
    """Return the fixtures and classes of all tests of the kit, for a test module to take over.

    `globals().update(suite(lambda folder: MyAdapter(folder / "my.db"), name="MyAdapter"))`. Needs
    pytest-asyncio, in either mode; the report at the end of the run is that of hsorm's plugin.

    Args:
        make: Makes an adapter.
        name: What the report calls it, without blanks.
        offers: What the adapter has. Tests that call something else of `StorageAdapter` are
            skipped, with a reason; so a part of an adapter can be tested before it is whole.
        capabilities: What the backend has that not all have; none where `make` cannot open the data
            of one folder twice.

    Raises:
        ValueError: An offer is none of the contract, or the name has a blank.
    """
    if find_spec("pytest_asyncio") is None:
        raise ValueError("the kit needs pytest-asyncio")
    if not name or " " in name:
        raise ValueError(f"{name!r} is no name without blanks")
    import pytest_asyncio

    offered = _calls_of(offers)

    async def store(tmp_path: Path) -> AsyncIterator[Any]:
        async with make(tmp_path) as adapter:
            yield _Offering(adapter, offered)

    async def another_store(tmp_path: Path) -> AsyncIterator[Callable[[], Awaitable[Any]]]:
        async with AsyncExitStack() as stack:

            async def another() -> Any:
                return _Offering(await stack.enter_async_context(make(tmp_path)), offered)

            yield another

    def has() -> frozenset[Capability]:
        return frozenset(capabilities)

    fixtures = {
        "store": pytest_asyncio.fixture(store),
        "another_store": pytest_asyncio.fixture(another_store),
        "capabilities": pytest.fixture(name="capabilities")(has),
    }
    return {**fixtures, **_classes(name)}


def _classes(name: str) -> dict[str, type]:
    """Make a class for each one of the kit, which pytest collects and the report can count."""
    kit = import_module("hsorm.testing.conformance")
    return {
        f"Test{topic}": _class(getattr(kit, f"{topic}Tests"), name, topic)
        for topic in (given.removesuffix("Tests") for given in kit.__all__ if "Tests" in given)
    }


def _class(tests: type, name: str, topic: str) -> type:
    @pytest.fixture(autouse=True)
    def hsorm_conformance(self: object, record_property: Callable[[str, object], None]) -> None:
        record_property("hsorm-conformance", f"{name} {topic}")

    return type(
        f"Test{topic}",
        (tests,),
        {
            "__doc__": tests.__doc__,
            "hsorm_conformance": hsorm_conformance,
            "pytestmark": [pytest.mark.asyncio],
        },
    )


_Calls: TypeAlias = Mapping[str, Collection[str] | None]
"""The parameters of each call that is offered; None for those that the adapter's own call has."""


def _calls_of(offers: Iterable[Offer]) -> _Calls:
    calls: dict[str, set[str] | None] = {}
    for offer in offers:
        if isinstance(offer, str) and offer in _CONTRACT:
            calls[offer] = None
        elif isinstance(offer, type) and offer in _PROTOCOLS:
            for name in _public(offer):
                known = calls.get(name) or set()
                calls[name] = known | set(signature(getattr(offer, name)).parameters)
        else:
            raise ValueError(f"{offer!r} is neither a protocol of StorageAdapter nor a call of it")
    return calls


def _public(given: type) -> list[str]:
    return [name for name in dir(given) if not name.startswith("_")]


_CONTRACT: Final = frozenset(_public(StorageAdapter))


class _Offering:
    """An adapter, of which only what it offers is tested."""

    def __init__(self, adapter: Any, offered: _Calls) -> None:
        self._adapter = adapter
        self._offered = offered

    def __getattr__(self, name: str) -> Any:
        if name not in _CONTRACT:
            return getattr(self._adapter, name)
        if name not in self._offered:
            pytest.skip(f"not offered: {name}")
        own = getattr(self._adapter, name)
        asked = self._offered[name]
        parameters = signature(own).parameters if asked is None else asked

        def call(*args: Any, **named: Any) -> Any:
            # A protocol may ask for less of a call than another one that widens it.
            for more in sorted(named.keys() - parameters):
                pytest.skip(f"not offered: {name}({more}=)")
            return own(*args, **named)

        return call
