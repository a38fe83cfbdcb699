"""A reader's part: it opens a round's sum by itself, trusting neither the aggregator nor any single keyholder, and
goes on with the model by itself.
"""

from hefed.crypto.buffer import Buffer
from hefed.crypto.errors import CryptoError
from hefed.crypto.keys import Subset
from hefed.crypto.opening import Opening
from hefed.protocol import codec
from hefed.protocol import messages as m
from hefed.protocol.answers import read_answers
from hefed.protocol.board import Board
from hefed.protocol.contexts import answer_context, content_key_context, finding_context
from hefed.protocol.errors import EquivocationError, ProtocolError
from hefed.protocol.opened import OpenedRounds, verified_checks
from hefed.protocol.ports import Keep, Vault, Work
from hefed.protocol.record import RoundRecord
from hefed.protocol.sealing import ContentCipher, SealingKey, seal

MOST_KEPT = 2**24
"""Bytes of an opened sum that is kept; longer ones are not."""
FINDING_STEP = 4096
"""Findings are filled up to about a multiple of so many bytes, so that their length tells nothing of their words."""


class ReaderPart(OpenedRounds):
    """What a reader does."""

    def __init__(self, name: str, board: Board, vault: Vault, work: Work, keep: Keep | None = None) -> None:
        """`keep` is told each opened sum of at most MOST_KEPT bytes, for whoever shows later what follows from it."""
        super().__init__(name, board, work)
        self._vault, self._keep = vault, keep
        self._opening: Opening | None = None  # of the round under way, once there is an answer
        self._digests: dict[Subset, dict[str, bytes]] = {}  # by share and keyholder
        self.checked: list[bool] = []
        self._content_keys: dict[str, bytes] = {}

    def _reading_key(self) -> SealingKey:
        return SealingKey(self._vault.get_or_create("reading key", SealingKey.new_secret))

    def reading_key(self) -> bytes:
        """The public key that content keys are sealed to."""
        return self._reading_key().public

    def _content_key(self, keyholder: str) -> bytes:
        """That of a keyholder, opened once. Raises SealError when what it acknowledged with does not open."""
        if keyholder not in self._content_keys:
            board = self._board
            context = content_key_context(board.study_digest, keyholder, self._name)
            sealed = board.acknowledgement(keyholder).content_keys[self._name]
            self._content_keys[keyholder] = self._reading_key().open(sealed, context)
        return self._content_keys[keyholder]

    def forget(self) -> None:
        """Drops the keyholders' content keys from memory, as far as Python allows."""
        self._content_keys.clear()

    def take(self, message: m.Message, attachments: tuple[Buffer, ...]) -> None:
        """The attachments of an answer or of a sum."""
        content = message.content
        if isinstance(content, m.Answer) and content.round == self.rounds_opened:
            self._take_answer(message, content, attachments[0])
        elif isinstance(content, m.Sum):
            self._open(self._board.rounds[content.round], attachments)

    def _take_answer(self, message: m.Message, content: m.Answer, sealed: Buffer) -> None:
        board, record, keyholder = self._board, self._board.rounds[content.round], message.sender
        use = board.use(record.first)
        try:
            context = answer_context(record.first.label, keyholder, record.open_digests[content.attempt - 1])
            cipher = ContentCipher(self._content_key(keyholder), context)
            answers, hashes = read_answers(cipher, board.profile, use.values, sealed)
            number = board.dealt_keyholders.index(keyholder)
            for subset in (*answers, *hashes):
                if subset not in board.subsets or number in subset:
                    raise ProtocolError("it is for a share that it does not hold")
            if self._opening is None:
                self._opening = Opening(board.precision, use)
            for subset, groups in answers.items():
                hashes[subset] = self._opening.add(subset, groups)
        except (ProtocolError, CryptoError) as error:
            raise ProtocolError(f"the answer of {keyholder} cannot be used: {error}") from error
        for subset, digest in hashes.items():
            if self._digests.setdefault(subset, {}).setdefault(keyholder, digest) != digest:
                raise EquivocationError(f"{keyholder} gave two different answers for one share; it is at fault")

    def _open(self, record: RoundRecord, attachments: tuple[Buffer, ...]) -> None:
        board = self._board
        label = self.label()
        if label.digest != record.first.label:
            raise EquivocationError(
                f"round {record.number} was made for another label than {self._name}'s own; nothing is opened"
            )
        total, *gone = attachments
        checks = verified_checks(board.profile, record, total, gone)
        checked = self._cross_check()
        opening = self._opening or Opening(board.precision, label)
        keep = self._keep if len(total) <= MOST_KEPT else None
        values = self.decoded(opening.open(total, keep=keep is not None), label)
        if keep is not None:
            keep(record.number, opening.packed)
        self.go_on(record, label, values, opening.digest, checks)
        self._opening, self._digests = None, {}
        self.checked.append(checked)

    def _cross_check(self) -> bool:
        """Whether every share answer is confirmed by `threshold` holders. Raises EquivocationError, naming both sides,
        when holders differ.
        """
        board, checked = self._board, True
        for subset in board.subsets:
            digests = self._digests.get(subset, {})
            sides = [
                sorted(name for name, other in digests.items() if other == digest)
                for digest in sorted(set(digests.values()))
            ]
            if len(sides) > 1:
                words = " against ".join(", ".join(side) for side in sides)
                raise EquivocationError(
                    f"keyholders do not agree on a share answer: {words}; at least one of them is at fault"
                )
            checked = checked and len(digests) >= board.threshold
        return checked

    def closing(self) -> m.Closing:
        """Closes the study once the model is finished; the finding is sealed to the analyst."""
        board = self._board
        finding = self._work.finding()
        document = {"outcome": finding.outcome, "finding": finding.document, "checked": self.checked, "filling": b""}
        document["filling"] = bytes(-len(codec.encode(document)) % FINDING_STEP)
        context = finding_context(board.study_digest, self._name, board.analyst)
        return m.Closing(
            last=self.previous,
            decisions=self.decisions_digest(),
            outcome=finding.outcome,
            sealed=seal(codec.encode(document), board.invitation.result_key, context),
        )
