"""lifelines' Cox regression of the pooled table in the clear: lifelines_cox.py POOLED.npz."""

import sys
import warnings

import lifelines
import numpy as np
import pandas as pd
from serve import serve

warnings.simplefilter("ignore")
pooled = np.load(sys.argv[1])
table = pd.DataFrame(pooled["x"]).add_prefix("x").assign(day=pooled["day"], event=pooled["event"])
by_region = table.assign(region=pooled["region"])


def fit():
    fitted = lifelines.CoxPHFitter().fit(table, "day", "event")
    return {"estimate": fitted.params_.tolist()}


def same_model():
    """Baselines by region, as hefed has them: for comparing answers."""
    return {"estimate": lifelines.CoxPHFitter().fit(by_region, "day", "event", strata="region").params_.tolist()}


serve(f"lifelines {lifelines.__version__}", {"fit": fit, "same-model": same_model})
