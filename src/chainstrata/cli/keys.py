"""`chainstrata keys`: who may read and write over HTTP."""

import os
import platform as machine
import pwd
from typing import TYPE_CHECKING, Annotated

import typer

from chainstrata.cli.command import App
from chainstrata.cli.invocation import open_platform, output
from chainstrata.cli.times import parse_age, show_time
from chainstrata.errors import UsageError

if TYPE_CHECKING:
    from chainstrata.access import Caller

app = App("keys", help="Keys of the API: make one, list them, take one back.")


@app.command("create")
async def create(
    name: Annotated[str, typer.Argument(help="Who or what it is for; what it writes is recorded under this name.")],
    role: Annotated[str, typer.Option("--role", help="What it may do: read, write as well, or everything (admin).")] = "read",
    expires: Annotated[str, typer.Option("--expires", help="When it ends by itself, as 90d. Default: never.")] = "",
) -> None:
    """Make a key and print it. Only its hash is kept, so this is the one time it can be read."""
    from chainstrata.access import Role

    if role not in [*Role]:
        raise UsageError(f"no role {role!r}", hint=f"Roles: {', '.join(Role)}.")
    async with open_platform() as platform:
        issued = await platform.keys.create(name, Role(role), expires=parse_age(expires, "--expires") if expires else None, by=_me())

    def render() -> None:
        output().line(issued.secret)
        ends = f" until {show_time(issued.key.expires_at)} UTC" if issued.key.expires_at else ""
        output().note(f"{name} may {_MAY[role]}{ends}. Keep it now: it is not shown again.")

    output().show({"key": issued.key, "secret": issued.secret}, render)


_MAY = {"read": "read", "write": "read and write", "admin": "do everything"}


@app.command("list")
async def list_keys() -> None:
    """List keys, the newest first, those taken back too."""
    async with open_platform() as platform:
        keys = await platform.keys.list_keys()

    def render() -> None:
        rows = [
            [key.name, key.prefix, key.role, key.state, *map(show_time, (key.created_at, key.expires_at, key.revoked_at))] for key in keys
        ]
        output().table(["name", "begins with", "role", "state", "made (UTC)", "ends (UTC)", "taken back (UTC)"], rows)

    output().show(keys, render)


@app.command("revoke")
async def revoke(key: Annotated[str, typer.Argument(help="Name of the key, or the part it begins with.")]) -> None:
    """Take a key back. A running node may believe in it for five seconds more."""
    async with open_platform() as platform:
        revoked = await platform.keys.revoke(key, by=_me())
    output().show(revoked, lambda: output().line(f"{revoked.name} ({revoked.prefix}) is taken back"))


def _me() -> "Caller":
    """Return who runs this command, for the record."""
    from chainstrata.access import Caller, Role

    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = str(os.getuid())
    return Caller(f"{user}@{machine.node()}", Role.ADMIN)
