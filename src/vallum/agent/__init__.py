"""The only room that assembles and runs: one process a node, in that node's network namespace. Floor 5.

`reconcile` is the file to read first. Tasks start here and in the lab only; if one dies all stop, and the kernel keeps
enforcing what it holds.
"""
