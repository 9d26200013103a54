"""`python -m atelier_playground.node SETTINGS.json`: run one node until SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

from atelier_playground.node.agent import run_node
from atelier_playground.node.settings import read_settings

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    asyncio.run(run_node(read_settings(Path(sys.argv[1]))))
