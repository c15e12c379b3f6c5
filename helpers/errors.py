"""The one exception that a reader sees: a sentence that says what is wrong and what to do."""


class LabError(Exception):
    """Something the reader can act on; its text is one clear sentence, never a traceback."""
