"""The learning half of the trainer: from pictures and a base model on local disk to checkpoints on local disk.

In: a `records.Workspace`. Out: folders with manifests, handed to a `Recorder`, and words about progress, handed to a
`Reporter`. This is the only room that imports torch; it may not know the network, the store, the environment or
`edges/`. Begin reading at `loop`, which is the whole of training on one page; `train` sets the table for it.
"""

import logging

logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
"""peft imports it wherever it is installed, and then it warns in every pod's log of a kernel that nobody asked for."""
