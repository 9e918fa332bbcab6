"""The commands: each a function of one of these modules and a line in `cli.COMMANDS`. What a command does once its arguments are read
stands in `working` and `remembering`, so that `--help` need not wait for it.
"""
