"""host-gw: one plain route for each other node's pods, by that node's address on the shared link."""
