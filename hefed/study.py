"""What is asked: a study definition, read from a TOML file or received from somebody else, validated, and immutable.

`Study.load` reads the analyst's file. `Study.public` is what everybody hashes, signs and approves: plain values, every
default written out, no local path. `Study.from_public` takes the same from the network and trusts nothing of it.
Relies on pydantic. Must not open a table of patients, nor let an unbounded or unprintable text through: regions read it
on a terminal.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable
from math import comb
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PrivateAttr,
    Strict,
    ValidationError,
    model_validator,
)

from hefed.errors import InputError
from hefed.tomlfile import read_toml
from hefed.wording import NAME_RULE, Location, counted, quoted, suggestion, validation_sentence

MAX_REGIONS = 512
MAX_COVARIATES = 256  # a round sends p (p + 3) / 2 values
MAX_KEYHOLDERS = 16
MAX_SUBSETS = 1024  # C(n, t - 1), the sets that share a key: each keyholder answers for up to that many in every round
MAX_COMPACT = 1 << 24  # regions^3 C(n, t - 1): beyond this the noise of "compact" leaves a model too few digits
FLOOR_EFFECTIVE, FLOOR_EVENTS = 5.0, 5  # a region contributes with no less, whatever the analyst asks for
INTERCEPT = "(intercept)"  # what a logistic fit calls its first coefficient
RESERVED_NAMES = ("aggregator", "analyst")  # other members of every federation

_UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86400}
_LONGEST = 30 * _UNITS["d"]


class StudyError(InputError):
    """A study definition that cannot be used: one sentence with the file, the key, what is wrong and what to do."""


def _seconds(value: object) -> int:
    match = re.fullmatch(r"([0-9]{1,7}) ?(s|min|h|d)", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError('must be a duration such as "30 s", "10 min" or "2 h"')
    seconds = int(match[1]) * _UNITS[match[2]]
    if not 1 <= seconds <= _LONGEST:
        raise ValueError("must be between 1 second and 30 days")
    return seconds


def _printable(value: str) -> str:
    if not value.isprintable() or value != value.strip():
        raise ValueError("must be printable text on one line, without spaces at its ends")
    return value


def _repeated(values: Iterable[str]) -> str | None:
    counts = Counter(values)
    return next((value for value, count in counts.items() if count > 1), None)


def _distinct(values: tuple[str, ...]) -> tuple[str, ...]:
    twice = _repeated(values)
    if twice is not None:
        raise ValueError(f"names {quoted(twice)} twice; name it once")
    return values


_NAME = "[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?"
Name = Annotated[str, Field(pattern=f"^{_NAME}$")]
Names = Annotated[tuple[Name, ...], Strict(False), Field(max_length=MAX_REGIONS), AfterValidator(_distinct)]
Column = Annotated[str, Field(min_length=1, max_length=128), AfterValidator(_printable)]
Covariates = Annotated[
    tuple[Column, ...], Strict(False), Field(min_length=1, max_length=MAX_COVARIATES), AfterValidator(_distinct)
]
Seconds = Annotated[int, BeforeValidator(_seconds), PlainSerializer(lambda seconds: f"{seconds} s", return_type=str)]


class _Section(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class Heading(_Section):
    """[study]: what it is called and what it is for."""

    id: Name
    purpose: Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_printable)]


class _Model(_Section):
    covariates: Covariates
    missing: Literal["refuse", "drop-rows"] = "refuse"
    ridge: Annotated[float, Field(ge=0, le=1e9)] = 0.0

    @property
    def responses(self) -> tuple[str, ...]:
        """The columns that are explained, as against the covariates that explain."""
        raise NotImplementedError

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that the model reads, the responses first."""
        return (*self.responses, *self.covariates)

    @model_validator(mode="after")
    def _each_column_has_one_part(self) -> Self:
        twice = _repeated(self.columns)
        if twice is not None:
            raise ValueError(f"uses column {quoted(twice)} in two places; give each column one part")
        if INTERCEPT in self.covariates:
            raise ValueError(
                f"has a covariate {quoted(INTERCEPT)}; a logistic model has its intercept anyhow, so rename it"
            )
        return self


class Logistic(_Model):
    """[model] kind = "logistic": the log-odds of a 0/1 outcome are linear in the covariates."""

    kind: Literal["logistic"]
    outcome: Column

    @property
    def responses(self) -> tuple[str, ...]:
        """The outcome."""
        return (self.outcome,)


class Cox(_Model):
    """[model] kind = "cox": proportional hazards, right-censored."""

    kind: Literal["cox"]
    duration: Column
    event: Column
    ties: Literal["efron", "breslow"] = "efron"
    baseline: Literal["per-region", "shared"] = "per-region"

    @property
    def responses(self) -> tuple[str, ...]:
        """Duration and event."""
        return (self.duration, self.event)


class Security(_Section):
    """[security]: who must act together, who contributes at least, who reads, and how it is encrypted."""

    threshold: Annotated[int, Field(ge=2, le=MAX_KEYHOLDERS)] = 2
    min_contributors: Annotated[int, Field(le=MAX_REGIONS)] = Field(
        default_factory=lambda fields: fields["threshold"] + 1
    )
    profile: Literal["precise", "compact"] = "precise"
    engine: Literal["tenseal", "vectorised"] = Field(
        default_factory=lambda fields: "tenseal" if fields["profile"] == "precise" else "vectorised"
    )
    keyholders: Names
    readers: Names
    deadline: Seconds = 600


class Limits(_Section):
    """[limits]: what a region goes along with.

    rounds: Newton rounds at most, halved steps included. step: change of a standardised coefficient in a round at most.
    linear_predictor: size of a patient's linear predictor at most. min_effective: a region refuses a state in which its
    own patients count for fewer than so many. min_events: a region with fewer events (logistic: or non-events) refuses.
    wait: how long one phase waits for a keyholder that can be spared, in seconds; for everybody else it waits until the
    study's deadline. No study can set the two least numbers below their floors.
    """

    rounds: Annotated[int, Field(ge=1, le=100)] = 40
    step: Annotated[float, Field(gt=0, le=20)] = 2.0
    linear_predictor: Annotated[float, Field(gt=0, le=100)] = 100.0
    min_effective: Annotated[float, Field(ge=FLOOR_EFFECTIVE, le=100)] = FLOOR_EFFECTIVE
    min_events: Annotated[int, Field(ge=FLOOR_EVENTS, le=100)] = FLOOR_EVENTS
    wait: Seconds = 120


class _Definition(_Section):
    study: Heading
    model: Annotated[Logistic | Cox, Field(discriminator="kind")]
    security: Security
    limits: Limits


class _Region(_Section):
    """[regions.NAME]: data is a table on this machine; contributes says that the region has one of its own."""

    data: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    contributes: bool = False

    @property
    def has_data(self) -> bool:
        return self.contributes or self.data is not None


class _File(_Definition):
    regions: Annotated[dict[Name, _Region], Field(max_length=MAX_REGIONS)]


class Study(_Definition):
    """A validated study. All names are sorted; a study that was loaded from a file also knows where `tables` are."""

    contributors: Names
    _tables: dict[str, Path] = PrivateAttr(default_factory=dict)
    _only_here: list[str] = PrivateAttr(default_factory=list)

    @property
    def id(self) -> str:
        """What the study is called."""
        return self.study.id

    @property
    def purpose(self) -> str:
        """What the study is for, as people read it before they approve."""
        return self.study.purpose

    @property
    def keyholders(self) -> tuple[str, ...]:
        """The members that hold shares of every contributor's key."""
        return self.security.keyholders

    @property
    def readers(self) -> tuple[str, ...]:
        """The members that open the sums."""
        return self.security.readers

    @property
    def members(self) -> tuple[str, ...]:
        """Everybody with a part in the study."""
        return tuple(sorted({*self.contributors, *self.keyholders, *self.readers}))

    @property
    def tables(self) -> dict[str, Path]:
        """Where contributors' tables lie on this machine, as the file says: of those that `data` names one of."""
        return dict(self._tables)

    @property
    def only_here(self) -> tuple[str, ...]:
        """Contributors of which the file names a table on this machine and does not say that they have one."""
        return tuple(self._only_here)

    @classmethod
    def load(cls, path: Path) -> Self:
        """The study in a TOML file. Raises StudyError."""
        try:
            raw = read_toml(path)
            _check_region_names(raw.get("regions"))
            file = _File.model_validate(_with_members(raw))
            _refuse_idle_or_unknown(file)
            contributors = tuple(sorted(name for name, region in file.regions.items() if region.has_data))
            study = cls(
                study=file.study,
                model=file.model,
                security=file.security,
                limits=file.limits,
                contributors=contributors,
            )
        except ValidationError as error:
            raise StudyError(f"{path}: {validation_sentence(error, _KEYS)}") from None
        except ValueError as error:
            raise StudyError(f"{path}: {error}") from None
        for name in contributors:
            if file.regions[name].data is not None:
                study._tables[name] = path.parent / str(file.regions[name].data)
        study._only_here = [name for name in contributors if not file.regions[name].contributes]
        return study

    def public(self) -> dict[str, Any]:
        """The definition as plain text, numbers, lists and dicts, with every default written out and no local path."""
        return self.model_dump(mode="json")

    @classmethod
    def from_public(cls, value: object) -> Self:
        """The study whose `public()` is `value`, which may come from anybody. Raises StudyError."""
        try:
            study = cls.model_validate(value)
        except ValidationError as error:
            raise StudyError(f"the study: {validation_sentence(error, _KEYS)}") from None
        # Each study has one public form: what one region hashes is what another one sees.
        if _canonical(study.public()) != _canonical(value):
            raise StudyError("the study: is not in its one written form; make it again from its file")
        return study

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        for check in (_check_names, _check_sharing, _check_contributors, _check_readers, _check_profile):
            check(self)
        return self


_KEYS: dict[Location, Iterable[str]] = {
    (): ("study", "model", "security", "limits", "regions"),
    ("study",): Heading.model_fields,
    ("model", "logistic"): Logistic.model_fields,
    ("model", "cox"): Cox.model_fields,
    ("security",): Security.model_fields,
    ("limits",): Limits.model_fields,
    ("regions",): _Region.model_fields,
}


def _canonical(value: object) -> str:
    # JSON tells 1, 1.0 and true apart, which Python's == does not.
    return json.dumps(value, sort_keys=True, allow_nan=False)


def _check_region_names(regions: object) -> None:
    seen: dict[str, str] = {}
    for name in regions if isinstance(regions, dict) else ():
        other = seen.setdefault(re.sub("[^a-z0-9]", "", name.casefold()), name)
        if other != name:
            raise ValueError(
                f"two regions with the same name but for case or signs, {quoted(other)} and {quoted(name)}; "
                "give them names that cannot be taken for each other"
            )
        if not re.fullmatch(_NAME, name):
            raise ValueError(f"the name of a region {NAME_RULE}, not {quoted(name)}; rename it")


def _with_members(raw: dict[str, Any]) -> dict[str, Any]:
    """The content with the defaults that follow from the regions: everybody is a keyholder, contributors read."""
    regions, security = raw.get("regions"), raw.get("security", {})
    if not isinstance(security, dict):
        return raw
    named = regions if isinstance(regions, dict) else {}
    with_data = [
        name
        for name, region in named.items()
        if isinstance(region, dict) and ("data" in region or region.get("contributes"))
    ]
    if named and not with_data and all(region == {} for region in named.values()):
        raise ValueError(
            "no region gives data; write contributes = true in the section [regions.NAME] of each that does, or "
            'data = "FILE.csv" to simulate'
        )
    security = {"keyholders": list(named), "readers": with_data} | security
    for role in ("keyholders", "readers"):
        if isinstance(security[role], list) and all(isinstance(name, str) for name in security[role]):
            security[role] = sorted(security[role])
    return {"limits": {}} | raw | {"security": security}


def _refuse_idle_or_unknown(file: _File) -> None:
    roles = {"keyholders": file.security.keyholders, "readers": file.security.readers}
    for role, names in roles.items():
        for name in names:
            if name not in file.regions:
                raise ValueError(
                    f"[security] {role} names {quoted(name)}, which has no section [regions.{name}]"
                    f"{suggestion(name, file.regions) or '; add one'}"
                )
    for name, region in file.regions.items():
        if not region.has_data and not any(name in names for names in roles.values()):
            raise ValueError(
                f"[regions.{name}] has no data and is no keyholder or reader; write contributes = true if it gives "
                "data, give it another part, or remove it"
            )


def _check_names(study: Study) -> None:
    for role in ("contributors", "keyholders", "readers"):
        names = getattr(study, role)
        if list(names) != sorted(names):
            raise ValueError(f"the {role} are not sorted")
    for name in study.members:
        if name in RESERVED_NAMES:
            raise ValueError(f"no region can be called {quoted(name)}, as another party has that name; rename it")


def _check_sharing(study: Study) -> None:
    keyholders, threshold = len(study.keyholders), study.security.threshold
    if threshold > keyholders:
        raise ValueError(
            f"[security] threshold is {threshold} of only {counted(keyholders, 'keyholder')}; "
            "lower it or add keyholders"
        )
    if keyholders > MAX_KEYHOLDERS or comb(keyholders, threshold - 1) > MAX_SUBSETS:
        raise ValueError(
            f"[security] threshold {threshold} of {keyholders} keyholders makes too many shares; "
            f"name fewer keyholders, at most {MAX_KEYHOLDERS} and with C(n, t - 1) at most {MAX_SUBSETS}"
        )


def _check_contributors(study: Study) -> None:
    minimum, least = study.security.min_contributors, study.security.threshold + 1
    if minimum < least:
        raise ValueError(
            f"[security] min_contributors is {minimum}, but must be at least threshold + 1 = {least}; "
            "raise it or lower threshold, so that two honest regions remain when threshold - 1 act together"
        )
    if len(study.contributors) < minimum:
        raise ValueError(
            f"{counted(len(study.contributors), 'region')} with data, but [security] min_contributors is {minimum}; "
            "add regions with data, by contributes = true or data, or lower it if threshold allows"
        )


def _check_readers(study: Study) -> None:
    for name in study.contributors:
        if name not in study.readers:
            raise ValueError(
                f"[security] readers leaves out {quoted(name)}, which contributes and needs each sum to go on; add it"
            )


def _check_profile(study: Study) -> None:
    contributors, keyholders = len(study.contributors), len(study.keyholders)
    subsets = comb(keyholders, study.security.threshold - 1)
    if study.security.profile == "compact" and contributors**3 * subsets > MAX_COMPACT:
        raise ValueError(
            f'[security] profile = "compact" is too coarse for {counted(contributors, "region")} with data and '
            f'threshold {study.security.threshold} of {keyholders} keyholders; use profile = "precise"'
        )
    if isinstance(study.model, Cox) and study.model.baseline == "shared" and study.security.profile != "precise":
        raise ValueError(
            '[model] baseline = "shared" needs [security] profile = "precise", as risk sets span many magnitudes; '
            "change one of the two"
        )
