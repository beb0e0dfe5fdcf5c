"""What every test lives under: no connection leaves this machine."""

import ipaddress
import socket

import pytest

pytest_plugins = ["tests.smollm2"]


def pytest_collection_modifyitems(items):
    """Tests marked ``gpu`` are skipped where there is no CUDA device; only where there are any is torch asked."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if marked:
        import torch

        if not torch.cuda.is_available():
            for item in marked:
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


def loopback(host: str) -> bool:
    if host in ("localhost", ""):
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or bool(getattr(address, "ipv4_mapped", None) and address.ipv4_mapped.is_loopback)


def check(family: int, address: object) -> None:
    """Refuses an address off loopback; other families (AF_UNIX, netlink) stay on the machine by nature."""
    if family in (socket.AF_INET, socket.AF_INET6) and not loopback(str(address[0])):
        raise RuntimeError(f"a test tried to reach {address[0]} port {address[1]}: tests may reach 127.0.0.1 only")


@pytest.fixture(autouse=True, scope="session")
def no_network():
    """Refuses connections and look-ups off loopback in this process and in what it forks.

    Processes with an interpreter of their own are out of its reach: tests/sweeps/test_no_network.py traces those.
    """
    patch = pytest.MonkeyPatch()
    plain_connect, plain_connect_ex = socket.socket.connect, socket.socket.connect_ex
    plain_sendto, plain_getaddrinfo = socket.socket.sendto, socket.getaddrinfo

    def connect(self, address):
        check(self.family, address)
        return plain_connect(self, address)

    def connect_ex(self, address):
        check(self.family, address)
        return plain_connect_ex(self, address)

    def sendto(self, data, *rest):
        check(self.family, rest[-1])
        return plain_sendto(self, data, *rest)

    def getaddrinfo(host, port, *rest, **options):
        name = host.decode() if isinstance(host, bytes) else host
        if name is not None and not loopback(name) and name != socket.gethostname():
            raise RuntimeError(f"a test tried to look up {name}: tests may reach 127.0.0.1 only")
        return plain_getaddrinfo(host, port, *rest, **options)

    patch.setattr(socket.socket, "connect", connect)
    patch.setattr(socket.socket, "connect_ex", connect_ex)
    patch.setattr(socket.socket, "sendto", sendto)
    patch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield
    patch.undo()
