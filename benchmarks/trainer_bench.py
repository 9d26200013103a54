"""Whether the trainer is faster than what people use today: on this machine's CPU, or its GPU with `--device cuda`."""

from __future__ import annotations

import argparse

import trainer_cpu
import trainer_cuda


def main() -> None:
    """Measure on the device that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--pairs", type=int, default=trainer_cpu.PAIRS, help="on the CPU; fewer are a hint, no result")
    parser.add_argument("--only", choices=trainer_cpu.PARTS, help="one part alone, on the CPU")
    asked = parser.parse_args()
    if asked.device == "cuda":
        trainer_cuda.main()
    else:
        trainer_cpu.main(asked.pairs, asked.only)


if __name__ == "__main__":
    main()
