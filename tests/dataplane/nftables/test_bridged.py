"""The source check of bridged pods: what goes to the kernel is what it is read to hold. Packets: tests/agent."""

from build import NODE1, pod, space
from inside import run_inside
from labs import nft_here
from programs import local_node
from vallum.dataplane.nftables.bridged import BridgedSources
from vallum.dataplane.nftables.program import Program
from vallum.model.attachment import LocalNode
from vallum.model.snapshot import snapshot_of
from vallum.policy.classify import classify
from vallum.policy.compile import compile_node

PODS = (pod("a/one", "10.44.1.1", "fd44::1"), pod("a/two", "10.44.1.2"))
OTHERS = "table bridge others { chain mine { counter; }; }"


def programs(plane: BridgedSources) -> list[Program | None]:
    """For no pod on a bridge, for one, and for two."""
    found = []
    for count in range(3):
        ruleset = compile_node(snapshot_of((NODE1, space("a"), *PODS[:count])), "node1")
        found.append(plane.render(ruleset, classify(ruleset), local_node(ruleset, bridged=True)))
    return found


def test_from_any_state_to_any_other_the_kernel_holds_what_was_sent():
    def piece() -> list[bool]:
        plane = BridgedSources()
        each = programs(plane)
        found = []
        for before in each:
            for after in each:
                plane.apply(before)
                plane.apply(after)
                found.append(plane.read() == after)
        return found

    assert run_inside(piece) == [True] * 9


def test_a_pod_whose_port_nobody_knows_yet_is_in_no_set():
    def piece() -> Program | None:
        ruleset = compile_node(snapshot_of((NODE1, space("a"), *PODS)), "node1")
        return BridgedSources().render(ruleset, classify(ruleset), LocalNode("node1", local_node(ruleset).attachments))

    assert run_inside(piece) is None


def test_tables_of_others_stay_and_ours_goes():
    def piece() -> tuple[str, str]:
        plane = BridgedSources()
        nft_here(script=OTHERS)
        plane.apply(programs(plane)[2])
        both = nft_here("list", "tables")
        plane.clear()
        plane.clear()
        return both, nft_here("list", "tables")

    both, left = run_inside(piece)
    assert both.split() == ["table", "bridge", "others", "table", "bridge", "vallum-bridged"]
    assert left.split() == ["table", "bridge", "others"]
