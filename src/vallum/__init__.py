"""Vallum: a Kubernetes pod network and NetworkPolicy engine. The rooms are described in ARCHITECTURE.md."""

__version__ = "0.1.0"
