"""The command line: verbs in, tables out. Decides nothing; `actions/` does."""
