"""The same jobs by other programs, each in an interpreter of its own: see `benchmarks/worker.py`.

`make peers` installs those that a registry has: in `.venv-peers` what runs on hefed's own Python, in `.venv-openfhe`
OpenFHE, whose wheel is for Python 3.10. Whatever is not there is left out, with a message.
"""

import shutil
from pathlib import Path

from benchmarks.worker import ROOT, Absent, Worker

HERE = Path(__file__).parent
OWN = {"openfhe_multiparty.py": ".venv-openfhe"}
"""Environments of scripts that need another one than .venv-peers."""


def start(script: str, *arguments: str) -> Worker:
    """Starts a peer. Raises Absent when it is not installed here."""
    if script.endswith(".R"):
        program = shutil.which("Rscript")
        if program is None:
            raise Absent("there is no Rscript; Debian has it with r-cran-survival")
        return Worker(program, str(HERE / script), *arguments)
    environment = OWN.get(script, ".venv-peers")
    python = ROOT / environment / "bin" / "python"
    if not python.exists():
        raise Absent(f"there is no {environment}; `make peers` makes it")
    return Worker(str(python), str(HERE / script), *arguments)
