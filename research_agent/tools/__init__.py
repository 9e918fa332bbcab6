"""The tools an investigation calls, by name."""
