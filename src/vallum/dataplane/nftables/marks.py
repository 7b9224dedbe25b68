"""Which bits of the conntrack mark say in which revision a flow was allowed, in nft's words and back.

Numbers fill the upper half of what the bits hold, so that a mark that some other program sets by chance, a small number
or a single bit as a rule, is not the current one; 0 means never judged. Bits outside the mask are others' and are kept.
nft prints a match on leading bits as a prefix, and folds the number into the mask of an assignment,
which it leaves out for the number that has all bits.
"""

import re
from dataclasses import dataclass

from vallum.model.errors import InputError

MASK = 0xFFFF0000
"""Default bits: kube-proxy uses the packet mark only; Istio and the AWS plugin use low bits of the conntrack mark."""

_PREFIX = re.compile(r"ct mark 0x([0-9a-f]{1,8})(?:/(\d+))?(?= accept)")
_MASKED = re.compile(r"ct mark & 0x([0-9a-f]+) == 0x([0-9a-f]+)(?= accept)")
_ASSIGNED = re.compile(r"ct mark set ct mark (?:& 0x([0-9a-f]+) )?\| 0x([0-9a-f]+)")
_ALL = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Marks:
    """A contiguous run of bits. Raises InputError for a mask that has holes or no room for a few numbers."""

    mask: int = MASK

    def __post_init__(self) -> None:
        unit = self.mask & -self.mask
        if not 0 < self.mask <= _ALL or self.most < 3 or (self.mask + unit) & self.mask:
            raise InputError("--mark-mask", f"{self.mask:#010x} must be at least two neighbouring bits of 32")

    @property
    def shift(self) -> int:
        """How far number 1 is shifted to the left."""
        return (self.mask & -self.mask).bit_length() - 1

    @property
    def most(self) -> int:
        """The largest number."""
        return self.mask >> self.shift

    @property
    def first(self) -> int:
        """The smallest number in use."""
        return self.most // 2 + 1

    def write(self, rule: str, number: int) -> str:
        """The rule with CURRENT replaced by what nft is told."""
        value = number << self.shift
        assignment = f"ct mark set ct mark & {_ALL ^ self.mask:#010x} | {value:#010x}"
        return rule.replace("ct mark set CURRENT", assignment).replace(
            "ct mark CURRENT", f"ct mark & {self.mask:#010x} == {value:#010x}"
        )

    def read(self, rule: str) -> tuple[str, int | None]:
        """The rule with what nft lists replaced by CURRENT, and the number; a foreign use of the mark stays."""
        for pattern, values in ((_PREFIX, self._prefix), (_MASKED, self._masked), (_ASSIGNED, self._assigned)):
            found = pattern.search(rule)
            number = values(found) if found else None
            if found and number is not None:
                word = "ct mark set CURRENT" if pattern is _ASSIGNED else "ct mark CURRENT"
                return rule[: found.start()] + word + rule[found.end() :], number
        return rule, None

    def _prefix(self, found: "re.Match[str]") -> int | None:
        length = int(found.group(2) or 32)
        return self._number(_ALL << (32 - length) & _ALL, int(found.group(1), 16))

    def _masked(self, found: "re.Match[str]") -> int | None:
        return self._number(int(found.group(1), 16), int(found.group(2), 16))

    def _assigned(self, found: "re.Match[str]") -> int | None:
        kept, value = int(found.group(1) or f"{_ALL:x}", 16), int(found.group(2), 16)
        return self._number(_ALL ^ (kept & ~value & _ALL), value)

    def _number(self, mask: int, value: int) -> int | None:
        return value >> self.shift if mask == self.mask and value & ~mask == 0 else None
