"""What every service stands on. Imports no service."""

import os
from typing import Final

# TLS 1.3 and nothing older. gRPC's Python API has no setting for it; its C core reads this one when it is loaded, and applies it to TLS 1.2
# alone. The list names a suite for pre-shared keys, which nobody here has, so that no TLS 1.2 handshake ever finds a suite (RFC 5489).
TLS_1_2_SUITES: Final = "ECDHE-PSK-AES128-CBC-SHA"
os.environ["GRPC_SSL_CIPHER_SUITES"] = TLS_1_2_SUITES
