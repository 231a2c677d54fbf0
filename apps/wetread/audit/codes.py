"""The codes of audit messages: PS3.16 CID 400 to 405, and those of RFC 3881 for identifiers."""

from __future__ import annotations

from typing import NamedTuple


class Code(NamedTuple):
    """A coded value as an audit message writes it (PS3.15 A.5.1)."""

    value: str
    scheme: str
    meaning: str

    def as_message(self) -> dict[str, str]:
        """Its attributes."""
        return {
            "csd-code": self.value,
            "codeSystemName": self.scheme,
            "originalText": self.meaning,
        }


def _dicom(value: str, meaning: str) -> Code:
    return Code(value, "DCM", meaning)


def of_ours(value: str, meaning: str) -> Code:
    """Which step of wetread it was, where the standard has no code for it."""
    return Code(value, "99WETREAD", meaning)


# CID 400: audit event ids
APPLICATION_ACTIVITY = _dicom("110100", "Application Activity")
AUDIT_LOG_USED = _dicom("110101", "Audit Log Used")
BEGIN_TRANSFERRING = _dicom("110102", "Begin Transferring DICOM Instances")
INSTANCES_ACCESSED = _dicom("110103", "DICOM Instances Accessed")
INSTANCES_TRANSFERRED = _dicom("110104", "DICOM Instances Transferred")
STUDY_DELETED = _dicom("110105", "DICOM Study Deleted")
EXPORT = _dicom("110106", "Export")
IMPORT = _dicom("110107", "Import")
QUERY = _dicom("110112", "Query")
SECURITY_ALERT = _dicom("110113", "Security Alert")
USER_AUTHENTICATION = _dicom("110114", "User Authentication")

# CID 401 and 403: audit event types
APPLICATION_START = _dicom("110120", "Application Start")
APPLICATION_STOP = _dicom("110121", "Application Stop")
LOGIN = _dicom("110122", "Login")
LOGOUT = _dicom("110123", "Logout")
NODE_AUTHENTICATION = _dicom("110126", "Node Authentication")
SECURITY_CONFIGURATION = _dicom("110129", "Security Configuration")
SOFTWARE_CONFIGURATION = _dicom("110131", "Software Configuration")
RESTRICTED_FUNCTION = _dicom("110132", "Use of Restricted Function")
USER_CHANGED = _dicom("110137", "User Security Attributes Changed")

# CID 402: audit active participant roles
APPLICATION = _dicom("110150", "Application")
DESTINATION_ROLE = _dicom("110152", "Destination Role ID")
SOURCE_ROLE = _dicom("110153", "Source Role ID")

# CID 404, and RFC 3881 5.5.4: what an object's identifier is
STUDY_UID = _dicom("110180", "Study Instance UID")
SOP_CLASS_UID = _dicom("110181", "SOP Class UID")
NODE_ID = _dicom("110182", "Node ID")
PATIENT_NUMBER = Code("2", "RFC-3881", "Patient Number")
USER_IDENTIFIER = Code("11", "RFC-3881", "User Identifier")
URI = Code("12", "RFC-3881", "URI")

# Steps of ours, as event types
ROUTE = of_ours("route", "Routed by rules")
READ = of_ours("read", "Read by a model")
DELIVER = of_ours("deliver", "Delivery of a result")
RECEIVE = of_ours("receive", "Received")
STORE = of_ours("store", "Stored by a person")
VIEW = of_ours("view", "Viewed by a person")
BACKUP = of_ours("backup", "Backup")
RESTORE = of_ours("restore", "Restore of a backup")
