"""Where the embedded server listens: a port of 127.0.0.1 and a unix socket."""

import contextlib
import hashlib
import os
import socket
import stat
from pathlib import Path
from typing import Final

from chainstrata.engines.postgres.account import Account, can_traverse
from chainstrata.engines.postgres.errors import HomeUnusable, PortTaken
from chainstrata.engines.postgres.processes import who_listens

LOOPBACK: Final = "127.0.0.1"
_FIRST_PORT: Final = 5480
_LAST_PORT: Final = 65535
# The kernel's limit for the path of a socket, its final zero byte left out.
_LONGEST: Final = 107
_NAME: Final = "/.s.PGSQL.65535"
_TEMPORARY: Final = Path("/tmp")  # noqa: S108  # every system has it, it is short, and what is in it is checked


class HeldPort:
    """A port kept for one server, also while it is down and started again. The kernel frees it when its process dies."""

    def __init__(self, port: int, sign: socket.socket, holder: socket.socket) -> None:
        self.port = port
        self._sockets = sign, holder

    def release(self) -> None:
        for one in self._sockets:
            one.close()


def take_port(wanted: int, remembered: int, *, after: int = 0) -> HeldPort:
    """Return a port to listen on: the one wanted, else the one remembered, else the first free one.

    Raises `PortTaken` for a wanted port that is in use. `after` leaves out the ports up to it, which turned out to be taken.
    """
    if wanted:
        if is_free(wanted) and (held := _hold(wanted)):
            return held
        raise PortTaken(wanted, who=who_listens(wanted) or "a node that starts its server")
    # One that was used a moment ago is not quite free, but ours to use again, unless another server has come to it meanwhile.
    if remembered > after and is_free(remembered) and (held := _hold(remembered)):
        return held
    for port in range(max(_FIRST_PORT, after + 1), _LAST_PORT + 1):
        if is_free(port, held_too=True) and (held := _hold(port)):
            return held
    raise PortTaken(_LAST_PORT)


def _hold(port: int) -> HeldPort | None:
    """Keep a port; None if another node does, or another program is faster.

    A sign among nodes, of which there is one, and a socket for other programs: whoever looks for a free port passes it over, but the
    server can listen on it, because both say that they share the address.
    """
    sign = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sign.bind(f"\0chainstrata/port/{port}")
        holder.bind((LOOPBACK, port))
    except OSError:
        sign.close()
        holder.close()
        return None
    return HeldPort(port, sign, holder)


def is_free(port: int, *, held_too: bool = False) -> bool:
    """Return whether a server could listen on the port now. `held_too`: and whether nobody keeps it for a server."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0 if held_too else 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def choose_socket_directory(home: Path, account: Account) -> Path:
    """Return a directory for the unix socket, made and checked: in the home, or where that cannot be, below /tmp.

    A socket's path is short, PostgreSQL and libpq split lists of them at commas, and some file systems have no sockets.
    """
    inside = home / "run"
    fits = len(os.fsencode(str(inside) + _NAME)) <= _LONGEST and "," not in str(inside)
    if fits and (not account.switch or can_traverse(home, account)):
        account.make_directory(inside)
        if _usable(inside, account) and _takes_sockets(inside):
            return inside
    outside = _TEMPORARY / f"chainstrata-{account.uid}-{hashlib.sha256(str(home).encode()).hexdigest()[:12]}"
    account.make_directory(outside)
    if not _usable(outside, account):
        raise HomeUnusable(
            f"socket directory {outside} is not a private directory of user {account.name}",
            hint="Remove it, or set home to a shorter path.",
        )
    return outside


def remove_stale_sockets(directory: Path) -> None:
    """Remove what a dead server left. Only while holding the home's lock, with no server running."""
    for left in directory.glob(".s.PGSQL.*"):
        with contextlib.suppress(FileNotFoundError):
            left.unlink()


def give_up_socket_directory(directory: Path, home: Path) -> None:
    """Remove a directory that was made outside the home, once the server is down; the next start makes it again."""
    if not directory.is_relative_to(home):
        with contextlib.suppress(OSError):
            directory.rmdir()


def _usable(directory: Path, account: Account) -> bool:
    status = directory.lstat()
    return stat.S_ISDIR(status.st_mode) and status.st_uid == account.uid and not status.st_mode & 0o077


def _takes_sockets(directory: Path) -> bool:
    path = directory / ".probe"
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.bind(str(path))
        except OSError:
            return False
    path.unlink()
    return True
