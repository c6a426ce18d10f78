"""Processes: work that may crash or take too much, in a process of its own."""
