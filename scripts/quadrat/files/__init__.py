"""Files: written whole, hashed, locked and named."""
