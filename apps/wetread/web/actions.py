"""What a person changes, by a page or by the API; each is told to the log with who did it."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from wetread.access.accounts import User
from wetread.access.guard import Visitor
from wetread.access.hashing import new_password
from wetread.access.roles import Role
from wetread.deliver.registry import open_destination
from wetread.errors import AccessError, ConfigError
from wetread.web.site import Site

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of it, in words; `secret` is shown this once."""

    message: str
    secret: str = ""


@dataclass(frozen=True, slots=True)
class Actions:
    """By one visitor."""

    site: Site
    visitor: Visitor

    def _note(self, action: str, subject: str) -> None:
        user = self.visitor.user.name if self.visitor.user else ""
        log.info("asked for", action=action, subject=subject, user=user, from_=self.visitor.address)

    def complete_study(self, study: str) -> Answer:
        """End the wait for more instances. Raises LedgerError."""
        self.site.ledger.studies.request_complete(study)
        self._note("complete study", study)
        return Answer("The study will be read as it is.")

    def retry_job(self, job_id: str) -> Answer:
        """As a new attempt. Raises LedgerError."""
        record = self.site.ledger.jobs.retry(job_id)
        self._note("retry job", job_id)
        return Answer(f"Job {job_id}: attempt {record.attempt} is queued.")

    def cancel_job(self, job_id: str) -> Answer:
        """Raises LedgerError."""
        record = self.site.ledger.jobs.cancel(job_id)
        self._note("cancel job", job_id)
        later = record.state == "running"
        return Answer(f"Job {job_id} {'stops at its next step' if later else 'is cancelled'}.")

    def retry_delivery(self, delivery_id: str) -> Answer:
        """The same bytes once more. Raises LedgerError."""
        self.site.ledger.deliveries.retry(delivery_id)
        self._note("retry delivery", delivery_id)
        return Answer(f"Delivery {delivery_id} is queued again.")

    def cancel_delivery(self, delivery_id: str) -> Answer:
        """Raises LedgerError."""
        self.site.ledger.deliveries.cancel(delivery_id)
        self._note("cancel delivery", delivery_id)
        return Answer(f"Delivery {delivery_id} is cancelled.")

    def retry_dead_letters(self, destination: str | None = None) -> Answer:
        """All, or those to one destination. Raises LedgerError."""
        count = self.site.ledger.deliveries.retry_dead_letters(destination)
        self._note("retry dead letters", destination or "all")
        return Answer(f"Deliveries queued again: {count}.")

    def test_destination(self, name: str) -> Answer:
        """Ask whether it is there. Raises ConfigError if none is called so, or a DeliveryError."""
        to = self.site.config.destinations.get(name)
        if to is None:
            raise ConfigError(f"no destination {name!r}", hint="`wetread check config` lists them")
        self._note("test destination", name)
        return Answer(open_destination(name, to, self.site.config.deidentify).test())

    def add_user(self, name: str, role: Role) -> Answer:
        """With a password for the first log-in. Raises AccessError."""
        password = new_password()
        self.site.accounts.add(name, role, password, must_change=True)
        self._note("add user", name)
        return Answer(f"The first password of {name}:", password)

    def set_role(self, name: str, role: Role) -> Answer:
        """Raises AccessError."""
        self.site.accounts.set_role(name, role)
        self._note(f"make {role}", name)
        return Answer(f"{name} is now {role}.")

    def reset_password(self, name: str) -> Answer:
        """To one for the next log-in. Raises AccessError."""
        password = new_password()
        self.site.accounts.set_password(name, password, must_change=True)
        self._note("reset password", name)
        return Answer(f"The new first password of {name}:", password)

    def remove_user(self, name: str) -> Answer:
        """Raises AccessError."""
        self.site.accounts.remove(name)
        self._note("remove user", name)
        return Answer(f"{name} is removed.")

    def change_password(self, user: User, old: str, new: str) -> Answer | None:
        """The user's own; None if the old one is wrong. Raises AccessError."""
        if self.site.accounts.log_in(user.name, old) is None:
            return None
        if old == new:
            raise AccessError("that is the password you have", hint="choose another one")
        self.site.accounts.set_password(user.name, new)
        self._note("change password", user.name)
        return Answer("Your password is changed.")

    def make_token(self, user: User, label: str, days: float) -> Answer:
        """Of the user's own; 0 days is for ever. Raises AccessError."""
        if self.visitor.is_program:
            raise AccessError("a token makes no tokens", hint="log in, or `wetread users token`")
        secret = self.site.tokens.make(user.name, label, days or None)
        self._note("make token", f"{user.name} {label}")
        return Answer(f"The token {label}:", secret)

    def revoke_token(self, user: str, label: str) -> Answer:
        """Raises AccessError."""
        self.site.tokens.revoke(user, label)
        self._note("revoke token", f"{user} {label}")
        return Answer(f"The token {label} is revoked.")
