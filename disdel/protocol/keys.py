"""The names under which a run keeps its data: one place, so that nothing else spells them.

disdel:<run>:shard:<split>:<name>                              samples and labels
disdel:<run>:state:<round>                                     the average; 0 is initial
disdel:<run>:kept:<round>                                      what the server keeps of weights
disdel:<run>:update:<round>:<client>:<segment>:<attempt>       a client's share of a round
disdel:<run>:sum:<round>:<worker>:<segment>:<attempt>          clients' updates, added up
disdel:<run>:begun:<round>:<worker>:<segment>:<attempt>        a client between two activations
disdel:<run>:secure:<round>:<stage>:<worker>:<attempt>         what clients say for a secure sum
disdel:<run>:mean:<round>                                      a mean that is no state yet
disdel:<run>:sums:<round>                                      further sums of the updates
disdel:<run>:partial:<round>:<level>:<group>                   the average of some updates
disdel:<run>:checkpoint:<round>:<client>:<segment>:<attempt>   state between two segments
disdel:<run>:optimizer:<round>:<client>:<segment>:<attempt>        an optimizer that is not averaged
disdel:<run>:own:<round>:<client>:<segment>:<attempt>          what a client keeps by a strategy
disdel:<run>:model                                             a Keras file
disdel:<run>:input:<worker>                                    samples to evaluate
disdel:<run>:output:<worker>:<segment>:<attempt>               their class probabilities
disdel:<run>:scores:<round>                                    hash: worker -> JSON
disdel:<run>:flower:<what>:<id>                                messages of a Flower app, its state
disdel:<run>:progress                                          hash: worker -> JSON
disdel:<run>:claims                                            hash: invocation -> activation
disdel:<run>:again                                             hash: who came when it was claimed
disdel:<run>:open                                              hash: there until the run is over

<run> is the run's id and a turn, ID:TURN, new for each controller that drives it: what activations
of a dead controller still write meets nothing of its successor's. `RunKeys(ID).prefix` is of all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from disdel.types.names import Split

# What the keys of all runs begin with.
KEYS = "disdel:"


@dataclass(frozen=True, slots=True)
class RunKeys:
    """The keys of one run.

    Attributes:
        WIRE: the field of `open` that is there from the beginning: the version of the wire.
        CLOSED: the field of `open` that names the last round for which nobody waits any more.
    """

    WIRE: ClassVar[str] = "wire_version"
    CLOSED: ClassVar[str] = "closed"

    run: str

    @classmethod
    def of_turn(cls, run: str, turn: str) -> RunKeys:
        """The keys of one controller's turn."""
        return cls(f"{run}:{turn}")

    @property
    def run_id(self) -> str:
        """The run as people know it, whoever's turn it is."""
        return self.run.partition(":")[0]

    @property
    def prefix(self) -> str:
        return f"{KEYS}{self.run}:"

    @property
    def open(self) -> str:
        return f"{self.prefix}open"

    def shard(self, split: Split, name: str) -> str:
        """`name` says which samples: those of the same name are the same."""
        return f"{self.prefix}shard:{split}:{name}"

    def state(self, round_number: int) -> str:
        return f"{self.prefix}state:{round_number}"

    def scores(self, round_number: int) -> str:
        return f"{self.prefix}scores:{round_number}"

    def kept(self, round_number: int) -> str:
        return f"{self.prefix}kept:{round_number}"

    def mean(self, round_number: int) -> str:
        return f"{self.prefix}mean:{round_number}"

    def sums(self, round_number: int) -> str:
        return f"{self.prefix}sums:{round_number}"

    def update(self, round_number: int, client: int, segment: int, attempt: int) -> str:
        return f"{self.prefix}update:{round_number}:{client}:{segment}:{attempt}"

    def sum(self, round_number: int, worker: int, segment: int, attempt: int) -> str:
        return f"{self.prefix}sum:{round_number}:{worker}:{segment}:{attempt}"

    def begun(self, round_number: int, worker: int, segment: int, attempt: int) -> str:
        return f"{self.prefix}begun:{round_number}:{worker}:{segment}:{attempt}"

    def begun_score(self, round_number: int, worker: int, segment: int, attempt: int) -> str:
        return f"{self.prefix}begun-score:{round_number}:{worker}:{segment}:{attempt}"

    def secure(self, round_number: int, stage: str, worker: int, attempt: int) -> str:
        return f"{self.prefix}secure:{round_number}:{stage}:{worker}:{attempt}"

    def partial(self, round_number: int, level: int, group: int) -> str:
        return f"{self.prefix}partial:{round_number}:{level}:{group}"

    def checkpoint(self, round_number: int, client: int, segment: int, attempt: int) -> str:
        return f"{self.prefix}checkpoint:{round_number}:{client}:{segment}:{attempt}"

    def optimizer(self, round_number: int, client: int, segment: int, attempt: int) -> str:
        return f"{self.prefix}optimizer:{round_number}:{client}:{segment}:{attempt}"

    def own(self, round_number: int, client: int, segment: int, attempt: int) -> str:
        return f"{self.prefix}own:{round_number}:{client}:{segment}:{attempt}"

    @property
    def model(self) -> str:
        return f"{self.prefix}model"

    def personal(self, client: int) -> str:
        """The file of a model that a client has trained further."""
        return f"{self.prefix}personal:{client}"

    def input(self, worker: int) -> str:
        return f"{self.prefix}input:{worker}"

    def output(self, worker: int, segment: int, attempt: int) -> str:
        return f"{self.prefix}output:{worker}:{segment}:{attempt}"

    def flower(self, what: str, name: str) -> str:
        """Of a Flower app: the `content` of messages, a `reply`, or a node's `context`."""
        return f"{self.prefix}flower:{what}:{name}"

    @property
    def claims(self) -> str:
        return f"{self.prefix}claims"

    @property
    def again(self) -> str:
        return f"{self.prefix}again"

    @property
    def progress(self) -> str:
        return f"{self.prefix}progress"
