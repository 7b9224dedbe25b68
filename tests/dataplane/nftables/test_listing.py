"""What nft prints of our table reads back as the program that was sent, whatever its elements look like."""

# ruff: noqa: E101 - nft indents with tabs

from vallum.dataplane.nftables.listing import parse
from vallum.dataplane.nftables.program import Chain, NftSet

LISTING = """table inet vallum {
	set a_pods {
		type ifname
		elements = { "vl1", "vl2" }
	}

	set a_blocks {
		type ipv4_addr
		flags interval
		elements = { 10.0.0.0/8, 192.0.2.1-192.0.2.9,
			     203.0.113.7 }
	}

	set a_ranges {
		type inet_service
		flags interval
		elements = { 1000-2000 }
	}

	map a_in6o {
		type ipv6_addr : verdict
		elements = { fd44::1 : jump a_in6o_x, fd44::2 : goto a_in6o_y }
	}

	map a_empty {
		type ipv4_addr : verdict
	}

	chain a_in6o_x {
		comment "shop/web, shop/api"
		ip6 saddr { ::, fe80::/10 } return
		meta l4proto . th dport @a_ports return
		goto a_deny
	}

	chain judge {
		type filter hook postrouting priority 90; policy accept;
		accept
	}
}
"""


def test_every_kind_of_object_is_understood():
    program = parse(LISTING)
    assert program.sets["a_pods"] == NftSet("ifname", {'"vl1"': "", '"vl2"': ""})
    assert program.sets["a_ranges"] == NftSet("inet_service", {"1000-2000": ""}, "interval")
    assert program.sets["a_empty"] == NftSet("ipv4_addr", {}, "", "verdict")
    assert program.chains["judge"] == Chain(("accept",), "type filter hook postrouting priority 90; policy accept;")
    assert program.chains["a_in6o_x"].comment == "shop/web, shop/api"
    assert program.chains["a_in6o_x"].rules[0] == "ip6 saddr { ::, fe80::/10 } return"


def test_a_map_keeps_colons_of_its_keys():
    elements = parse(LISTING).sets["a_in6o"].elements
    assert elements == {"fd44::1": "jump a_in6o_x", "fd44::2": "goto a_in6o_y"}


def test_prefixes_come_out_as_the_ranges_that_were_sent():
    assert list(parse(LISTING).sets["a_blocks"].elements) == [
        "10.0.0.0-10.255.255.255",
        "192.0.2.1-192.0.2.9",
        "203.0.113.7",
    ]


def test_what_is_not_ours_shows_up_as_a_difference():
    strange = LISTING.replace("\t\taccept\n", "\t\taccept\n\t\tcounter drop\n")
    assert parse(strange) != parse(LISTING)


def test_an_empty_table_is_an_empty_program():
    program = parse("table inet vallum {\n}\n")
    assert (program.sets, program.chains) == ({}, {})
