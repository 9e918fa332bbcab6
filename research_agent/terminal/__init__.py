"""What people see of a run in a terminal, a pipe or a log."""

from research_agent.terminal.live import Terminal, show_record

__all__ = ["Terminal", "show_record"]
