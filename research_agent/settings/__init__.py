"""The config's parts: their shapes, what is wrong with them, the file they stand in."""
