"""Cards and rosters that were altered, and any bytes in their place: typed errors, fit for a terminal."""

import base64
from collections.abc import Callable
from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hefed.node.identity import Identity
from hefed.protocol import messages as m
from hefed.protocol.card import Card
from hefed.protocol.errors import EncodingError, RosterError
from hefed.protocol.roster import Roster, SignedRoster
from hefed.protocol.text import MAX_BYTES, card_text, read_card, read_roster, roster_text
from tests.protocol.test_roster import IDENTITIES, REGION, everybody, roster

# --- Cards that were altered ------------------------------------------------------------------------


def altered(text: str, key: str, value: str) -> bytes:
    lines = [f"{key}: {value}" if line.startswith(f"{key}: ") else line for line in text.splitlines()]
    return ("\n".join(lines) + "\n").encode()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("hefed card", "\udcff", "is not UTF-8 text; is it the right file"),
        ("name: halland\n", "", "line 2: 'identity: .*' stands where 'name: ...' must"),
        ("signature: ", "signed: ", "line 5: 'signed: .*' stands where 'signature: ...' must"),
        ("transport: ", "transport: !", "line 4: there is no base64 where it must be"),
        ("transport: ", "transport: å", "line 4: there is no base64 where it must be"),
        ("\nsignature: ", "", "line 4: there is no base64 where it must be"),
    ],
)
def test_a_card_that_lost_its_form_is_refused_with_the_line(old: str, new: str, words: str) -> None:
    text = card_text(IDENTITIES["halland"].card("halland"))
    assert card_text(read_card(text.encode())) == text
    with pytest.raises(RosterError, match=words):
        read_card(text.replace(old, new).encode(errors="surrogateescape"))


def test_a_card_ends_where_it_must() -> None:
    text = card_text(IDENTITIES["halland"].card("halland"))
    with pytest.raises(RosterError, match="says 'more: 1' where nothing more may stand"):
        read_card(f"{text}more: 1\n".encode())
    with pytest.raises(RosterError, match=r"line 5: 'signature: \.\.\.' is missing"):
        read_card(text[: text.index("signature: ")].encode())


def test_keys_that_were_swapped_in_a_card_are_noticed() -> None:
    mine = IDENTITIES["halland"].card("halland")
    with pytest.raises(RosterError, match="swapped"):
        Card(mine.name, mine.transport, mine.identity, mine.signature)
    theirs = IDENTITIES["orebro"].card("halland")
    for key in ("identity", "transport"):
        with pytest.raises(RosterError, match="own signature"):
            read_card(altered(card_text(mine), key, b64(getattr(theirs, key))))
    with pytest.raises(RosterError, match="own signature"):
        read_card(altered(card_text(mine), "name", "orebro"))


@given(st.integers(0, 10**6), st.integers(0, 127))
def test_no_changed_letter_in_a_card_goes_unnoticed(place: int, letter: int) -> None:
    text = bytearray(card_text(IDENTITIES["halland"].card("halland")).encode())
    place %= len(text) - 1  # the last end of line may be missing
    if text[place] == letter:
        letter ^= 1
    text[place] = letter
    with pytest.raises(RosterError):
        read_card(bytes(text))


def test_a_signature_of_a_roster_is_none_of_a_card_or_a_message() -> None:
    one, made = IDENTITIES["halland"], roster()
    with pytest.raises(RosterError, match="own signature"):
        Card("halland", one.signer.public, one.transport_public, one.sign_roster(made))
    message = one.signer.sign(
        m.Refusal(words="no"), federation="x", study=bytes(32), sender="halland", previous=m.ZERO_HASH
    )
    _, signature = cbor2.loads(message.envelope)
    with pytest.raises(RosterError, match="signature of halland"):
        SignedRoster(made, {"halland": signature})


# --- Hostile bytes ----------------------------------------------------------------------------------


def with_member(**changed: Any) -> Callable[[dict[str, Any]], object]:
    return lambda value: value["members"][0].update(changed)


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value.update(version=True),
        lambda value: value.update(version=float("inf")),
        lambda value: value.update(version="3"),
        lambda value: value.update(more=1),
        lambda value: value.pop("addresses"),
        lambda value: value.update(members=7),
        lambda value: value.update(members={"a": 1}),
        lambda value: value.update(addresses="a:1"),
        with_member(identity=2**40),  # as a length it would be a terabyte
        with_member(identity=[0] * 32),
        with_member(roles="aggregator"),
        with_member(roles=["owner"]),
        with_member(roles=["aggregator", "aggregator"]),
        with_member(name="\x1b]0;x\x07"),
        with_member(name=5),
        with_member(transport=bytes(31)),
        with_member(more=None),
    ],
)
def test_bytes_that_say_another_thing_than_a_roster_are_refused(change: Callable[[dict[str, Any]], object]) -> None:
    value = cbor2.loads(roster().to_bytes())
    change(value)
    with pytest.raises(RosterError) as caught:
        Roster.from_bytes(cbor2.dumps(value, canonical=True))
    assert str(caught.value).isprintable()


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_with_a_type(data: bytes) -> None:
    with pytest.raises((RosterError, EncodingError)):
        Roster.from_bytes(data)
    for read in (read_card, read_roster):
        with pytest.raises(RosterError):
            read(data)


@settings(max_examples=300)
@given(st.data())
def test_a_text_that_was_changed_is_refused_or_says_another_thing_in_the_one_form(data: st.DataObject) -> None:
    lines = roster_text(everybody(roster())).splitlines()
    place = data.draw(st.integers(0, len(lines) - 1))
    what = data.draw(st.sampled_from(["drop", "twice", "swap", "letter", "other"]))
    if what == "drop":
        del lines[place]
    elif what == "twice":
        lines.insert(place, lines[place])
    elif what == "swap":
        other = data.draw(st.integers(0, len(lines) - 1))
        lines[place], lines[other] = lines[other], lines[place]
    elif what == "letter":
        at = data.draw(st.integers(0, len(lines[place]) - 1))
        lines[place] = lines[place][:at] + data.draw(st.characters()) + lines[place][at + 1 :]
    else:
        lines[place] = data.draw(st.text(max_size=80))
    changed = ("\n".join(lines) + "\n").encode("utf-8", "surrogatepass")
    words = ""
    try:
        result = read_roster(changed)
    except RosterError as error:
        words = str(error)
    else:  # a signature dropped, or what mail may do to the ends of lines
        assert result.roster == roster()
        assert roster_text(result).encode() == changed.replace(b"\r\n", b"\n").rstrip(b"\n") + b"\n"
    assert words.isprintable()


def test_what_says_the_same_in_another_form_is_refused() -> None:
    text = roster_text(everybody(roster()))
    lines = text.splitlines(keepends=True)
    swapped = "".join([*lines[:-2], lines[-1], lines[-2]])
    # The last letter before == carries four bits that say nothing.
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    loose = text[:-4] + alphabet[alphabet.index(text[-4]) + 1] + text[-3:]
    assert base64.b64decode(loose.split()[-1]) == base64.b64decode(text.split()[-1])
    for other in (swapped, loose):
        with pytest.raises(RosterError, match="one written form"):
            read_roster(other.encode())


def test_a_text_that_is_too_long_is_refused_before_it_is_read() -> None:
    for read in (read_card, read_roster):
        with pytest.raises(RosterError, match="more than 1 MiB"):
            read(b"x" * (MAX_BYTES + 1))


def test_the_largest_roster_with_all_signatures_fits() -> None:
    identities = {f"{'x' * 60}{number:04}": Identity.passing() for number in range(1024)}
    roles: list[Any] = [("aggregator",)] + [("analyst", *REGION)] * 1023
    members = [one.member(name, part) for (name, one), part in zip(identities.items(), roles, strict=True)]
    made = Roster.of("x" * 128, 10**6, members)
    text = roster_text(SignedRoster(made, {name: one.sign_roster(made) for name, one in identities.items()}))
    assert len(text) < MAX_BYTES
    assert read_roster(text.encode()).missing == ()
    assert Roster.from_bytes(made.to_bytes()) == made


@pytest.mark.parametrize("version", ["0", "03", "-3", "3.0", "three", "1234567890", "", "3 "])
def test_a_version_is_a_whole_number_in_its_one_form(version: str) -> None:
    text = roster_text(everybody(roster()))
    assert "\nversion: 3\n" in text
    with pytest.raises(RosterError, match="is no version"):
        read_roster(text.replace("\nversion: 3\n", f"\nversion: {version}\n").encode())


def test_another_version_of_the_files_form_is_said_to_be_one() -> None:
    text = roster_text(everybody(roster())).replace("hefed roster 1", "hefed roster 2")
    with pytest.raises(RosterError, match="another version of hefed"):
        read_roster(text.encode())


def test_a_card_is_no_roster() -> None:
    with pytest.raises(RosterError, match="right file"):
        read_roster(card_text(IDENTITIES["halland"].card("halland")).encode())
