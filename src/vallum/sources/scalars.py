"""Plain YAML scalars as kubectl reads them: YAML 1.1 words and numbers, without its base-60 numbers and dates.

From goyaml v2, which sigs.k8s.io/yaml holds for Kubernetes: what is read differently here than there would be
enforced differently than in a cluster.
"""

import re

Scalar = None | bool | int | float | str

_PREFIX = "tag:yaml.org,2002:"
WORDS: dict[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
}
"""Words that are not text."""
_INTEGER = re.compile(r"[-+]?(?:0b[01_]+|0x[0-9a-fA-F_]+|0o?[0-7_]+|0|[1-9][0-9_]*)")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_LONGEST_NUMBER = 400


class UnreadTagError(Exception):
    """An explicit tag that manifests do not use, or whose text does not fit it."""


def scalar(text: str, tag: str | None, *, plain: bool) -> Scalar:
    """The value of a scalar. `plain`: written without quotes and without a tag. Raises UnreadTagError."""
    if plain:
        return _resolve(text)
    match (tag or f"{_PREFIX}str").removeprefix(_PREFIX):
        case "str" | "!":
            return text
        case "int" | "float" | "bool" | "null" as kind:
            value = _resolve(text)
            if _kind(value) != kind:
                raise UnreadTagError(f"`{text}` is no {kind}, as its tag !!{kind} says; remove the tag")
            return value
        case _:
            raise UnreadTagError(f"the tag {tag} is not read here; remove it")


def _kind(value: Scalar) -> str:
    return "null" if value is None else type(value).__name__


def _resolve(text: str) -> Scalar:
    if text in WORDS:
        return WORDS[text]
    if text[0] not in "+-.0123456789" or len(text) > _LONGEST_NUMBER:
        return text
    if _INTEGER.fullmatch(text):
        return _integer(text)
    if _FLOAT.fullmatch(text):
        return float(text.replace("_", ""))
    if _INFINITE.fullmatch(text):
        return float(text.replace(".", "").lower())
    return text


def _integer(text: str) -> Scalar:
    digits = text.replace("_", "").lower()
    unsigned = digits.lstrip("+-")
    if len(unsigned) > 1 and unsigned[0] == "0" and unsigned[1].isdigit():
        return int(digits, 8)
    try:
        return int(digits, 0)
    except ValueError:  # `0x_` and the like: digits that are only underscores
        return text
