"""The state machine of an investigation."""
