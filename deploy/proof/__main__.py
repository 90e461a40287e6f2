"""`make deploy-proof`: brings up what the overlays render to, on this machine, and says what held; 1 when something did not.

It takes root, podman and the image (make image). Everything lies in a network namespace made for the run, which goes with it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from deploy.check.overlay import Overlay
from deploy.image.__main__ import BUILD, TAG
from deploy.image.context import ROOT
from deploy.image.engine import Engine, EngineError
from deploy.local.errors import LocalStackError
from deploy.proof.cluster import Cluster
from deploy.proof.pods import PodFailed

_INSIDE: Final = "KEPT_PROOF_INSIDE"
_OVERLAYS: Final = ("local", "production")
NOT_PROVEN: Final = (
    "admission by an API server, scheduling, and what operators make of their objects (stand-ins made it here)",
    "network policies, the Gateway, monitors and autoscaling: rendered and checked (make deploy-check), not run",
    "volumes and databases on several machines, and failover between them",
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.proof", description=__doc__)
    parser.add_argument("overlays", nargs="*", default=_OVERLAYS, help="which ones")
    parser.add_argument("--image", default=TAG, help="what stands for the overlay's image")
    options = parser.parse_args()
    if _INSIDE in os.environ:
        return _inside(options.overlays[0], options.image)
    missing = _missing(options.image)
    if missing:
        print(f"deploy-proof: NOT PROVEN: anything, for want of {', '.join(missing)}", file=sys.stderr)
        return 1
    failed = [name for name in options.overlays if not _again(name, options.image)]
    for what in NOT_PROVEN:
        print(f"deploy-proof: NOT PROVEN: {what}")
    print(
        f"deploy-proof: {f'FAILED: {chr(44).join(failed)}' if failed else 'what the manifests deploy runs'}"
    )
    return 1 if failed else 0


def _missing(image: str) -> list[str]:
    """What this machine lacks."""
    missing = [name for name in ("podman", "unshare", "ip") if shutil.which(name) is None]
    if os.geteuid() != 0:
        missing.append("root")
    engine = None if missing else Engine.find(BUILD)
    if engine is not None and not engine.has(image):
        missing.append(f"the image {image} (make image)")
    return missing


def _again(overlay: str, image: str) -> bool:
    """One overlay, in a network namespace of its own; gRPC must take no part in forks while calls are under way. Whether all held."""
    command = [sys.executable, "-m", "deploy.proof", overlay, "--image", image]
    inside = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *command]
    variables = {_INSIDE: "1", "GRPC_ENABLE_FORK_SUPPORT": "0"}
    return subprocess.run(inside, env=os.environ | variables, check=False).returncode == 0


def _inside(overlay: str, image: str) -> int:
    home = ROOT / "build" / f"proof-{os.getpid()}"
    try:
        problems = _prove(overlay, image, home)
    except (PodFailed, EngineError, LocalStackError, subprocess.CalledProcessError) as error:
        problems = [str(error)]
    finally:
        shutil.rmtree(home, ignore_errors=True)
    for problem in problems:
        print(f"deploy-proof: {overlay}: PROBLEM: {problem}", file=sys.stderr, flush=True)
    return 1 if problems else 0


def _prove(name: str, image: str, home: Path) -> list[str]:
    """Brings one overlay up and down; gives what did not hold. Raises what a Cluster does."""
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"deploy-proof: {name}: {time.monotonic() - began:4.0f} s  {text}", flush=True)

    overlay = Overlay.rendered(name)
    home.mkdir(parents=True)
    engine = Engine.find(BUILD)
    assert engine is not None  # looked for outside
    cluster = Cluster(overlay, engine, image, home, say)
    try:
        say(f"{len(overlay.resources)} objects, the image is {image}")
        cluster.start()
        cluster.look()
        cluster.stop()
    finally:
        cluster.remove()
    for what in cluster.not_proven:
        say(f"NOT PROVEN: {what}")
    return cluster.problems


if __name__ == "__main__":
    sys.exit(main())
