"""A receiver of webhooks on loopback, in this process: it keeps what it gets and answers what a test says."""

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from deploy.local.authority import Identity


class Request:
    """One request. headers: names in lower case."""

    def __init__(self, path: str, headers: dict[str, str], body: bytes) -> None:
        self.path = path
        self.headers = headers
        self.body = body


class Receiver:
    """answer: gives the status of a request, and may take its time or never come back. extra: headers of answers. url:
    where it is."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.answer: Callable[[Request], int] = lambda _: 204
        self.extra: dict[str, str] = {}
        self.url = ""

    @property
    def ids(self) -> list[str]:
        """`webhook-id` of what came, in order."""
        return [request.headers["webhook-id"] for request in self.requests]

    def answers(self, *statuses: int) -> None:
        """These, one after the other; the last one from then on."""
        left = list(statuses)
        self.answer = lambda _: left.pop(0) if len(left) > 1 else left[0]


@contextmanager
def receiving(identity: Identity | None = None, host: str = "127.0.0.1") -> Iterator[Receiver]:
    """A receiver for the time of the block; with TLS where it gets an identity."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            request = Request(self.path, {k.lower(): v for k, v in self.headers.items()}, body)
            receiver.requests.append(request)
            status = receiver.answer(request)
            self.send_response(status)
            for name, value in receiver.extra.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None: ...

    server = Server((host, 0), Handler)
    server.daemon_threads = True
    if identity is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(identity.certificate, identity.key)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    receiver.url = f"{'http' if identity is None else 'https'}://{host}:{server.server_address[1]}/hook"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.socket.close()
