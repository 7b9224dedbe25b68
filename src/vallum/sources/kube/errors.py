"""What can go wrong between us and the API. Neither is a bug, and neither is the user's: both are tried again."""


class ApiError(Exception):
    """The API answered, and refused.

    Attributes:
        code: the HTTP status, or the code of an ERROR event.
        reason: a word for programs, such as `Expired`, `Forbidden`, `Conflict`.
        message: for people.
        retry_after: seconds after which the server wants to be asked again, None where it did not say.
    """

    def __init__(self, code: int, reason: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(message or reason or f"HTTP {code}")
        self.code = code
        self.reason = reason
        self.message = message
        self.retry_after = retry_after


class UnreachableError(Exception):
    """No endpoint gave an answer, or one broke off. `str()` names each with the reason."""


class SilentError(UnreachableError):
    """An answer was begun, and then nothing more came of it."""
