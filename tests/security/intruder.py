"""Try to have Dask's ports run code: a program of its own, since it may run as another user.

Reads from stdin, as JSON, the addresses (HOST:PORT), a folder and the user to become; prints, as
JSON, how each way ended at each address. Code that got in leaves a mark in the folder, by the
address's number and the way: whether it is there, the caller sees.
"""

import asyncio
import json
import os
import pickle
import ssl
import sys

from distributed import Security
from distributed.comm.core import connect

from pipeline_lib.steps.infer.credentials import create_security


class Payload:
    """Run code when unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (self.mark,)


def describe_ways(credentials):
    """Return the arguments of a connection by the name of each way in."""
    bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    bare.check_hostname, bare.verify_mode = False, ssl.CERT_NONE
    # A certificate that looks like a run's; whose the server's is does not matter to us.
    own = create_security().get_connection_args("client")
    own["ssl_context"].verify_mode = ssl.CERT_NONE
    ways = {"tcp": {}, "no certificate": {"ssl_context": bare}, "own certificate": own}
    if credentials:
        files = {
            "tls_ca_file": f"{credentials}/ca.pem",
            "tls_client_cert": f"{credentials}/certificate.pem",
            "tls_client_key": f"{credentials}/key.pem",
        }
        ways["stolen"] = Security(**files, require_encryption=True).get_connection_args("client")
    return ways


async def break_in(address, way, arguments, mark):
    """Ask a server to unpickle; schedulers have another name for it than nannies and workers."""
    scheme = "tcp" if way == "tcp" else "tls"
    for operation in ("run_function", "run"):
        try:
            comm = await connect(f"{scheme}://{address}", timeout=5, **arguments)
            function = pickle.dumps(Payload(mark))
            await comm.write({"op": operation, "function": function, "reply": True})
            await asyncio.wait_for(comm.read(), 5)
        except Exception as error:  # noqa: BLE001 - whatever keeps us out
            told = f"{type(error).__name__}: {error}"
        else:
            told = "answered"
    return told


async def try_all(asked, ways):
    ended = {}
    for number, address in enumerate(asked["addresses"]):
        for way, arguments in ways.items():
            mark = f"{asked['folder']}/{number}-{way}"
            ended[f"{address} {way}"] = await break_in(address, way, arguments, mark)
    return ended


def become(user):
    """Give up every right of root; only now, since the interpreter may be root's alone."""
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)


def main():
    asked = json.load(sys.stdin)
    ways = describe_ways(asked["credentials"])
    if asked["user"] is not None:
        become(asked["user"])
    json.dump(asyncio.run(try_all(asked, ways)), sys.stdout)


if __name__ == "__main__":
    main()
