"""Worker processes: one process for each core, and a parent that owns what must be one for all calls."""
