"""What a platform's limit on invocations a minute costs a run: time in which nothing is started.

OpenWhisk counts the invocations of a namespace by calendar minutes and refuses those above the
limit until the next one begins (core/controller RateThrottler.scala). Seconds throughout.
"""

from __future__ import annotations

import math

_MINUTE_S = 60.0
# Nobody knows where in a minute a run will begin; half of it is left on average.
_LEFT_OF_FIRST_S = _MINUTE_S / 2
# A long run repeats itself: what comes after so many rounds is taken to be like them.
_ROUNDS_FOLLOWED = 500


def throttled_s(
    rounds: int,
    *,
    invocations: int,
    scores: int,
    score_every: int,
    round_s: float,
    start_s: float,
    per_minute: int,
) -> float:
    """The time that a run waits for minutes to end; 0 where it never meets the limit.

    Args:
        rounds: each begins when the one before has ended.
        invocations: of a round without its score.
        scores: invocations of a score.
        score_every: rounds from one score to the next; the last round has one.
        round_s: what a round takes by itself; its invocations are spread over it.
        start_s: what the first round takes longer.
        per_minute: the platform's limit, at least 1.
    """
    if rounds * invocations + -(-rounds // score_every) * scores <= per_minute:
        return 0.0
    now_s, minute_ends_s, left, waited_s = 0.0, _LEFT_OF_FIRST_S, per_minute, 0.0
    followed = min(rounds, _ROUNDS_FOLLOWED)
    for number in range(1, followed + 1):
        scored = number % score_every == 0 or number == rounds
        count = invocations + scores * scored
        apart_s, to_start = round_s / count, count
        while to_start:
            if now_s >= minute_ends_s:
                minute_ends_s += _MINUTE_S * (1 + (now_s - minute_ends_s) // _MINUTE_S)
                left = per_minute
            elif left == 0:
                waited_s += minute_ends_s - now_s
                now_s = minute_ends_s
                minute_ends_s += _MINUTE_S
                left = per_minute
            # All at once that begin in this minute, and that it takes.
            begun = min(left, to_start)
            if now_s + (begun - 1) * apart_s >= minute_ends_s:
                begun = math.ceil((minute_ends_s - now_s) / apart_s)
            left -= begun
            to_start -= begun
            now_s += begun * apart_s
        now_s += start_s if number == 1 else 0.0
    return waited_s * rounds / followed
