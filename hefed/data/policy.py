"""What a region takes part in at most, whatever is asked of it: the section [policy] of its settings file.

Relies on pydantic. Its sentences reach the analyst through the aggregator, so they must not tell how many patients or
events a region has, nor which other columns or readers it would grant.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, Strict, model_validator

from hefed.data.releases import DifferenceKind
from hefed.data.settings import load_section
from hefed.data.table import LocalTable
from hefed.study import MAX_KEYHOLDERS, MAX_REGIONS, Column, Cox, Logistic, Names, Study
from hefed.wording import counted, quoted

ModelName = Literal["logistic", "cox", "cox-shared-baseline"]
"""A shared baseline is a model of its own here, as its sums reveal much more."""
Columns = Annotated[tuple[Column, ...], Strict(False), Field(max_length=4096)]


def model_name(study: Study) -> ModelName:
    """What a policy calls the study's model."""
    match study.model:
        case Logistic():
            return "logistic"
        case Cox(baseline="shared"):
            return "cox-shared-baseline"
        case _:
            return "cox"


class Policy(BaseModel):
    """[policy]: a study that asks for more is refused.

    min_rows, min_events: patients with a value in every column, and among them events. A binary outcome must be absent
    in as many as it is present. columns, keyholders, readers, analysts, models: those that are granted, by the study's
    names; all, where it is not said. min_threshold, min_contributors: the least that a study's security may state.
    max_rounds: the most rounds that it may ask for. refuse_differences: what a study must not tell beside an earlier
    one that the region took part in; unless said, "region" and "patients" where no person looks. approve: whether a
    person of the region looks at each study, or whatever is within the policy is approved, which takes a policy that
    says exactly what that is.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    min_rows: Annotated[int, Field(ge=1, le=10**9)] = 20
    min_events: Annotated[int, Field(ge=0, le=10**9)] = 5
    approve: Literal["by-hand", "within-policy"] = "by-hand"
    columns: Columns | None = None
    keyholders: Names | None = None
    readers: Names | None = None
    analysts: Names | None = None
    models: Annotated[tuple[ModelName, ...], Strict(False)] | None = None
    min_threshold: Annotated[int, Field(ge=2, le=MAX_KEYHOLDERS)] = 2
    min_contributors: Annotated[int, Field(ge=3, le=MAX_REGIONS)] = 3
    max_rounds: Annotated[int, Field(ge=1, le=1000)] = 40
    refuse_differences: Annotated[tuple[DifferenceKind, ...], Strict(False)] | None = None

    @property
    def refused_differences(self) -> tuple[DifferenceKind, ...]:
        """`refuse_differences`, or what stands for it."""
        if self.refuse_differences is not None:
            return self.refuse_differences
        return ("region", "patients") if self.approve == "within-policy" else ()

    @model_validator(mode="after")
    def _approves_only_what_is_named(self) -> Self:
        lists = {
            "columns": self.columns,
            "keyholders": self.keyholders,
            "readers": self.readers,
            "analysts": self.analysts,
            "models": self.models,
        }
        unsaid = [name for name, granted in lists.items() if granted is None]
        if self.approve == "within-policy" and unsaid:
            raise ValueError(
                f'approve = "within-policy" approves without a person what the policy grants, so it must name that: '
                f"add {', '.join(unsaid)}"
            )
        return self

    @classmethod
    def load(cls, path: Path) -> Self:
        """The section [policy] of a settings file. Raises SettingsError."""
        return load_section(path, "policy", cls)


def refusals(policy: Policy, study: Study, table: LocalTable | None, analyst: str | None = None) -> list[str]:
    """Every reason to refuse the study, in words for the analyst; none if it may go on.

    `table` is None as long as it has not been read, or where the region does not contribute; `analyst` is who asks for
    the study and gets its result.
    """
    if analyst is not None and policy.analysts is not None:
        others = list(_not_granted("analyst", [analyst], policy.analysts))
    else:
        others = []
    return [*others, *_of_study(policy, study), *(_of_table(policy, study, table) if table is not None else ())]


def _of_study(policy: Policy, study: Study) -> Iterable[str]:
    security = study.security
    if policy.columns is not None:
        yield from _not_granted("column", study.model.columns, policy.columns)
    if policy.models is not None:
        yield from _not_granted("model", [model_name(study)], policy.models)
    if policy.keyholders is not None:
        yield from _not_granted("keyholder", study.keyholders, policy.keyholders)
    if policy.readers is not None:
        yield from _not_granted("reader", study.readers, policy.readers)
    if security.threshold < policy.min_threshold:
        yield (
            f"the policy here asks for a threshold of at least {policy.min_threshold} keyholders, "
            f"and the study has {security.threshold}"
        )
    if security.min_contributors < policy.min_contributors:
        yield (
            f"the policy here asks for min_contributors of at least {policy.min_contributors}, "
            f"and the study has {security.min_contributors}"
        )
    if study.limits.rounds > policy.max_rounds:
        yield (
            f"the policy here grants at most {counted(policy.max_rounds, 'round')}, "
            f"and the study asks for up to {study.limits.rounds}"
        )


def _not_granted(kind: str, asked: Iterable[str], granted: Iterable[str]) -> Iterable[str]:
    others = [quoted(name) for name in asked if name not in set(granted)]
    if others:
        yield f"the policy here does not grant {kind}{'s' * (len(others) > 1)} {', '.join(others)}"


def _of_table(policy: Policy, study: Study, table: LocalTable) -> Iterable[str]:
    if table.rows < policy.min_rows:
        yield f"the policy here asks for at least {counted(policy.min_rows, 'complete row')}, and the table has fewer"
    events, asked = table.events(study.model), counted(policy.min_events, "event")
    if isinstance(study.model, Logistic):
        events = min(events, table.rows - events)
        asked = f"{counted(policy.min_events, 'row')} with the outcome and as many without it"
    if events < policy.min_events:
        yield f"the policy here asks for at least {asked}, and the table has fewer"
