"""The process that owns the embedded engine's data and speaks ClickHouse's HTTP protocol for it, on loopback.

The engine runs inside this process, which can open one data directory only, must never fork, and dies with the engine when
that crashes; so it is a child of its own, started by `EmbeddedClickHouse`. It speaks as much of the protocol as clients use: queries with
parameters, settings and sessions, inserts of any format as a stream, compression, errors with the engine's codes. The
same client code then works against this process and against a ClickHouse server.

Not there, because the engine inside a process has none of it: users other than the one, row policies, replication, external data.
"""
