"""Where the world comes from: a folder of manifests, or memory. Wire shapes are parsed here once, at the door.

What leaves this room are model objects, batches of events, and `InputError`s that name file, line and column.
"""
