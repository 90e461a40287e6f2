"""`make chaos`: runs the trials, prints what happens, writes build/chaos.md and build/chaos.json; 1 when something did not hold.

With podman and root: containers from the image, in a network namespace made for the run, which goes with it. Otherwise, or with
--processes: processes of this machine.
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

from deploy.chaos.installation import REPLICAS, Installation, default_home
from deploy.chaos.ledger import settle
from deploy.chaos.load import Load
from deploy.chaos.report import Report
from deploy.chaos.trials import Trials, all_trials
from deploy.image.__main__ import BUILD, TAG
from deploy.image.context import ROOT
from deploy.image.engine import Engine, EngineError
from deploy.local import postgres_programs
from deploy.local.errors import LocalStackError

_INSIDE: Final = "KEPT_CHAOS_INSIDE"
BEFORE: Final = "localhost/kept:before"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.chaos", description=__doc__)
    parser.add_argument(
        "--processes", action="store_true", help="processes, even where containers can be had"
    )
    parser.add_argument("--only", default="", help="only the trials whose name holds this")
    parser.add_argument(
        "--keep", action="store_true", help="keep the logs when it is over, in build/chaos-logs"
    )
    parser.add_argument(
        "--before",
        default="",
        metavar="IMAGE",
        help=f"an older version's image, to upgrade from and go back to under load; {BEFORE} where there is one",
    )
    options = parser.parse_args()
    if _INSIDE not in os.environ:
        return _again(None if options.processes else _engine())
    engine = None if os.environ[_INSIDE] == "processes" else Engine.find(BUILD)
    before = options.before or (BEFORE if engine is not None and engine.has(BEFORE) else "")
    try:
        report = _run(engine, before, options.only, options.keep)
    except (LocalStackError, EngineError, subprocess.CalledProcessError) as error:
        print(f"chaos: {error}", file=sys.stderr)
        return 1
    print(report.text(), flush=True)
    print(f"chaos: {report.write(ROOT / 'build').relative_to(ROOT)}", flush=True)
    return 1 if report.problems else 0


def _engine() -> Engine | None:
    """podman, where containers and packet filters can be had. Says what is missing where they cannot."""
    missing = [name for name in ("podman", "unshare", "ip", "nft") if shutil.which(name) is None]
    if os.geteuid() != 0:
        missing.append("root")
    engine = None if missing else Engine.find(BUILD)
    if engine is not None and not engine.has(TAG):
        missing.append(f"the image {TAG} (make image)")
    if missing:
        print(f"chaos: as processes, for containers need {', '.join(missing)}", flush=True)
        return None
    return engine


def _again(engine: Engine | None) -> int:
    """The same again, inside. Containers run in a network namespace of their own: nothing in it is reached from outside, and it goes with
    its last process. And programs are started here while calls are under way: gRPC must take no part in forks, or some of them hang."""
    command = [sys.executable, "-m", "deploy.chaos", *sys.argv[1:]]
    if engine is not None:
        command = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *command]
    inside = {_INSIDE: "processes" if engine is None else "containers", "GRPC_ENABLE_FORK_SUPPORT": "0"}
    return subprocess.run(command, env=os.environ | inside, check=False).returncode


def _run(engine: Engine | None, before: str, only: str, keep: bool) -> Report:
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"chaos: {time.monotonic() - began:5.0f} s  {text}", flush=True)

    home = default_home()
    installation = Installation.make(home, engine, before or TAG)
    if not before:
        say(f"NOT TRIED: an upgrade, for want of {BEFORE} or --before (docs/operations/chaos.md)")
    try:
        say(
            f"{REPLICAS} replicas of every service as {installation.replicas.runner.name}, in {home.relative_to(ROOT)}"
        )
        installation.start()
        plot = installation.tell()
        say("up, with customers and staff; the load begins")
        outcomes = []
        with Load(installation, plot) as load:
            trials = Trials(installation, load, say)
            outcomes = [trials.run(*trial) for trial in all_trials(trials, TAG, before) if only in trial[0]]
        others = [f"a caller crashed: {text}" for text in load.crashed]
        others += (
            [f"{len(load.refused)} records were refused for good: {sorted(set(load.refused))}"]
            if load.refused
            else []
        )
        return Report(
            how=installation.replicas.runner.name,
            cut_by=installation.cuts.name,
            database=f"PostgreSQL {postgres_programs.version()} as one server",
            replicas=REPLICAS,
            seconds=time.monotonic() - began,
            outcomes=outcomes,
            ledger=settle(load),
            others=others,
        )
    finally:
        installation.replicas.remove()
        if keep:
            _keep(installation.stack.layout.logs)
        installation.remove()


def _keep(logs: Path) -> None:
    kept = ROOT / "build" / "chaos-logs"
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(logs, kept)


if __name__ == "__main__":
    sys.exit(main())
