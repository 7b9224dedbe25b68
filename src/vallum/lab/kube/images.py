"""The images of the test cluster, written on the spot: our static probe alone in one layer. No registry is asked.

OCI image layout (image-spec 1.0) in a tar, as `ctr images import` takes it.
"""

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

PAUSE = "vallum.test/pause:1"
PROBE = "vallum.test/probe:1"
_ENTRIES = {PAUSE: ["/probe", "pause"], PROBE: ["/probe"]}
_VENDOR = "application/vnd.oci.image"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def write(probe: Path, machine: str, into: Path) -> Path:
    """The tar with both images. `machine` as uname says it."""
    layer = _tar({"probe": probe.read_bytes()}, mode=0o755)
    blobs = [layer]
    manifests = []
    for name, entry in _ENTRIES.items():
        config = _json(
            {
                "architecture": _ARCHITECTURES.get(machine, machine),
                "os": "linux",
                "config": {"Entrypoint": entry, "Env": ["PATH=/"]},
                "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
            }
        )
        manifest = _json(
            {
                "schemaVersion": 2,
                "mediaType": f"{_VENDOR}.manifest.v1+json",
                "config": _described(config, "config.v1+json"),
                "layers": [_described(layer, "layer.v1.tar")],
            }
        )
        blobs += [config, manifest]
        annotations = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.rpartition(":")[2]}
        manifests.append(_described(manifest, "manifest.v1+json") | {"annotations": annotations})
    files = {f"blobs/sha256/{_digest(blob).removeprefix('sha256:')}": blob for blob in blobs}
    files["oci-layout"] = _json({"imageLayoutVersion": "1.0.0"})
    files["index.json"] = _json({"schemaVersion": 2, "manifests": manifests})
    into.write_bytes(_tar(files, mode=0o644))
    return into


def _described(blob: bytes, kind: str) -> dict[str, Any]:
    return {"mediaType": f"{_VENDOR}.{kind}", "digest": _digest(blob), "size": len(blob)}


def _digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def _json(content: object) -> bytes:
    return json.dumps(content, sort_keys=True).encode()


def _tar(files: dict[str, bytes], mode: int) -> bytes:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            tar.addfile(entry, io.BytesIO(content))
    return whole.getvalue()
