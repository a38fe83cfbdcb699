"""`hefed approve` and `hefed refuse` as people use them, on a home whose node stored the invitations that came."""

import io
import re
import shlex
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from hefed.cli.app import main
from hefed.node.decision import Decision, Decisions
from hefed.node.errors import NodeError
from hefed.node.history import History
from hefed.node.home import Home
from hefed.node.identity import Identity
from hefed.node.invited import Invitations
from hefed.node.store import Store
from hefed.node.transcripts import head_of
from hefed.protocol import messages as m
from hefed.report.times import local
from hefed.study import Study
from tests.node.asking import Asked, ask, changed
from tests.node.homes import make_federation, with_table
from tests.node.runs import EXAMPLES, Ended
from tests.node.runs import hefed as run

EXAMPLE = EXAMPLES / "heart-failure" / "cox.toml"
COX = Study.load(EXAMPLE)
NAME = COX.id
REGIONS = ("halland", "kronoberg", "orebro")


@dataclass
class Halland:
    """The home of halland, with its table, and what comes to it."""

    homes: dict[str, Path]
    folder: Path

    @property
    def home(self) -> Path:
        return self.homes["halland"]

    @property
    def decisions(self) -> Decisions:
        return Decisions(self.home, Home(self.home).identity)

    def come(
        self, study: Study = COX, *, approved: bool = False, ended: bool = False, at: float | None = None
    ) -> Asked:
        """A study that the node stored, as if it had come just now."""
        roster = Home(self.home).in_force()
        assert roster is not None
        identities = {name: Home(home).identity for name, home in self.homes.items()}
        asked = ask(study, among=(identities, roster))
        store = Store(self.home)
        store.add_study(asked.study)
        store.append(asked.study, 0, asked.invitation, at or time.time(), ())
        if approved:
            approval = identities["halland"].signer.sign(
                m.Refusal(words="stands for an approval"), federation=roster.federation, study=asked.study,
                sender="halland", previous=m.ZERO_HASH,
            )  # fmt: skip
            store.remember(asked.study, "approval", approval.envelope, ())
        if ended:
            store.end_study(asked.study)
        store.commit()
        store.close()
        return asked

    def invitations(self) -> Invitations:
        roster = Home(self.home).in_force()
        assert roster is not None
        return Invitations(self.home, roster)

    def other(self, old: str, new: str) -> Study:
        """The example with one place changed."""
        return changed(EXAMPLE.read_text(), old, new, self.folder)

    def __call__(self, command: str, *arguments: str | Path, home: Path | None = None) -> Ended:
        """Runs a command in this process, as its own process would."""
        out, err = io.StringIO(), io.StringIO()
        line = ["hefed", command, *map(str, arguments), "--home", str(home or self.home)]
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.setattr(sys, "argv", line)
            patch.setattr(sys, "stdin", io.StringIO())
            with pytest.raises(SystemExit) as caught:
                main()
        return Ended(int(caught.value.code or 0), out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("federation")
    make_federation(folder, REGIONS, "127.0.0.1:7100")
    return folder


@pytest.fixture
def halland(federation: Path, tmp_path: Path) -> Halland:
    """Copies of the homes, for one test."""
    shutil.copytree(federation, tmp_path / "homes")
    homes = {name: tmp_path / "homes" / name for name in ("aggregator", "analyst", *REGIONS)}
    with_table(homes["halland"], COX.tables["halland"])
    return Halland(homes, tmp_path)


def words(text: str) -> str:
    """The text as one line."""
    return " ".join(text.split())


# --- Naming a study ---------------------------------------------------------------------------------


def test_a_study_is_named_by_its_name_or_the_first_digits_of_its_hash(halland: Halland) -> None:
    asked = halland.come()
    digits = asked.study.hex()
    spaced = " ".join(digits[at : at + 8] for at in range(0, 64, 8))
    for named in (NAME, digits, digits[:4], digits[:9].upper(), spaced, spaced[:17]):
        assert halland.invitations().running(named).study == asked.study
    for named in (digits[:3], "", "other", NAME[:-1], digits + "0", "f" * 64):
        with pytest.raises(NodeError) as caught:
            halland.invitations().running(named)
        assert str(caught.value) == (
            f"no study like that waits or runs in {halland.home}; there are: {NAME} {digits[:16]}; "
            "its node does not run, so it hears of no new one: start it"
        )


def test_two_of_one_name_are_told_apart_by_their_hashes(halland: Halland) -> None:
    first, second = halland.come(), halland.come()
    halland.come(halland.other(NAME, "another"))  # which is not listed
    with pytest.raises(NodeError) as caught:
        halland.invitations().running(NAME)
    assert str(caught.value) == (
        "several studies have that name; name one by more digits of its hash: "
        f"{NAME} {first.study.hex()[:16]}; {NAME} {second.study.hex()[:16]}"
    )
    assert halland.invitations().running(second.study.hex()[:8]).study == second.study


def test_a_name_that_begins_the_hash_of_another_study_names_neither(halland: Halland) -> None:
    first = halland.come()
    digits = first.study.hex()
    second = halland.come(halland.other(NAME, digits[:4]))
    with pytest.raises(NodeError) as caught:
        halland.invitations().running(digits[:4])
    assert str(caught.value) == (
        "several studies have that name, or a hash that begins so; name one by more digits of its hash: "
        f"{NAME} {digits[:16]}; {digits[:4]} {second.study.hex()[:16]}"
    )
    assert halland.invitations().running(digits[:5]).study == first.study


def test_the_same_digits_name_a_study_for_every_command(halland: Halland) -> None:
    asked = halland.come(approved=True)
    digits = asked.study.hex()
    for named in (digits[:4], digits[:4].upper(), f"{digits[:8]} {digits[8:16]}"):
        assert head_of(Home(halland.home), named).study == asked.study
        assert halland.invitations().running(named).study == asked.study


def test_a_study_that_has_ended_is_not_decided_on(halland: Halland) -> None:
    with pytest.raises(NodeError, match=r"no study has come to .* yet; is its node running"):
        halland.invitations()
    asked = halland.come(ended=True)
    digits = asked.study.hex()
    (ended,) = [one.facts.ended_at for one in History(halland.home).studies()]
    assert ended is not None
    for command in (("approve", NAME, "--yes"), ("refuse", digits, "--because", "no", "--yes")):
        said = halland(*command)
        assert (said.code, said.out) == (2, "")
        assert said.err == (
            f"hefed: {NAME} ({digits[:16]}) ended here {local(ended)}, and nothing is decided on it any more; what "
            f"left this home in it: hefed log --home {halland.home} --study {digits[:16]}; "
            "its node does not run, so it hears of no new one: start it\n"
        )
    assert f"Study {NAME} " in halland("log", "--study", digits[:16]).out
    with pytest.raises(NodeError, match=r"no study like that waits or runs in .*; there are: none"):
        halland.invitations().running("another")
    open_one = halland.come()
    assert halland.invitations().running(NAME).study == open_one.study


def test_a_message_that_is_no_study_is_not_shown(halland: Halland) -> None:
    """The record of a hostile aggregator, or an analyst whose study no roster allows."""
    store = Store(halland.home)
    for study in (bytes(32), bytes(range(32))):
        store.add_study(study)
        asked = ask(COX)  # of another federation
        store.append(study, 0, asked.invitation, time.time(), ())
    store.commit()
    store.close()
    assert halland.invitations().all == []


def test_what_came_before_is_the_last_approved_one_of_the_same_name(halland: Halland) -> None:
    now = time.time()
    older = halland.come(approved=True, ended=True, at=now - 500)
    halland.come(halland.other(NAME, "another"), approved=True, at=now - 300)
    halland.come(at=now - 200)  # never approved
    last = halland.come(at=now - 100)
    other = halland.come(halland.other(NAME, "third"), at=now - 50)
    invitations = halland.invitations()
    found = {one.study: one for one in invitations.all}
    before = invitations.before(found[last.study])
    assert before is not None
    assert before.study == older.study
    before = invitations.before(found[other.study])
    assert before is not None
    assert before.definition.id == "another"  # none of its own name: the last one of all
    assert invitations.before(found[older.study]) is None


# --- hefed approve ----------------------------------------------------------------------------------


def test_an_approval_shows_the_study_and_the_table_and_is_signed(halland: Halland) -> None:
    asked = halland.come()
    ended = run("approve", NAME, "--yes", "--home", halland.home)  # a process of its own
    assert (ended.code, ended.err) == (0, "")
    for whole in ("^Limits     at least 3 regions .* 100$", "^- ranges, spreads: .* the number of rows$"):
        assert re.search(whole, ended.out, re.MULTILINE)
    until = local(asked.submission.invitation.expires)
    assert re.fullmatch(r"[-0-9]{10} [0-9]{2}:[0-9]{2} UTC[-+][0-9]{2}:[0-9]{2}", until)
    assert f"\nUntil      {until}\n" in ended.out
    said = words(ended.out)
    for part in (COX.purpose, "What its sums open to the readers", "The table of halland (patients.csv): 150 rows, 50"):
        assert part in said
    assert "Against" not in said
    assert said.endswith(
        f"Approved {NAME} ({asked.study.hex()[:16]}); the node takes it up when it runs: "
        f"hefed node --home {halland.home}"
    )
    decision = halland.decisions.find(asked.study)
    assert decision is not None
    assert decision.answer == "approved"
    assert decision.table is not None
    again = halland("approve", NAME, "--yes")
    assert (again.code, again.err) == (2, "hefed: this study is approved already\n")


@pytest.mark.parametrize("arguments", [(), ("--look",)])
def test_nothing_is_signed_without_a_yes(arguments: tuple[str, ...], halland: Halland) -> None:
    asked = halland.come()
    ended = halland("approve", NAME, *arguments)
    assert ended.code == (0 if arguments else 2)
    assert ended.err == (
        "" if arguments else "hefed: not confirmed, so nothing was signed; answer y, or add --yes in a script\n"
    )
    assert "150 rows" in ended.out
    assert halland.decisions.find(asked.study) is None


def test_what_differs_from_the_last_one_is_shown(halland: Halland) -> None:
    halland.come(approved=True, ended=True, at=time.time() - 100)
    halland.come(halland.other('"age", ', ""))
    said = words(halland("approve", NAME, "--look").out)
    assert f"Against {NAME}, approved here before" in said
    assert "- model.covariates: age, ejection_fraction" in said


def test_a_study_that_was_approved_and_runs_is_not_approved_again(halland: Halland) -> None:
    asked = halland.come(approved=True)
    ended = halland("approve", NAME, "--yes")
    command = f"refuse {asked.study.hex()[:16]} --home {halland.home} --because 'we take our approval back'"
    assert (ended.code, ended.err) == (
        2, f"hefed: {NAME} is approved already; to take that back: hefed {command}\n"
    )  # fmt: skip
    assert run(*shlex.split(command), "--yes").code == 0
    decision = halland.decisions.find(asked.study)
    assert decision is not None
    assert (decision.answer, decision.words) == ("refused", "we take our approval back")


@pytest.mark.parametrize(
    ("prepare", "sentence"),
    [
        (lambda home: (home / "settings.toml").write_text(""),
         "{home}/settings.toml has no section [data], so halland has no table to give; add one"),
        (lambda home: (home / "patients.csv").unlink(),
         "region halland: there is no file patients.csv where it should be; check the path"),
        (lambda home: with_table(home, COX.tables["halland"], "[policy]\nmax_rounds = 3\nmin_rows = 151\n"),
         "the policy in {home}/settings.toml is against it: the policy here grants at most 3 rounds, and the study "
         "asks for up to 40; the policy here asks for at least 151 complete rows, and the table has fewer; change the "
         "policy, or refuse the study: {refuse} --because 'our policy is against it'"),
        (lambda home: (home / "patients.csv").write_text("".join(
            line for line in COX.tables["halland"].read_text().splitlines(keepends=True) if not line.endswith("1\n"))),
         None),
        (lambda home: (home / "settings.toml").write_text("[policy]\nmin_row = 1\n"),
         "{home}/settings.toml: unknown key 'min_row' in [policy]; did you mean 'min_rows'?"),
    ],
    ids=["no data", "no file", "policy", "no events", "settings"],
)  # fmt: skip
def test_what_keeps_a_region_from_approving_is_one_sentence(
    prepare: Callable[[Path], object], sentence: str | None, halland: Halland
) -> None:
    asked = halland.come()
    refuse = f"hefed refuse {asked.study.hex()[:16]} --home {halland.home}"
    prepare(halland.home)
    ended = halland("approve", NAME, "--yes")
    assert ended.code == 2
    assert len(ended.err.splitlines()) == 1
    if sentence is not None:
        assert ended.err == f"hefed: {sentence.format(home=halland.home, refuse=refuse)}\n"
    else:
        assert ended.err.endswith(f", or refuse the study: {refuse} --because 'our policy is against it'\n")
    assert "Traceback" not in ended.err
    assert halland.decisions.find(asked.study) is None


@pytest.mark.parametrize("who", ["analyst", "aggregator"])
def test_only_a_region_approves(who: str, halland: Halland) -> None:
    ended = halland("approve", NAME, "--yes", home=halland.homes[who])
    assert (ended.code, ended.err) == (
        2,
        f"hefed: {who} is on the roster of Heart failure as {who}, and not as contributor or keyholder or reader\n",
    )


# --- hefed refuse -----------------------------------------------------------------------------------


def test_a_refusal_keeps_its_words_and_cannot_be_taken_back(halland: Halland) -> None:
    asked = halland.come()
    ended = halland("refuse", NAME, "--because", "Nej, inte utan etikprövning", "--yes")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == (
        f"Refused {NAME} ({asked.study.hex()[:16]}); the node takes it up when it runs: "
        f"hefed node --home {halland.home}\n"
    )
    decision = halland.decisions.find(asked.study)
    assert decision is not None
    assert (decision.answer, decision.words) == ("refused", "Nej, inte utan etikprövning")
    ended = halland("approve", NAME, "--yes")
    assert (ended.code, ended.err) == (
        2, "hefed: this study is refused already, which cannot be taken back; have it submitted again\n"
    )  # fmt: skip
    ended = halland("refuse", NAME, "--because", "x", "--yes")
    assert (ended.code, ended.err) == (2, "hefed: this study is refused already\n")


def test_a_refusal_takes_an_approval_back(halland: Halland) -> None:
    asked = halland.come(approved=True)
    halland.decisions.write(Decision(study=asked.study, answer="approved", at=1.0))
    assert halland("refuse", asked.study.hex()[:8], "--because", "changed our mind", "--yes").code == 0
    decision = halland.decisions.find(asked.study)
    assert decision is not None
    assert decision.answer == "refused"


@pytest.mark.parametrize("because", ["", "  ", "a\nb", "\x1b[31mred", "x" * 2001, "a\u202eb"])
def test_a_refusal_needs_words_that_can_be_shown(because: str, halland: Halland) -> None:
    asked = halland.come()
    ended = halland("refuse", NAME, "--because", because, "--yes")
    assert ended.code == 2
    assert ended.err.startswith("hefed: --because needs one sentence of printable text")
    assert halland.decisions.find(asked.study) is None


def test_no_refusal_without_a_yes(halland: Halland) -> None:
    asked = halland.come()
    ended = halland("refuse", NAME, "--because", "no")
    assert (ended.code, ended.err) == (
        2, "hefed: not confirmed, so nothing was signed; answer y, or add --yes in a script\n"
    )  # fmt: skip
    assert COX.purpose in ended.out
    assert halland.decisions.find(asked.study) is None


# --- Files that it signs -----------------------------------------------------------------------------


def test_a_home_with_other_keys_than_in_the_studys_roster_signs_no_file_about_it(
    halland: Halland, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = halland.come(approved=True)
    home = Home(halland.home)
    assert head_of(home, asked.study.hex()[:12]).party == "halland"
    home.identity = Identity.passing()
    monkeypatch.setattr(home, "card", lambda: SimpleNamespace(name="halland"))
    with pytest.raises(NodeError, match="halland has other keys than in version 1 of the roster"):
        head_of(home, asked.study.hex()[:12])


# --- Beside earlier studies ------------------------------------------------------------------------

SODIUM = ', "serum_sodium"'


def test_approve_says_what_a_study_would_tell_beside_an_earlier_one(halland: Halland) -> None:
    before = halland.come(halland.other(SODIUM, ""), approved=True, ended=True, at=time.time() - 100)
    now = halland.come()
    said = " ".join(halland("approve", now.study.hex()[:12], "--look").out.split())
    assert "Together with studies approved here before, its readers could also find out:" in said
    assert f"what 'serum_sodium' adds, by comparing with {NAME} ({before.study.hex()[:8]})" in said


def test_what_was_approved_and_not_sent_yet_counts_as_earlier(halland: Halland) -> None:
    before = halland.come(halland.other(SODIUM, ""), at=time.time() - 100)
    now = halland.come()
    look = ("approve", now.study.hex()[:12], "--look")
    told = f"by comparing with {NAME} ({before.study.hex()[:8]})"
    assert told not in words(halland(*look).out)
    assert halland("approve", before.study.hex()[:12], "--yes").code == 0
    assert told in words(halland(*look).out)
    assert halland("refuse", before.study.hex()[:12], "--yes", "--because", "not now").code == 0
    assert told not in words(halland(*look).out)


def test_a_study_that_leaves_a_few_patients_is_refused_by_the_policy(halland: Halland) -> None:
    before = halland.come(approved=True, ended=True, at=time.time() - 100)
    store = Store(halland.home)
    store.note_rows(before.study, 147)
    store.commit()
    store.close()
    now = halland.come()
    said = " ".join(halland("approve", now.study.hex()[:12], "--look").out.split())
    assert "sums over 3 patients of this region, by subtracting" in said
    with (halland.home / "settings.toml").open("a") as settings:
        settings.write('\n[policy]\nrefuse_differences = ["patients"]\n')
    ended = halland("approve", now.study.hex()[:12], "--yes")
    assert ended.code == 2
    assert "it could be subtracted from a study that the region took part in before" in ended.err
    assert halland.decisions.find(now.study) is None
