from __future__ import annotations

from gateway.breaker import Breaker


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def opened(clock: Clock) -> Breaker:
    breaker = Breaker(3, 5.0, clock)
    for _ in range(3):
        breaker.failed()
    return breaker


def test_it_opens_at_the_third_failure_in_a_row() -> None:
    breaker = Breaker(3, 5.0, Clock())
    for outcome in (breaker.failed, breaker.failed, breaker.succeeded, breaker.failed, breaker.failed):
        outcome()
    assert breaker.wait_s() == 0
    breaker.failed()
    assert breaker.wait_s() == 5.0


def test_once_the_time_is_over_one_request_tries_and_the_others_wait() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += 5
    assert [breaker.wait_s(), breaker.wait_s()] == [0, 5.0]


def test_a_success_of_the_try_closes_it() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += 5
    breaker.wait_s()
    breaker.succeeded()
    assert [breaker.wait_s(), breaker.wait_s()] == [0, 0]


def test_a_failure_of_the_try_opens_it_anew() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += 5
    breaker.wait_s()
    clock.now += 1
    breaker.failed()
    assert breaker.wait_s() == 5.0
