"""The trainer image: five subcommands of which one needs a GPU.

`learn/` computes and never sees the network; `edges/` fetch, store and report and never see torch; `records` is the
little that both must know. The trainer knows no cluster: everything it is told lies in two files.
"""
