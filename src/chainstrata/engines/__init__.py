"""One folder per engine: connect, pool, embedded twin, health. Nobody else opens a connection."""
