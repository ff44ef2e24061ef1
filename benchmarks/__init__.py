"""How fast the runtime is, as ratios to a limit measured in the same run. ``python -m benchmarks --help``."""
