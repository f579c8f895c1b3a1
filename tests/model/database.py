"""The hub's database: what was committed survives, nothing else does.

One SQLite in memory behind JupyterHub's own tables. Each history begins with a copy of a small prepared one,
because making tables and roles costs more than a whole history.
"""

from __future__ import annotations

import json
import sqlite3
from typing import Any

import sqlalchemy as sa
from jupyterhub import orm, roles
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool

from sgehub.hub import orphans
from sgehub.hub.ledger import METADATA, LedgerError
from sgehub.hub.orphans import Kept

PEOPLE = ("bin", "daemon", "games")  # accounts that every Debian has


class HubSession(Session):
    """The session of one hub; `ended` makes it deaf, as a killed process is."""

    ended = False

    def commit(self) -> None:
        """Commit, unless the hub is dead."""
        if not self.ended:
            super().commit()

    def flush(self, objects: Any = None) -> None:
        """Flush, unless the hub is dead."""
        if not self.ended:
            super().flush(objects)


def add_user(db: Session, name: str) -> orm.User:
    """Make an account known to the hub, as its first login does."""
    user = orm.User(name=name)
    db.add(user)
    db.commit()
    roles.assign_default_roles(db, entity=user)
    return user


class Aside:
    """The one connection to the database as another process would have it: what is the hub's it leaves alone.

    While the hub is in the middle of writing, the database is locked.
    """

    def __init__(self, raw: sqlite3.Connection) -> None:
        self._raw = raw
        self._writing = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def commit(self) -> None:
        """Commit what was written here."""
        if self._writing:
            self._raw.commit()
        self._writing = False

    def rollback(self) -> None:
        """Take back what was written here."""
        if self._writing:
            self._raw.rollback()
        self._writing = False

    def before(self, *_: Any) -> None:
        """Refuse a statement while the hub is writing."""
        if self._raw.in_transaction and not self._writing:
            raise sa.exc.OperationalError("", {}, sqlite3.OperationalError("database is locked"))

    def after(self, *_: Any) -> None:
        """Know by whom a transaction was begun."""
        self._writing = self._raw.in_transaction


class Database:
    """The database and its prepared beginning."""

    def __init__(self) -> None:
        # As orm.new_session_factory does it, without the question before each transaction whether SQLite is there.
        self.engine = sa.create_engine("sqlite://", poolclass=StaticPool)
        orm.register_foreign_keys(self.engine)
        orm.Base.metadata.create_all(self.engine)
        METADATA.create_all(self.engine)
        with HubSession(bind=self.engine, expire_on_commit=False) as db:
            for role in roles.get_default_roles():
                roles.create_role(db, role)
            db.add(orm.OAuthClient(identifier="jupyterhub", secret="", redirect_uri="", description=""))
            db.commit()
            for name in PEOPLE:
                add_user(db, name)
            db.commit()
        # Asked for once: giving a connection back to its pool rolls back what others have begun on it.
        self._raw: sqlite3.Connection = self.engine.raw_connection().driver_connection
        self._raw.rollback()
        aside = Aside(self._raw)
        self.aside = sa.create_engine(
            "sqlite://", creator=lambda: aside, poolclass=StaticPool, pool_reset_on_return=None
        )
        sa.event.listen(self.aside, "before_cursor_execute", aside.before)
        sa.event.listen(self.aside, "after_cursor_execute", aside.after)
        self._template = sqlite3.connect(":memory:")
        self._raw.backup(self._template)
        self._reader = sa.create_engine("sqlite://", poolclass=StaticPool)
        self._reader_raw: sqlite3.Connection = self._reader.raw_connection().driver_connection

    def reset(self) -> None:
        """Begin anew."""
        self._raw.rollback()
        self._template.backup(self._raw)

    def open(self) -> HubSession:
        """Return the session of a hub that starts."""
        return HubSession(bind=self.engine, expire_on_commit=False)

    def crash(self, db: HubSession) -> None:
        """End a hub's session without a commit."""
        db.ended = True
        db.rollback()
        db.expunge_all()
        db.close()
        self._raw.rollback()

    def kept(self) -> Kept:
        """Read servers and ledger as another connection would. Raises LedgerError while the hub is writing."""
        if self._raw.in_transaction:  # SQLite copies nothing then, and Python would wait for ever
            raise LedgerError("The hub's database is locked.")
        self._raw.backup(self._reader_raw)
        with Session(self._reader) as apart:
            return orphans.read(apart)

    def held(self) -> dict[str, tuple[str, str, bool]]:
        """Return tag -> (person, server, shown as running) of each server's record."""
        rows = self._raw.execute(
            "SELECT users.name, spawners.name, spawners.server_id, spawners.state FROM spawners "
            "JOIN users ON users.id = spawners.user_id WHERE spawners.state IS NOT NULL"
        )
        found = {}
        for person, server, running, text in rows:
            record = (json.loads(text) or {}).get("session")
            if record:
                found[record["tag"]] = (person, server, running is not None)
        return found

    def running(self) -> set[tuple[str, str]]:
        """Return (person, server) of all that are shown as running or starting."""
        rows = self._raw.execute(
            "SELECT users.name, spawners.name FROM spawners JOIN users ON users.id = spawners.user_id "
            "WHERE spawners.server_id IS NOT NULL"
        )
        return {(person, server) for person, server in rows}

    def forget(self, person: str, server: str) -> bool:
        """Remove a server's row as by hand; return whether there was one."""
        removed = self._raw.execute(
            "DELETE FROM spawners WHERE name = ? AND user_id = (SELECT id FROM users WHERE name = ?)",
            (server, person),
        )
        self._raw.commit()
        return removed.rowcount > 0

    def ledger(self) -> set[str]:
        """Return the tags in the ledger of starts."""
        return {tag for (tag,) in self._raw.execute("SELECT tag FROM sgehub_starts")}
