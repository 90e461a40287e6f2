"""Starts the development issuer: `python -m deploy.local.issuer --config FILE`. Ends on SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from pathlib import Path

from deploy.local import ports
from deploy.local.errors import LocalStackError, PortInUse
from deploy.local.issuer.config import IssuerConfig
from deploy.local.issuer.customers import Customers
from deploy.local.issuer.endpoint import Endpoint, Realm
from deploy.local.issuer.people import Workforce
from deploy.local.issuer.tokens import SigningKey, Subject, TokenIssuer
from shared.clock import TravellingClock


def build(config: IssuerConfig) -> Endpoint:
    """The server, bound and not yet serving. Raises PortInUse."""
    clock = TravellingClock(Path(config.travelling_clock))
    workforce, customers = Workforce(Path(config.people)), Customers(config)

    def employee(username: str, password: str, _source: str) -> Subject | None:
        person = workforce.verify(username, password)
        return None if person is None else Subject(person.username, person.name, person.email)

    def issuer(kind: str) -> TokenIssuer:
        return TokenIssuer(f"{config.base}/{kind}", SigningKey(Path(config.keys) / f"{kind}.pem"), clock)

    realms = {
        "workforce": Realm(issuer("workforce"), employee),
        "customer": Realm(issuer("customer"), customers.verify, customers.renew),
    }
    try:
        return Endpoint(config.port, realms, config.audiences)
    except OSError:
        raise PortInUse("the issuer", config.port, ports.holder(config.port)) from None


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.local.issuer", description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s", stream=sys.stdout)
    try:
        server = build(IssuerConfig.read(parser.parse_args().config))
    except LocalStackError as error:
        print(error, file=sys.stderr)
        return 1
    for number in (signal.SIGTERM, signal.SIGINT):
        # shutdown() waits for the serving loop, which this very thread runs: another one has to call it.
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    logging.getLogger("issuer").info("serving on port %d", server.server_address[1])
    with server:
        server.serve_forever(poll_interval=0.1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
