"""Titles and bodies of the synthetic posts: sentences that say what the post's tags say, in many ways.

Pure: a post's place, themes, month and a few random numbers in, English out. The same words recur with the same tags,
so a model that reads text can learn what a tag means, and can read a post that has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from waypost.local.world_words import REGIONS, Theme, place_name, region_of

MONTHS: Final = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_SEASONS: Final = ("winter", "winter", "spring", "spring", "spring", "summer", "summer", "summer") + ("autumn",) * 3 + (
    "winter",
)  # fmt: skip
_TITLES: Final = (
    "{Doing} in {place} in {month}: where to start?",
    "{place} for {theme}: what I wish I had known",
    "Three days of {theme} around {place}",
    "Is {place} worth it for {theme} in {season}?",
    "{sight} near {place}: our {season} notes",
    "Where do locals go {doing} in {place}?",
    "First time {doing}, and we chose {place}",
    "A quiet {season} week in {place} with {sight}",
    "What does {doing} in {place} cost in {month}?",
    "{theme} and {other}: can {place} do both?",
    "Back to {place}, this time for {theme}",
    "{place} in {month}: {theme} without the crowds",
)
_OPENINGS: Final = (
    "We spent {days} days in {place} in {month} and came for {theme}.",
    "I am planning {days} days in {place} and would love to go {doing}.",
    "After {days} days in {place} I have strong feelings about {theme}.",
    "{place} was the surprise of our {season} through {region}.",
    "My sister and I keep going back to {place} for {theme}.",
    "Nobody had told us that {place} was so good for {theme}.",
)
_MIDDLES: Final = (
    "The {sight} are what you come for, and they are best in {season}.",
    "Bring {need}; without it {doing} is no pleasure here.",
    "You will find {sight} within half an hour of the centre.",
    "Ask for the {sight} that the guidebooks leave out.",
    "We had read about the {sight} and they were better than that.",
    "If you only have one day for {theme}, give it to the {sight}.",
    "The people who run it know {theme} well and take their time.",
)
_OTHERS: Final = (
    "It goes well with {other}: think of {other_sight}.",
    "In the evenings there was {other}, with {other_sight} close by.",
    "Those who prefer {other} will like the {other_sight}.",
    "For {other} you will want {other_need}.",
)
_ENDINGS: Final = (
    "In {month} it was {weather}, and prices were {prices}.",
    "Would you stay in {place} itself or further out in {region}?",
    "Count on {budget} euros a day for two, less in {season}.",
    "We would go again tomorrow. 🌍",
    "Any advice is welcome, above all on {doing} with little time.",
    "From the station it is {minutes} minutes on foot.",
)
_WEATHER: Final = ("dry and clear", "warmer than expected", "wet for two days", "windy but bright", "foggy at first")
_PRICES: Final = ("fair", "low", "high", "higher than last year")

NUMBERS_PER_POST: Final = 12  # random numbers that one post's text takes


class PostFacts(NamedTuple):
    place: int
    theme: Theme
    other: Theme | None
    month: int  # 0 is January


def title_and_body(facts: PostFacts, numbers: Sequence[int]) -> tuple[str, str]:
    """`numbers`: NUMBERS_PER_POST non-negative integers. The body may hold newlines."""
    words = _words(facts, numbers)
    title = _pick(_TITLES, numbers[0]).format_map(words)
    middles = _pick(_MIDDLES, numbers[2]), _pick(_MIDDLES, numbers[2] + 1 + numbers[3] % (len(_MIDDLES) - 1))
    first = " ".join((_pick(_OPENINGS, numbers[1]), *middles))
    ending = _pick(_ENDINGS, numbers[4])
    second = f"{_pick(_OTHERS, numbers[5])} {ending}" if facts.other else ending
    body = f"{first}\n\n{second}".format_map(words)
    return title[0].upper() + title[1:], body


def _words(facts: PostFacts, numbers: Sequence[int]) -> dict[str, str]:
    theme, other = facts.theme, facts.other or facts.theme
    sight = theme.sights[numbers[6] % 3]
    return {
        "place": place_name(facts.place),
        "region": tuple(REGIONS)[region_of(facts.place)],
        "theme": theme.name,
        "doing": theme.doing,
        "Doing": theme.doing[0].upper() + theme.doing[1:],
        "sight": sight,
        "need": theme.need,
        "other": other.name,
        "other_sight": other.sights[numbers[7] % 3],
        "other_need": other.need,
        "month": MONTHS[facts.month],
        "season": _SEASONS[facts.month],
        "days": str(2 + numbers[8] % 12),
        "weather": _pick(_WEATHER, numbers[9]),
        "prices": _pick(_PRICES, numbers[10]),
        "budget": str(40 + numbers[11] % 30 * 10),
        "minutes": str(5 + numbers[9] % 40),
    }


def _pick(choices: Sequence[str], number: int) -> str:
    return choices[number % len(choices)]
