"""The root of errors that people mend by changing what they gave: the command line shows them and ends with code 2."""


class InputError(ValueError):
    """Input that cannot be used. Its text is one sentence: who or which file, what is wrong, and what to do."""
