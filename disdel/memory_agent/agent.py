"""The agent: hears warnings on Redis, decides, and has pods resized until they are.

One thread reads messages and does nothing else, so that a flood of them waits for nobody. One
decides, on a list of the pods that is at most a second old, however many warnings it is for. What
asks for a resize waits in a thread of its own. Warnings are not kept: one that is published while
nobody listens is lost, and the action's own checkpoint is what saves its work then.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from disdel.errors import DisdelError
from disdel.memory_agent.channel import messages
from disdel.memory_agent.check import BELIEVED_S, Checker, Ignored
from disdel.memory_agent.cluster import one_line
from disdel.memory_agent.decide import Grow, Pod, Policy, Settled, TakeBack, decide, follow
from disdel.memory_agent.memory_warning import MemoryWarning
from disdel.memory_agent.pods import Pods
from disdel.memory_agent.tally import Tally
from disdel.types.units import MIB, format_bytes

LISTING_S = 1.0
_RESIZING_THREADS = 32
# A monitor warns once a limit; an activation that has more to say is not heard.
_WARNINGS_OF_A_GRANT = 64

Tell = Callable[[str], None]


@dataclass(slots=True)
class _Grant:
    """What one activation's grant has been used for.

    Attributes:
        host: the one pod that it may speak for: that of its first warning.
        forget_s: when nothing signed by it is believed any more.
        heard: the warnings that it has signed.
        given_bytes: by how much the pod has grown for them.
    """

    host: str
    forget_s: float
    heard: set[MemoryWarning] = field(default_factory=set)
    given_bytes: int = 0


@dataclass(frozen=True, slots=True)
class _Asked:
    """A warning to decide about."""

    warning: MemoryWarning
    grant: _Grant


@dataclass(slots=True)
class _Resize:
    """A resize that was begun. `accepted_s` is when Kubernetes took it, None until then."""

    asked: _Asked
    before: Pod
    wanted_bytes: int
    accepted_s: float | None = None


@dataclass(frozen=True, slots=True)
class _Answered:
    """Kubernetes has taken a resize, or not: `error`."""

    resize: _Resize
    error: str | None


class Agent:
    """Grows pods; `tell` gets one line for everything that happens.

    Args:
        pods: the cluster's.
        policy: how far they may grow.
        checker: tells warnings from other messages.
        tell: may be called by several threads.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        pods: Pods,
        policy: Policy,
        checker: Checker,
        tell: Tell,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pods = pods
        self._policy = policy
        self._checker = checker
        self._tell = tell
        self._clock = clock
        self.tally = Tally(tell, clock=clock)
        self._inbox: queue.SimpleQueue[_Asked | _Answered] = queue.SimpleQueue()
        self._grants: dict[str, _Grant] = {}
        self._resizes: dict[str, _Resize] = {}
        self._listed: Sequence[Pod] = ()
        self._listed_s = -LISTING_S
        self._threads = ThreadPoolExecutor(_RESIZING_THREADS, thread_name_prefix="resize")

    def serve(self, redis_url: str) -> None:
        """Listen for ever.

        Raises:
            ConnectionRefused: there is no Redis at `redis_url` to begin with.
        """
        threading.Thread(target=self._decide_for_ever, name="decide", daemon=True).start()
        for message in messages(redis_url, self._tell):
            self.hear(message)

    def hear(self, message: bytes) -> None:
        """Take in a message of the channel, whatever it holds."""
        try:
            identity, warning = self._checker.read(message)
            asked = _Asked(warning, self._grant(identity, warning))
        except Ignored as reason:
            self.tally.count(str(reason))
        except Exception as error:
            # The one place that nothing gets past: a message must not end the agent.
            self.tally.count(f"an error of the agent's own, {type(error).__name__}")
        else:
            self._inbox.put(asked)

    def _grant(self, identity: str, warning: MemoryWarning) -> _Grant:
        """The grant that signed a warning, if it may.

        Raises:
            Ignored: it speaks for another container, has spoken too often, or somebody repeats it.
        """
        grant = self._grants.get(identity)
        if grant is None:
            now_s = self._clock()
            for old in [key for key, grant in self._grants.items() if grant.forget_s < now_s]:
                del self._grants[old]
            grant = self._grants[identity] = _Grant(warning.host, now_s + BELIEVED_S)
        if grant.host != warning.host:
            raise Ignored("signed by the grant of another container")
        if warning in grant.heard:
            # Whoever listens can repeat it, and must not use up what the activation may say.
            raise Ignored("heard before")
        if len(grant.heard) == _WARNINGS_OF_A_GRANT:
            raise Ignored(f"an activation's warning beyond its {_WARNINGS_OF_A_GRANT}th")
        grant.heard.add(warning)
        return grant

    def _decide_for_ever(self) -> None:
        while True:
            try:
                self.step(LISTING_S)
            except Exception as error:
                self._tell(_own(error))
                time.sleep(LISTING_S)

    def step(self, timeout_s: float) -> None:
        """Act on what has come since the last step; wait for it for a while if it is nothing."""
        asked, answers = self._received(timeout_s)
        self.tally.report()
        for answer in answers:
            self._take_answer(answer)
        if not asked and not self._resizes:
            return
        for one in asked:
            begun = self._resizes.get(one.warning.host)
            if begun is not None and one.warning.limit_bytes >= begun.wanted_bytes:
                # It has what it was to get and asks for more, before any list has shown that.
                self._end(begun, begun.wanted_bytes)
                self._listed_s = -LISTING_S
        try:
            pods = self._list()
        except DisdelError as error:
            for one in asked:
                self._tell(f"{_stays(one.warning)}: {error}")
            return
        for resize in list(self._resizes.values()):
            self._safely(self._follow, resize, pods)
        for one in asked:
            self._safely(self._act, one)

    def _safely(self, act: Callable[..., None], *arguments: object) -> None:
        """What goes wrong with one pod is told and is no other's affair."""
        try:
            act(*arguments)
        except Exception as error:
            self._tell(_own(error))

    def _received(self, timeout_s: float) -> tuple[list[_Asked], list[_Answered]]:
        asked: list[_Asked] = []
        answers: list[_Answered] = []
        try:
            event = self._inbox.get(timeout=timeout_s)
            while True:
                if isinstance(event, _Asked):
                    asked.append(event)
                else:
                    answers.append(event)
                event = self._inbox.get_nowait()
        except queue.Empty:
            return asked, answers

    def _list(self) -> Sequence[Pod]:
        """The pods as they were a second ago at most."""
        now_s = self._clock()
        if now_s - self._listed_s >= LISTING_S:
            self._listed = self._pods.list()
            self._listed_s = now_s
        return self._listed

    def _act(self, asked: _Asked) -> None:
        warning, grant = asked.warning, asked.grant
        if warning.host in self._resizes:
            # Said again, before anything came of it.
            return
        pods = [self._as_promised(pod) for pod in self._listed]
        decision = decide(warning, pods, self._policy, grant.given_bytes)
        if not isinstance(decision, Grow):
            self._tell(f"{_stays(warning)}: {decision.reason}")
            return
        grant.given_bytes += decision.limit_bytes - decision.pod.limit_bytes
        resize = _Resize(asked, decision.pod, decision.limit_bytes)
        self._resizes[warning.host] = resize
        self._threads.submit(self._ask, resize)

    def _as_promised(self, pod: Pod) -> Pod:
        """The pod with what was asked for and may not be in the list yet."""
        resize = self._resizes.get(pod.name)
        if resize is None or pod.limit_bytes >= resize.wanted_bytes:
            return pod
        actual_bytes = pod.limit_bytes if pod.actual_bytes is None else pod.actual_bytes
        return replace(pod, limit_bytes=resize.wanted_bytes, actual_bytes=actual_bytes)

    def _ask(self, resize: _Resize) -> None:
        error: str | None = None
        try:
            self._pods.resize(resize.before, resize.wanted_bytes)
        except DisdelError as failure:
            error = str(failure)
        except Exception as failure:
            error = _own(failure)
        self._inbox.put(_Answered(resize, error))

    def _take_answer(self, answer: _Answered) -> None:
        if answer.error is None:
            answer.resize.accepted_s = self._clock()
        else:
            self._end(answer.resize, answer.resize.before.limit_bytes, answer.error)

    def _follow(self, resize: _Resize, pods: Sequence[Pod]) -> None:
        """See what has become of a resize, on a list of the pods that is younger than it."""
        if resize.accepted_s is None or self._listed_s < resize.accepted_s:
            return
        pod = next((pod for pod in pods if pod.name == resize.before.name), None)
        waited_s = self._clock() - resize.accepted_s
        outcome = follow(resize.before, resize.wanted_bytes, pod, waited_s)
        if isinstance(outcome, Settled):
            if outcome.limit_bytes is None:
                self._end(resize, 0, "it is gone")
            else:
                self._end(resize, outcome.limit_bytes, "its limit was changed by somebody else")
        elif isinstance(outcome, TakeBack):
            self._end(resize, outcome.limit_bytes, outcome.reason)
            self._threads.submit(self._take_back, resize, outcome.limit_bytes)

    def _take_back(self, resize: _Resize, limit_bytes: int) -> None:
        """Have a pod's specification say what its container has."""
        try:
            self._pods.resize(resize.before, limit_bytes)
        except Exception as error:
            said = str(error) if isinstance(error, DisdelError) else _own(error)
            self._tell(f"{resize.before.name}: what it was not given stays asked for: {said}")

    def _end(self, resize: _Resize, limit_bytes: int, reason: str = "") -> None:
        """Tell what a resize came to, and forget it."""
        if self._resizes.get(resize.before.name) is not resize:
            return
        del self._resizes[resize.before.name]
        warning, before = resize.asked.warning, resize.before
        got_bytes = max(0, limit_bytes - before.limit_bytes)
        resize.asked.grant.given_bytes -= resize.wanted_bytes - before.limit_bytes - got_bytes
        if limit_bytes > resize.wanted_bytes - MIB:
            self._tell(
                f"{_named(warning)} grows from {format_bytes(before.limit_bytes)} to "
                f"{format_bytes(limit_bytes)}"
            )
        elif limit_bytes:
            self._tell(f"{_named(warning)} stays at {format_bytes(limit_bytes)}: {reason}")
        else:
            self._tell(f"{_named(warning)}: {reason}")


def _stays(warning: MemoryWarning) -> str:
    return f"{_named(warning)} stays at {format_bytes(warning.limit_bytes)}"


def _named(warning: MemoryWarning) -> str:
    return f"{warning.host} ({one_line(warning.action) or 'unnamed action'})"


def _own(error: Exception) -> str:
    return f"an error of the agent's own: {type(error).__name__}: {one_line(error)}"
