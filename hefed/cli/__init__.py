"""The commands of hefed. Thin: they read options, call what does the work, and turn an error that a person can mend
into one sentence and exit code 2. At the top they import only what `--help` needs; the rest comes with its command.
"""

from hefed.cli import audit, decision, federation, operation, records, study
from hefed.cli.app import main

__all__ = ["audit", "decision", "federation", "main", "operation", "records", "study"]
