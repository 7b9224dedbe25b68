"""aiohttp, imported without the machine's bundle of certificates.

As it is imported it makes two TLS contexts for callers that bring none, and each reads the whole bundle: 0.1 s of every
start of an agent. Ours are made in `credentials`, with the bundle where it is wanted. Everything here imports it so.
"""

import os

__all__ = ["aiohttp"]

_BUNDLE = ("SSL_CERT_FILE", "SSL_CERT_DIR")

_before = {name: os.environ.get(name) for name in _BUNDLE}
os.environ |= dict.fromkeys(_BUNDLE, os.devnull)
try:
    import aiohttp
finally:
    for _name, _value in _before.items():
        if _value is None:
            del os.environ[_name]
        else:
            os.environ[_name] = _value
