"""ipip: IPv4 in IPv4 (RFC 2003), by the kernel's own device or by programs in its place."""
