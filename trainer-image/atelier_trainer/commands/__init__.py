"""The five subcommands, one a module: each reads its input, uses the edges, and returns an `Ending`."""
