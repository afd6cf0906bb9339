"""The benchmarks: their registry, their files, and their rows as tasks."""
