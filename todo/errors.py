"""What can go wrong, as the rest of the service sees it."""

EXIT_FAILED = 1
EXIT_SETTINGS = 2
EXIT_REFUSED = 3


class RefusalError(Exception):
    """The service must not go on: its text is one sentence, `exit_code` what the process returns."""

    def __init__(self, sentence: str, exit_code: int = EXIT_FAILED) -> None:
        """Keep the sentence for the log or stderr, and the exit code of the process."""
        super().__init__(sentence)
        self.exit_code = exit_code


class UnavailableError(Exception):
    """The request cannot be served now (503): its text says why and holds no secret."""


class NoInstanceError(Exception):
    """Consul knows no instance of a service that this one needs."""

    def __init__(self, service: str) -> None:
        """Keep which service is missing."""
        super().__init__(f"Consul knows no passing instance of {service}")
        self.service = service
