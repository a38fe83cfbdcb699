"""A contributor's part: it deals its key, signs one cohort, and encrypts one vector a round under a label that only
its own view of the study makes.
"""

import secrets
from collections.abc import Callable
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt

from hefed.crypto.contribution import Engine, Mask, check_value, encrypt
from hefed.crypto.keys import ContributorKey
from hefed.crypto.label import Label, Use
from hefed.protocol import known_answer
from hefed.protocol import messages as m
from hefed.protocol.ahead import Ahead, Job
from hefed.protocol.board import Board
from hefed.protocol.contexts import deal_context
from hefed.protocol.errors import EquivocationError, ProtocolError
from hefed.protocol.opened import padded
from hefed.protocol.ports import DeclinedError, Vault, Work
from hefed.protocol.reader import ReaderPart
from hefed.protocol.sealing import seal


class ContributorPart:
    """What a contributor does in each phase. One a study."""

    def __init__(
        self, name: str, board: Board, vault: Vault, work: Work, reader: ReaderPart, ahead: Ahead, threads: int = 1
    ) -> None:
        """Encrypts by that many threads; what can be made ahead is made by `ahead`."""
        self._name, self._board, self._vault, self._work, self._reader = name, board, vault, work, reader
        self._ahead, self._threads = ahead, threads
        self._table_is_the_approved = False

    @cached_property
    def _key(self) -> ContributorKey:
        board = self._board

        def deal() -> bytes:
            key = ContributorKey.deal(board.study_digest, self._name, len(board.dealt_keyholders), board.threshold)
            return key.to_bytes()

        return ContributorKey.from_bytes(self._vault.get_or_create("contributor key", deal))

    def forget(self) -> None:
        """Erases the key from memory, as far as Python allows."""
        if "_key" in self.__dict__:
            self._key.erase()

    @cached_property
    def commitment(self) -> bytes:
        """The salted commitment to the frozen table, made once a process. The same table must give it again after a
        restart.
        """
        return self._work.commitment(self._vault.get_or_create("table salt", lambda: secrets.token_bytes(32)))

    def deal(self) -> m.Deal:
        """The hash of each seed, and for each keyholder its seeds, sealed to the key that it made for this dealer."""
        board = self._board
        sealed = {}
        for number, keyholder in enumerate(board.dealt_keyholders):
            public = board.approval(keyholder).dealing_keys[self._name]
            sealed[keyholder] = seal(
                self._key.seeds_for(number), public, deal_context(board.study_digest, self._name, keyholder)
            )
        return m.Deal(hashes=list(self._key.seed_hashes().values()), sealed=sealed)

    def sign_cohort(self, own_approval: bytes, own_deal: bytes) -> m.CohortSignature:
        """Stands to the cohort, after looking that the approval and the deal that it sent are the ones in it."""
        cohort = self._board.cohort
        if dict(cohort.approvals)[self._name] != own_approval or dict(cohort.deals)[self._name] != own_deal:
            raise EquivocationError(f"the cohort does not hold what {self._name} approved and dealt")
        return m.CohortSignature(cohort=cohort.digest)

    def contribution(
        self, beside: Callable[[Use], None] = lambda use: None
    ) -> tuple[m.Contribution, tuple[bytes, ...]]:
        """The encrypted vector for the round under way. Call it only while the model is not finished.

        The mask of a long vector is made while the model computes; `beside` is told before that what else can be made
        for.
        """
        label = self._reader.label()
        if label.round != self._board.round.number:
            raise ProtocolError(f"{self._name} has not opened the round before round {self._board.round.number}")
        mask = self._begin_mask(label)
        beside(label)
        self._require_approved_table()
        values = known_answer.vector(label.digest, self._name) if label.round == 0 else self._work.contribution()
        packed = self._encrypt(label, padded(values), mask)
        content = m.Contribution(round=label.round, purpose=label.purpose, label=label.digest, values=label.values)
        return content, (packed,)

    def _begin_mask(self, label: Label) -> Job[Mask] | None:
        if self._engine == "tenseal" or not self._ahead.is_worth(label.values):
            return None  # SEAL does not let go of the interpreter: it would only be in the model's way
        make = partial(Mask, self._board.precision, self._key, label, self._engine, self._threads)
        return self._ahead.start(make, label.profile.packed_size(label.values), label.values, Mask.erase)

    def _require_approved_table(self) -> None:
        """A table that changed since the approval ends the study: the same label must never see two updates."""
        if not self._table_is_the_approved:
            if self.commitment != self._board.approval(self._name).commitment:
                raise DeclinedError(
                    f"the table of {self._name} has changed since it was approved; submit the study again"
                )
            self._table_is_the_approved = True

    @property
    def _engine(self) -> Engine:
        return self._board.study.security.engine

    def _encrypt(self, label: Label, values: npt.NDArray[np.float64], begun: Job[Mask] | None) -> bytes:
        mask = begun.take() if begun else None
        if mask is not None:
            return mask.encrypt(values)
        return encrypt(self._board.precision, self._key, label, values, self._engine, self._threads)

    def check(self, own_contribution: bytes) -> m.Check:
        """Signs the list of this round's contributions as it was shown to us, with the check value of our own."""
        record = self._board.round
        if record.contributions[self._name].body.attachments[0] != m.Attachment.of(own_contribution):
            raise EquivocationError(
                f"what stands in the record as {self._name}'s contribution is not what {self._name} sent"
            )
        value = check_value(self._board.profile, own_contribution, record.first.values, record.list_digest)
        return m.Check(round=record.number, list=record.list_digest, value=value)
