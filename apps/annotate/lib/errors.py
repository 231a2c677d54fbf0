"""What goes wrong here, each with the HTTP status that a viewer is told."""

from __future__ import annotations


class AnnotateError(Exception):
    """What happened, to what, and what to do."""

    status = 500

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} (hint: {self.hint})"


class NotThereError(AnnotateError):
    """No such image, label, model or strategy."""

    status = 404


class NotAllowedError(AnnotateError):
    """Asked for something that a request may not name, such as a file of the server."""

    status = 400


class WrongLabelError(AnnotateError):
    """A label that does not fit its image or names what no bundle segments."""

    status = 422


class DisagreementError(AnnotateError):
    """What is stored contradicts itself or the archive."""

    status = 409


class HeldError(AnnotateError):
    """An image that is with somebody else."""

    status = 409


class WrongStateError(AnnotateError):
    """A label that is not in the state which that step needs."""

    status = 409


class OwnLabelError(AnnotateError):
    """Somebody who would approve what he drew himself."""

    status = 403


class WrongImageError(AnnotateError):
    """A series that is no regular volume."""

    status = 422


class TrainingError(AnnotateError):
    """A training that cannot begin or did not end."""

    status = 422


class UnavailableError(AnnotateError):
    """A server that this one needs does not answer; to try again is worth it."""

    status = 503


class ArchiveError(UnavailableError):
    """The archive does not answer, or not as asked."""


class RefusedError(AnnotateError):
    """The archive answers, and will not have it."""

    status = 502
