"""Images: from a file to its pixels."""
