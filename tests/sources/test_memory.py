"""The source that tests feed."""

import asyncio

from vallum.model.errors import InputError, InputErrors
from vallum.model.objects import Namespace
from vallum.model.snapshot import Batch, Put
from vallum.sources.memory import MemorySource


def test_what_is_put_comes_out_in_order_until_it_is_closed() -> None:
    source = MemorySource()
    first = Batch((Put(Namespace("shop", ())),), "1")
    wrong = InputErrors((InputError("a.yaml:1:1", "no"),))

    async def collect() -> list[Batch | InputErrors]:
        source.put(first)
        source.put(wrong)
        source.close()
        return [batch async for batch in source.watch()]

    assert asyncio.run(collect()) == [first, wrong]
