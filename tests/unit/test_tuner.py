"""The tuner: the same host gives the same numbers, every number has its reason and keeps to what the server takes."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainstrata.engines.postgres.host import GB, MB, Host
from chainstrata.engines.postgres.tuner import Features, Parameter, show_size, tune

HOST = Host(16 * GB, "the host's memory", 8, "solid state", 200 * GB, 500 * GB)
SMALL = Host(512 * MB, "the control group's limit", 1, "unknown", 4 * GB, 8 * GB)
LARGE = Host(768 * GB, "the host's memory", 128, "solid state", 8000 * GB, 16000 * GB)
FEATURES = Features(18)
FACTORS = {"kB": 1024, "MB": MB, "GB": GB}


def values(host: Host, features: Features = FEATURES, **options: int) -> dict[str, str]:
    return {one.name: one.value for one in tune(host, features, **options)}


def size(text: str) -> int:
    return int(text[:-2]) * FACTORS[text[-2:]]


@pytest.mark.conforms("S2-84", "S2-85", "S2-86", "S2-87", "S2-88", "S2-89", "S2-90", "S2-91", "S2-92", "S2-93")
def test_a_host_of_16_gigabytes() -> None:
    found = values(HOST)
    assert found["shared_buffers"] == "4GB"
    assert found["effective_cache_size"] == "12GB"
    assert size(found["work_mem"]) == 16 * GB // 100 // 4 // MB * MB
    assert found["max_connections"] == "100"
    assert found["max_prepared_transactions"] == "0"
    assert found["checkpoint_completion_target"] == "0.9"
    assert found["wal_buffers"] == "16MB"
    assert found["default_statistics_target"] == "100"
    assert found["random_page_cost"] == "1.1"
    assert found["effective_io_concurrency"] == "200"


@pytest.mark.conforms("S2-84", "S2-85", "S2-86", "S2-90")
def test_a_small_host() -> None:
    found = values(SMALL)
    assert found["shared_buffers"] == "128MB"
    assert found["effective_cache_size"] == "384MB"
    assert found["work_mem"] == "1310kB"
    assert found["wal_buffers"] == "4MB"
    assert found["maintenance_work_mem"] == "32MB"
    assert size(found["max_wal_size"]) <= SMALL.disk_total_bytes // 16
    assert found["max_parallel_workers_per_gather"] == "1"


def test_a_large_host_stays_within_reason() -> None:
    found = values(LARGE)
    assert found["shared_buffers"] == "64GB"
    assert found["work_mem"] == "256MB"
    assert found["maintenance_work_mem"] == "2GB"
    assert found["max_wal_size"] == "16GB"
    assert found["max_slot_wal_keep_size"] == "64GB"
    assert found["max_parallel_workers_per_gather"] == "4"


@pytest.mark.conforms("S2-92", "S2-93")
def test_a_rotating_disk_is_treated_as_one() -> None:
    found = values(dataclasses.replace(HOST, disk="rotating"))
    assert (found["random_page_cost"], found["effective_io_concurrency"]) == ("4.0", "2")


@pytest.mark.conforms("S0-49")
def test_ingest_and_change_capture_have_their_wal() -> None:
    found = values(HOST)
    assert found["wal_level"] == "logical"
    assert int(found["max_wal_senders"]) >= 10
    assert int(found["max_replication_slots"]) >= 10
    assert size(found["max_slot_wal_keep_size"]) == 20 * GB
    assert size(found["max_wal_size"]) == 16 * GB
    assert (found["fsync"], found["full_page_writes"], found["synchronous_commit"]) == ("on", "on", "on")


@pytest.mark.conforms("S0-48")
def test_vacuum_fits_tables_that_are_mostly_inserted_into() -> None:
    found = values(HOST)
    assert found["autovacuum"] == "on"
    assert float(found["autovacuum_vacuum_insert_scale_factor"]) <= 0.05
    assert float(found["autovacuum_vacuum_scale_factor"]) <= 0.05
    assert size(found["autovacuum_work_mem"]) * int(found["autovacuum_max_workers"]) <= HOST.memory_bytes // 8


@pytest.mark.parametrize(
    ("features", "absent", "present"),
    [
        (Features(15, statements=False), {"vacuum_buffer_usage_limit", "summarize_wal", "shared_preload_libraries"}, set()),
        (Features(16), {"summarize_wal"}, {"vacuum_buffer_usage_limit", "shared_preload_libraries"}),
        (Features(18, jit=True), set(), {"summarize_wal", "jit"}),
    ],
)
def test_only_what_the_binaries_know_is_set(features: Features, absent: set[str], present: set[str]) -> None:
    found = values(HOST, features)
    assert not absent & found.keys()
    assert present <= found.keys()


HOSTS = st.builds(
    Host,
    memory_bytes=st.integers(64 * MB, 16 * 1024 * GB),
    memory_from=st.just("the host's memory"),
    cores=st.integers(1, 512),
    disk=st.sampled_from(["solid state", "rotating", "unknown"]),
    disk_free_bytes=st.integers(0, 100_000 * GB),
    disk_total_bytes=st.integers(GB, 100_000 * GB),
)


@pytest.mark.conforms("S0-50")
@given(HOSTS, st.integers(15, 18), st.integers(1, 10_000))
def test_on_any_host(host: Host, major: int, connections: int) -> None:
    parameters = tune(host, Features(major), max_connections=connections)
    names = [one.name for one in parameters]
    assert len(names) == len(set(names))
    assert all(isinstance(one, Parameter) and len(one.reason) >= 5 and not one.reason.endswith(".") for one in parameters)
    found = {one.name: one.value for one in parameters}
    memory = host.memory_bytes
    assert size(found["shared_buffers"]) <= max(memory // 4, 16 * MB)
    assert size(found["shared_buffers"]) <= size(found["effective_cache_size"]) <= max(memory, 16 * MB)
    assert size("64kB") <= size(found["work_mem"]) <= 256 * MB
    assert size(found["work_mem"]) * connections <= max(memory // 4, MB * connections)
    assert size("32kB") <= size(found["wal_buffers"]) <= 16 * MB
    assert 2 * 16 * MB <= size(found["min_wal_size"]) <= size(found["max_wal_size"]) <= 16 * GB
    assert 64 * MB <= size(found["max_slot_wal_keep_size"]) <= max(64 * MB, min(64 * GB, host.disk_free_bytes // 2))
    assert int(found["superuser_reserved_connections"]) < connections
    assert found["max_prepared_transactions"] == "0"
    assert int(found["max_parallel_workers"]) <= int(found["max_worker_processes"]) <= 1024


@pytest.mark.parametrize(
    ("value", "shown"), [(GB, "1GB"), (1536 * MB, "1536MB"), (MB * 20 + 5, "20MB"), (1310 * 1024 + 7, "1310kB"), (MB, "1MB")]
)
def test_sizes_are_shown_as_the_server_reads_them(value: int, shown: str) -> None:
    assert show_size(value) == shown
    assert value - size(shown) < MB
