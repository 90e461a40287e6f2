"""What the pod of access control does with the image of an HSM's client before it starts."""

import subprocess
import sys
from pathlib import Path

import yaml

from deploy.check.findings import ROOT

COPIES = ROOT / "deploy/components/key-store-hsm/copy-client.yaml"


def test_the_client_is_copied_again_where_it_was_copied_before(tmp_path: Path) -> None:
    # After a reboot of the node the kubelet runs a pod's init containers once more, on the volumes as they were left.
    image, volume = tmp_path / "hsm-image", tmp_path / "hsm"
    (image / "lib").mkdir(parents=True)
    volume.mkdir()
    (image / "lib" / "libpkcs11.so.2").write_text("the library")
    (image / "lib" / "libpkcs11.so").symlink_to("libpkcs11.so.2")
    (operation,) = yaml.safe_load(COPIES.read_text())
    *_, program = operation["value"]["command"]
    for _ in range(2):
        subprocess.run([sys.executable, "-c", program.replace("/opt/", f"{tmp_path}/")], check=True)
        assert (volume / "client" / "lib" / "libpkcs11.so").readlink() == Path("libpkcs11.so.2")
        assert (volume / "client" / "lib" / "libpkcs11.so").read_text() == "the library"
        assert not (volume / "client" / "left").exists()
        (volume / "client" / "left").write_text("by a copy that was not finished")
