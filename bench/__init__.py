"""Benchmarks, each a module with a `BENCHMARK`; its cases run side by side in one run, never against a remembered figure."""
