"""Time and memory, as ratios within one run."""

from marginface.benchmarking.timing import Work, interleave, machine, memory, ratios

__all__ = ["Work", "interleave", "machine", "memory", "ratios"]
