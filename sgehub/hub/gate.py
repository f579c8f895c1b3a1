"""What may be asked: the one gate that every way in (form, link, REST, stored options) goes through.

A part of SGESpawner that knows requests and JupyterHub's hooks for them, and nothing of jobs. JupyterHub calls
`run_options_from_form` and `options_from_query` for people at the form, `apply_user_options` for everybody, and
`start`, whose first act is `accept`, has the last word: a site can replace the hook.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from jupyterhub.utils import url_escape_path, url_path_join

from sgehub.errors import RequestRefusedError, SgehubError, Violation
from sgehub.hub import compat, form
from sgehub.hub.ended import Ended
from sgehub.hub.ledger import LedgerError
from sgehub.hub.offered import as_text
from sgehub.hub.refusals import LinkOpened, RequestRefused, as_failure
from sgehub.hub.service import ClusterService
from sgehub.hub.verdict import ADDRESS
from sgehub.model.asking import check_defaults
from sgehub.model.clamping import clamped
from sgehub.model.judging import counted
from sgehub.model.policy import SitePolicy
from sgehub.model.request import ResourceRequest

T = TypeVar("T")


class Gate:
    """The part of a spawner that judges requests. `accepted` is the last accepted one, {} before the first."""

    user: Any
    hub: Any
    name: str
    site: str
    log: Any
    handler: Any
    user_options: Any
    accepted: dict[str, Any]
    ended: dict[str, Any] | None

    @property
    def service(self) -> ClusterService:
        """The cluster, shared by all spawners of the hub."""
        return ClusterService.of(self.user.settings, self.site, self.log)

    def awaited(self) -> asyncio.Task[ClusterService]:
        """Return the task that makes the service, for whoever must not fail while it cannot be made."""
        return ClusterService.awaited(self.user.settings, self.site, self.log)

    @property
    def policy(self) -> SitePolicy:
        """What this person may ask for."""
        return self.service.people.policy_of(self.user.name)

    def accept(self) -> ResourceRequest:
        """Judge `user_options`, whatever way they came; every way in ends here. Raises RequestRefused."""
        given = form.options_given(self.handler)
        try:
            request = self._judge(self.user_options if given else self._options_kept())
            self.refuse_one_more()
        except RequestRefusedError as error:
            raise RequestRefused(error) from None
        except LedgerError as error:
            raise as_failure(error) from None
        return request

    def _options_kept(self) -> object:
        """Return what a start without options means: the last accepted request.

        The hub keeps options before anybody has judged them, and others may write them directly: they count
        only if they are allowed.
        """
        if not self.accepted:
            return self.user_options
        try:
            self._judge(self.user_options)
        except RequestRefusedError:
            return self.accepted
        return self.user_options or self.accepted

    def refuse_one_more(self) -> None:
        """Refuse a session beyond those that the site allows one person at once.

        A session counts from its submission until its job has ended, or is being ended. Raises
        RequestRefusedError, and LedgerError where the database does not tell.
        """
        allowed = self.policy.sessions_per_person
        if allowed is None:
            return
        service = self.service
        others = {
            entry.server
            for entry in service.ledger.entries(self.user.name)
            if entry.server != self.name and not service.ends.has(entry.record.tag)
        }
        if len(others) >= allowed:
            named = ", ".join(name or "the default one" for name in sorted(others))
            raise RequestRefusedError(
                (
                    Violation(
                        "",
                        f"You may have {counted(allowed, 'session')} at once, and have: {named}. Stop one first.",
                    ),
                )
            )

    def judge(self, values: Mapping[str, str]) -> ResourceRequest:
        """Judge what stands in the form's fields, as Start would, and remember nothing of it.

        Raises RequestRefusedError.
        """
        posted = form.posted({name: [value] for name, value in values.items()}, self.policy)
        request = self._judge(form.counting(posted, self.policy))
        self.refuse_one_more()
        return request

    def _judge(self, raw: object, *, unfinished: bool = False) -> ResourceRequest:
        return self.policy.parse(raw, self.fresh(), unfinished=unfinished)

    async def get_options_form(self) -> str:
        """Return the form, filled with what was typed a moment ago, else with the last accepted request.

        Of that, what the site no longer allows is made to fit, and said.
        """
        await self.service.people.learn(self.user.name)
        policy = self.policy
        fresh = self.fresh(self.log.error)
        last, changes = clamped({**fresh, **self.accepted}, policy)
        server = url_escape_path(form.server_asked_for(self.name))
        address = url_path_join(self.hub.base_url, ADDRESS, self.user.escaped_name, server)
        return form.render(
            policy,
            last.as_options(),
            fresh=fresh,
            ended=self.last_end,
            changes=changes,
            verdict=address.rstrip("/"),
        )

    @property
    def site_trouble(self) -> str:
        """What administrators read while the site's file cannot be used, "" while it can."""
        try:
            return "" if self.service.reload is None else self.service.reload.trouble
        except SgehubError as error:
            return str(error)

    @property
    def last_end(self) -> Ended | None:
        """How the last session of this server ended, as the pages say it; None if the hub has not begun."""
        try:
            return Ended.read(self.ended, self.service.clock())
        except SgehubError:
            return None

    def fresh(self, say: Callable[..., None] | None = None) -> dict[str, Any]:
        """Return what counts where nothing is named: `req_*`, made to fit what this person may ask for.

        Where they do not fit the site's file, it alone decides, and `say` hears why.
        """
        wished, own = compat.request_defaults(self), self.policy
        if not wished:  # as on most sites; those of the file fit already
            return own.defaults.as_options()
        try:
            check_defaults(self.service.policy, wished)
        except RequestRefusedError as error:
            if say is not None:
                say("The req_* settings of the spawner are not allowed by %s: %s", self.site, error)
            return own.defaults.as_options()
        return clamped({**own.defaults.as_options(), **wished}, own)[0].as_options()

    def once_known(self, judge: Callable[[], T]) -> T | Awaitable[T]:
        """Judge at once if the person's groups are known, else as soon as the account database has said them."""
        people, person = self.service.people, self.user.name
        if people.knows(person):
            return judge()

        async def later() -> T:
            await people.learn(person)
            return judge()

        return later()

    def run_options_from_form(self, form_data: Mapping[str, list[str]]) -> Any:
        """Read and judge the posted form at once: a later refusal would never come back to it."""
        form.begin()
        return self.once_known(lambda: self._from_form(form_data))

    def _from_form(self, form_data: Mapping[str, list[str]]) -> dict[str, Any]:
        typed = form.posted(form_data, self.policy)
        return self._read(form.counting(typed, self.policy), typed)

    def options_from_query(self, query_data: Mapping[str, list[str]]) -> Any:
        """Fill the form from a link, and never start anything: any page can make a browser follow a link."""
        form.begin()
        handler = self.handler
        return self.once_known(lambda: self._from_link(query_data, handler))

    def _from_link(self, query_data: Mapping[str, list[str]], handler: Any) -> dict[str, Any]:
        values = form.linked(query_data, handler, self.policy)
        if values:
            # What the link does not name is judged by the defaults, so that is what the form must show.
            filled = {**as_text(self.fresh()), **values}
            self._read(filled, filled, unfinished=True)
            raise LinkOpened("The form is filled from the link. Look it over, then press Start.")
        raise LinkOpened("")

    def _read(self, values: dict[str, str], typed: dict[str, str], *, unfinished: bool = False) -> dict[str, Any]:
        """Judge `values`; the form shows what was `typed`."""
        form.remember(self.name, typed)
        try:
            return self._judge(values, unfinished=unfinished).as_options()
        except RequestRefusedError as error:
            form.remember(self.name, typed, error.violations)
            raise RequestRefused(error) from None
