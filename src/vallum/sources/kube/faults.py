"""Why an endpoint gave no answer, in words that name the side that is to be mended.

"Certificate verify failed" sends people to the wrong machine: here it is said whose certificate is meant, and since
when it is no longer valid. Ignores what to do about it: the client tries the next endpoint, and later again.
"""

import asyncio
import os
import ssl
from datetime import UTC, datetime
from urllib.parse import urlsplit

from vallum.sources.kube import certificates
from vallum.sources.kube.access import Access
from vallum.sources.kube.certificates import Validity
from vallum.sources.kube.credentials import Tls, Token
from vallum.sources.kube.errors import ApiError
from vallum.sources.kube.unbundled import aiohttp

_TIMES = (9, 10)
_NAMES = (62, 64)
"""X509_V_ERR_* of OpenSSL."""


async def fault(server: str, error: BaseException, access: Access, tls: Tls) -> str:
    """One line: the endpoint and the reason."""
    found = _tls_error(error)
    if isinstance(found, ssl.SSLCertVerificationError):
        return f"{server}: {await _theirs(server, found, access)}"
    disconnected = isinstance(error, aiohttp.ServerDisconnectedError)
    ours = not_valid(tls.ours()) if found or disconnected else ""
    if ours:  # a server that dislikes it says so after the handshake, or just hangs up (TLS 1.3)
        return f"{server}: our client certificate {_name(access)}{ours}"
    if found:
        return f"{server}: TLS fails: {found.reason or found}"
    if disconnected:
        return f"{server}: closed the connection without an answer"
    if isinstance(error, TimeoutError):
        return f"{server}: no answer in time"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"{server}: the name {urlsplit(server).hostname} is not known to DNS"
    if isinstance(error, aiohttp.ClientPayloadError):
        return f"{server}: broke off in the middle of an answer"
    if isinstance(error, OSError) and error.errno:
        return f"{server}: {os.strerror(error.errno).lower()}"
    return f"{server}: {error or type(error).__name__}"


def refused(error: ApiError, access: Access, tls: Tls, token: Token) -> ApiError:
    """A 401 with what may be behind it: an API server answers so to credentials that have expired."""
    ends = token.expiry()
    ours = not_valid(tls.ours())
    if ours:
        cause = f"our client certificate {_name(access)}{ours}"
    elif ends and ends < datetime.now(UTC):
        source = f" in {access.token_file}" if access.token_file else ""
        cause = f"our token{source} ended at {_time(ends)}"
    elif access.token_file:
        cause = f"the API does not accept the token in {access.token_file}"
    else:
        cause = "the API does not accept our credentials"
    return ApiError(error.code, error.reason, f"{cause} ({error.message or error.reason})", error.retry_after)


def not_valid(found: Validity | None) -> str:
    """What is wrong with a certificate's time by the clock of this machine; empty when nothing is."""
    now = datetime.now(UTC)
    if found and now > found.end:
        return f" is expired since {_time(found.end)}"
    if found and now < found.start:
        return f" is valid from {_time(found.start)} on, and this machine's clock says {_time(now)}"
    return ""


def _name(access: Access) -> str:
    return "of the kubeconfig" if isinstance(access.certificate, bytes) else str(access.certificate)


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _tls_error(error: BaseException | None) -> ssl.SSLError | None:
    """The TLS error that an HTTP error was made of."""
    while error is not None:
        inner = getattr(error, "certificate_error", None) or getattr(error, "os_error", None)  # of aiohttp
        if not isinstance(inner, BaseException):
            return error if isinstance(error, ssl.SSLError) else _tls_error(error.__cause__)
        error = inner
    return None


async def _theirs(server: str, error: ssl.SSLCertVerificationError, access: Access) -> str:
    host = access.server_name or urlsplit(server).hostname
    match error.verify_code:
        case code if code in _TIMES:
            wrong = not_valid(await _validity(server)) or f" is not valid now: {error.verify_message}"
            return f"the API server's certificate{wrong}"
        case code if code in _NAMES:
            return f"the API server's certificate is not for {host}: {error.verify_message}"
        case _:
            inline = isinstance(access.authority, bytes)
            source = "the CA of the kubeconfig" if inline else str(access.authority or "a CA of this machine")
            return f"the API server's certificate is not signed by {source}: {error.verify_message}"


async def _validity(server: str) -> Validity | None:
    """Looks at the certificate without believing it. Nothing is sent."""
    parts = urlsplit(server)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        async with asyncio.timeout(5):
            _, writer = await asyncio.open_connection(parts.hostname, parts.port or 443, ssl=context)
    except (OSError, TimeoutError):
        return None
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return certificates.of_der(der) if der else None
