"""An authority and certificates of any time, past and future, made by openssl for the tests of one file."""

import ssl
import subprocess
from pathlib import Path

_CONFIG = """
[ca]
default_ca = own
[own]
database = {folder}/index
serial = {folder}/serial
new_certs_dir = {folder}
default_md = sha256
policy = any
unique_subject = no
[any]
commonName = supplied
"""
_CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
LONG_AGO, AGO, SOON, FAR = "20000101000000Z", "20200101000000Z", "21000101000000Z", "21200101000000Z"


class Authority:
    """Signs what is asked for. `folder` gets the files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()
        (folder / "index").write_text("")
        (folder / "serial").write_text("01\n")
        (folder / "config").write_text(_CONFIG.format(folder=folder))
        self.certificate = folder / "ca.crt"
        _openssl("req", "-x509", *_CURVE, "-out", self.certificate, "-keyout", folder / "ca.key", "-subj", "/CN=test")

    def issue(self, name: str, start: str = LONG_AGO, end: str = FAR, alt: str = "IP:127.0.0.1") -> tuple[Path, Path]:
        """A certificate and its key."""
        request, key, found = (self._folder / f"{name}.{suffix}" for suffix in ("csr", "key", "crt"))
        extensions = self._folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName={alt}\n")
        _openssl("req", *_CURVE, "-out", request, "-keyout", key, "-subj", f"/CN={name}")
        signer = ("-cert", self.certificate, "-keyfile", self._folder / "ca.key", "-extfile", extensions)
        times = ("-startdate", start, "-enddate", end)
        _openssl(
            "ca",
            "-batch",
            "-notext",
            "-config",
            self._folder / "config",
            *signer,
            *times,
            "-in",
            request,
            "-out",
            found,
        )
        return found, key

    def server(self, name: str, *, clients: bool = False, **more: str) -> ssl.SSLContext:
        """A server's side of TLS; with `clients` it asks for their certificates and refuses bad ones."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.issue(name, **more))
        if clients:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.certificate)
        return context


def _openssl(*words: object) -> None:
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)
