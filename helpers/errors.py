"""The one exception that a reader sees: a sentence that says what is wrong and what to do."""


class LabError(Exception):
    """Something the reader can act on; its text is one clear sentence, never a traceback."""

    def _render_traceback_(self) -> list[str]:
        """Return what a notebook shows: the sentence. IPython asks an exception for this first."""
        return [f"{type(self).__name__}: {self}"]


class RoleVacantError(LabError):
    """No Vault leads, or none stands by, at this moment; a second later one may."""
