"""Programs in the kernel (eBPF): sources, their objects, and what loads them. Floor 2, hands only."""
