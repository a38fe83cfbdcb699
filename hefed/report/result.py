"""The result of a study as a document of plain values: what `result.json` holds. Computes nothing itself."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from hefed.study import Cox, Study

Document = dict[str, Any]


class Fit(Protocol):
    """What a statistic hands over: one entry for each coefficient, on the original scale of the columns."""

    @property
    def names(self) -> Sequence[str]: ...
    @property
    def estimate(self) -> Sequence[float]: ...
    @property
    def std_error(self) -> Sequence[float]: ...
    @property
    def z(self) -> Sequence[float]: ...
    @property
    def p_value(self) -> Sequence[float]: ...
    @property
    def ci_lower(self) -> Sequence[float]: ...
    @property
    def ci_upper(self) -> Sequence[float]: ...
    @property
    def log_likelihood(self) -> float: ...
    @property
    def log_likelihood_null(self) -> float: ...
    @property
    def iterations(self) -> int: ...
    @property
    def converged(self) -> bool: ...
    @property
    def n(self) -> int: ...
    @property
    def events(self) -> int: ...


@dataclass(frozen=True)
class Encryption:
    """How the study was encrypted: engine, degree of the ring, bits of the product of the data primes."""

    engine: str
    ring_degree: int
    modulus_bits: int


@dataclass(frozen=True)
class Round:
    """One encrypted sum. `bytes_sent`: by all parties; `seconds`: None where nobody measured them; `checked`: share
    answers were confirmed by t holders.
    """

    purpose: str
    contributors: Sequence[str]
    keyholders: Sequence[str]
    values: int
    bytes_sent: int
    seconds: float | None
    checked: bool


def result_document(study: Study, fit: Fit, encryption: Encryption, rounds: Sequence[Round]) -> Document:
    """The content of `result.json`, in the order in which it is written. `coefficients` follow the order of the fit."""
    model = study.model
    cox = model if isinstance(model, Cox) else None
    columns = {
        "name": fit.names,
        "estimate": fit.estimate,
        "std_error": fit.std_error,
        "z": fit.z,
        "p_value": fit.p_value,
        "ci_lower": fit.ci_lower,
        "ci_upper": fit.ci_upper,
    }
    return {
        "study": study.id,
        "model": {
            "kind": model.kind,
            "ties": cox.ties if cox else None,
            "baseline": cox.baseline if cox else None,
            "covariates": list(model.covariates),
        },
        "regions": list(study.contributors),
        "n": int(fit.n),
        "events": int(fit.events),
        "coefficients": [
            {key: str(value) if key == "name" else float(value) for key, value in zip(columns, row, strict=True)}
            for row in zip(*columns.values(), strict=True)
        ],
        "log_likelihood": float(fit.log_likelihood),
        "log_likelihood_null": float(fit.log_likelihood_null),
        "iterations": int(fit.iterations),
        "converged": bool(fit.converged),
        "security": {
            "threshold": study.security.threshold,
            "keyholders": list(study.keyholders),
            "profile": study.security.profile,
            "engine": encryption.engine,
            "ring_degree": encryption.ring_degree,
            "modulus_bits": encryption.modulus_bits,
        },
        "rounds": [
            asdict(part) | {"contributors": list(part.contributors), "keyholders": list(part.keyholders)}
            for part in rounds
        ],
    }


def write_result(document: Document, path: Path) -> None:
    """Writes the document as JSON that keeps each float64 exactly; a number that is not finite raises ValueError."""
    text = json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
