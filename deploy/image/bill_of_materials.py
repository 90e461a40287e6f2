"""The image's bill of materials, in CycloneDX 1.6 (ECMA-424): the wheels of the lock and the Debian packages that something was taken from.

The same image has the same bill, byte for byte: its serial number follows from the image's id (RFC 9562 §5.5), and it carries no time.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path
from typing import Final
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

_PINNED: Final = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;]+)", re.MULTILINE)


class NotLocked(Exception):
    """Something was installed that the lock does not name, or not in that version."""


@dataclass(frozen=True, order=True)
class Package:
    """One package in the image. kind: "pypi" or "deb", as package URLs have it; architecture: of Debian packages."""

    kind: str
    name: str
    version: str
    architecture: str = ""

    @property
    def url(self) -> PackageURL:
        """The package URL (purl-spec)."""
        if self.kind == "deb":
            return PackageURL("deb", "debian", self.name, self.version, {"arch": self.architecture})
        return PackageURL("pypi", None, self.name, self.version)


def wheels(site_packages: Path, lock: str) -> list[Package]:
    """What is installed in a folder. Raises NotLocked unless the lock names each in that very version."""
    pinned: dict[str, set[str]] = defaultdict(set)  # several, where Pythons take different ones
    for name, version in _PINNED.findall(lock):
        pinned[_normal(name)].add(version)
    found = []
    for folder in sorted(site_packages.glob("*.dist-info")):
        headers = HeaderParser().parsestr((folder / "METADATA").read_text(encoding="utf-8"))
        name, version = _normal(headers["Name"]), headers["Version"]
        if version not in pinned[name]:
            said = " or ".join(sorted(pinned[name])) or "nothing"
            raise NotLocked(f"{name} {version} is installed; the lock says {said}")
        found.append(Package("pypi", name, version))
    return sorted(found)


def debian(status_files: Iterable[Path]) -> Iterator[Package]:
    """The packages of dpkg's status files, one a file."""
    for file in sorted(status_files):
        headers = HeaderParser().parsestr(file.read_text(encoding="utf-8"))
        yield Package("deb", headers["Package"], headers["Version"], headers["Architecture"])


def bill(packages: Iterable[Package], *, image_id: str, base: str, version: str) -> str:
    """The bill as JSON. image_id: SHA-256 of the image's configuration, in hex; base: what the image was built from, as it was named."""
    parts = [
        Component(
            name=one.name, version=one.version, type=ComponentType.LIBRARY, purl=one.url, bom_ref=str(one.url)
        )
        for one in sorted(packages)
    ]
    image = Component(
        name="kept",
        version=version,
        type=ComponentType.CONTAINER,
        bom_ref="kept",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=image_id)],
        properties=[Property(name="kept:base", value=base)],
    )
    document = Bom(
        components=parts,
        serial_number=uuid5(NAMESPACE_URL, f"kept:image:{image_id}"),
        metadata=BomMetaData(component=image),
    )
    document.register_dependency(image, parts)
    written = json.loads(JsonV1Dot6(document).output_as_string())
    del written["metadata"]["timestamp"]
    return json.dumps(written, indent=1, sort_keys=True) + "\n"


def listed(text: str) -> list[str]:
    """What a bill lists: wheels as "name@version", Debian packages by their name."""
    urls = [PackageURL.from_string(one["purl"]) for one in json.loads(text)["components"]]
    return sorted(url.name if url.type == "deb" else f"{url.name}@{url.version}" for url in urls)


def as_listed(packages: Iterable[str]) -> list[str]:
    """The same of what an image says that it has."""
    return sorted(
        f"{_normal(name)}{at}{version}" if at else name
        for name, at, version in (one.partition("@") for one in packages)
    )


def _normal(name: str) -> str:
    """A name as the package index compares it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()
