"""What can be done later: with a recorded wire, an old snapshot of a node, and messages that were sent before."""

from typing import Any

import numpy as np
import pytest

from hefed.crypto import keys as keys_module
from hefed.crypto import packing
from hefed.crypto.keys import open_seeds
from hefed.crypto.opening import Opening
from hefed.data import frozen
from hefed.data.table import load_table
from hefed.node.work import make_model
from hefed.protocol import known_answer
from hefed.protocol import messages as m
from hefed.protocol.board import Board
from hefed.protocol.contexts import answer_context, deal_context, finding_context
from hefed.protocol.contributor import ContributorPart
from hefed.protocol.errors import EquivocationError, ProtocolError, SealError, SignatureError
from hefed.protocol.opened import OpenedRounds
from hefed.protocol.ports import Outgoing
from hefed.protocol.roster import Roster
from hefed.protocol.sealing import ContentCipher, SealingKey
from hefed.study import Study
from tests.attacks.cheating import contribution, opened_with, signed
from tests.attacks.conftest import Seen
from tests.protocol.federation import Federation

REGIONS = ("halland", "kronoberg", "orebro")

# --- A recorded wire ----------------------------------------------------------------------------------


def key_from_the_wire(federation: Federation, dealer: str, keys: dict[str, dict[str, bytes]]) -> Any:
    """A contributor's key from what the aggregator recorded and the secrets of keyholders, which are given by name."""
    board, study, seeds = federation.board, federation.submission.study, {}
    n, t = len(board.dealt_keyholders), board.threshold
    for keyholder, secrets in keys.items():
        deal, number = board.deal(dealer), board.dealt_keyholders.index(keyholder)
        context = deal_context(study, dealer, keyholder)
        blob = SealingKey(secrets[f"dealing key for {dealer}"]).open(deal.sealed[keyholder], context)
        seeds |= open_seeds(study, dealer, number, n, t, blob, deal.hashes).seeds
    ordered = {subset: seeds[subset] for subset in board.subsets}
    return keys_module.ContributorKey(study, dealer, n, t, ordered, keys_module.Seed(bytes(32)))


def test_control_with_the_study_keys_of_t_keyholders_the_recorded_wire_opens_one_regions_vector(
    finished: Federation,
) -> None:
    keys = {name: finished.parties[name].vault.secrets for name in ("kronoberg", "university")}
    key = key_from_the_wire(finished, "halland", keys)
    label = OpenedRounds("anybody", finished.board, finished.parties["halland"].machine._work).label()
    packed, precision = contribution(finished, "halland", 0), finished.board.precision
    stolen = opened_with(precision, label, packed, key.secret_residues(precision.profile))
    bound = [precision.error(int(exponent)) for exponent in label.exponents]
    assert np.all(np.abs(stolen - known_answer.vector(label.digest, "halland")) <= bound)


def test_with_the_long_term_keys_of_all_keyholders_no_deal_of_the_recorded_wire_opens(finished: Federation) -> None:
    """That the keys of a study are destroyed is the business of tests/node/test_secrets.py."""
    study = finished.submission.study
    long_term = [finished.signers[name]._key.private_bytes_raw() for name in finished.study.keyholders]
    tried = 0
    for dealer in REGIONS:
        for keyholder, sealed in finished.board.deal(dealer).sealed.items():
            for a in long_term:
                for b in long_term:
                    tried += 1
                    with pytest.raises(SealError):
                        SealingKey(a + b + a).open(sealed, deal_context(study, dealer, keyholder))
    assert tried == 3 * 4 * 16


# --- A node that is set back --------------------------------------------------------------------------


def set_back(study: Study, other_table: bool) -> tuple[Federation, dict[str, Outgoing]]:
    """A federation at its end, whose orebro is then given back its state as it was in round 1, before it contributed,
    and shown the record once more; what it had sent before that.
    """
    federation = Federation(study)
    orebro = federation.parties["orebro"]
    kept: dict[str, Any] = {}

    def before(name: str, outgoing: Outgoing) -> Outgoing:
        if name == "orebro" and outgoing.key == "contribution 1":
            kept["sent"] = {key: one for key, one in orebro.sent.items() if key != "contribution 1"}
        return outgoing

    federation.before_accept = before
    federation.run()
    first = dict(orebro.sent)
    orebro.sent = kept["sent"]
    if other_table:
        orebro.vault.secrets["frozen table"] = frozen.to_bytes(load_table(study.tables["halland"], study, "orebro"))
    federation.start("orebro")
    return federation, first


def test_a_node_from_an_old_snapshot_makes_the_same_bytes_again(small_study: Study) -> None:
    """Contributions, check values and answers; a finding is sealed with fresh randomness, so a closing is another."""
    federation, first = set_back(small_study, other_table=False)
    again = federation.parties["orebro"].sent
    assert set(again) == set(first)
    for key in set(first) - {"closing"}:
        assert again[key].message.envelope == first[key].message.envelope, key
        assert again[key].attachments == first[key].attachments, key


def test_with_another_table_it_signs_and_encrypts_nothing_again(small_study: Study) -> None:
    federation, _ = set_back(small_study, other_table=True)
    again = federation.parties["orebro"].sent
    assert "contribution 1" not in again
    assert isinstance(again["refusal"].message.content, m.Refusal)
    assert "changed since it was approved" in again["refusal"].message.content.words


def test_control_without_the_commitment_two_vectors_under_one_label_show_their_difference(
    small_study: Study, monkeypatch: pytest.MonkeyPatch, seen: Seen
) -> None:
    """To the aggregator, which has no key: mask and noise are the same, so they cancel."""
    monkeypatch.setattr(ContributorPart, "_require_approved_table", lambda self: None)
    federation, first = set_back(small_study, other_table=True)
    precision, sent = federation.board.precision, []
    for outgoing in (first["contribution 1"], federation.parties["orebro"].sent["contribution 1"]):
        content = outgoing.message.content
        assert isinstance(content, m.Contribution)
        residues = packing.unpack(precision.profile, outgoing.attachments[0], content.values)
        sent.append((content, residues.astype(object)))
    (content, a), (again, b) = sent
    assert content == again  # one label
    difference = [(x - y) % p for x, y, p in zip(a, b, precision.profile.primes, strict=True)]
    packed = packing.pack(precision.profile, np.stack(difference).astype(np.uint64))
    integers = Opening(precision, federation.board.use(content)).open_again(packed).as_python()
    model = make_model(small_study, precision)
    scale = model.request(model.start()).exponents.astype(int) - precision.capacity_bits
    right = seen.given["orebro"][0] - seen.given["halland"][0]
    assert right.any()
    np.testing.assert_array_equal(np.ldexp(np.array(integers, float), scale), right)


# --- Messages that were sent once ---------------------------------------------------------------------


def until(federation: Federation, kind: str, number: int) -> Board:
    """The record before the first message of that kind and round."""
    board = Board(federation.roster, federation.submission.study)
    for entry in federation.log:
        if entry.message.body.kind == kind and getattr(entry.message.content, "round", None) == number:
            return board
        board.post(entry.message)
    raise AssertionError(kind)


def sent(federation: Federation, sender: str, key: str) -> m.Message:
    return federation.parties[sender].sent[key].message


@pytest.mark.parametrize(
    ("key", "kind", "says"),
    [
        ("contribution 1", "contribution", "is not one for round 2"),
        ("check 1", "open", "second 'check'"),
        ("answer 1 1", "open", "second 'answer'"),
        ("cohort", "contribution", "'cohort' of halland came in phase 'contribution', where it has no place"),
        ("deal", "contribution", "'deal' of halland came in phase 'contribution', where it has no place"),
    ],
)
def test_a_message_of_an_earlier_round_is_refused_by_its_chain_and_without_chains_by_its_place(
    key: str, kind: str, says: str, finished: Federation
) -> None:
    replayed = sent(finished, "halland", key)
    with pytest.raises(EquivocationError, match="does not follow on its last message"):
        until(finished, kind, 2).post(replayed)
    board = until(finished, kind, 2)
    board.last_digest["halland"] = replayed.body.previous  # the control: no chain
    with pytest.raises(ProtocolError, match=says):
        board.post(replayed)


def test_an_old_vector_under_a_new_signature_opens_to_nothing(small_study: Study) -> None:
    """The last defence, and where it is off the replay counts: `test_a_contribution_replayed_in_the_next_round_...`."""
    federation = Federation(small_study)

    def before(name: str, outgoing: Outgoing) -> Outgoing:
        if name != "orebro" or outgoing.key != "contribution 2":
            return outgoing
        content = outgoing.message.content
        assert isinstance(content, m.Contribution)
        profile = federation.board.profile
        longer = packing.unpack(profile, contribution(federation, "orebro", 0), known_answer.VALUES)
        old = packing.pack(profile, longer[:, : content.values])
        message = signed(federation, "orebro", content, outgoing.message.body.previous, (old,))
        federation.parties["orebro"].machine._last_digest = message.digest
        federation.parties["orebro"].sent[outgoing.key] = Outgoing(outgoing.key, message, (old,))
        return federation.parties["orebro"].sent[outgoing.key]

    federation.before_accept = before
    federation.run()
    assert federation.board.outcome is not None
    assert "is outside the range of right sums" in federation.board.outcome.words


def test_a_message_of_another_study_or_federation_is_refused(finished: Federation, small_study: Study) -> None:
    message = sent(finished, "halland", "approval")
    other = Board(finished.roster, bytes(32))
    with pytest.raises(ProtocolError, match="belongs to another study"):
        other.post(message)
    elsewhere = Roster.of("elsewhere", 1, finished.roster.members)
    with pytest.raises(SignatureError, match="of another federation"):
        m.read_message(message.envelope, elsewhere)
    assert m.read_message(message.envelope, finished.roster).digest == message.digest  # the control


def test_what_is_sealed_opens_in_no_other_place(finished: Federation) -> None:
    """Each seal with its own key, in its own context and in those of another study, dealer, recipient or question."""
    study, deal = finished.submission.study, finished.board.deal("halland").sealed["orebro"]
    key = SealingKey(finished.parties["orebro"].vault.secrets["dealing key for halland"])
    assert key.open(deal, deal_context(study, "halland", "orebro"))  # the control
    for context in (
        deal_context(bytes(32), "halland", "orebro"),
        deal_context(study, "kronoberg", "orebro"),
        deal_context(study, "halland", "kronoberg"),
        finding_context(study, "halland", "orebro"),
    ):
        with pytest.raises(SealError):
            key.open(deal, context)
    record, answer = finished.board.rounds[1], finished.parties["halland"].sent["answer 1 1"].attachments[0]
    content_key = finished.parties["halland"].vault.secrets["content key"]
    end = 4 + int.from_bytes(answer[:4], "little")
    right = answer_context(record.first.label, "halland", record.open_digests[0])
    assert ContentCipher(content_key, right).open(0, answer[4:end])  # the control
    for context in (
        answer_context(finished.board.rounds[2].first.label, "halland", record.open_digests[0]),
        answer_context(record.first.label, "orebro", record.open_digests[0]),
        answer_context(record.first.label, "halland", finished.board.rounds[2].open_digests[0]),
    ):
        with pytest.raises(SealError):
            ContentCipher(content_key, context).open(0, answer[4:end])
