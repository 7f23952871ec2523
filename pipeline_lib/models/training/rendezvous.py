"""Let the processes of a training on one node meet on loopback, not on other networks."""

import os
import socket

from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from torch.distributed import TCPStore  # type: ignore[attr-defined]

_LOOPBACK = "127.0.0.1"
# Network interfaces of Gloo and NCCL, which else choose one that leaves the node.
_NETWORKS = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")


class LoopbackEnvironment(LightningEnvironment):
    """Describe processes that Lightning starts, all on this node.

    PyTorch's rendezvous listens on all addresses, without authentication. The server that
    is opened here, on loopback, is the one that PyTorch then finds in the process (several stores
    of a process share the server of a port).
    """

    def __init__(self) -> None:
        super().__init__()
        self._server: TCPStore | None = None
        self._set: list[str] = []

    @property
    def main_address(self) -> str:
        """Address of the rendezvous."""
        return _LOOPBACK

    @property
    def main_port(self) -> int:
        """Port of the rendezvous; only trainings of several processes need it."""
        # A process with a rank was started by one that knows the port.
        if self._main_port == -1 and not self.creates_processes_externally:
            self._open_server(int(os.environ.get("MASTER_PORT", "0")))
        return super().main_port

    def teardown(self) -> None:
        """Close the server."""
        super().teardown()
        self._server = None
        while self._set:
            os.environ.pop(self._set.pop(), None)

    def _open_server(self, port: int) -> None:
        interfaces = {name for _, name in socket.if_nameindex()}
        for network in _NETWORKS:
            loopback = "lo" if "lo" in interfaces else "lo0"
            if network not in os.environ and loopback in interfaces:
                os.environ[network] = loopback
                self._set.append(network)
        listening = socket.create_server((_LOOPBACK, port))
        self._main_port = listening.getsockname()[1]
        self._server = TCPStore(
            _LOOPBACK,
            self._main_port,
            is_master=True,
            wait_for_workers=False,
            multi_tenant=True,
            # The store closes it.
            master_listen_fd=listening.detach(),
        )
