"""Which roster a stored study runs under: the one that its invitation names, in force now or before.

A study that began under an earlier roster goes on only if all who have a part in it are listed now as they were then.
Relies on the store for the invitation. Must not take a roster from anybody: callers pass those that the home signed.
"""

from collections.abc import Sequence

from hefed.node.store import Store
from hefed.protocol import codec
from hefed.protocol import messages as m
from hefed.protocol.roster import Roster
from hefed.study import Study, StudyError


class Rosters:
    """The roster in force at this member, and earlier ones."""

    def __init__(self, name: str, in_force: Roster, earlier: Sequence[Roster] = ()) -> None:
        self._name, self.in_force = name, in_force
        self._known = {one.digest: one for one in (*earlier, in_force)}

    def of(self, store: Store, study: bytes) -> Roster:
        """The roster that a study in the store began under; the one in force for one that is not known any more."""
        if not store.length(study):
            return self.in_force
        body = codec.decode(codec.decode(store.bare_entry(study, 0).envelope)[0])
        return self._known.get(bytes(body["content"].get("roster", b"")), self.in_force)

    def changed(self, store: Store, study: bytes) -> str | None:
        """Why a stored study must not go on under the roster in force; None when it may."""
        earlier = self.of(store, study)
        if earlier == self.in_force or not store.length(study):
            return None
        invitation = m.read_message(store.bare_entry(study, 0).envelope, earlier)
        content = invitation.content
        try:
            asked = Study.from_public(content.definition if isinstance(content, m.Invitation) else None)
        except StudyError:
            return None  # nobody goes on with that, under whatever roster; its board says why
        names = {invitation.sender, earlier.aggregator.name, *asked.members}
        then, now = ({member.name: member for member in roster.members} for roster in (earlier, self.in_force))
        changed = sorted(name for name in names if now.get(name) != then.get(name))
        if not changed:
            return None
        return (
            f"version {self.in_force.version} of the roster is in force at {self._name}, and {', '.join(changed)} "
            f"changed since version {earlier.version}; restart what still runs with that, hefed aggregator before "
            "hefed node, and then submit the study again"
        )
