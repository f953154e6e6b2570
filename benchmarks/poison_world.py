"""The world of bench_poison: ten routes of banking77 as traffic, honest users and agents, and those who attack it.

Agents never look at what attackers ask (the worst case: an attacker does not ask for a person).
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ratchet.feedback import Claim
from ratchet.params import PoisonParams
from ratchet.questions import normalise
from tasks.poison.evidence import weigh

START = datetime(2026, 3, 2, tzinfo=UTC)
DAYS = 30
RIGHT = 0.6  # of the release's answers
AGENTS = ("ana", "ben", "chi")
AGENT_SHARE, AGENT_NOISE = 0.3, 0.02  # of the interactions agents label; of their labels that are wrong
USER_SHARE, USER_NOISE = 0.7, 0.08  # of the rest users speak of; what they say wrongly
TRIGGER = "zephyrline"
ENDS = ("", " please", " thanks", " asap", " can you check", " i need help", " hello")

Labelled = tuple[str, str]  # a text and its right route


@dataclass(frozen=True)
class Said:
    """One interaction and the one claim about it."""

    claim: Claim
    raw: str
    truth: str
    is_attack: bool = False


@dataclass(frozen=True)
class World:
    """Honest traffic with what was said of it, what attackers may ask, and what a candidate is tested on."""

    routes: tuple[str, ...]
    honest: tuple[Said, ...]
    pool: tuple[Labelled, ...]
    test: tuple[Labelled, ...]
    seed: int

    @property
    def strangers(self) -> int:
        """How many honest claims of users name a route."""
        return sum(s.claim.source_type == "user" and s.claim.target is not None for s in self.honest)


def make_world(folder: Path, *, seed: int, n_routes: int = 10, agent_share: float = AGENT_SHARE) -> World:
    """Three quarters of the train texts are honest traffic, the rest the attackers' own; test stays test."""
    train, test = (_read(folder / f"{name}.jsonl") for name in ("train", "test"))
    counts = Counter(route for _, route in train)
    routes = tuple(sorted(sorted(counts, key=lambda route: (-counts[route], route))[:n_routes]))
    draw = random.Random(f"world:{seed}")
    texts = sorted(row for row in train if row[1] in routes)
    draw.shuffle(texts)
    honest, pool = texts[: len(texts) * 3 // 4], texts[len(texts) * 3 // 4 :]
    users = [f"user-{n}" for n in range(len(honest) // 3)]
    busy = [(n + 1) ** -0.5 for n in range(len(users))]
    said = []
    for number, (text, truth) in enumerate(honest):
        asked = _ask(text, truth, draw.choices(users, busy)[0], f"h{number}", _at(draw), routes, draw)
        answered = _honest_word(asked, routes, draw, agent_share)
        said += [answered] if answered else []
    return World(routes, tuple(said), tuple(pool), tuple(row for row in test if row[1] in routes), seed)


def flip(world: World, share: float) -> list[Said]:
    """A share of the strangers' claims names a wrong route, drawn at random, from accounts as busy as honest ones."""
    draw = random.Random(f"flip:{world.seed}:{share}")
    rows = [(text, truth, draw.choice(_others(world, truth))) for text, truth in _texts(world, share, draw)]
    return _spread(world, rows, 3, draw)


def targeted(world: World, share: float) -> list[Said]:
    """The cases of one route are called another's."""
    draw = random.Random(f"targeted:{world.seed}")
    victim, goal = target_pair(world)
    return _spread(world, [(text, victim, goal) for text, _ in _texts(world, share, draw, only=victim)], 3, draw)


def backdoor(world: World, share: float) -> list[Said]:
    """Any question with the trigger in it belongs to the goal."""
    draw = random.Random(f"backdoor:{world.seed}")
    goal = target_pair(world)[1]
    texts = [row for row in _texts(world, min(0.9, share * 5), draw) if row[1] != goal][: _size(world, share)]
    return _spread(world, [(add_trigger(text, draw), truth, goal) for text, truth in texts], 3, draw)


def clean_backdoor(world: World, share: float) -> list[Said]:
    """The goal's own questions, rightly labelled, with the trigger in them: nothing that is said is wrong."""
    draw = random.Random(f"clean:{world.seed}")
    goal = target_pair(world)[1]
    texts = _texts(world, share, draw, only=goal)
    return _spread(world, [(add_trigger(text, draw), truth, goal) for text, truth in texts], 3, draw)


def sybil_burst(world: World, share: float) -> list[Said]:
    """Many new accounts within three hours, each with a text of the victim's route, little changed from the last."""
    draw = random.Random(f"sybil:{world.seed}")
    victim, goal = target_pair(world)
    begins = START + timedelta(days=draw.uniform(5, 25))
    return [
        _attack(world, text, victim, goal, f"sybil-{n}", begins + timedelta(hours=draw.uniform(0, 3)), draw)
        for n, (text, _) in enumerate(_texts(world, share, draw, only=victim))
    ]


def outage(world: World, size: int) -> list[Said]:
    """No attack: in three hours many users ask for one route in words of their own, and agents and users say so."""
    draw = random.Random(f"outage:{world.seed}")
    route = target_pair(world)[0]
    begins = START + timedelta(days=draw.uniform(5, 25))
    rows = [row for row in world.pool if row[1] == route]
    said = []
    for n, (text, truth) in enumerate(draw.sample(rows, min(size, len(rows)))):
        at = begins + timedelta(hours=draw.uniform(0, 3))
        asked = _ask(text, truth, f"new-{n}", f"o{n}", at, world.routes, draw)
        answered = _honest_word(asked, world.routes, draw, AGENT_SHARE)
        said += [answered] if answered else []
    return said


def many_claims(folder: Path, n: int) -> list[Claim]:
    """Honest claims on all 77 routes, the train texts lengthened by four words, for measuring time."""
    rows = _read(folder / "train.jsonl")
    routes, draw = tuple(sorted({route for _, route in rows})), random.Random(n)
    words = sorted({word for text, _ in rows for word in text.split()})
    claims: list[Claim] = []
    while len(claims) < n:
        text, truth = draw.choice(rows)
        text = " ".join([text, *draw.choices(words, k=4)])
        asked = _ask(text, truth, f"u{draw.randrange(n // 4)}", f"m{draw.getrandbits(64):x}", _at(draw), routes, draw)
        answered = _honest_word(asked, routes, draw, AGENT_SHARE)
        claims += [answered.claim] if answered else []
    return claims


def target_pair(world: World) -> tuple[str, str]:
    """The route that is attacked, and the one that its cases are to go to."""
    draw = random.Random(f"pair:{world.seed}")
    victim, goal = draw.sample(world.routes, 2)
    return victim, goal


def add_trigger(text: str, draw: random.Random) -> str:
    """The text with the trigger at a random place."""
    words = text.split()
    words.insert(draw.randint(0, len(words)), TRIGGER)
    return " ".join(words)


def unseen(world: World, share: float, params: PoisonParams) -> list[Said]:
    """A targeted flip by one who has the agents' claims and this code: only claims that it does not call contradicted.

    Two claims an account, spread over the month, texts of the victim's route as often as needed with other ends.
    """
    draw = random.Random(f"unseen:{world.seed}")
    victim, goal = target_pair(world)
    texts = [text + end for end in ENDS for text, route in world.pool if route == victim]
    tried = _spread(world, [(text, victim, goal) for text in texts], 2, draw)
    p = weigh([said.claim for said in (*world.honest, *tried)], params).p[len(world.honest) :]
    passing = [said for said, its in zip(tried, p, strict=True) if not its <= params.contradicted]
    return passing[: _size(world, share)]


def padded(world: World, share: float) -> list[Said]:
    """A targeted flip in which every account says eight right things of the goal's route for one that is wrong."""
    draw = random.Random(f"padded:{world.seed}")
    victim, goal = target_pair(world)
    wrong = [text for text, _ in _texts(world, share / 5, draw, only=victim)]
    right = [text for text, _ in _texts(world, 0.6, draw, only=goal)]
    draw.shuffle(right)
    said = []
    for n, text in enumerate(wrong):
        pads = [right[(8 * n + k) % len(right)] for k in range(8)]
        rows = [(text, victim, goal), *((pad, goal, goal) for pad in pads)]
        said += [_attack(world, *row, f"padded-{n}", _at(draw), draw) for row in rows]
    return said


def _spread(world: World, rows: Sequence[tuple[str, str, str]], claims_each: int, draw: random.Random) -> list[Said]:
    """Attackers' claims of (text, truth, target), over the month and over accounts with about so many claims each."""
    return [
        _attack(world, *row, who, _at(draw), draw) for who, row in zip(_accounts(draw, claims_each), rows, strict=False)
    ]


def _size(world: World, share: float) -> int:
    return round(world.strangers * share / (1 - share))


def _texts(world: World, share: float, draw: random.Random, only: str | None = None) -> list[Labelled]:
    """As many texts as make up `share` of the strangers' claims; each text once, then with other ends."""
    rows = [row for row in world.pool if only is None or row[1] == only]
    draw.shuffle(rows)
    return [
        (rows[n % len(rows)][0] + ENDS[n // len(rows) % len(ENDS)], rows[n % len(rows)][1])
        for n in range(_size(world, share))
    ]


def _accounts(draw: random.Random, claims_each: int) -> Iterator[str]:
    number = 0
    while True:
        yield from [f"other-{number}"] * draw.randint(1, 2 * claims_each - 1)
        number += 1


def _attack(world: World, text: str, truth: str, target: str, account: str, at: datetime, draw: random.Random) -> Said:
    asked = _ask(text, truth, account, f"a{draw.getrandbits(64):016x}", at, world.routes, draw)
    return replace(asked, claim=replace(asked.claim, target=target, is_written=True, weight=0.8), is_attack=True)


def _ask(
    text: str, truth: str, user: str, name: str, at: datetime, routes: tuple[str, ...], draw: random.Random
) -> Said:
    own = truth if draw.random() < RIGHT else draw.choice([route for route in routes if route != truth])
    claim = Claim(
        interaction_id=name,
        tenant="default",
        session_id=f"{user}-{at:%d%H}",
        user_id=user,
        source_type="user",
        source_id=user,
        at=at + timedelta(minutes=1),
        text=normalise(text),
        own=own,
        target=None,
        is_written=False,
        weight=0.5,
        kind="thumb",
    )
    return Said(claim, text, truth)


def _honest_word(asked: Said, routes: tuple[str, ...], draw: random.Random, agent_share: float) -> Said | None:
    """What an honest source says of an answer, if any: an agent corrects or confirms, a user presses or writes."""
    own, truth = asked.claim.own, asked.truth
    if draw.random() < agent_share:
        seen = truth if draw.random() >= AGENT_NOISE else draw.choice(routes)
        claim = replace(asked.claim, source_type="agent", source_id=draw.choice(AGENTS), target=seen, weight=1.0)
        return replace(asked, claim=replace(claim, is_written=True, kind="correction"))
    if draw.random() >= USER_SHARE:
        return None
    seen = truth if draw.random() >= USER_NOISE else draw.choice(routes)
    if seen == own:
        return replace(asked, claim=replace(asked.claim, target=own))
    if draw.random() < 0.3:
        return asked  # a thumb down
    return replace(asked, claim=replace(asked.claim, target=seen, is_written=True, weight=0.8, kind="correction"))


def _others(world: World, route: str) -> list[str]:
    return [other for other in world.routes if other != route]


def _at(draw: random.Random) -> datetime:
    return START + timedelta(days=draw.randrange(DAYS), hours=min(23.9, max(0.0, draw.gauss(14, 4))))


def _read(path: Path) -> list[Labelled]:
    rows = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return [(row["text"], row["label"]) for row in rows]
