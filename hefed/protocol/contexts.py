"""What each sealed thing is bound to: its purpose, study, sender and recipient. What was sealed in one context opens
in no other.
"""

Context = tuple[bytes | str | int, ...]


def deal_context(study: bytes, dealer: str, keyholder: str) -> Context:
    """What a sealed deal is bound to, so that nobody can pass on another's."""
    return ("deal", study, dealer, keyholder)


def content_key_context(study: bytes, keyholder: str, reader: str) -> Context:
    """What a sealed content key is bound to."""
    return ("content key", study, keyholder, reader)


def answer_context(label: bytes, keyholder: str, open_digest: bytes) -> Context:
    """What sealed answers are bound to; the question is part of it, so that another question has another key."""
    return ("answer", label, keyholder, open_digest)


def finding_context(study: bytes, reader: str, analyst: str) -> Context:
    """What a sealed finding is bound to."""
    return ("finding", study, reader, analyst)
