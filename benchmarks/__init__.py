"""Benchmarks: times as ratios inside one interleaved run, beside the noise of the machine."""
