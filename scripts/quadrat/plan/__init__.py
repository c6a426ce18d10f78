"""The plan: the results that a run computes. It is made once, in the main process, and reads no pixels."""
