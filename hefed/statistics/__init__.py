"""Statistics: what a region contributes from its own table, and what follows from the opened sums.

Pure numpy. Knows no encryption, no study file, no data frame. `Logistic` and `Cox` are driven alike: `start`, then for
each round `request`, `contribution` (each region, on its own table) and `step` (on the sum), until the state is
finished.
"""

from hefed.statistics.cox import Cox
from hefed.statistics.errors import LocalError, ModelError, StatisticsError
from hefed.statistics.logistic import Logistic
from hefed.statistics.model import Limits, Model, Prepared, Request, State, Table
from hefed.statistics.result import FitResult

__all__ = [
    "Cox",
    "FitResult",
    "Limits",
    "LocalError",
    "Logistic",
    "Model",
    "ModelError",
    "Prepared",
    "Request",
    "State",
    "StatisticsError",
    "Table",
]
