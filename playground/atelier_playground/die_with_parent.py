"""Run a program that is killed when the process that started it ends, however that ends.

`python -I -S die_with_parent.py SIGNAL PARENT PROGRAM ARGUMENT...` asks the kernel for SIGNAL on the death of the
parent and then becomes PROGRAM. A launcher and not a `preexec_fn`, because the latter runs Python between fork and
exec, which a program with threads may not do. Standard library alone: it starts in isolated mode, in 15 ms.
"""

import ctypes
import os
import sys

# include/uapi/linux/prctl.h
_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Become the program named in the arguments, tied to the life of the parent."""
    signal_number, parent, program = int(arguments[0]), int(arguments[1]), arguments[2]
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
    # The parent may have died before the call above; the signal would then never come.
    if os.getppid() != parent:
        sys.exit(1)
    os.execv(program, arguments[2:])


if __name__ == "__main__":
    main(sys.argv[1:])
