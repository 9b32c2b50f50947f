"""Importing this keeps the process to itself: any way out other than the loopback raises.

For packages that fetch price lists, tokenisers or the like on their own account.
"""

import sys

HOME = ("127.0.0.1", "::1", "localhost", None)


def guard(event: str, arguments: tuple) -> None:
    """An audit hook; there is no taking it off again."""
    if event == "socket.getaddrinfo":
        host = arguments[0].decode() if isinstance(arguments[0], bytes) else arguments[0]
    elif event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return
    if host not in HOME:
        raise ConnectionRefusedError(f"the tests speak to this machine alone, not to {host}")


sys.addaudithook(guard)
