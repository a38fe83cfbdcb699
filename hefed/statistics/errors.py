"""Errors of the statistics. They name columns and causes, never a patient's value."""


class StatisticsError(Exception):
    """A fit cannot go on; the text says what happened, in which column, and what to do next."""


class ModelError(StatisticsError):
    """The opened sums do not allow the fit. Every region raises the same error from the same sums."""


class LocalError(StatisticsError):
    """A region refuses to contribute, for a reason in its own table. Only that region raises it."""
