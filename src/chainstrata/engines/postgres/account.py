"""Who the embedded server runs as, and which places that user can reach.

PostgreSQL refuses to run as root. A node started by root starts it as the user of `postgres.run_as`. No mode of a directory
that existed before is ever changed for that: what the user cannot reach is kept elsewhere.
"""

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chainstrata.engines.postgres.errors import RunAsUnknown


@dataclass(frozen=True, slots=True)
class Account:
    """A system user. `switch` says that the server must be started as another user than the node's own."""

    name: str
    uid: int
    gid: int
    switch: bool

    @property
    def spawn_options(self) -> dict[str, Any]:
        """Return what starts a program as this user."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []} if self.switch else {}

    def own(self, path: Path) -> None:
        """Give a file or directory we made to this user."""
        if self.switch:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def make_directory(self, path: Path, mode: int = 0o700) -> None:
        """Make a directory of this user's, unless it is there."""
        try:
            path.mkdir(mode=mode)
        except FileExistsError:
            status = path.lstat()
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
                return
            # Made by a start that was killed before it gave it away.
        self.own(path)


def server_account(run_as: str) -> Account:
    """Return who the server runs as; raise `RunAsUnknown`."""
    uid = os.geteuid()
    if uid != 0:
        try:
            entry = pwd.getpwuid(uid)
        except KeyError:
            # initdb refuses: "could not look up effective user ID".
            raise RunAsUnknown(str(uid), "has no entry in the user database, which PostgreSQL needs") from None
        return Account(entry.pw_name, uid, os.getegid(), switch=False)
    try:
        entry = pwd.getpwnam(run_as)
    except KeyError:
        raise RunAsUnknown(run_as) from None
    if entry.pw_uid == 0:
        raise RunAsUnknown(run_as, "is root, which PostgreSQL refuses")
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, switch=True)


def owner_name(uid: int) -> str:
    """Return a user's name, or the number if it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def can_traverse(path: Path, account: Account) -> bool:
    """Return whether the user may walk down to `path` and into it. Parts that do not exist yet are ours to make."""
    return all(_may_enter(place, account) for place in {*_existing(path.absolute()), *_existing(path.resolve())})


def _existing(path: Path) -> list[Path]:
    return [place for place in (path, *path.parents) if place.exists()]


def _may_enter(place: Path, account: Account) -> bool:
    status = place.stat()
    if not stat.S_ISDIR(status.st_mode):
        return True
    if status.st_uid == account.uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == account.gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)
