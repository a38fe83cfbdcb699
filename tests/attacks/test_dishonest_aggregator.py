"""What a malicious aggregator can try, and what comes of it: the study stops; nothing private or wrong is opened."""

from typing import Any

import numpy as np
import pytest

from hefed.crypto.contribution import check_value
from hefed.crypto.hashing import tagged_hash
from hefed.crypto.packing import pack_array, residue_array
from hefed.crypto.parameters import PRECISE
from hefed.crypto.sampling import uniform_polynomials
from hefed.protocol import messages as m
from hefed.protocol.coordinator import Entry
from hefed.study import Study
from tests.attacks.cheating import Frames, flipped, is_round, refusals, resign, tamper
from tests.protocol.federation import Federation


def test_an_altered_sum_is_noticed_by_every_reader_in_the_same_round(small_study: Study) -> None:
    federation = Federation(small_study)
    honest_signer = federation.coordinator._say

    # The aggregator's own record goes on from its lies, or its members would only see a broken chain.
    def say(content: m.Content, attachments: tuple[bytes, ...], now: float) -> Entry:
        if isinstance(content, m.Open) and content.round == 2:
            wrong = flipped(federation.coordinator._packed_sum())
            content = content.model_copy(update={"total": m.Attachment.of(wrong).sha256})
            federation.coordinator._total = wrong
        return honest_signer(content, attachments, now)

    federation.coordinator._say = say  # type: ignore[method-assign]
    federation.run()
    said = refusals(federation)
    assert set(said) == {"halland", "kronoberg", "orebro"}
    assert all("check values" in words for words in said.values())
    assert all(p.machine.reader is None or p.machine.reader.rounds_opened == 2 for p in federation.parties.values())


def test_another_sum_than_the_aggregator_was_bound_to_is_refused(small_study: Study) -> None:
    federation = Federation(small_study)

    def change(name: str, entry: Entry, attachments: tuple[bytes, ...]) -> Frames | None:
        if is_round(entry, "sum", 2) and attachments:
            return resign(federation, entry, entry.message.content, (flipped(attachments[0]), *attachments[1:]))
        return None

    tamper(federation, change)
    federation.run()
    said = refusals(federation)
    assert set(said) == {"halland", "kronoberg", "orebro"}
    assert all("is not the one that the aggregator said" in words for words in said.values())


def test_who_knows_the_factors_of_the_check_before_it_names_its_sum_makes_a_wrong_one_pass() -> None:
    """Why the list that regions sign holds the hash of the sum: with factors from the contributions alone, as here, the
    aggregator alone solves three equations; with the sum among what they follow from, there is nothing to solve for.
    """
    values, list_digest = 36, bytes(range(32))
    rng = np.random.default_rng(1)
    honest = np.stack([rng.integers(0, p, values, dtype=np.uint64) for p in PRECISE.primes])
    wrong = honest.astype(object)
    factors = _factors(values, list_digest)
    for k, p in enumerate(PRECISE.primes):
        wrong[k, 0] = (wrong[k, 0] + 1) % p  # the lie
        rows = [[factors[s][k][j] for j in (3, 4, 5)] for s in range(3)]
        for j, x in zip((3, 4, 5), _solved(rows, [-factors[s][k][0] for s in range(3)], p), strict=True):
            wrong[k, j] = (wrong[k, j] + x) % p  # hidden in values that nobody looks at
    packed_honest, packed_wrong = (_packed(residues.astype(np.uint64)) for residues in (honest, wrong))
    assert packed_wrong != packed_honest
    assert check_value(PRECISE, packed_wrong, values, list_digest) == check_value(
        PRECISE, packed_honest, values, list_digest
    )
    bound = m.Attachment.of(packed_wrong).sha256  # as in a list that holds the sum: other factors, and the lie shows
    assert check_value(PRECISE, packed_wrong, values, bound) != check_value(PRECISE, packed_honest, values, bound)


def _packed(residues: "np.ndarray[Any, np.dtype[np.uint64]]") -> bytes:
    array = residue_array(PRECISE, residues.shape[1])
    array[:, : residues.shape[1]] = residues
    return pack_array(PRECISE, array, residues.shape[1])


def _factors(values: int, list_digest: bytes) -> list[list[list[int]]]:
    found = []
    for s in range(3):
        x = uniform_polynomials(PRECISE, tagged_hash("check x", list_digest, s), 0, 1)[0]
        y = uniform_polynomials(PRECISE, tagged_hash("check y", list_digest, s), 0, 1)[0]
        found.append([[int(x[k, 0]) * int(v) % p for v in y[k, :values]] for k, p in enumerate(PRECISE.primes)])
    return found


def _solved(rows: list[list[int]], right: list[int], p: int) -> list[int]:
    """Gauss-Jordan modulo p."""
    matrix = [[*row, value] for row, value in zip(rows, right, strict=True)]
    for i in range(3):
        pivot = next(r for r in range(i, 3) if matrix[r][i] % p)
        matrix[i], matrix[pivot] = matrix[pivot], matrix[i]
        inverse = pow(matrix[i][i], -1, p)
        matrix[i] = [a * inverse % p for a in matrix[i]]
        for r in range(3):
            if r != i:
                matrix[r] = [(a - matrix[r][i] * b) % p for a, b in zip(matrix[r], matrix[i], strict=True)]
    return [row[3] for row in matrix]


def test_a_region_that_is_shown_another_sum_than_the_rest_sees_it_in_the_same_round(small_study: Study) -> None:
    """The aggregator keeps a second record for orebro alone, its later messages signed anew so that its chain holds."""
    federation = Federation(small_study)
    last: list[bytes] = []

    def change(name: str, entry: Entry, attachments: tuple[bytes, ...]) -> Frames | None:
        content = entry.message.content
        if name != "orebro" or entry.message.sender != "aggregator" or not (last or is_round(entry, "open", 2)):
            return None
        wrong = flipped(federation.coordinator._packed_sum())
        if isinstance(content, m.Open) and content.round == 2:
            content = content.model_copy(update={"total": m.Attachment.of(wrong).sha256})
        if isinstance(content, m.Sum) and content.round == 2:
            attachments = (wrong, *attachments[1:])
        message = federation.signers["aggregator"].sign(
            content,
            federation="test",
            study=federation.submission.study,
            sender="aggregator",
            previous=last[-1] if last else entry.message.body.previous,
            attachments=attachments,
        )
        last.append(message.digest)
        return message.envelope, attachments

    tamper(federation, change)
    federation.run()
    words = " ".join([*refusals(federation).values(), *(str(error) for _, error in federation.refused)])
    assert "was shown another list of contributions in round 2" in words
    readers = [party.machine.reader for party in federation.parties.values() if party.machine.reader]
    assert max(reader.rounds_opened for reader in readers) == 2


def test_a_sum_cannot_be_opened_before_all_contributions_are_there(small_study: Study) -> None:
    federation = Federation(small_study)
    opened_early: list[str] = []

    def change(name: str, entry: Entry, attachments: tuple[bytes, ...]) -> Frames | None:
        if entry.message.body.kind == "contribution" and entry.message.sender == "halland" and not opened_early:
            content = entry.message.content
            assert isinstance(content, m.Contribution)
            if content.round == 2 and name == "university":
                opened_early.append(name)
                return resign(
                    federation,
                    entry,
                    m.Open(round=2, attempt=1, total=bytes(32), keyholders=["halland", "university"]),
                    (),
                )
        return None

    tamper(federation, change)
    federation.run()
    assert "university" in refusals(federation)
    assert "answer 2 1" not in federation.parties["university"].sent


@pytest.mark.parametrize("keyholders", [["university"], ["halland", "nobody"], ["university", "halland"]])
def test_a_question_to_too_few_to_strangers_or_out_of_order_is_not_answered(
    keyholders: list[str], small_study: Study
) -> None:
    federation = Federation(small_study)

    def change(name: str, entry: Entry, attachments: tuple[bytes, ...]) -> Frames | None:
        if is_round(entry, "open", 2):
            return resign(federation, entry, m.Open(round=2, attempt=1, total=bytes(32), keyholders=keyholders), ())
        return None

    tamper(federation, change)
    federation.run()
    assert set(refusals(federation)) == set(federation.parties)
    assert not any(key.startswith("answer 2") for p in federation.parties.values() for key in p.sent)


def test_a_message_that_is_held_back_from_one_member_is_missed_by_it(small_study: Study) -> None:
    federation = Federation(small_study)
    federation.deliver = lambda name, entry, attachments: (
        None
        if name == "kronoberg" and entry.message.sender == "orebro" and is_round(entry, "contribution", 2)
        else (entry.message.envelope, attachments)
    )
    federation.run()
    assert "kronoberg" in refusals(federation)
    assert "check 2" not in federation.parties["kronoberg"].sent


def test_a_gone_contributors_vector_cannot_be_swapped(small_study: Study) -> None:
    federation = Federation(small_study)
    before = federation.before_accept

    def gone(sender: str, outgoing: Any) -> Any:
        if sender == "kronoberg" and outgoing.key == "check 2":
            federation.present.discard("kronoberg")
            return None
        return before(sender, outgoing)

    federation.before_accept = gone

    def change(name: str, entry: Entry, attachments: tuple[bytes, ...]) -> Frames | None:
        if is_round(entry, "sum", 2) and attachments:
            return resign(federation, entry, entry.message.content, (attachments[0], attachments[0]))
        return None

    tamper(federation, change)
    federation.run()
    assert all("is not what kronoberg signed" in words for words in refusals(federation).values())


def test_a_study_that_was_not_approved_is_not_joined(small_study: Study) -> None:
    """The aggregator changes the definition on the way: another hash, another study, no approval."""
    federation = Federation(small_study)
    other = Federation(small_study)

    def change(name: str, entry: Entry, attachments: tuple[bytes, ...]) -> Frames | None:
        if isinstance(entry.message.content, m.Invitation):
            message = federation.signers["analyst"].sign(
                other.submission.invitation.model_copy(update={"roster": federation.roster.digest}),
                federation="test",
                study=federation.submission.study,
                sender="analyst",
                previous=m.ZERO_HASH,
            )
            return message.envelope, ()
        return None

    tamper(federation, change)
    federation.run()
    assert all("is not the study" in words for words in refusals(federation).values())
    assert not any("approval" in p.sent for p in federation.parties.values())
