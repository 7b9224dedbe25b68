"""Names, MACs and aliases: what is written on a link tells again whose it is, however long the names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cniruntime import Node, make_pod, on_node
from vallum.cni import attached
from vallum.cni.attached import Standing, alias_of, interface_name, is_ours, macs, shortened
from vallum.kernel.rtnetlink import Link, Rtnetlink
from vallum.model.attachment import PodAttachment
from vallum.model.objects import PodId

LONG = PodId("n" * 63, "p" * 253)


@given(
    st.text("abc.-_09", min_size=1, max_size=200),
    st.text(st.characters(exclude_categories=["Z", "C"]), min_size=1, max_size=15),
    st.text("abc-", max_size=63),
    st.text("abc-.", max_size=253),
    st.text("0123456789abcdef-", max_size=60),
)
def test_an_alias_fits_the_kernel_and_tells_the_attachment_again(
    container: str, ifname: str, namespace: str, name: str, uid: str
) -> None:
    ifname = ifname.encode()[:15].decode(errors="ignore") or "eth0"
    attachment = PodAttachment(PodId(namespace, name), uid, container, ifname, interface_name(container, ifname), ())
    alias = alias_of(attachment)
    assert len(alias.encode()) <= 255
    link = Link(attachment.interface, 1, macs(attachment.interface)[0], up=True, running=True, alias=alias)
    again = attached._attachment(link, [])
    assert again is not None
    assert (again.pod, again.ifname, again.interface) == (shortened(attachment.pod), ifname, attachment.interface)
    if len(container) <= 64:
        assert again.container == container
    if len(uid) <= 36:
        assert again.uid == uid.removeprefix("-")


def test_a_long_name_is_shortened_with_a_hash_that_tells_it_from_others() -> None:
    one, other = shortened(LONG), shortened(PodId(LONG.namespace, LONG.name[:-1] + "q"))
    assert one != other
    assert one.name.startswith("p" * 50)
    assert "~" in one.name
    assert shortened(one) == one
    assert shortened(PodId("shop", "web")) == PodId("shop", "web")


def test_interface_names_differ_by_container_and_by_name_inside() -> None:
    names = {interface_name(container, ifname) for container in ("a", "b") for ifname in ("eth0", "net1")}
    assert len(names) == 4
    assert all(len(name) <= 15 for name in names)


@pytest.mark.parametrize(("name", "mac"), [("vp0123456789ab", "02:00:00:00:00:01"), ("vpn0", "02:01:23:45:67:89")])
def test_a_link_of_another_program_with_our_prefix_is_not_ours(name: str, mac: str) -> None:
    assert not is_ours(Link(name, 1, mac, up=True, running=True))


def test_a_complete_link_stays_ours_when_somebody_changed_its_mac() -> None:
    name = interface_name("c1", "eth0")
    assert is_ours(Link(name, 1, "02:00:00:00:00:01", up=True, running=True, alias="vallum c1 eth0 - shop/web"))
    assert not is_ours(Link(name, 1, "02:00:00:00:00:01", up=True, running=True))


@pytest.mark.packets
def test_the_longest_names_are_read_back_from_the_kernel() -> None:
    async def piece(node: Node) -> tuple[int, Standing]:
        make_pod()
        args = f"K8S_POD_NAMESPACE={LONG.namespace};K8S_POD_NAME=web;K8S_POD_UID={'u' * 36}"
        made = await node.call("ADD", container="c" * 64, ifname="a-longer-name-x", args=args)
        with Rtnetlink() as host:
            return made.status, attached.read(host)

    status, standing = on_node(piece)
    assert status == 0
    (found,) = standing.complete
    assert standing.half_made == ()
    assert (found.pod, found.uid) == (PodId(LONG.namespace, "web"), "u" * 36)
    assert (found.container, found.ifname) == ("c" * 64, "a-longer-name-x")
    assert [str(address) for address in found.addresses] == ["10.244.1.2", "fd10:244:1::2"]
