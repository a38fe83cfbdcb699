"""A keyholder's part: it keeps seeds, and multiplies their sum with public polynomials that nobody chose. It never
sees an update or a sum.
"""

import secrets
from collections.abc import Collection, Iterator, Mapping
from functools import cached_property, partial

from hefed.crypto import packing
from hefed.crypto.buffer import Buffer
from hefed.crypto.errors import SeedError
from hefed.crypto.hashing import DIGEST_SIZE
from hefed.crypto.keys import DealtSeeds, ShareKeys, Subset, open_seeds
from hefed.crypto.label import Use
from hefed.crypto.opening import answer, answer_digest, answer_groups
from hefed.crypto.parameters import Precision
from hefed.protocol import messages as m
from hefed.protocol.ahead import ROOM, Ahead, Job
from hefed.protocol.answers import write_answers
from hefed.protocol.board import Board
from hefed.protocol.contexts import answer_context, content_key_context, deal_context
from hefed.protocol.errors import ProtocolError, SealError
from hefed.protocol.ports import Vault
from hefed.protocol.sealing import CONTENT_KEY_SIZE, ContentCipher, SealingKey, seal


class KeyholderPart:
    """What a keyholder does in each phase. One a study."""

    def __init__(self, name: str, board: Board, vault: Vault, ahead: Ahead, threads: int = 1) -> None:
        """Answers by that many threads; what can be made ahead is made by `ahead`."""
        self._name, self._board, self._vault = name, board, vault
        self._ahead, self._threads = ahead, threads

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

    @cached_property
    def _answers(self) -> "_ShareAnswers":
        return _ShareAnswers(self._board.precision, self._share_keys, self._ahead, self._threads)

    def begin(self, use: Use) -> None:
        """Begins the answers for a use of the keys that will be asked for, as if all keyholders were going to be at
        hand; tells nobody.
        """
        keyholders = self._board.cohort_keyholders
        if self._name in keyholders and self._ahead.is_worth(use.values):
            self._answers.begin(use, self._first_held(keyholders))

    def _first_held(self, at_hand: Collection[str]) -> dict[Subset, bool]:
        """For each share held, whether this is its lowest-numbered holder at hand."""
        numbers = [self._board.dealt_keyholders.index(name) for name in at_hand]
        return {
            subset: self._number == min(number for number in numbers if number not in subset)
            for subset in self._share_keys.subsets
        }

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
        use = board.use(record.first)
        first_held = self._first_held(record.opens[-1].keyholders)
        sealed = write_answers(
            ContentCipher(self._content_key, answer_context(record.first.label, self._name, record.open_digests[-1])),
            board.profile,
            use.values,
            [(subset, self._answers.groups(subset, use)) for subset, first in first_held.items() if first],
            [(subset, self._answers.digest(subset, use)) for subset, first in first_held.items() if not first],
        )
        content = m.Answer(round=record.number, attempt=len(record.opens), list=record.list_digest)
        return content, (sealed,)


class _ShareAnswers:
    """The answers for the sets that a keyholder has shares for, and their hashes: made ahead, or when asked for."""

    def __init__(self, precision: Precision, share_keys: ShareKeys, ahead: Ahead, threads: int) -> None:
        self._precision, self._share_keys, self._ahead, self._threads = precision, share_keys, ahead, threads
        self._begun_for: object = None
        self._answers: dict[Subset, Job[bytes]] = {}
        self._hashes: dict[Subset, Job[bytes]] = {}

    def begin(self, use: Use, wanted: Mapping[Subset, bool]) -> None:
        """Begins the answer for each set that is wanted whole, and the hash for each other one. What was begun before
        is dropped.
        """
        for job in (*self._answers.values(), *self._hashes.values()):
            job.drop()
        self._begun_for, self._answers, self._hashes = _parts(use), {}, {}
        size = use.profile.packed_size(use.values)
        if size > ROOM:
            return  # what somebody states in a contribution makes no work without end
        for subset, whole in wanted.items():
            made = partial(self._whole if whole else self._hash, subset, use)
            begun = self._ahead.start(made, size if whole else DIGEST_SIZE, use.values)
            if begun is not None:
                (self._answers if whole else self._hashes)[subset] = begun

    def groups(self, subset: Subset, use: Use) -> Iterator[Buffer]:
        """An answer, group by group as it is asked for; by several threads it is made whole, if it has room."""
        made = self._taken(self._answers, subset, use)
        if made is None and self._threads > 1 and use.profile.packed_size(use.values) <= ROOM:
            made = self._whole(subset, use)
        if made is None:
            yield from answer_groups(self._precision, self._share_keys, subset, use)
        else:
            yield from packing.in_groups(use.profile, made)

    def digest(self, subset: Subset, use: Use) -> bytes:
        """The hash of an answer."""
        made = self._taken(self._hashes, subset, use)
        return answer_digest(use, subset, self.groups(subset, use)) if made is None else made

    def _taken(self, jobs: dict[Subset, Job[bytes]], subset: Subset, use: Use) -> bytes | None:
        job = jobs.pop(subset, None) if self._begun_for == _parts(use) else None
        return job.take() if job else None

    def _whole(self, subset: Subset, use: Use) -> bytes:
        return answer(self._precision, self._share_keys, subset, use, self._threads)

    def _hash(self, subset: Subset, use: Use) -> bytes:
        return answer_digest(use, subset, answer_groups(self._precision, self._share_keys, subset, use))


def _parts(use: Use) -> object:
    """All of a use of the keys that an answer depends on."""
    return use.study, use.cohort, use.profile, use.contributors, use.values, use.digest
