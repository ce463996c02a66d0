"""The process by which those of several hosts find each other."""

from nafp import errors


def require(address: str, *, number: int, count: int) -> None:
    """Raises errors.Invalid for an address that is no host:port, and for a process that is none of `count`.

    number: of this process, from 0.
    """
    host, _, port = address.rpartition(":")
    if not (host and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise errors.Invalid(f"--coordinator={address}: host:port is needed, the port from 1 to 65535")
    if number >= count:
        raise errors.Invalid(f"--process={number}: those of --processes={count} count from 0")
