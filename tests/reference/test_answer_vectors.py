"""A reader of hefed and the reference get what keyholders answer in a round, and both say the same of every vector:
that it opens, and whether it is checked; or why not, and whom that names.
"""

from types import SimpleNamespace

import pytest

from hefed.crypto.contribution import check_value
from hefed.crypto.errors import OpeningError
from hefed.crypto.keys import subsets
from hefed.crypto.packing import in_groups
from hefed.protocol import messages as m
from hefed.protocol.answers import write_answers
from hefed.protocol.contexts import answer_context
from hefed.protocol.errors import EquivocationError, ProtocolError
from hefed.protocol.reader import ReaderPart
from hefed.protocol.sealing import ContentCipher
from protocols.reference.answers import AnswerError, open_round
from protocols.reference.primitives import RefusedError
from protocols.reference.round_vectors import SMALL as ROUNDS
from tests.reference.test_round_vectors import SMALL, Round
from tests.reference.vectors import read

KEY = bytes(32)


def entries(kind):
    cases = [(name, one) for name in SMALL for one in read(name + kind)["answered"]]
    return pytest.mark.parametrize(("name", "one"), cases, ids=[f"{name}: {one['name']}" for name, one in cases])


def name_of(keyholder):
    return f"keyholder-{keyholder}"


def sent(a_round, one):
    """Of each answer its attempt and keyholder, and the answers and hashes in it, each by its set."""
    right = {tuple(shown["subset"]): shown for shown in a_round.v["answers"]}
    found = {}
    for attempt, asked in enumerate(one["asked"], 1):
        for j in asked:
            held = [T for T in right if j not in T]
            whole = {T: bytes.fromhex(right[T]["packed"]["hex"]) for T in held if all(i in T for i in asked if i < j)}
            hashes = {T: bytes.fromhex(right[T]["hash"]) for T in held if T not in whole}
            found[attempt, j] = whole, hashes
    for changed in one["changed"]:
        subset = tuple(changed["subset"])
        for place, what in enumerate(("packed", "hash")):
            those = found[changed["attempt"], changed["keyholder"]][place]
            those.pop(subset, None)
            those |= {subset: bytes.fromhex(changed[what])} if what in changed else {}
    return found


class Work:
    """Takes the opened sums."""

    values = None

    def step(self, values):
        self.values = values


class Reader:
    """A reader for whom everything was right until the answers of this round; the check values fit the sum."""

    def __init__(self, a_round, total):
        self.round, self.total, label = a_round, total, a_round.label
        names = [name_of(j) for j in range(a_round.n)]
        fitting = check_value(a_round.profile, total, label.values, a_round.list_digest)
        self.record = SimpleNamespace(
            number=label.round,
            first=SimpleNamespace(label=label.digest, values=label.values),
            open_digests=[bytes([attempt]) * 32 for attempt in range(1, 4)],
            checks={"all of them": SimpleNamespace(value=fitting)},
            sum=m.Sum.model_construct(round=label.round, absent=()),
            list_digest=a_round.list_digest,
        )
        board = SimpleNamespace(
            rounds={label.round: self.record},
            profile=a_round.profile,
            precision=a_round.precision,
            threshold=a_round.t,
            dealt_keyholders=names,
            subsets=subsets(a_round.n, a_round.t),
            use=lambda first: label,
        )
        self.work = Work()
        self.part = ReaderPart("reader", board, vault=None, work=self.work)
        self.part._content_keys = dict.fromkeys(names, KEY)
        self.part._label, self.part._values, self.part.rounds_opened = label, label.values, label.round

    def take(self, answers):
        """Each as its keyholder seals it."""
        label = self.round.label
        for (attempt, j), (whole, hashes) in answers.items():
            content = m.Answer.model_construct(round=label.round, attempt=attempt)
            message = SimpleNamespace(content=content, sender=name_of(j))
            question = self.record.open_digests[attempt - 1]
            cipher = ContentCipher(KEY, answer_context(label.digest, message.sender, question))
            groups = [(T, in_groups(label.profile, packed)) for T, packed in whole.items()]
            sealed = write_answers(cipher, label.profile, label.values, groups, list(hashes.items()))
            self.part.take(message, (sealed,))

    def open(self):
        self.part.take(SimpleNamespace(content=self.record.sum), (self.total,))


@entries("")
def test_a_reader_opens_good_answers_and_says_whether_the_round_is_checked(name, one):
    a_round = Round(name)
    reader = Reader(a_round, bytes.fromhex(a_round.v["sum"]["hex"]))
    reader.take(sent(a_round, one))
    reader.open()
    assert [repr(x) for x in reader.work.values.tolist()] == a_round.v["decoded"]
    assert reader.part.checked == [one["checked"]]


def sides(words):
    """The keyholders that the words of a refusal name."""
    before, _, after = words.partition(": ")
    named = after.partition(";")[0].split(" against ") if " against " in after else [before.split(" gave ")[0]]
    return [[int(who.removeprefix("keyholder-")) for who in side.split(", ")] for side in named]


@entries("_bad")
def test_a_reader_refuses_bad_answers_and_names_each_side(name, one):
    a_round = Round(name)
    answers, reader = sent(a_round, one), Reader(a_round, bytes.fromhex(one["sum"]))
    if one["refused"] == "equivocation" and len(one["named"]) == 1:
        with pytest.raises(EquivocationError, match="two different answers for one share") as refusal:
            reader.take(answers)
    elif one["refused"] == "equivocation":
        reader.take(answers)
        with pytest.raises(EquivocationError, match="do not agree on a share answer") as refusal:
            reader.open()
    elif one["refused"] == "opening":
        reader.take(answers)
        with pytest.raises(OpeningError, match="no answer for the sets"):
            reader.open()
        assert one["named"] == []
        return
    else:
        assert one["refused"] == "malformed"
        with pytest.raises(ProtocolError, match="cannot be used: it is for a share that it does not hold") as refusal:
            reader.take(answers)
        assert str(refusal.value).startswith(f"the answer of {name_of(one['named'][0][0])} ")
        return
    assert sorted(sides(str(refusal.value))) == sorted(one["named"])


def opened_by_the_reference(name, one, total):
    r = ROUNDS[name.removeprefix("round_")]
    came = [(j, whole, hashes) for (_, j), (whole, hashes) in sent(Round(name), one).items()]
    return open_round(r.precision, r.label, total, came)


@entries("")
def test_the_reference_opens_good_answers_and_says_whether_the_round_is_checked(name, one):
    v = read(name)
    opened, checked = opened_by_the_reference(name, one, bytes.fromhex(v["sum"]["hex"]))
    assert [str(x) for x in opened] == v["opened_integers"]
    assert checked == one["checked"]


@entries("_bad")
def test_the_reference_refuses_bad_answers_and_names_each_side(name, one):
    with pytest.raises(RefusedError) as refusal:
        opened_by_the_reference(name, one, bytes.fromhex(one["sum"]))
    assert refusal.value.kind == one["refused"]
    assert (refusal.value.sides if isinstance(refusal.value, AnswerError) else []) == one["named"]


@pytest.mark.parametrize("name", SMALL)
def test_the_cases_differ(name):
    cases = [*read(name)["answered"], *read(f"{name}_bad")["answered"]]
    assert len({str((one.get("sum"), one["asked"], one["changed"])) for one in cases}) == len(cases)
