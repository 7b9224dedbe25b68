"""Our token and our TLS side, read again whenever their files change: kubelet and operators renew both.

A file that cannot be read just then (it is being replaced) leaves what was read before in force; where there is nothing
yet, `UnreachableError` says which. Ignores whether the server likes them: `faults` says what a refusal means.
"""

import base64
import binascii
import os
import ssl
from datetime import datetime
from pathlib import Path

import msgspec

from vallum.sources.kube import certificates
from vallum.sources.kube.access import Access, Pem
from vallum.sources.kube.certificates import Validity
from vallum.sources.kube.errors import UnreachableError


class Token:
    """The bearer token, or None where we have none."""

    def __init__(self, access: Access) -> None:
        self._path = access.token_file
        self._text = access.token
        self._seen: object = None

    def text(self) -> str | None:
        """The token as it is now."""
        if self._path:
            seen = _seen(self._path)
            if seen != self._seen or self._text is None:
                self._read(self._path)
                self._seen = seen
        return self._text

    def forget(self) -> None:
        """The server did not accept it: read it anew whatever the file's time says."""
        self._seen = None

    def _read(self, path: Path) -> None:
        try:
            found = path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            found, problem = "", f"cannot be read: {error}"
        else:
            problem = "is empty"
        if found:
            self._text = found
        elif self._text is None:
            raise UnreachableError(f"the token file {path} {problem}")

    def expiry(self) -> datetime | None:
        """When the token ends, where it says so itself (JWT, RFC 7519)."""
        parts = (self._text or "").split(".")
        if len(parts) != 3:
            return None
        try:
            claims = msgspec.json.decode(base64.urlsafe_b64decode(parts[1] + "=="))
            return datetime.fromtimestamp(claims["exp"]).astimezone()
        except (binascii.Error, msgspec.DecodeError, KeyError, TypeError, ValueError, OverflowError):
            return None


class Tls:
    """The TLS context, made again when a file that it came from changes."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._files = [pem for pem in (access.authority, access.certificate, access.key) if isinstance(pem, Path)]
        self._seen: object = None
        self._context: ssl.SSLContext | None = None

    def context(self) -> ssl.SSLContext:
        """The context as it should be now."""
        seen = [_seen(path) for path in self._files]
        if self._context is None or seen != self._seen:
            try:
                self._context = _context(self._access)
            except (OSError, ValueError) as error:
                if self._context is None:
                    raise UnreachableError(f"TLS cannot be set up with {self._names()}: {error}") from error
            self._seen = seen
        return self._context

    def forget(self) -> None:
        """Something was wrong with a handshake: read all anew."""
        self._seen = None

    def ours(self) -> Validity | None:
        """When our certificate is valid."""
        try:
            return certificates.of_pem(_bytes(self._access.certificate)) if self._access.certificate else None
        except OSError:
            return None

    def _names(self) -> str:
        return ", ".join(map(str, self._files)) or "the certificates of the kubeconfig"


def _context(access: Access) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=_bytes(access.authority).decode() if access.authority else None)
    if not access.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if access.certificate and access.key:
        with _File(access.certificate) as certificate, _File(access.key) as key:
            context.load_cert_chain(certificate, key)
    return context


def _bytes(pem: Pem) -> bytes:
    return pem if isinstance(pem, bytes) else pem.read_bytes()


class _File:
    """A path for OpenSSL, which loads keys from files only; inline ones lie in memory and never on a disk."""

    def __init__(self, pem: Pem) -> None:
        self._pem = pem
        self._fd = -1

    def __enter__(self) -> Path:
        if isinstance(self._pem, Path):
            return self._pem
        self._fd = os.memfd_create("pem")
        os.write(self._fd, self._pem)
        return Path(f"/proc/self/fd/{self._fd}")

    def __exit__(self, *_: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)


def _seen(path: Path) -> object:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
