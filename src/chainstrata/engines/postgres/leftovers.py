"""What a killed node leaves behind: a server still running, processes of one that is gone, files that name neither."""

import contextlib
import signal
from typing import Final

from chainstrata.engines.postgres.cluster import Cluster, read_pid_file
from chainstrata.engines.postgres.errors import StartFailed
from chainstrata.engines.postgres.processes import list_servers, send, wait_gone

_QUICK: Final = 10.0


async def clear_leftovers(cluster: Cluster, patience: float) -> bool:
    """Stop what still runs in the data directory, remove a `postmaster.pid` that nothing stands behind; return whether anything ran.

    Only while holding the home's lock. A running server gets `patience` seconds to stop cleanly. PostgreSQL takes any live
    process with the number in `postmaster.pid` for a running server, a zombie or a stranger that got the number later
    included, and refuses to start. No process works in the directory when the file is removed, so nothing is lost by it.
    """
    left = list_servers(cluster.data)
    ran = bool(left)
    if left:
        main, _ = read_pid_file(cluster)
        if main in left:
            send([main], signal.SIGINT)
            await wait_gone(left, patience)
        # Without their postmaster, backends end by themselves at their next look; these are told to look now.
        for number in (signal.SIGQUIT, signal.SIGKILL):
            if left := list_servers(cluster.data):
                send(left, number)
                await wait_gone(left, _QUICK)
    if left := list_servers(cluster.data):
        raise StartFailed(f"a server in {cluster.data} does not end", hint=f"End the processes {left} by hand.")
    with contextlib.suppress(FileNotFoundError):
        cluster.pid_file.unlink()
    return ran
