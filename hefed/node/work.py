"""A region's own work in a study: its table, frozen and committed to, and the model that goes on from opened sums."""

import math
from dataclasses import fields
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hefed.crypto.parameters import PROFILES, Precision
from hefed.data.table import LocalTable, commitment
from hefed.protocol.board import Board
from hefed.protocol.ports import DeclinedError, Finding, Vector
from hefed.statistics.cox import Cox
from hefed.statistics.errors import LocalError, ModelError
from hefed.statistics.logistic import Logistic
from hefed.statistics.model import Limits, Model, State, Table
from hefed.statistics.result import FitResult
from hefed.study import Cox as CoxStudy
from hefed.study import Study


def make_model(study: Study, precision: Precision) -> Model[Any]:
    """The statistic that a study asks for, told how fine the study's sums are."""
    noise = precision.tail + precision.contributors  # every contributor rounds once
    limits = study.limits
    common: dict[str, Any] = {
        "regions": precision.contributors,
        "noise_bits": precision.capacity_bits - noise.bit_length(),
        "ridge": study.model.ridge,
        "limits": Limits(limits.rounds, limits.step, limits.linear_predictor, limits.min_effective, limits.min_events),
    }
    model = study.model
    if isinstance(model, CoxStudy):
        return Cox(model.covariates, model.duration, model.event, ties=model.ties, baseline=model.baseline, **common)
    return Logistic(model.covariates, model.outcome, **common)


def prepared(study: Study, region: str, table: LocalTable) -> Any:
    """A region's table made ready for the study's model, so that what is wrong with it is known at the approval, and
    before: too few rows or events, values that no vote has a place for. Raises DeclinedError.
    """
    profile, security = PROFILES[study.security.profile], study.security
    model = make_model(study, Precision(profile, len(study.keyholders), security.threshold, len(study.contributors)))
    try:
        rows = model.prepare(Table(table.rows, table.columns))
        model.contribution(rows, model.start())
    except LocalError as error:
        raise DeclinedError(f"region {region}: {error}") from error
    return rows


def fault(study: Study, region: str, table: LocalTable) -> str | None:
    """Why a table that can be read cannot be used in a study, in the words with which its region would refuse."""
    try:
        prepared(study, region, table)
    except DeclinedError as error:
        return str(error)
    return None


class ModelWork:
    """Implements `hefed.protocol.ports.Work`. The model is made once the number of keyholders, and so the noise, is
    known.
    """

    def __init__(self, name: str, board: Board, table: LocalTable | None) -> None:
        self._name, self._board, self._table = name, board, table
        self._model: Model[Any] | None = None
        self._prepared: Any = prepared(board.study, name, table) if table is not None else None
        self._state: State | None = None
        self._error: str | None = None
        self._vector: Vector | None = None

    @property
    def rows(self) -> int | None:
        """How many of the region's patients it uses; None for a region without a table."""
        return self._table.rows if self._table is not None else None

    def commitment(self, salt: bytes) -> bytes:
        """See `Work`."""
        if self._table is None:
            raise DeclinedError(
                f"{self._name} is to contribute, but has no table for this study; name one in its settings"
            )
        return commitment(self._table.columns, salt)

    def _started(self) -> tuple[Model[Any], State]:
        if self._model is None or self._state is None:
            self._model = make_model(self._board.study, self._board.precision)
            self._state = self._model.start()
        return self._model, self._state

    def vector(self) -> Vector | None:
        """See `Work`."""
        model, state = self._started()
        if state.finished or self._error is not None:
            return None
        if self._vector is None:
            request = model.request(state)
            self._vector = Vector(request.purpose, request.exponents)
        return self._vector

    def contribution(self) -> npt.NDArray[np.float64]:
        """See `Work`."""
        model, state = self._started()
        if self._prepared is None:
            raise DeclinedError(f"{self._name} has no table for this study")
        try:
            return model.contribution(self._prepared, state)
        except LocalError as error:
            raise DeclinedError(f"region {self._name}: {error}") from error

    def step(self, total: npt.NDArray[np.float64]) -> None:
        """See `Work`. An error of the model is a finding, the same in all regions."""
        model, state = self._started()
        self._vector = None
        try:
            self._state = model.step(state, total)
        except ModelError as error:
            self._error = str(error)

    def finding(self) -> Finding:
        """See `Work`."""
        _, state = self._started()
        if self._error is not None:
            return Finding("error", {"words": self._error})
        if state.result is None:
            raise AssertionError("a finding was asked for before the model is finished")
        return Finding("result", document_of(state.result))

    def decisions(self) -> tuple[str, ...]:
        """See `Work`."""
        _, state = self._started()
        if self._error is not None:
            return (*state.decisions, f"error: {self._error}")
        return (*state.decisions, *([] if state.result is None else [result_line(state.result)]))


def result_line(fit: FitResult) -> str:
    """A fit on one line, to the last bit, which is the same in every region: the last decision of a study."""
    columns = zip(fit.names, fit.estimate, fit.std_error, strict=True)
    coefficients = "; ".join(f"{name} {estimate.hex()}, {error.hex()}" for name, estimate, error in columns)
    return (
        f"result: n {fit.n}, events {fit.events}, iterations {fit.iterations}, log-likelihood "
        f"{fit.log_likelihood.hex()}, without covariates {fit.log_likelihood_null.hex()}; {coefficients}"
    )


def document_of(fit: FitResult) -> dict[str, Any]:
    """A fit as plain values for a message."""
    plain = {field.name: getattr(fit, field.name) for field in fields(fit)}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()}


class _Reported(BaseModel):
    """The form of a `FitResult` as readers report it."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    names: list[str]
    estimate: list[float]
    std_error: list[Annotated[float, Field(gt=0)]]
    log_likelihood: float
    log_likelihood_null: float
    iterations: Annotated[int, Field(ge=0)]
    converged: bool
    n: Annotated[int, Field(ge=0)]
    events: Annotated[int, Field(ge=0)]


def fit_of(document: dict[str, Any]) -> FitResult:
    """The inverse of `document_of`, for a document that the readers reported. Raises TypeError for another one, and for
    one with numbers that no result can have.
    """
    try:
        form = _Reported.model_validate(document)
    except ValidationError:
        raise TypeError("not the form of a fit") from None
    if not len(form.names) == len(form.estimate) == len(form.std_error):
        raise TypeError("a fit with other names than estimates")
    plain: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in form.model_dump().items()
    }
    fit = FitResult(**plain)
    if not all(map(math.isfinite, (*fit.z, *fit.ci_lower, *fit.ci_upper))):
        raise TypeError("a fit with numbers beyond float64")
    return fit
