"""`python -m research_agent`."""

from research_agent.cli import main

main()
