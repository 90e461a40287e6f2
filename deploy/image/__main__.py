"""`python -m deploy.image build --base IMAGE`, `base`, `check`: what `make image`, `make image-base` and `make image-check` run."""

from __future__ import annotations

import argparse
import sys
import tomllib
from pathlib import Path
from typing import Final

from deploy.image import bill_of_materials, check
from deploy.image.base import make_base
from deploy.image.context import LOCK, ROOT, prepare
from deploy.image.engine import Engine, EngineError

BUILD: Final = ROOT / "build" / "image"
BILL: Final = BUILD / "kept.cdx.json"
TAG: Final = "localhost/kept:local"
BASE: Final = "localhost/kept-base:bookworm"


def build(engine: Engine, base: str, tag: str = TAG) -> str:
    """Builds the image and writes its bill of materials beside; gives the image's id. Raises EngineError."""
    context = BUILD / "context"
    prepare(context)
    image_id = _built(engine, context, base, tag)
    _write_bill(engine, tag, image_id, base)
    return image_id


def _built(engine: Engine, context: Path, base: str, tag: str) -> str:
    options = ["--no-cache", "--network", "none", "--build-arg", f"BASE={base}", "--tag", tag]
    # Both write this instead of the time into what they make (SOURCE_DATE_EPOCH of reproducible-builds.org).
    times = ["--timestamp", "0"] if engine.name == "podman" else ["--build-arg", "SOURCE_DATE_EPOCH=0"]
    engine.run("build", "--quiet", *times, *options, str(context), patience=1800)
    return str(engine.inspected(tag)["Id"]).removeprefix("sha256:")


def _write_bill(engine: Engine, tag: str, image_id: str, base: str) -> None:
    status = BUILD / "status.d"
    container = engine.run("create", tag).strip()
    try:
        engine.run("cp", f"{container}:/var/lib/dpkg/status.d/.", str(_empty(status)))
    finally:
        engine.run("rm", container)
    packages = [
        *bill_of_materials.wheels(BUILD / "context" / "site-packages", LOCK.read_text()),
        *bill_of_materials.debian(status.iterdir()),
    ]
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    BILL.write_text(bill_of_materials.bill(packages, image_id=image_id, base=base, version=version))


def _empty(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for file in directory.iterdir():
        file.unlink()
    return directory


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.image", description=__doc__)
    parser.add_argument("act", choices=("build", "base", "check"))
    parser.add_argument(
        "--base", default="", help="what it is built on: a Debian with python3, pinned by digest"
    )
    parser.add_argument("--tag", default=TAG)
    options = parser.parse_args()
    try:
        engine = Engine.find(BUILD)
        if engine is None:
            raise EngineError("neither podman nor docker is here: an image can only be built where one is")
        if options.act == "base":
            print(f"{BASE} {make_base(engine, BASE)}")
            return 0
        base = options.base or BASE
        if not options.base and not engine.has(BASE):
            raise EngineError(
                "give BASE=name@sha256:… of a Debian with python3, or make one: make image-base"
            )
        first = build(engine, base, options.tag)
        size = int(str(engine.inspected(options.tag)["Size"]))
        print(
            f"image: {options.tag} sha256:{first}, {size / 1e6:.0f} MB; bill of materials: build/image/kept.cdx.json"
        )
        return (
            0
            if options.act == "build"
            else check.run(engine, options.tag, BILL, lambda: build(engine, base, options.tag) == first)
        )
    except (EngineError, bill_of_materials.NotLocked) as error:
        print(f"image: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
