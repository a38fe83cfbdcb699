"""Cards and rosters: one form each, every signature holds, and hostile bytes have a typed error fit for a terminal."""

import hashlib
import re
import secrets
import struct
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import cbor2
import pycddl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hefed.node.identity import Identity
from hefed.protocol import messages as m
from hefed.protocol.board import Board
from hefed.protocol.errors import ProtocolError, RosterError
from hefed.protocol.roster import ROLES, Member, Roster, SignedRoster
from hefed.protocol.rules import Phase
from hefed.protocol.text import card_text, read_card, read_roster, roster_text
from hefed.study import Study
from tests.protocol.federation import Federation

IDENTITIES = {name: Identity.passing() for name in ("aggregator", "analyst", "halland", "kronoberg", "orebro")}
PARTS: dict[str, Any] = {"aggregator": ("aggregator",), "analyst": ("analyst",)}
REGION: Any = ("contributor", "keyholder", "reader")


def roster(**changed: Any) -> Roster:
    members = [one.member(name, PARTS.get(name, REGION)) for name, one in IDENTITIES.items()]
    made = Roster.of("Nordic heart", 3, members, addresses=("agg.example.org:7100",))
    return replace(made, **changed)


def signed(made: Roster, *names: str) -> SignedRoster:
    return SignedRoster(made, {name: IDENTITIES[name].sign_roster(made) for name in names})


def everybody(made: Roster) -> SignedRoster:
    return signed(made, *IDENTITIES)


# --- One form, by independent answers ---------------------------------------------------------------


def enc(*parts: bytes | str) -> bytes:
    raw = [part.encode() if isinstance(part, str) else part for part in parts]
    return b"".join(struct.pack("<Q", len(part)) + part for part in raw)


def spoken(digest: bytes, groups: int) -> str:
    number, parts = int(digest.hex(), 16), []
    for _ in range(groups):
        number, part = divmod(number, 100_000)
        parts.append(str(part).zfill(5))
    return " ".join(reversed(parts))


def test_the_digest_covers_every_field_by_an_independent_encoding() -> None:
    made = roster()
    value = {
        "federation": "Nordic heart",
        "version": 3,
        "addresses": ["agg.example.org:7100"],
        "least_threshold": 2,
        "least_min_contributors": 3,
        "members": [
            {
                "name": name,
                "identity": one.signer.public,
                "transport": one.transport_public,
                "roles": [*PARTS.get(name, REGION)],
            }
            for name, one in sorted(IDENTITIES.items())
        ],
    }
    assert made.digest == hashlib.sha256(enc("hefed/1 roster", cbor2.dumps(value, canonical=True))).digest()
    assert made.fingerprint == spoken(made.digest, 12)
    others = [
        roster(version=4),
        roster(federation="Nordic hearts"),
        roster(addresses=()),
        roster(least_threshold=3, least_min_contributors=4),
        roster(least_min_contributors=4),
        roster(members=made.members[:-1]),
    ]
    assert len({other.digest for other in [made, *others]}) == 1 + len(others)


def test_the_fingerprint_of_a_member_is_40_digits_of_a_hash_over_name_and_keys() -> None:
    one = IDENTITIES["halland"]
    digest = hashlib.sha256(enc("hefed/1 fingerprint", "halland", one.signer.public, one.transport_public)).digest()
    card = one.card("halland")
    assert card.fingerprint == card.member(REGION).fingerprint == spoken(digest, 8)
    assert one.card("hallanb").fingerprint != card.fingerprint
    assert replace(card.member(REGION), transport=bytes(32)).fingerprint != card.fingerprint


def test_what_is_signed_is_a_label_of_its_own_and_the_digest() -> None:
    made, one = roster(), IDENTITIES["halland"]
    assert one.sign_roster(made) == one._key.sign(enc("hefed/1 roster signature", made.digest))
    public = one.signer.public, one.transport_public
    assert one.card("halland").signature == one._key.sign(enc("hefed/1 card", "halland", *public))


names = st.from_regex(r"[a-z0-9](?:[a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
texts = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=40)
addresses = st.sampled_from(["a:1", "agg.example.org:7100", "192.0.2.7:65535", "[2001:db8::1]:7100", "x-y.se:80"])


@st.composite
def rosters(draw: Any) -> Roster:
    listed = draw(st.lists(names, min_size=1, max_size=6, unique=True))
    roles = st.lists(st.sampled_from(ROLES[1:]), min_size=1, unique=True).map(sorted)
    parts: list[Any] = [("aggregator",), *(tuple(draw(roles)) for _ in listed[1:])]
    members = [
        Member(n, secrets.token_bytes(32), secrets.token_bytes(32), p, draw(st.none() | st.dates()))
        for n, p in zip(listed, parts, strict=True)
    ]
    threshold = draw(st.integers(2, 16))
    return Roster.of(
        draw(texts), draw(st.integers(1, 10**6)), members,
        addresses=tuple(draw(st.lists(addresses, max_size=5, unique=True))),
        least_threshold=threshold, least_min_contributors=draw(st.integers(threshold + 1, 512)),
    )  # fmt: skip


@settings(max_examples=60)
@given(rosters())
def test_a_roster_comes_back_as_it_was_from_bytes_and_from_text(made: Roster) -> None:
    assert Roster.from_bytes(made.to_bytes()) == made
    assert read_roster(roster_text(SignedRoster(made, {})).encode()) == SignedRoster(made, {})


@given(st.lists(st.sampled_from(sorted(IDENTITIES)), unique=True))
def test_signatures_come_back_as_they_were(who: list[str]) -> None:
    made = signed(roster(), *who)
    again = read_roster(roster_text(made).encode())
    assert again == made
    assert set(again.missing) == set(IDENTITIES) - set(who)


@given(names)
def test_a_card_comes_back_as_it_was(name: str) -> None:
    for ends in (None, date(2028, 11, 26)):
        card = IDENTITIES["halland"].card(name, ends)
        assert read_card(card_text(card).encode()) == card


def test_mail_may_change_the_ends_of_lines() -> None:
    made = everybody(roster())
    assert read_roster(roster_text(made).replace("\n", "\r\n").encode() + b"\r\n\r\n") == made


PAGE = (Path(__file__).parents[2] / "protocols" / "federation.md").read_text()


def test_rosters_at_their_limits_fit_the_published_schema() -> None:
    (schema,) = re.findall(r"^```cddl\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    published = pycddl.Schema(schema)
    largest = roster(
        version=10**6,
        federation="x" * 128,
        addresses=tuple(f"a:{port}" for port in range(1, 9)),
        least_threshold=16,
        least_min_contributors=512,
    )
    ending = replace(roster(), members=tuple(replace(one, ends=date(2028, 2, 29)) for one in roster().members))
    for made in (roster(), largest, roster(version=1, addresses=()), ending):
        published.validate_cbor(made.to_bytes())
    value = cbor2.loads(largest.to_bytes())
    for key, wrong in (
        ("version", 10**6 + 1),
        ("least_threshold", 17),
        ("least_min_contributors", 513),
        ("members", []),
    ):
        with pytest.raises(pycddl.ValidationError):
            published.validate_cbor(cbor2.dumps(value | {key: wrong}, canonical=True))


def test_the_texts_have_the_lines_of_the_published_ones() -> None:
    def keys(text: str) -> list[str]:
        return [line.partition(": ")[0] for line in text.splitlines()]

    blocks = dict(re.findall(r"^```\n(hefed \w+) 1\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
    card = card_text(IDENTITIES["halland"].card("halland", date(2028, 11, 26)))
    assert keys(card) == ["hefed card 1", *keys(blocks["hefed card"])]
    assert "ends: 2028-11-26\n" in card
    ending = replace(roster(), members=tuple(replace(one, ends=date(2028, 11, 26)) for one in roster().members))
    text = keys(roster_text(signed(ending, "halland")))
    assert text[:11] + text[-1:] == ["hefed roster 1", *keys(blocks["hefed roster"])]


# --- Signatures of a roster -------------------------------------------------------------------------


def test_a_forged_signature_is_refused_and_named() -> None:
    made = roster()
    forgeries: list[bytes] = [
        bytes(64),
        b"",
        IDENTITIES["orebro"].sign_roster(made),  # another member's
        IDENTITIES["halland"].sign_roster(replace(made, version=4)),  # of another version
        IDENTITIES["halland"].sign_roster(replace(made, federation="Nordic hearts")),
        IDENTITIES["halland"].sign_roster(made)[:-1],
        IDENTITIES["halland"].sign_roster(made) + b"\0",
    ]
    for forged in forgeries:
        with pytest.raises(RosterError, match="signature of halland"):
            SignedRoster(made, {"halland": forged})


def test_a_key_that_is_no_point_signs_nothing() -> None:
    made = roster()
    members = tuple(replace(one, identity=b"\xff" * 32) if one.name == "halland" else one for one in made.members)
    with pytest.raises(RosterError, match="signature of halland"):
        SignedRoster(replace(made, members=members), {"halland": IDENTITIES["halland"].sign_roster(made)})


def test_a_strangers_signature_is_refused() -> None:
    with pytest.raises(RosterError, match="'lund' is not on the roster"):
        SignedRoster(roster(), {"lund": bytes(64)})


def test_two_signatures_of_one_member_are_refused() -> None:
    text = roster_text(everybody(roster()))
    twice = text + text.splitlines(keepends=True)[-1]
    with pytest.raises(RosterError, match="two signatures of 'orebro'"):
        read_roster(twice.encode())


def test_signatures_are_united_and_only_those_of_one_roster() -> None:
    made = roster()
    united = signed(made, "halland", "analyst").united(signed(made, "orebro", "halland"))
    assert set(united.signatures) == {"halland", "analyst", "orebro"}
    assert united.missing == ("aggregator", "kronoberg")
    with pytest.raises(RosterError, match="different rosters"):
        signed(made, "halland").united(signed(replace(made, least_min_contributors=4), "orebro"))


# --- Rosters that must not be -----------------------------------------------------------------------

LONE: list[tuple[dict[str, Any], str]] = [
    ({"version": 0}, "version"),
    ({"version": 10**6 + 1}, "version"),
    ({"federation": ""}, "name of a federation"),
    ({"federation": "x" * 129}, "name of a federation"),
    ({"federation": " x"}, "name of a federation"),
    ({"federation": "\x1b[31mred"}, "name of a federation"),
    ({"federation": "a\u202eb"}, "name of a federation"),
    ({"least_threshold": 1}, "least threshold"),
    ({"least_threshold": 17, "least_min_contributors": 18}, "least threshold"),
    ({"least_threshold": 3}, "least min_contributors"),
    ({"least_min_contributors": 513}, "least min_contributors"),
    ({"addresses": ("a:1", "a:1")}, "each once"),
    ({"addresses": tuple(f"a:{port}" for port in range(1, 10))}, "at most 8"),
    ({"members": ()}, "exactly one aggregator"),
]


@pytest.mark.parametrize(("changed", "words"), LONE)
def test_a_roster_that_contradicts_itself_is_refused(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(RosterError, match=words) as caught:
        roster(**changed)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "address",
    [
        "", "a", "a:", ":1", "a:0", "a:65536", "a:07", "a:1\n", "a b:1", "-a:1", "a..b:1", "a_b:1", "tcp://a:1",
        "256.1.1.1:1", "1.2.3:1", "2001:db8::1:7100", "[2001:db8::1]", "[fe80::1%eth0]:1", "[::g]:1", "[1.2.3.4]:1",
        "a:1;b", "\x1b[2J:1", f"{'a' * 64}:1", f"{'a.' * 127}a:1", "a:٣",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(RosterError, match="HOST:PORT") as caught:
        roster(addresses=(address,))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("address", ["a:1", "Agg.Example.org:65535", "192.0.2.7:7100", "[2001:db8::1]:7100", "[::1]:1"])
def test_what_is_an_address_is_taken(address: str) -> None:
    assert roster(addresses=(address,)).addresses == (address,)


@pytest.mark.parametrize("role", ["contributor", "keyholder", "reader"])
def test_the_aggregator_is_no_region(role: str) -> None:
    made = roster()
    both: Any = tuple(sorted(("aggregator", role)))
    members = tuple(replace(one, roles=both) if one.name == "aggregator" else one for one in made.members)
    with pytest.raises(RosterError, match="aggregator and can be neither"):
        replace(made, members=members)


def test_two_aggregators_or_two_members_with_one_key_are_refused() -> None:
    made = roster()
    halland = made.member("halland")
    aggregators = tuple(replace(one, roles=("aggregator",)) if one is halland else one for one in made.members)
    with pytest.raises(RosterError, match="exactly one aggregator"):
        replace(made, members=aggregators)
    for key in ("identity", "transport"):
        twins = [replace(one, **{key: getattr(halland, key)}) if one.name == "orebro" else one for one in made.members]
        with pytest.raises(RosterError, match=f"same {key} key"):
            replace(made, members=tuple(twins))


# --- What no study may go below ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"least_threshold": 3, "least_min_contributors": 4}, "threshold is 2.*below 3"),
        ({"least_min_contributors": 4}, "min_contributors is 3.*below 4"),
        ({}, None),
    ],
)
def test_a_study_below_the_rosters_limits_is_refused_by_everybody(
    limits: dict[str, int], words: str | None, small_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = Roster.of
    monkeypatch.setattr(Roster, "of", lambda *arguments: of(*arguments, **limits))
    federation = Federation(small_study)
    monkeypatch.undo()
    if words is None:
        federation.submit()
        return
    with pytest.raises(ProtocolError, match=words):
        federation.submit()
    board = Board(federation.roster, federation.submission.study)
    invitation = federation.signers["analyst"].sign(
        federation.submission.invitation,
        federation="test",
        study=federation.submission.study,
        sender="analyst",
        previous=m.ZERO_HASH,
    )
    with pytest.raises(ProtocolError, match=words):
        board.post(invitation)
    assert board.phase is Phase.INVITATION
