"""Every exception that wetread raises.

    WetreadError                        what happened, to what, and what to do about it
    ├─ ConfigError                      wetread.toml or the command line
    ├─ InputError                       the received data; never retried
    │  ├─ MissingAttributeError
    │  ├─ UnsupportedSeriesError
    │  ├─ UnreadablePixelsError
    │  └─ GeometryError
    ├─ RoutingError                     a rule could not be evaluated
    ├─ InferenceError
    │  ├─ ModelContractError            shape, dtype or label values not as the bundle declares
    │  ├─ ReadingHangsError             no sign of life for too long
    │  ├─ ReadingCrashesError           the process died under the same reading again and again
    │  └─ InferenceUnavailableError     (retry)
    ├─ EncodingError                    the result cannot become a conformant object
    ├─ StorageError                     (retry) spool full or unwritable
    │  └─ ShareAwayError                (retry) the bucket behind the spool does not answer
    ├─ CallerNotAllowedError            the caller is not on the list
    ├─ JobCancelledError                a person asked to stop the job
    ├─ AccessError                      a user, and what one may do
    ├─ LedgerError                      the ledger cannot be opened, or knows no such thing
    │  └─ LeaseLostError                this process was taken for dead; it ends
    └─ DeliveryError
       ├─ DestinationUnavailableError   (retry) refused, aborted, timed out
       ├─ AssociationRejectedError      no accepted presentation context, AE title unknown there
       ├─ StoreRefusedError             a failure status; retry only when out of resources
       ├─ CommitmentRefusedError        stored, and not kept safely; retry where that can change
       └─ RetrieveRefusedError          an archive does not find or send what it was asked for

Raise low; catch once per job in `pipeline`, once per association in `receive.listener`,
once in `cli`.
"""

from __future__ import annotations

from dataclasses import dataclass


class WetreadError(Exception):
    """Something that a person has to know about.

    `hint` says what to do next. `stage`, `study_instance_uid` and `series_instance_uid`
    say where it happened, when that is known. `retryable` is read by `deliver.retry` alone.
    """

    retryable: bool = False

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        stage: str = "",
        study_instance_uid: str = "",
        series_instance_uid: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.stage = stage
        self.study_instance_uid = study_instance_uid
        self.series_instance_uid = series_instance_uid


class ConfigError(WetreadError):
    """A setting is missing, unknown or out of range."""


class InputError(WetreadError):
    """The received data cannot be read as what it claims to be."""


class MissingAttributeError(InputError):
    """A DICOM attribute that is needed is absent or empty."""


class UnsupportedSeriesError(InputError):
    """The series is not of the kind that the model accepts."""


class UnreadablePixelsError(InputError):
    """The pixel data cannot be decoded."""


class GeometryError(InputError):
    """The instances of a series do not form one regular volume."""


class RoutingError(WetreadError):
    """A rule could not be evaluated, so no decision was made."""


class InferenceError(WetreadError):
    """The network gave no usable answer."""


class ModelContractError(InferenceError):
    """A model's input or output is not what its bundle declares."""


class ReadingHangsError(InferenceError):
    """A reading gave no sign of life for too long, and was given up."""


class ReadingCrashesError(InferenceError):
    """The process has died under the same reading again and again."""


class InferenceUnavailableError(InferenceError):
    """The model cannot be reached or has no room just now."""

    retryable = True


class EncodingError(WetreadError):
    """A result cannot be written as a conformant DICOM object."""


class StorageError(WetreadError):
    """The spool is full or cannot be written."""

    retryable = True


class ShareAwayError(StorageError):
    """The bucket behind the spool does not answer."""


class CallerNotAllowedError(WetreadError):
    """The calling AE title is not on the listener's list."""


class JobCancelledError(WetreadError):
    """A person asked to stop the job while it ran."""


class AccessError(WetreadError):
    """There is no such user, or what is asked of the users cannot be."""


class LedgerError(WetreadError):
    """The ledger cannot be opened, or holds no such study, job or delivery."""


class LeaseLostError(LedgerError):
    """This process was taken for dead: others do its work, and it must end."""


class DeliveryError(WetreadError):
    """An object could not be given to a destination."""


class DestinationUnavailableError(DeliveryError):
    """The destination refused the connection, aborted or did not answer in time."""

    retryable = True


class AssociationRejectedError(DeliveryError):
    """The destination does not know us, or accepts none of what we offered."""


class StoreRefusedError(DeliveryError):
    """The destination answered a store with a failure status (PS3.4 Table B.2-1)."""

    def __init__(self, message: str, *, status: int, hint: str = "") -> None:
        super().__init__(message, hint=hint, stage="deliver")
        self.status = status
        self.retryable = status >> 8 == 0xA7


class CommitmentRefusedError(DeliveryError):
    """The destination does not commit to an object (failure reasons of PS3.3 C.14.1.1)."""

    def __init__(self, message: str, *, reason: int, hint: str = "") -> None:
        super().__init__(message, hint=hint, stage="commit")
        self.reason = reason
        # Processing failure, no such instance, out of resources: sent again, it can be another.
        self.retryable = reason in (0x0110, 0x0112, 0x0213)


class RetrieveRefusedError(DeliveryError):
    """An archive answered a C-FIND or C-MOVE with a failure (PS3.4 Tables C.4-1 and C.4-2)."""

    def __init__(self, message: str, *, status: int, hint: str = "") -> None:
        super().__init__(message, hint=hint, stage="pull")
        self.status = status


@dataclass(frozen=True, slots=True)
class ErrorCodes:
    """How one class of error looks to a DICOM sender, to a shell and in the metrics."""

    store_status: int
    exit_code: int
    label: str


# The first class in an error's method resolution order that stands here decides.
# C-STORE statuses: PS3.4 Table B.2-1 and PS3.7 Annex C.
ERROR_CODES: dict[type[BaseException], ErrorCodes] = {
    CallerNotAllowedError: ErrorCodes(0x0124, 4, "caller_not_allowed"),
    ConfigError: ErrorCodes(0x0110, 2, "config"),
    GeometryError: ErrorCodes(0xA900, 3, "geometry"),
    MissingAttributeError: ErrorCodes(0xA900, 3, "missing_attribute"),
    UnsupportedSeriesError: ErrorCodes(0xA900, 3, "unsupported_series"),
    UnreadablePixelsError: ErrorCodes(0xC000, 3, "unreadable_pixels"),
    InputError: ErrorCodes(0xC000, 3, "input"),
    DestinationUnavailableError: ErrorCodes(0x0110, 4, "destination_unavailable"),
    AssociationRejectedError: ErrorCodes(0x0110, 4, "association_rejected"),
    StoreRefusedError: ErrorCodes(0x0110, 4, "store_refused"),
    CommitmentRefusedError: ErrorCodes(0x0110, 4, "commitment_refused"),
    RetrieveRefusedError: ErrorCodes(0x0110, 4, "retrieve_refused"),
    DeliveryError: ErrorCodes(0x0110, 4, "delivery"),
    ModelContractError: ErrorCodes(0x0110, 5, "model_contract"),
    ReadingHangsError: ErrorCodes(0x0110, 5, "reading_hangs"),
    ReadingCrashesError: ErrorCodes(0x0110, 5, "reading_crashes"),
    InferenceUnavailableError: ErrorCodes(0x0110, 5, "inference_unavailable"),
    InferenceError: ErrorCodes(0x0110, 5, "inference"),
    RoutingError: ErrorCodes(0x0110, 6, "routing"),
    EncodingError: ErrorCodes(0x0110, 7, "encoding"),
    ShareAwayError: ErrorCodes(0xA700, 8, "share_away"),
    StorageError: ErrorCodes(0xA700, 8, "storage"),
    LeaseLostError: ErrorCodes(0xA700, 9, "lease_lost"),
    LedgerError: ErrorCodes(0xA700, 9, "ledger"),
    JobCancelledError: ErrorCodes(0x0110, 10, "job_cancelled"),
    AccessError: ErrorCodes(0x0110, 11, "access"),
    WetreadError: ErrorCodes(0x0110, 1, "wetread"),
}


def codes_for(error: BaseException) -> ErrorCodes:
    """The codes of the nearest class of `error` in `ERROR_CODES`; exit code 1 for others."""
    for kind in type(error).__mro__:
        if kind in ERROR_CODES:
            return ERROR_CODES[kind]
    return ErrorCodes(0x0110, 1, "unexpected")
