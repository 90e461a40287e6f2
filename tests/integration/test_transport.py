"""What the doors of a running stack speak: TLS 1.3, whoever asks for less is not answered."""

import socket
import ssl

import pytest

from deploy.local.layout import SERVICES
from deploy.local.story.plot import Plot

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("stack")]


def _spoken(address: str, version: ssl.TLSVersion) -> str | None:
    """The version that was agreed on, or None."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2"])
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as plain:
        try:
            with context.wrap_socket(plain, server_hostname=host) as secured:
                return secured.version()
        except (ssl.SSLError, OSError):
            return None


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("door", ["people", "services"])
def test_only_tls_1_3_is_spoken(plot: Plot, service: str, door: str) -> None:
    address = getattr(plot.stage.stack.addresses(service), door)
    assert _spoken(address, ssl.TLSVersion.TLSv1_2) is None
    assert _spoken(address, ssl.TLSVersion.TLSv1_3) == "TLSv1.3"
