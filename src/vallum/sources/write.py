"""Manifests as YAML that is read back as what it was, by us and by kubectl.

Both read plain scalars by YAML 1.1, and kubectl takes more words for booleans and numbers than PyYAML knows of (`y`,
`1e3`), so every text that anything could take for something else is quoted.
"""

from collections.abc import Iterable
from typing import Any

import yaml

from vallum.sources.scalars import scalar


class _Dumper(yaml.CSafeDumper):
    """Writes no anchors and quotes what needs it."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the base class passes what it asks about
        return True


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    plain = text.isprintable() and scalar(text, None, plain=True) == text
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')


_Dumper.add_representer(str, _text)


def yaml_of(body: Any) -> str:
    """One document, without a marker before it."""
    return yaml.dump(body, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)


def stream(texts: Iterable[str]) -> str:
    """Documents one after another."""
    return "---\n".join(text if text.endswith("\n") else f"{text}\n" for text in texts)
