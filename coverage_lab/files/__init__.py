"""Files that a run writes: whole or not at all, locked, and read back a part at a time."""
