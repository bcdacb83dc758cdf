'''Tests for backends: ours, and those of other people; and storages for anybody's tests.

`hsorm.testing.conformance` holds the whole contract of `StorageAdapter` as classes of async tests.
They know nothing of any backend. `suite` runs them all over yours, with pytest-asyncio; this is a
whole test module, ::

    from hsorm.testing.conformance import Capability, suite

    globals().update(
        suite(
            lambda folder: MyAdapter(folder / "my.db"),  # nothing in it, each time
            name="MyAdapter",
            capabilities={Capability.DURABLE},
        )
    )

Or class by class, where tests of yours are to stand beside them (`asyncio_mode = "auto"`): a
conftest.py says how an empty storage is made, ::

    @pytest.fixture
    async def store():
        async with MyAdapter(...) as adapter:
            yield adapter

    @pytest.fixture
    def capabilities():
        return frozenset({Capability.SHARED, Capability.DURABLE})  # or frozenset()

    @pytest.fixture
    async def another_store():
        """Return a function that opens one more adapter over the data of `store`."""
        async with AsyncExitStack() as stack:

            async def another():
                return await stack.enter_async_context(MyAdapter(...))

            yield another

and a test module takes the classes over: ::

    class TestReads(conformance.ReadTests):
        """Reads."""

`another_store` is only asked for by tests of a capability. Answers never differ by backend: what a
`Capability` names is something that only some backends have, never a way to answer otherwise.

`hsorm.testing.filter_cases` holds filters with their answers, for other implementations of filters.
The fixtures `hs_storage` and `hs_building` are those of the pytest plugin, `hsorm_pytest`, which
stands on `hsorm.testing.isolation`; docs/testing.md has more.
'''
