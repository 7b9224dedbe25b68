"""Images are whole OCI layouts: every blob is under its digest, and every description fits its blob."""

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

from vallum.lab.kube import images


def contents(tar: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        return {each.name: found.read() for each in opened if (found := opened.extractfile(each)) is not None}


def described(files: dict[str, bytes], description: dict[str, Any]) -> bytes:
    blob = files["blobs/" + description["digest"].replace(":", "/")]
    assert len(blob) == description["size"]
    assert hashlib.sha256(blob).hexdigest() == description["digest"].removeprefix("sha256:")
    return blob


def test_both_images_lead_by_their_digests_to_the_program(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF")
    files = contents(images.write(program, "aarch64", tmp_path / "images.tar").read_bytes())
    found = json.loads(files["index.json"])["manifests"]
    assert [each["annotations"]["io.containerd.image.name"] for each in found] == [images.PAUSE, images.PROBE]
    for each in found:
        manifest = json.loads(described(files, each))
        config = json.loads(described(files, manifest["config"]))
        (layer,) = (described(files, one) for one in manifest["layers"])
        assert config["architecture"] == "arm64"
        assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(layer).hexdigest()}"]
        assert contents(layer) == {"probe": b"\x7fELF"}
        assert config["config"]["Entrypoint"][0] == "/probe"
