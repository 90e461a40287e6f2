"""The hand-written layer above the generated contracts: connections, sessions, typed errors, recording.

Importing this package costs nothing; its modules import grpc only where they call.
"""
