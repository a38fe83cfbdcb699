"""scikit-learn's logistic regression of the pooled table in the clear: sklearn_logistic.py POOLED.npz."""

import sys
import warnings

import numpy as np
import sklearn
from serve import serve
from sklearn.linear_model import LogisticRegression

warnings.simplefilter("ignore")  # newer versions want C=inf instead of penalty=None, which does the same
pooled = np.load(sys.argv[1])
x, outcome = pooled["x"], pooled["outcome"]


def fit():
    fitted = LogisticRegression(penalty=None, tol=1e-8, max_iter=1000).fit(x, outcome)
    return {"estimate": [*fitted.intercept_.tolist(), *fitted.coef_[0].tolist()]}


serve(f"scikit-learn {sklearn.__version__}", {"fit": fit, "same-model": fit})
