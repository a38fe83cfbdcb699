"""What is sent in a round, and what happens to it on the way; each attack beside the same with its defence off."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from hefed.crypto import kernels, packing
from hefed.crypto import keys as keys_module
from hefed.node.work import ModelWork
from hefed.protocol import contributor as contributor_module
from hefed.protocol import keyholder as keyholder_module
from hefed.protocol import messages as m
from hefed.protocol import opened as opened_module
from hefed.protocol import reader as reader_module
from hefed.protocol import sealing
from hefed.protocol.contexts import deal_context
from hefed.protocol.coordinator import Entry
from hefed.protocol.ports import Outgoing
from hefed.protocol.sealing import seal
from hefed.study import Study
from tests.attacks.cheating import (
    Frames,
    contribution,
    opened,
    refusals,
    replace,
    resigned,
    shifted,
    tamper,
    wider_study,
    words,
)
from tests.attacks.conftest import Seen
from tests.protocol.federation import Federation, Party

REGIONS = ("halland", "kronoberg", "orebro")


def require_one_patient_more(seen: Seen, regions: Sequence[str] = REGIONS) -> None:
    """All readers opened a wrong sum in round 2: its first value, the number of patients, is higher by one."""
    right = np.sum([seen.given[name][1] for name in regions], axis=0)
    for name in regions:
        error = seen.opened[name][1] - right
        assert error[0] == pytest.approx(1.0)
        assert np.abs(error[1:]).max() < 1e-6
        assert len(seen.opened[name]) > 2  # and went on from it


# --- Wrong share answers ------------------------------------------------------------------------------


def answering_wrongly(patch: pytest.MonkeyPatch, federation: Federation, cheats: set[int]) -> None:
    """In round 2 these keyholders all give the same wrong answer, within the range of right sums, for one set."""
    honest = keyholder_module.answer_groups

    def answer(precision: Any, keys: Any, subset: Any, use: Any) -> Iterator[Any]:
        packed = b"".join(honest(precision, keys, subset, use))
        asked = len(federation.board.rounds) == 3 and keys.keyholder in cheats and not cheats & set(subset)
        wrong = asked and subset == min(one for one in keys.subsets if not cheats & set(one))
        amount = 1 << (precision.capacity_bits - 8)  # a patient more
        return packing.in_groups(use.profile, shifted(use.profile, packed, use.values, amount) if wrong else packed)

    patch.setattr(keyholder_module, "answer_groups", answer)


def secrets_of(party: Party) -> set[bytes]:
    """A contributor's seeds."""
    key = keys_module.ContributorKey.from_bytes(party.vault.secrets["contributor key"])
    return {seed.reveal() for seed in key._seeds.values()}


def test_a_wrong_share_answer_is_noticed_and_both_sides_are_named(
    small_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no seed is opened to settle it."""
    federation = Federation(small_study)
    answering_wrongly(monkeypatch, federation, {0})
    federation.run()
    assert "do not agree on a share answer" in words(federation)
    sides = words(federation).partition(": ")[2].partition(";")[0].split(" against ")
    assert "halland" in sides
    assert set(opened(federation).values()) == {2}
    wire = b"".join(b"".join((entry.message.envelope, *entry.attachments)) for entry in federation.log)
    assert not any(seed in wire for name in REGIONS for seed in secrets_of(federation.parties[name]))


def test_control_without_the_comparison_a_single_keyholder_shifts_the_sum_that_all_go_on_from(
    small_study: Study, monkeypatch: pytest.MonkeyPatch, seen: Seen
) -> None:
    monkeypatch.setattr(reader_module.ReaderPart, "_cross_check", lambda self: True)
    federation = Federation(small_study)
    answering_wrongly(monkeypatch, federation, {0})
    federation.run()
    assert min(opened(federation).values()) > 3
    require_one_patient_more(seen)


@pytest.mark.parametrize("keyholders", [5, 4])
def test_t_minus_1_keyholders_that_lie_alike_are_found_out_if_2t_minus_1_are_at_hand(
    keyholders: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seen: Seen
) -> None:
    """With fewer, all holders of a share can be liars. Nothing notices then, but that the round counts as unchecked."""
    names = [*REGIONS, "skane"]
    study = wider_study(tmp_path, contributors=names, others=["university"][: keyholders - 4], threshold=3)
    federation = Federation(study)
    answering_wrongly(monkeypatch, federation, {0, 1})
    federation.run()
    if keyholders == 5:
        sides = words(federation).partition(": ")[2].partition(";")[0].split(" against ")
        assert "halland, kronoberg" in sides
        assert set(opened(federation).values()) == {2}
    else:
        require_one_patient_more(seen, names)
        assert federation.parties["halland"].machine.reader.checked[2] is False
        assert "do not agree" not in words(federation)


# --- Seeds --------------------------------------------------------------------------------------------


def other_seeds(federation: Federation, outgoing: Outgoing) -> Outgoing:
    """Orebro deals the university other seeds than the rest."""
    content = outgoing.message.content
    assert isinstance(content, m.Deal)
    public = federation.board.approval("university").dealing_keys["orebro"]
    wrong = seal(bytes(32 * 3), public, deal_context(federation.submission.study, "orebro", "university"))
    return resigned(federation, outgoing, content.model_copy(update={"sealed": content.sealed | {"university": wrong}}))


def test_control_without_hashes_of_seeds_who_was_dealt_other_seeds_stands_as_a_liar(
    small_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With them it complains before anything is encrypted (`test_seeds_that_are_not_the_signed_ones_...`)."""

    def unchecked(*given: Any) -> Any:
        *of, blob, _ = given
        seeds = [keys_module.Seed(blob[i : i + 32]) for i in range(0, len(blob), 32)]
        study, dealer, number, n, t = of
        held = [subset for subset in keys_module.subsets(n, t) if number not in subset]
        return keys_module.DealtSeeds(study, dealer, number, n, t, dict(zip(held, seeds, strict=True)))

    monkeypatch.setattr(keyholder_module, "open_seeds", unchecked)
    federation = Federation(small_study)
    replace(federation, "orebro", {"deal": lambda outgoing: other_seeds(federation, outgoing)})
    federation.run()
    assert "do not agree on a share answer" in words(federation)
    assert "university" in words(federation).partition(": ")[2].partition(";")[0].split(" against ")


def unbound(patch: pytest.MonkeyPatch) -> None:
    """Deals without their dealer: neither in the seal, nor in the hashes, nor in the key that they are sealed to."""
    for module in (keyholder_module, contributor_module):
        patch.setattr(module, "deal_context", lambda study, dealer, keyholder: deal_context(study, "", keyholder))
    hashed = keys_module.seed_hash
    patch.setattr(keys_module, "seed_hash", lambda study, dealer, subset, seed: hashed(study, "", subset, seed))
    key = keyholder_module.KeyholderPart._dealing_key
    patch.setattr(keyholder_module.KeyholderPart, "_dealing_key", lambda self, dealer: key(self, "anybody"))


def who_complains_about_a_copied_deal(study: Study) -> tuple[Federation, set[str]]:
    """Orebro repeats what halland dealt, seeds unseen."""
    federation = Federation(study)

    def stolen(outgoing: Outgoing) -> Outgoing:
        return resigned(federation, outgoing, federation.parties["halland"].sent["deal"].message.content)

    replace(federation, "orebro", {"deal": stolen})
    federation.run()
    said = {name: party.sent["acknowledgement"].message.content for name, party in federation.parties.items()}
    return federation, {name for name, content in said.items() if isinstance(content, m.Complaint)}


def test_anothers_deal_cannot_be_passed_on_as_ones_own(small_study: Study) -> None:
    federation, complained = who_complains_about_a_copied_deal(small_study)
    assert complained == set(federation.parties)
    assert federation.board.outcome is not None
    assert federation.board.outcome.how == "complaint"
    assert "complains about the key that orebro dealt" in words(federation)


def test_control_where_deals_are_not_bound_to_their_dealer_nobody_complains(
    small_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a copied key is good for is in test_keys_and_noise.py."""
    unbound(monkeypatch)
    federation, complained = who_complains_about_a_copied_deal(small_study)
    assert not complained
    assert federation.board.cohort_signatures == set(REGIONS)


def test_a_complaint_opens_no_seed_and_ends_the_study(small_study: Study) -> None:
    """Nobody can tell whether it is true. What an opened seed would give is in test_keys_and_noise.py."""
    federation = Federation(small_study)
    false = m.Complaint(dealer="orebro", words="open its seeds, so that all can see")
    replace(federation, "university", {"acknowledgement": lambda outgoing: resigned(federation, outgoing, false)})
    federation.run()
    assert federation.board.outcome is not None
    assert federation.board.outcome.how == "complaint"
    last = max(i for i, entry in enumerate(federation.log) if entry.message.body.kind == "complaint")
    assert {entry.message.body.kind for entry in federation.log[last:]} == {"complaint"}
    assert all(party.machine.ended for party in federation.parties.values())
    assert set(m.Complaint.model_fields) == {"dealer", "words"}
    wire = b"".join(entry.message.envelope for entry in federation.log)
    assert not any(seed in wire for seed in secrets_of(federation.parties["orebro"]))


# --- Contributions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", [1, -1])
def test_a_copied_or_negated_contribution_ends_the_study_in_its_round(sign: int, small_study: Study) -> None:
    """The aggregator gives orebro what halland sent. On the textbook scheme this works:
    test_attack_on_collective_keys.py.
    """
    federation = Federation(small_study)

    def again(outgoing: Outgoing) -> Outgoing:
        profile, content = federation.board.profile, outgoing.message.content
        assert isinstance(content, m.Contribution)
        residues = packing.unpack(profile, contribution(federation, "halland", 2), content.values).astype(object)
        packed = [sign * row % p for row, p in zip(residues, profile.primes, strict=True)]
        sent = packing.pack(profile, np.stack(packed).astype(np.uint64))
        return resigned(federation, outgoing, content, (sent,))

    replace(federation, "orebro", {"contribution 2": again})
    federation.run()
    assert "is outside the range of right sums" in words(federation)
    assert set(opened(federation).values()) == {2}


def test_a_shifted_contribution_is_a_lie_about_ones_own_patients_and_nothing_notices(
    small_study: Study, seen: Seen
) -> None:
    federation = Federation(small_study)

    def shift(outgoing: Outgoing) -> Outgoing:
        content, precision = outgoing.message.content, federation.board.precision
        assert isinstance(content, m.Contribution)
        packed = shifted(precision.profile, outgoing.attachments[0], content.values, 1 << (precision.capacity_bits - 8))
        return resigned(federation, outgoing, content, (packed,))

    replace(federation, "orebro", {"contribution 2": shift})
    federation.run()
    require_one_patient_more(seen)


BAD = (np.nan, np.inf, -np.inf)


def giving_in_round_2(patch: pytest.MonkeyPatch, bad: float) -> None:
    """The first number of orebro, that of its patients, is such a one there."""
    honest = ModelWork.contribution

    def give(self: ModelWork) -> Any:
        values = honest(self)
        if (self._name, self._board.round.number) == ("orebro", 2):
            values = np.concatenate([[bad], values[1:]])
        return values

    patch.setattr(ModelWork, "contribution", give)


@pytest.mark.parametrize("bad", BAD)
def test_a_region_whose_numbers_are_not_finite_sends_none_of_them(
    bad: float, small_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    giving_in_round_2(monkeypatch, bad)
    federation = Federation(small_study)
    federation.run()
    assert "outside" in refusals(federation)["orebro"]
    assert "contribution 2" not in federation.parties["orebro"].sent
    assert set(opened(federation).values()) == {2}


@pytest.mark.parametrize("bad", BAD)
def test_control_where_nobody_looks_at_values_a_number_that_is_none_makes_any_sum_and_nobody_is_named(
    bad: float, small_study: Study, monkeypatch: pytest.MonkeyPatch, seen: Seen
) -> None:
    """What is encrypted then lacks its mask at that place, so the sum there is uniform modulo Q: within the range of
    right sums in three of four studies, in which all readers take it for the number of patients and go on.
    """
    encode = kernels.encode
    monkeypatch.setattr(kernels, "encode", lambda *given: min(0, encode(*given)))
    giving_in_round_2(monkeypatch, bad)
    wrong = []
    for _ in range(24):
        seen.given.clear()
        seen.opened.clear()
        federation = Federation(small_study)
        federation.run(until=lambda one: len(one.board.rounds) > 3)
        assert "orebro" not in refusals(federation) or "opened integer 0" in refusals(federation)["orebro"]
        if all(len(seen.opened[name]) > 1 for name in REGIONS):
            right = np.sum([seen.given[name][1] for name in REGIONS], axis=0)
            errors = [seen.opened[name][1] - right for name in REGIONS]
            assert all(np.array_equal(error, errors[0]) for error in errors)
            assert np.abs(errors[0][1:]).max() < 1e-6
            wrong.append(errors[0][0])
        if len(wrong) == 2:
            break
    first, second = wrong
    assert min(abs(first), abs(second), abs(first - second)) > 1e-6


# --- The sum ------------------------------------------------------------------------------------------


def test_control_without_the_check_of_a_sum_the_aggregator_alone_shifts_it(
    small_study: Study, monkeypatch: pytest.MonkeyPatch, seen: Seen
) -> None:
    """With it every reader notices: `test_an_altered_sum_is_noticed_by_every_reader_in_the_same_round`."""
    monkeypatch.setattr(opened_module, "verify_checks", lambda *given: None)
    federation = Federation(small_study)
    honest = federation.coordinator._say

    def say(content: m.Content, attachments: tuple[bytes, ...], now: float) -> Entry:
        if isinstance(content, m.Open) and content.round == 2:
            precision, values = federation.board.precision, federation.coordinator.board.round.first.values
            amount = 1 << (precision.capacity_bits - 8)
            wrong = shifted(precision.profile, federation.coordinator._packed_sum(), values, amount)
            content = content.model_copy(update={"total": m.Attachment.of(wrong).sha256})
            federation.coordinator._total = wrong
        return honest(content, attachments, now)

    federation.coordinator._say = say  # type: ignore[method-assign]
    federation.run()
    require_one_patient_more(seen)


# --- On the way ---------------------------------------------------------------------------------------


def altering_the_answer_of_halland(federation: Federation) -> None:
    """In round 2, on the way to orebro: the last byte of the last sealed answer's text."""

    def change(name: str, entry: Entry, attachments: tuple[bytes, ...]) -> Frames | None:
        content = entry.message.content
        if name == "orebro" and isinstance(content, m.Answer) and content.round == 2 and attachments:
            altered = bytearray(attachments[0])
            altered[-sealing.CONTENT_TAG - 40] ^= entry.message.sender == "halland"
            return entry.message.envelope, (bytes(altered),)
        return None

    tamper(federation, change)


def without_tags(patch: pytest.MonkeyPatch) -> None:
    """AES-256-GCM without its tag: the same keystream, and any bytes open."""
    begun = sealing.ContentCipher.__init__

    def begin(self: Any, content_key: bytes, context: Any) -> None:
        begun(self, content_key, context)
        self._secret = sealing.prf(content_key, "content", *context)

    def open_into(self: Any, number: int, sealed: Any, plaintext: Any) -> None:
        counter = number.to_bytes(12, "little") + (2).to_bytes(4, "big")
        stream = Cipher(algorithms.AES(self._secret), modes.CTR(counter)).decryptor()
        plaintext[:] = np.frombuffer(stream.update(bytes(sealed)[: -sealing.CONTENT_TAG]), np.uint8)

    patch.setattr(sealing.ContentCipher, "__init__", begin)
    patch.setattr(sealing.ContentCipher, "open_into", open_into)


def test_an_altered_frame_under_a_signed_hash_is_refused(small_study: Study) -> None:
    federation = Federation(small_study)
    altering_the_answer_of_halland(federation)
    federation.run()
    assert "is not what halland signed" in refusals(federation)["orebro"]
    assert federation.parties["orebro"].machine.reader.rounds_opened == 2


@pytest.mark.parametrize("tags", [True, False])
def test_control_without_hash_and_tag_the_sender_of_an_altered_share_stands_as_a_liar(
    tags: bool, small_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the tag alone it is refused still, though in the name of its sender."""
    monkeypatch.setattr(m.Attachment, "matches", lambda self, data: True)
    if not tags:
        without_tags(monkeypatch)
    federation = Federation(small_study)
    altering_the_answer_of_halland(federation)
    federation.run()
    said = refusals(federation)["orebro"]
    if tags:
        assert "the answer of halland cannot be used: it was not sealed under this keyholder's content key" in said
    else:
        assert "do not agree on a share answer" in said
        assert "halland" in said.partition(": ")[2].partition(";")[0].split(" against ")
