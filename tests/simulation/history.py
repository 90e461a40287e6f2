"""One history: actors who do what people and gateways do, in an order that the seed decides, while things go wrong."""

from collections.abc import Callable
from datetime import timedelta

from tests.simulation.actors.customers import Customers
from tests.simulation.actors.engineers import Engineers
from tests.simulation.actors.gateway import Gateway
from tests.simulation.actors.legal import Legal
from tests.simulation.actors.operators import Operators
from tests.simulation.actors.reviewers import Reviewers
from tests.simulation.beginning import join
from tests.simulation.clocks import STEPS
from tests.simulation.invariants import check, check_settled
from tests.simulation.model import END_USERS
from tests.simulation.scene import Scene

_ACTS_A_DAY = (0, 0, 1, 1, 1, 2)
_ACTS_A_BUSY_DAY = (2, 3)
_PAUSES = (0.0, 0.1, 1.0, 30.0, 600.0, 7200.0)
# A quiet moment is by far the longest part of a day to simulate, and most of it finds nothing to do: not every day has one.
_QUIET = 0.12
# Right after a rule has changed, no run begins; an application's counts twelve seconds after it was confirmed.
_NO_RUN_YET = timedelta(seconds=35)
# Operators notice soon, and not always on the same day.
_MENDED = 0.7
_MOST_ORGANIZATIONS = 6


class History:
    """A world, its actors, and what they know. favoured: names of acts that come up much more often than usual, on busier days."""

    def __init__(self, scene: Scene, favoured: frozenset[str] = frozenset()) -> None:
        self.scene = scene
        self.world = scene.world
        self.done: dict[str, int] = {}
        self._gateway = Gateway(self.scene)
        self._engineers = Engineers(self.scene)
        self._legal = Legal(self.scene)
        self._operators = Operators(self.scene)
        self._customers = Customers(self.scene)
        self._reviewers = Reviewers(self.scene)
        self._acts: dict[Callable[[], None], float] = {
            self._gateway.records: 12,
            self._gateway.sends_again: 3,
            self._engineers.asks_for_access: 4,
            self._engineers.reads: 4,
            self._engineers.revokes: 1,
            self._engineers.extends: 1,
            self._engineers.takes_at_once: 1,
            self._engineers.reviews: 1,
            self._operators.takes_role: 0.5,
            self._legal.places_hold: 3,
            self._legal.holds_end_user: 1,
            self._legal.extends_hold: 0.5,
            self._legal.ends_secrecy: 0.5,
            self._legal.releases_hold: 1,
            self._legal.sets_term: 0.5,
            self._legal.sets_application_term: 0.5,
            self._legal.keeps_longer: 0.5,
            self._legal.ends_term: 0.5,
            self._customers.zero_data_retention: 1,
            self._customers.training: 1,
            self._customers.leaves: 0.5,
            self.forgets: 1,
            self.joins: 0.5,
            self.steps_clock: 2,
            self.cuts_off: 2,
            self.chooses_unheard: 0.5,
            self.jobs: 3,
        }
        if not favoured:  # what is about something else has no time for cases
            self._acts |= {
                self._reviewers.looks_at_case: 2,
                self._reviewers.appeals: 0.5,
                self._reviewers.reopens_case: 0.5,
            }
        for act in self._acts:
            if act.__name__ in favoured:
                self._acts[act] += 20
        self._acts_a_day = _ACTS_A_BUSY_DAY if favoured else _ACTS_A_DAY

    def day(self) -> None:
        """One day: a few acts with time between them and things going wrong; on some days a quiet moment at its end, in which all that is
        due gets done."""
        seed, time = self.world.seed, self.world.time
        midnight = time.now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        self.world.faults.off = False
        for _ in range(seed.choice(self._acts_a_day)):
            (act,) = seed.choices(list(self._acts), weights=list(self._acts.values()))
            self.world.note("act", act.__name__)
            self.done[act.__name__] = self.done.get(act.__name__, 0) + 1
            act()
            check(self.scene)
            time.advance(timedelta(seconds=seed.choice(_PAUSES)))
        self.world.faults.off = True
        if seed.random() < _MENDED:
            self.world.mend()
        if seed.random() < _QUIET:
            self.quiet_moment()
        time.advance(max(midnight - time.now, timedelta(0)) + timedelta(minutes=seed.randint(0, 900)))

    def quiet_moment(self) -> None:
        """All that is due by now gets done, and is looked at."""
        known: tuple[int, ...] = ()
        # A run that ends may put a rule into force that waited for it; what became due by it goes by the next run. And an erasure waits a
        # moment behind its fence.
        while known != (known := self._waited_for()):
            self.world.time.advance(_NO_RUN_YET)
            self.world.settle()
        self._customers.follow_erasures()
        self._customers.follow_subjects()
        check(self.scene)
        check_settled(self.scene)

    def _waited_for(self) -> tuple[int, ...]:
        """How often a rule has changed, and how many erasures wait behind their fences."""
        (found,) = self.world.databases.looks.rows(
            "retention",
            "SELECT (SELECT count(*) FROM rule_changes), "
            "(SELECT count(*) FROM erasures WHERE state = 'CLOSING' AND fenced_at IS NOT NULL), "
            "(SELECT count(*) FROM content_erasures WHERE state = 'DESTROYING_KEYS' AND fenced_at IS NOT NULL)",
        )
        return tuple(found)

    def jobs(self) -> None:
        """Processes do what they do by themselves."""
        self.world.step_some_jobs()

    def steps_clock(self) -> None:
        """Some process's clock is set a little wrong, or very."""
        process = self.world.seed.choice(list(self.world.processes.values()))
        process.clock.skew = timedelta(seconds=self.world.seed.choice(STEPS))

    def cuts_off(self) -> None:
        """Some process reaches no other for a while."""
        name = self.world.seed.choice(list(self.world.processes))
        self.world.cut_off(name, timedelta(seconds=self.world.seed.choice((5, 600, 7200, 86_400))))

    def chooses_unheard(self) -> None:
        """A customer chooses zero data retention while a process that has just stored its content hears of nothing."""
        organization = self._customers.some_without_zero_data_retention()
        if organization is None:
            return
        process = self.world.seed.choice(("logging", "logging_2"))
        self._gateway.records_of(organization, process)
        self.world.cut_off(process, timedelta(hours=1))
        # An erasure would take what is stored against the choice in its first seconds, and hide it from whoever looks.
        self._customers.chooses_zero_data_retention(organization, erases=False)
        self.world.time.advance(timedelta(seconds=self.world.seed.choice((0.1, 1.0, 3.0, 30.0))))
        self._gateway.records_of(organization, process)

    def forgets(self) -> None:
        """An end user has himself erased, mostly one of whom something came a moment ago; and what came then comes again."""
        organization = self._customers.some_end_users_customer()
        if organization is None:
            return
        batch = []
        if self.world.seed.random() < 0.7:
            batch = self._gateway.records_of(organization, self.world.seed.choice(("logging", "logging_2")))
        self._customers.passes_erasure_on(organization, self.world.seed.choice(END_USERS))
        if batch:
            self._gateway.repeats(batch)

    def joins(self) -> None:
        """A customer comes."""
        if len(self.scene.model.organizations) < _MOST_ORGANIZATIONS:
            with self.world.quiet():  # the beginning of a customer is not what this is about
                self.world.mend()
                self.world.leases()
                # A power that a process granted whose clock was ahead may not be in force yet.
                self.world.attempt(
                    lambda: join(self.scene, self.world.seed.choice(("SAAS", "SAAS", "SAAS", "PRIVATE")))
                )
