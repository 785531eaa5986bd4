"""PostgreSQL: the embedded server, the pool, statements and their errors.

`Database` is how everything at run time speaks to it; `EmbeddedPostgres` runs one on this machine; `open_target` gives the
one a command should use.
"""

from chainstrata.engines.postgres.child import ServerState, Step
from chainstrata.engines.postgres.connection import Connection
from chainstrata.engines.postgres.copy_alone import CopyAlone
from chainstrata.engines.postgres.database import Database
from chainstrata.engines.postgres.home import HomeLock, NodeRecord
from chainstrata.engines.postgres.metrics import PoolStats
from chainstrata.engines.postgres.pool import PoolOptions
from chainstrata.engines.postgres.queries import Queries, Query, load_queries, parse_queries
from chainstrata.engines.postgres.server import EmbeddedPostgres, plan_parameters
from chainstrata.engines.postgres.session import open_replication, open_session
from chainstrata.engines.postgres.statements import Params, Statement
from chainstrata.engines.postgres.target import Target, open_target
from chainstrata.engines.postgres.translate import translate

__all__ = [
    "Connection",
    "CopyAlone",
    "Database",
    "EmbeddedPostgres",
    "HomeLock",
    "NodeRecord",
    "Params",
    "PoolOptions",
    "PoolStats",
    "Queries",
    "Query",
    "ServerState",
    "Statement",
    "Step",
    "Target",
    "load_queries",
    "open_replication",
    "open_session",
    "open_target",
    "parse_queries",
    "plan_parameters",
    "translate",
]
