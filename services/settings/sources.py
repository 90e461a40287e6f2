"""Where calls of people come from, as far as that can be known."""

from dataclasses import dataclass
from urllib.parse import unquote

from services.settings.accounts.sign_in_pace import network_of


@dataclass(frozen=True)
class Sources:
    """are_hidden: whether what connects is a proxy, as the Gateway is. Then a source is never known, and nothing is counted by it:
    else one caller who asks too often would hold up everybody."""

    are_hidden: bool = False

    def of(self, peer: str) -> str:
        """The network in what gRPC calls a peer, such as "ipv4:192.0.2.7:51000" or "ipv6:%5B2001:db8::7%5D:51000"; "" where it is
        not known."""
        kind, _, rest = unquote(peer).partition(":")
        if self.are_hidden or kind not in ("ipv4", "ipv6"):
            return ""
        address = rest.rpartition(":")[0].strip("[]")
        return network_of(address)
