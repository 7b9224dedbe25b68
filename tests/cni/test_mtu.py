"""The MTU of a pod's link: what the roads leave for packets between nodes, or what the configuration says."""

from typing import Any

import pytest

from cniruntime import Node, Printed, make_pod, on_node

pytestmark = pytest.mark.packets


def test_a_link_has_the_mtu_of_the_roads_unless_the_configuration_says_another_and_check_takes_both() -> None:
    async def piece(node: Node) -> Any:
        make_pod()
        node.config["cniVersion"], node.mtu = "1.1.0", 1430
        add = await node.call("ADD")
        node.mtu = 1480
        check = await node.call("CHECK", prevResult=add.text)
        await node.call("DEL", prevResult=add.text)
        stated = await node.call("ADD", mtu=1300)
        return [each.text["interfaces"][1]["mtu"] for each in (add, stated)], check

    assert on_node(piece) == ([1430, 1300], Printed(0, None))
