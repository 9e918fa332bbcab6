"""Where the code of a model runs: in bubblewrap, or plainly where the config says so."""
