"""The measurements of the project, each a command `vallum bench NAME`, run in namespaces of their own.

A figure is a ratio against a partner measured in the same run, with its interval; absolute times are for the log.
"""
