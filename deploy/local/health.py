"""Asks whether the parts of a stack are healthy: services by grpc.health.v1, the issuer by HTTP."""

from __future__ import annotations

import http.client

import grpc
from grpc_health.v1 import health_pb2

_PATIENCE = 1.0


def serves(address: str, part: str = "") -> bool:
    """True if the service with this health address says that it serves, or a part of it; no answer is no.

    Every question has a connection of its own: a channel that was refused would wait before it tries again.
    """
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            answer = check(health_pb2.HealthCheckRequest(service=part), timeout=_PATIENCE)
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def answers(address: str, path: str) -> bool:
    """True if an HTTP GET is answered with 200."""
    connection = http.client.HTTPConnection(address, timeout=_PATIENCE)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
