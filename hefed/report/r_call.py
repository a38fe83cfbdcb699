"""The R call on the pooled table that gives the same answer as a study, for statisticians and for checking."""

import re
from collections.abc import Iterable

from hefed.study import Cox, Study

SITE = "region"  # the column that tells regions apart in a pooled table
_SYNTACTIC = re.compile(r"(?:[A-Za-z]|\.(?![0-9]))[A-Za-z0-9._]*")
_RESERVED = re.compile("if|else|repeat|while|function|for|in|next|break|TRUE|FALSE|NULL|Inf|NaN|NA|NA_[a-z]+_")


def r_call(study: Study) -> str:
    """The call of `survival::coxph` or `glm`. Raises ValueError for a ridge penalty, which neither has in this form."""
    model = study.model
    if model.ridge > 0:
        raise ValueError("coxph and glm have no call with hefed's ridge penalty")
    terms = _names(model.covariates)
    if isinstance(model, Cox):
        duration, event = _names((model.duration, model.event))
        if model.baseline == "per-region":
            terms.append(f"strata({SITE})")
        return f'survival::coxph(Surv({duration}, {event}) ~ {" + ".join(terms)}, ties = "{model.ties}")'
    (outcome,) = _names((model.outcome,))
    return f"glm({outcome} ~ {' + '.join(terms)}, family = binomial)"


def _names(columns: Iterable[str]) -> list[str]:
    return [
        name if _SYNTACTIC.fullmatch(name) and not _RESERVED.fullmatch(name) else _backticked(name) for name in columns
    ]


def _backticked(name: str) -> str:
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"
