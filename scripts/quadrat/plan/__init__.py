"""The plan: what there is to compute. It runs once, in the main process, and reads no pixels."""
