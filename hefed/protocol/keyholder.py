"""A keyholder's part: it keeps seeds, and multiplies their sum with public polynomials that nobody chose. It never
sees an update or a sum.
"""

import secrets
from collections.abc import Iterable
from functools import cached_property

from hefed.crypto.buffer import Buffer
from hefed.crypto.errors import SeedError
from hefed.crypto.keys import DealtSeeds, ShareKeys, Subset, open_seeds
from hefed.crypto.label import Use
from hefed.crypto.opening import answer_digest, answer_groups
from hefed.protocol import messages as m
from hefed.protocol.answers import write_answers
from hefed.protocol.board import Board
from hefed.protocol.contexts import answer_context, content_key_context, deal_context
from hefed.protocol.errors import ProtocolError, SealError
from hefed.protocol.ports import Vault
from hefed.protocol.sealing import CONTENT_KEY_SIZE, ContentCipher, SealingKey, seal


class KeyholderPart:
    """What a keyholder does in each phase. One a study."""

    def __init__(self, name: str, board: Board, vault: Vault) -> None:
        self._name, self._board, self._vault = name, board, vault

    def _dealing_key(self, dealer: str) -> SealingKey:
        return SealingKey(self._vault.get_or_create(f"dealing key for {dealer}", SealingKey.new_secret))

    @cached_property
    def _content_key(self) -> bytes:
        return self._vault.get_or_create("content key", lambda: secrets.token_bytes(CONTENT_KEY_SIZE))

    def dealing_keys(self) -> dict[str, bytes]:
        """A key of its own for each dealer of this study."""
        return {dealer: self._dealing_key(dealer).public for dealer in self._board.study.contributors}

    def acknowledge(self) -> m.Acknowledgement | m.Complaint:
        """Opens its seeds of every deal; a complaint names the first dealer whose seeds are not what it signed."""
        board = self._board
        for dealer in sorted(board.deals):
            try:
                self._seeds(dealer).erase()
            except (SealError, SeedError) as error:
                return m.Complaint(dealer=dealer, words=m.printable(str(error)))
        content_keys = {}
        for reader in board.study.readers:
            public = board.approval(reader).reading_key
            assert public is not None  # noqa: S101  the board asks a reading key of every reader
            context = content_key_context(board.study_digest, self._name, reader)
            content_keys[reader] = seal(self._content_key, public, context)
        return m.Acknowledgement(
            deals={dealer: message.digest for dealer, message in board.deals.items()}, content_keys=content_keys
        )

    @property
    def _number(self) -> int:
        return self._board.dealt_keyholders.index(self._name)

    def _seeds(self, dealer: str) -> DealtSeeds:
        board = self._board
        deal = board.deal(dealer)
        blob = self._dealing_key(dealer).open(
            deal.sealed[self._name], deal_context(board.study_digest, dealer, self._name)
        )
        return open_seeds(
            board.study_digest, dealer, self._number, len(board.dealt_keyholders), board.threshold, blob, deal.hashes
        )

    @cached_property
    def _share_keys(self) -> ShareKeys:
        """The shares of all contributors' keys, added once; only a cohort that all of them signed is ever served."""
        board = self._board
        if board.cohort_signatures != set(board.study.contributors):
            raise ProtocolError("not every contributor has signed the cohort; nothing will be opened")
        deals = {dealer: self._seeds(dealer) for dealer in sorted(board.deals)}
        try:
            return ShareKeys.combine(board.profile, board.study_digest, board.cohort.digest, deals)
        finally:
            for seeds in deals.values():
                seeds.erase()

    def forget(self) -> None:
        """Erases the shares from memory, as far as Python allows."""
        if "_share_keys" in self.__dict__:
            self._share_keys.erase()

    @property
    def is_asked(self) -> bool:
        """Whether the question under way is put to this keyholder."""
        return self._name in self._board.round.opens[-1].keyholders

    def answer(self) -> tuple[m.Answer, tuple[bytes, ...]]:
        """For each share held: the answer if this is its lowest-numbered holder at hand, its hash otherwise."""
        board, record = self._board, self._board.round
        asked = record.opens[-1].keyholders
        numbers = [board.dealt_keyholders.index(name) for name in asked]
        use = board.use(record.first)
        first_held = {
            subset: self._number == min(number for number in numbers if number not in subset)
            for subset in self._share_keys.subsets
        }
        sealed = write_answers(
            ContentCipher(self._content_key, answer_context(record.first.label, self._name, record.open_digests[-1])),
            board.profile,
            use.values,
            [(subset, self._share_answer(subset, use)) for subset, first in first_held.items() if first],
            [
                (subset, answer_digest(use, subset, self._share_answer(subset, use)))
                for subset, first in first_held.items()
                if not first
            ],
        )
        content = m.Answer(round=record.number, attempt=len(record.opens), list=record.list_digest)
        return content, (sealed,)

    def _share_answer(self, subset: Subset, use: Use) -> Iterable[Buffer]:
        """The answer for one set that this keyholder holds, group by group as it is asked for."""
        return answer_groups(self._board.precision, self._share_keys, subset, use)
