"""Processes: work that may crash or take too much memory, in a process of its own."""
