"""What is left of a study on disk, and what the aggregator can do with all that it received and stored."""

import itertools
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from hefed.crypto import packing
from hefed.crypto.contribution import RunningSum
from hefed.crypto.errors import OpeningError
from hefed.crypto.keys import ContributorKey, DealtSeeds, Seed, ShareKeys, open_seeds, seed_hash, subsets
from hefed.crypto.opening import answer, open_sum
from hefed.node.parties import AGGREGATOR
from hefed.protocol import codec
from hefed.protocol import messages as m
from hefed.protocol.answers import read_answers
from hefed.protocol.contexts import answer_context, content_key_context, deal_context, finding_context
from hefed.protocol.errors import SealError
from hefed.protocol.sealing import CONTENT_TAG, ContentCipher, SealingKey
from hefed.study import Study
from tests.node.runs import record, secret_files, study_file
from tests.node.witness import Witness, distinctive, search, search_floats, watched_run


@pytest.fixture(scope="module")
def witness(tmp_path_factory: pytest.TempPathFactory) -> Witness:
    """A study that was watched from inside, and is over."""
    folder = tmp_path_factory.mktemp("watched")
    return watched_run(Study.load(study_file(folder)), folder / "out")


def updates(witness: Witness) -> np.ndarray[Any, np.dtype[np.float64]]:
    """All numbers of all cleartext vectors that can be told from others by their bytes."""
    return distinctive(np.concatenate([v for rounds in witness.updates.values() for v in rounds.values()]))


# --- What is left ----------------------------------------------------------------------------------


def test_while_it_runs_keys_are_in_key_files_and_nowhere_else(witness: Witness) -> None:
    regions = witness.study.members
    expected = {
        f"{name}, study key": {f"parties/{name}/study-keys/{witness.submission.study.hex()}.key"} for name in regions
    }
    for name in (AGGREGATOR, *regions):
        for what in ("signing", "transport"):
            expected[f"{name}, {what} key"] = {f"parties/{name}/identity.key"}
    assert witness.found == expected
    # Three seeds, a noise secret, a salt and seven other keys a region, its identity, and the study's key.
    assert len(witness.secrets()) > 3 * 14


def test_after_the_end_no_secret_is_in_any_file(witness: Witness) -> None:
    assert search(witness.folder, witness.secrets()) == {}
    assert secret_files(witness.folder) == []


def test_after_the_end_no_cleartext_update_is_in_any_file(witness: Witness) -> None:
    values = updates(witness)
    assert len(values) > 500
    assert search_floats(witness.folder, values) == {}


def test_the_search_finds_what_is_there(witness: Witness, tmp_path: Path) -> None:
    wanted, values = witness.secrets(), updates(witness)
    noise = secrets.token_bytes(1003)
    for number, secret in enumerate(wanted.values()):
        form = (secret, secret[16:], secret.hex().encode())[number % 3]
        (tmp_path / f"{number}").write_bytes(noise + form + noise)
    found = search(tmp_path, wanted)
    assert set(found) == set(wanted)
    (tmp_path / "little").write_bytes(noise + values.tobytes())
    (tmp_path / "big").write_bytes(noise[1:] + values.astype(">f8").tobytes())
    (tmp_path / "text").write_text("\n".join(map(repr, values.tolist())))
    places = search_floats(tmp_path, values)
    assert set(places) == set(values.tolist())
    assert all(files == {"little", "big", "text"} for files in places.values())


def test_the_updates_that_were_searched_for_are_those_that_were_encrypted(witness: Witness) -> None:
    precision = witness.board.precision
    for message, (packed,) in witness.messages("contribution"):
        content = message.content
        assert isinstance(content, m.Contribution)
        if content.round > 0:
            label = witness.labels[content.round]
            opened = _opened_by_its_own_key(witness, message.sender, content.round, packed)
            update = witness.updates[message.sender][content.round]
            noise = [precision.error(int(x)) for x in label.exponents[: len(update)]]
            assert np.all(np.abs(opened[: len(update)] - update) <= noise)


def _opened_by_its_own_key(witness: Witness, name: str, round: int, packed: bytes) -> np.ndarray[Any, Any]:
    """One contribution opened alone, with the seeds of its own contributor: what no party ever does."""
    label, precision = witness.labels[round], witness.board.precision
    key = witness.contributor_key(name)
    profile, values = label.profile, label.values
    residues = packing.residue_array(profile, values)
    packing.add_packed(profile, packing.checked(profile, packed, values), values, residues)
    secret = np.zeros_like(residues)
    for subset in subsets(key.keyholders, key.threshold):
        seeds = {name: DealtSeeds(key.study, name, 0, key.keyholders, key.threshold, {subset: key._seeds[subset]})}
        share = ShareKeys(profile, key.study, label.cohort, seeds)
        packed_share = answer(precision, _as_if_all_had_dealt(share, label.contributors), subset, label)
        packing.add_packed(profile, packing.checked(profile, packed_share, values), values, secret)
    moduli = np.array(profile.primes, np.float64)[:, None]
    limbs, beyond = packing.integers(profile, (residues + secret) % moduli, values, precision.largest_opened)
    assert beyond == -1
    return packing.decode(precision, label, limbs)


def _as_if_all_had_dealt(share: ShareKeys, contributors: int) -> ShareKeys:
    share.dealers = tuple(str(number) for number in range(contributors))
    return share


# --- What the aggregator can do with what it has ---------------------------------------------------


def aggregator_keys(witness: Witness) -> set[bytes]:
    """Everything of 32 bytes that the aggregator has: its own keys, and every such field of every message."""
    found = set(witness.identities[AGGREGATOR].values())

    def walk(value: Any) -> None:
        if isinstance(value, bytes):
            found.add(value[:32])
        for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            walk(item)

    for stored in record(witness.folder / "parties" / AGGREGATOR):
        encoded, signature = codec.decode(stored.envelope)
        walk([codec.decode(encoded), signature, *stored.attachments])
    return {key for key in found if len(key) == 32}


def sealing_keys(witness: Witness) -> Iterator[SealingKey]:
    """All that can be put together from the aggregator's own keys as a key to open seals with."""
    for parts in itertools.product(witness.identities[AGGREGATOR].values(), repeat=3):
        yield SealingKey(b"".join(parts))


def sealed(witness: Witness) -> Iterator[tuple[bytes, tuple[Any, ...], bytes]]:
    """Every seal in the record, with its context and the secret of the key that it was made for."""
    study = witness.submission.study
    for message, _ in witness.messages("deal"):
        for keyholder, blob in message.content.sealed.items():  # type: ignore[attr-defined]
            key = witness.vaults[keyholder][f"dealing key for {message.sender}"]
            yield blob, deal_context(study, message.sender, keyholder), key
    for message, _ in witness.messages("acknowledgement"):
        for reader, blob in message.content.content_keys.items():  # type: ignore[attr-defined]
            context = content_key_context(study, message.sender, reader)
            yield blob, context, witness.vaults[reader]["reading key"]
    for message, _ in witness.messages("closing"):
        context = finding_context(study, message.sender, "analyst")
        yield message.content.sealed, context, witness.submission._key._secret  # type: ignore[attr-defined]


def test_the_aggregator_stores_no_attachment_but_contributions_answers_and_sums(witness: Witness) -> None:
    stored = record(witness.folder / "parties" / AGGREGATOR)
    assert {one.kind for one in stored if one.attachments} == {"contribution", "answer", "sum"}
    assert not (witness.folder / "parties" / AGGREGATOR / "study-keys").exists()


def test_no_seal_in_the_record_opens_with_anything_that_the_aggregator_has(witness: Witness) -> None:
    seals = list(sealed(witness))
    assert len(seals) == 9 + 9 + 3
    for blob, context, right in seals:
        for key in sealing_keys(witness):
            with pytest.raises(SealError):
                key.open(blob, context)
        assert SealingKey(right).open(blob, context)  # the control


def test_no_answer_of_a_keyholder_opens_with_anything_that_the_aggregator_has(witness: Witness) -> None:
    keys = aggregator_keys(witness)
    assert len(keys) > 100
    answers = witness.messages("answer")
    assert len(answers) >= 3 * 8

    def parts(blob: bytes, values: int) -> Iterator[tuple[int, bytes]]:
        """The number and the bytes of every sealed part."""
        begin = 4 + int.from_bytes(blob[:4], "little")
        yield 0, blob[4:begin]
        size = witness.board.profile.packed_size(values) + CONTENT_TAG  # vectors of a single group
        for number, start in enumerate(range(begin, len(blob), size), 1):
            yield number, blob[start : start + size]

    for message, (blob,) in answers[:6]:
        content = message.content
        assert isinstance(content, m.Answer)
        rounds = witness.board.rounds[content.round]
        digest = rounds.open_digests[content.attempt - 1]
        context = answer_context(rounds.first.label, message.sender, digest)
        values = rounds.first.values
        for key in keys:
            with pytest.raises(SealError):
                read_answers(ContentCipher(key, context), witness.board.profile, values, blob)
            for part in parts(blob, values):
                with pytest.raises(SealError):
                    ContentCipher(key, context).open(*part)
        right = ContentCipher(witness.vaults[message.sender]["content key"], context)  # the control
        assert all(right.open(*part) for part in parts(blob, values))


def test_nothing_that_the_aggregator_has_is_a_seed(witness: Witness) -> None:
    sets, keys, study = subsets(3, 2), aggregator_keys(witness), witness.submission.study
    for message, _ in witness.messages("deal"):
        hashes = dict(zip(sets, message.content.hashes, strict=True))  # type: ignore[attr-defined]
        for subset, key in itertools.product(sets, keys):
            assert seed_hash(study, message.sender, subset, Seed(key)) != hashes[subset]
        own = witness.contributor_key(message.sender)
        assert own.seed_hashes() == hashes  # the control


def test_stored_contributions_look_like_uniform_numbers(witness: Witness) -> None:
    profile = witness.board.profile
    fractions: list[list[np.ndarray[Any, Any]]] = [[], []]
    for message, (packed,) in witness.messages("contribution"):
        residues = packing.unpack(profile, packed, message.content.values)  # type: ignore[attr-defined]
        for k, prime in enumerate(profile.primes):
            fractions[k].append(residues[k] / prime)
    for k in range(2):
        values = np.concatenate(fractions[k])
        assert len(values) > 1000
        assert stats.kstest(values, "uniform").pvalue > 1e-6
        assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 6 / np.sqrt(len(values))


def _held(witness: Witness, keyholder: str) -> ShareKeys:
    """The shares of a keyholder, from what the aggregator stored and the keyholder's own dealing keys."""
    board, study = witness.board, witness.submission.study
    number = board.dealt_keyholders.index(keyholder)
    deals = {}
    for dealer in board.study.contributors:
        deal = board.deal(dealer)
        key = SealingKey(witness.vaults[keyholder][f"dealing key for {dealer}"])
        blob = key.open(deal.sealed[keyholder], deal_context(study, dealer, keyholder))
        deals[dealer] = open_seeds(study, dealer, number, 3, 2, blob, deal.hashes)
    return ShareKeys.combine(board.profile, study, board.cohort.digest, deals)


def _guessed(witness: Witness, number: int) -> ShareKeys:
    """Shares from seeds that somebody without any would have to guess."""
    study, deals = witness.submission.study, {}
    for dealer in witness.study.contributors:
        key = ContributorKey.deal(study, dealer, 3, 2)
        hashes = list(key.seed_hashes().values())
        deals[dealer] = open_seeds(study, dealer, number, 3, 2, key.seeds_for(number), hashes)
    return ShareKeys.combine(witness.board.profile, study, witness.board.cohort.digest, deals)


def _stored_sum(witness: Witness, round: int) -> bytes:
    label = witness.labels[round]
    total = RunningSum(label.profile, label)
    for message, (packed,) in witness.messages("contribution"):
        if message.content.round == round:  # type: ignore[attr-defined]
            total.add(packed)
    assert total.count == 3
    return total.packed()


@pytest.mark.parametrize("keyholders", [("halland", "orebro"), ("halland", "kronoberg"), ("kronoberg", "orebro")])
def test_with_two_keyholders_seeds_what_the_aggregator_stored_opens(
    witness: Witness, keyholders: tuple[str, str]
) -> None:
    precision = witness.board.precision
    held = [_held(witness, name) for name in keyholders]
    for round, label in witness.labels.items():
        answers = {t: answer(precision, keys, t, label) for keys in held for t in keys.subsets}
        opened = open_sum(precision, label, _stored_sum(witness, round), answers).decode(label, precision)
        if round > 0:
            expected = sum(update[round] for update in witness.updates.values())
            noise = [precision.error(int(x)) for x in label.exponents[: len(expected)]]
            assert np.all(np.abs(opened[: len(expected)] - expected) <= noise)


@pytest.mark.parametrize("keyholder", ["halland", "kronoberg", "orebro"])
def test_with_one_keyholders_seeds_no_sum_opens(witness: Witness, keyholder: str) -> None:
    precision = witness.board.precision
    number = witness.board.dealt_keyholders.index(keyholder)
    held, guessed = _held(witness, keyholder), _guessed(witness, (number + 1) % 3)
    for round, label in witness.labels.items():
        answers = {t: answer(precision, guessed, t, label) for t in guessed.subsets}
        answers |= {t: answer(precision, held, t, label) for t in held.subsets}
        assert set(answers) == set(subsets(3, 2))
        with pytest.raises(OpeningError):
            open_sum(precision, label, _stored_sum(witness, round), answers)


def test_without_any_seed_neither_a_contribution_nor_a_sum_is_within_the_range_of_right_ones(witness: Witness) -> None:
    precision, profile = witness.board.precision, witness.board.profile
    stored = [(message, packed) for message, (packed,) in witness.messages("contribution")]
    stored += [(message, frames[0]) for message, frames in witness.messages("sum")]
    for message, packed in stored:
        label = witness.labels[message.content.round]  # type: ignore[attr-defined]
        residues = packing.residue_array(profile, label.values)
        packing.add_packed(profile, packing.checked(profile, packed, label.values), label.values, residues)
        _, beyond = packing.integers(profile, residues, label.values, precision.largest_opened)
        assert beyond >= 0
