"""When a certificate is valid, from its DER (X.509, RFC 5280 4.1). Pure.

Python tells this only of certificates that it accepts, and it is those it refuses that a person wants to hear of.
"""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime

_VERSION, _UTC_TIME = 0xA0, 0x17


@dataclass(frozen=True, slots=True)
class Validity:
    """The time between two moments."""

    start: datetime
    end: datetime


def of_pem(pem: bytes) -> Validity | None:
    """The validity of the first certificate in a PEM text, None where there is none to be read."""
    _, _, rest = pem.partition(b"-----BEGIN CERTIFICATE-----")
    body, end, _ = rest.partition(b"-----END CERTIFICATE-----")
    if not end:
        return None
    try:
        return of_der(ssl.PEM_cert_to_DER_cert(f"-----BEGIN CERTIFICATE-----{body.decode()}-----END CERTIFICATE-----"))
    except ValueError:
        return None


def of_der(der: bytes) -> Validity | None:
    """The validity of a certificate, None where it cannot be read."""
    try:
        _, at, _ = _element(der, 0)  # Certificate
        _, at, _ = _element(der, at)  # TBSCertificate
        tag, _, after = _element(der, at)
        at = after if tag == _VERSION else at
        for _ in ("serial", "signature", "issuer"):
            _, _, at = _element(der, at)
        _, at, _ = _element(der, at)  # Validity
        start, at = _time(der, at)
        end, _ = _time(der, at)
        return Validity(start, end)
    except (IndexError, ValueError):
        return None


def _element(der: bytes, at: int) -> tuple[int, int, int]:
    """Tag, and where the contents begin and end."""
    tag, length, at = der[at], der[at + 1], at + 2
    if length & 0x80:
        count = length & 0x7F
        length, at = int.from_bytes(der[at : at + count]), at + count
    return tag, at, at + length


def _time(der: bytes, at: int) -> tuple[datetime, int]:
    """The moment that stands here, and where the next thing stands."""
    tag, begin, end = _element(der, at)
    form = "%y%m%d%H%M%SZ" if tag == _UTC_TIME else "%Y%m%d%H%M%SZ"
    return datetime.strptime(der[begin:end].decode(), form).replace(tzinfo=UTC), end
