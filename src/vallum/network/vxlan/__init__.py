"""vxlan: packets to another node's pods travel inside UDP, between the nodes' own addresses (RFC 7348)."""
