"""How a gateway reaches a service: by its certificate, over a channel that is made anew when the certificate is."""

import ssl
import threading
from pathlib import Path

import grpc

from kept.client.connection import Calls, channel_options, target
from kept.client.errors import KeptError


class GatewayFiles:
    """The PEM files that a gateway proves itself with. They are replaced in place when certificates are renewed."""

    def __init__(self, certificate: Path, key: Path, authority: Path) -> None:
        self._files = (authority, key, certificate)

    def version(self) -> tuple[int, ...]:
        """Another value when one of the files was replaced. Raises KeptError UNREADABLE."""
        try:
            return tuple(file.stat().st_mtime_ns for file in self._files)
        except OSError as error:
            raise _unreadable(error) from None

    def credentials(self) -> grpc.ChannelCredentials:
        """By the files as they are now. Raises KeptError UNREADABLE, also for a key that is encrypted, and for a certificate and a key that
        do not belong together: they are replaced one after the other."""
        try:
            authority, key, certificate = (file.read_bytes() for file in self._files)
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(
                self._files[2], self._files[1], password=self._refuse_to_ask
            )
        except ssl.SSLError:
            raise KeptError(
                "UNREADABLE", f"{self._files[2]} and {self._files[1]} do not belong together."
            ) from None
        except OSError as error:
            raise _unreadable(error) from None
        return grpc.ssl_channel_credentials(authority, key, certificate)

    def _refuse_to_ask(self) -> str:
        """Instead of OpenSSL, which asks for a pass phrase on the terminal and waits."""
        raise KeptError(
            "UNREADABLE",
            f"{self._files[1]} is encrypted with a pass phrase, which nobody is here to give: store the key without one.",
        )


def _unreadable(error: OSError) -> KeptError:
    return KeptError("UNREADABLE", f"{error.filename} cannot be read: {error.strerror}.")


class GatewayChannel:
    """The channel to one service's mTLS port, "host:port". For threads."""

    def __init__(self, service: str, address: str, files: GatewayFiles) -> None:
        self._service = service
        self._address = address
        self._files = files
        self._lock = threading.Lock()
        self._made: tuple[tuple[int, ...], grpc.Channel] | None = None

    def current(self) -> grpc.Channel:
        """By the files as they are now: a channel keeps the certificate that it was made with. While they are being replaced the last one
        serves on. Raises KeptError UNREADABLE when there was none."""
        with self._lock:
            try:
                version = self._files.version()
                if self._made is not None and self._made[0] == version:
                    return self._made[1]
                credentials = self._files.credentials()
            except KeptError:
                if self._made is not None:
                    return self._made[1]
                raise
            channel = grpc.intercept_channel(
                grpc.secure_channel(
                    target(self._address), credentials, options=channel_options(self._service, self._address)
                ),
                Calls(self._service, None),
            )
            # Calls in progress go on over the old channel, which ends when the last of them lets go of it.
            self._made = (version, channel)
            return channel

    def close(self) -> None:
        """Closes the channel; asked for again, there is another."""
        with self._lock:
            if self._made is not None:
                self._made[1].close()
                self._made = None
