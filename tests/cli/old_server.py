"""A server that reports the version of an older Postgres, and does nothing else."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def old_server(version: str) -> Iterator[str]:
    """Yield the DSN of a server that accepts every user and reports its version."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        threading.Thread(target=_serve, args=(listening, version), daemon=True).start()
        yield f"postgresql://ann@127.0.0.1:{port}/zeke?sslmode=disable&gssencmode=disable"
        listening.shutdown(socket.SHUT_RDWR)


def _serve(listening: socket.socket, version: str) -> None:
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:
            return
        with connection:
            (length,) = struct.unpack("!i", connection.recv(4, socket.MSG_WAITALL))
            connection.recv(length - 4, socket.MSG_WAITALL)
            parameters = {"server_version": version, "client_encoding": "UTF8"}
            connection.sendall(
                _message(b"R", struct.pack("!i", 0))
                + b"".join(_message(b"S", f"{k}\0{v}\0".encode()) for k, v in parameters.items())
                + _message(b"K", struct.pack("!ii", 1, 1))
                + _message(b"Z", b"I")
            )
            # Whatever is asked, the answer is silence, until the client hangs up.
            while connection.recv(1024):
                pass


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body
