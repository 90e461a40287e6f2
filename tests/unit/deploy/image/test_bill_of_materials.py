"""The image's bill of materials says what is in it, and refuses what nobody locked."""

import json
from pathlib import Path

import pytest

from deploy.image.bill_of_materials import NotLocked, Package, as_listed, bill, debian, listed, wheels

_LOCK = "grpcio==1.2.3 \\\n    --hash=sha256:00\npsycopg_binary==3.3.9 ; implementation_name != 'pypy' \\\n    --hash=sha256:01\n"


def _installed(folder: Path, name: str, version: str) -> None:
    home = folder / f"{name}-{version}.dist-info"
    home.mkdir()
    (home / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\ntext\n")


def test_installed_wheels_are_listed_by_the_names_that_the_index_compares(tmp_path: Path) -> None:
    _installed(tmp_path, "grpcio", "1.2.3")
    _installed(tmp_path, "Psycopg-Binary", "3.3.9")
    assert wheels(tmp_path, _LOCK) == [
        Package("pypi", "grpcio", "1.2.3"),
        Package("pypi", "psycopg-binary", "3.3.9"),
    ]


def test_either_of_two_locked_versions_is_taken(tmp_path: Path) -> None:
    lock = "numpy==2.4 ; python_full_version < '3.12' \\\nnumpy==2.5 ; python_full_version >= '3.12' \\\n"
    _installed(tmp_path, "numpy", "2.4")
    assert wheels(tmp_path, lock) == [Package("pypi", "numpy", "2.4")]


@pytest.mark.parametrize(("name", "version"), [("grpcio", "1.2.4"), ("requests", "2.0")])
def test_what_the_lock_does_not_name_is_refused(tmp_path: Path, name: str, version: str) -> None:
    _installed(tmp_path, name, version)
    with pytest.raises(NotLocked, match=version):
        wheels(tmp_path, _LOCK)


def test_the_same_image_has_the_same_bill_byte_for_byte(tmp_path: Path) -> None:
    (tmp_path / "libc6").write_text("Package: libc6\nVersion: 2.36-9\nArchitecture: amd64\n")
    packages = [Package("pypi", "grpcio", "1.2.3"), *debian(tmp_path.iterdir())]
    told = {"image_id": "ab" * 32, "base": "debian@sha256:00", "version": "0.1.0"}
    written = bill(packages, **told)
    assert written == bill(reversed(packages), **told)
    parsed = json.loads(written)
    assert parsed["bomFormat"] == "CycloneDX"
    assert sorted(one["purl"] for one in parsed["components"]) == [
        "pkg:deb/debian/libc6@2.36-9?arch=amd64",
        "pkg:pypi/grpcio@1.2.3",
    ]
    assert parsed["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": "ab" * 32}]
    assert bill(packages, **(told | {"image_id": "cd" * 32})) != written


def test_what_an_image_has_and_its_bill_does_not_list_is_seen(tmp_path: Path) -> None:
    (tmp_path / "libc6").write_text("Package: libc6\nVersion: 2.36-9\nArchitecture: amd64\n")
    packages = [Package("pypi", "psycopg-binary", "3.3.9"), *debian(tmp_path.iterdir())]
    written = bill(packages, image_id="ab" * 32, base="debian", version="0.1.0")
    assert listed(written) == as_listed(["Psycopg_Binary@3.3.9", "libc6"])
    assert listed(written) != as_listed(["Psycopg_Binary@3.3.9", "libc6", "requests@2.0"])
    assert listed(written) != as_listed(["Psycopg_Binary@3.3.8", "libc6"])
