"""travel with its last six months held out: new posts against content rankings, warm pairs against collaborative ones.

Two questions, each with its own candidates and the same for all rankers:
- *new posts*: ranked are the posts without any interaction before the cut, which are in the graph with tags, text and
  author; judged are users with an interaction before the cut (the others have no profile, so the content rankings would
  only lose to us by them), on those of their later posts. Asked twice: as it stands, and without a user's own posts,
  since a good deal of it is authors who answer under their own question, and a list of those is easy to make.
- *warm pairs*: ranked are the posts with an interaction before the cut; judged are users with one, on those posts.
On warm pairs a post's own author is no reader: such pairs are left out of test and lists. The night is that of the cut,
and its lists are judged on six months: later posts have the cut's time in the graph, as the trainer's own holdout has
it, for else a list made for the first days of 2017 would rank the posts of December and nobody else's.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.graph_files import GraphFiles, read_graph_files, write_graph_files
from bench.quality.content import TAG_PROFILE, TAG_TITLE_TFIDF, ContentPeer, choose_variant, rank_by_content
from bench.quality.context import Bench, Outcome, night_figures
from bench.quality.cuts import Cut, Pair, among, authored, cut_by_time, pairs_of, written_by
from bench.quality.judging import Figures, Judge, Judged, paired, write_judge, write_lists
from bench.quality.peers import IMPLICIT_ALS, POPULARITY, Graph, Peer, lists_of, tune
from bench.quality.verbs import LIST_LENGTH, WAYPOST, Stack

FOLDER = "travel"
BOUNDARY = "2016-07-01"  # the data ends with 2016
VALIDATION_BOUNDARY = "2016-01-01"
NEW, NEW_OF_OTHERS, WARM = "new posts", "new posts of others", "warm pairs"
CONTENT_PEERS = (TAG_PROFILE, TAG_TITLE_TFIDF)
WARM_PEERS = (POPULARITY, IMPLICIT_ALS)
# Checks of the gate that an ablated model may fail; one that has learned little looks as if it had leaked.
ACCEPTED = ("below-popularity", "coverage", "leaking")


@dataclass(frozen=True)
class Questions:
    """One cut's, with what stands in train and test of each."""

    cut: Cut
    had: set[Pair]
    written: set[Pair]  # by oneself
    users: set[str]  # with an interaction before the cut
    new_posts: list[str]
    warm_posts: list[str]

    @classmethod
    def of(cls, files: GraphFiles, cut: Cut) -> Questions:
        had = pairs_of(cut.train)
        warm = {post for _, post in had}
        return cls(
            cut=cut,
            had=had,
            written=authored(files.posts),
            users={user for user, _ in had},
            new_posts=[row[0] for row in files.posts if row[0] not in warm],
            warm_posts=[row[0] for row in files.posts if row[0] in warm],
        )

    def asked(self, posts: Collection[str], *, own: bool = False) -> list[Pair]:
        hidden = self._hidden(own)
        return among((pair for pair in self.cut.test if pair not in hidden), self.users, set(posts))

    def judge(self, evaluate: Path, folder: Path, name: str, posts: Sequence[str], *, own: bool = False) -> Judge:
        hidden, asked = self._hidden(own), self.asked(posts, own=own)
        return write_judge(evaluate, folder, name, hidden, asked, num_posts=len(posts), strips_seen=True)

    def _hidden(self, own: bool) -> set[Pair]:
        """What no list may name and nobody is asked for."""
        return self.had if own else self.had | self.written


def measure(bench: Bench, seed: int) -> Outcome:
    files, questions = _read(bench)
    with bench.stack(WAYPOST_TRAINER_SEED=str(seed)) as stack:
        found, new, others, warm = _ours(bench, stack, files, questions)
        inner = Questions.of(files, cut_by_time(questions.cut.train, VALIDATION_BOUNDARY))
        figures = {group: dict(values) for group, values in found.figures.items()}
        for content in CONTENT_PEERS:
            bench.check_time()
            figures |= _beside_content(NEW, content, bench, stack.folder, files, questions, inner, new)
            figures |= _beside_content(NEW_OF_OTHERS, content, bench, stack.folder, files, questions, inner, others)
        for group in (NEW, NEW_OF_OTHERS):
            figures[f"{group}, ratio"] = ratio_to_best(
                figures, group, [f"{group}, {peer.name}" for peer in CONTENT_PEERS]
            )
        for peer in WARM_PEERS:
            bench.check_time()
            figures |= _beside_warm(peer, bench, stack.folder, files, questions, inner, warm)
    return Outcome(figures, found.peak_bytes)


def ablate(
    bench: Bench,
    seed: int,
    change: Callable[[GraphFiles], GraphFiles] | None = None,
    program: Sequence[str] = WAYPOST,
) -> Outcome:
    """The same two questions to a model without something; the gate is told to let it pass below popularity."""
    files, questions = _read(bench)
    with bench.stack(WAYPOST_TRAINER_SEED=str(seed)) as stack:
        changed = change(files) if change else files
        return _ours(bench, stack, changed, questions, program, ACCEPTED)[0]


def _read(bench: Bench) -> tuple[GraphFiles, Questions]:
    files = written_by(read_graph_files(bench.data / FOLDER), BOUNDARY)
    return files, Questions.of(files, cut_by_time(files.interactions, BOUNDARY))


def _ours(
    bench: Bench,
    stack: Stack,
    files: GraphFiles,
    questions: Questions,
    program: Sequence[str] = WAYPOST,
    accept: Sequence[str] = (),
) -> tuple[Outcome, Judged, Judged, Judged]:
    """The figures, and the three judgements user by user."""
    stack.load(write_graph_files(stack.folder / "graph", replace(files, interactions=questions.cut.train)))
    night = stack.night(program, accept)
    new, warm = _lists(stack, "new", questions.new_posts), _lists(stack, "warm", questions.warm_posts)
    judged = {
        NEW: questions.judge(bench.evaluate, stack.folder, "new", questions.new_posts, own=True)(new),
        NEW_OF_OTHERS: questions.judge(bench.evaluate, stack.folder, "others", questions.new_posts)(new),
        WARM: questions.judge(bench.evaluate, stack.folder, "warm", questions.warm_posts)(warm),
    }
    figures = {**{group: found.figures for group, found in judged.items()}, "night": night_figures(night)}
    return Outcome(figures, night.peak_bytes), judged[NEW], judged[NEW_OF_OTHERS], judged[WARM]


def _lists(stack: Stack, name: str, posts: Sequence[str]) -> Path:
    """Everybody's, of these posts."""
    chosen, lists = stack.folder / f"{name}.txt", stack.folder / f"{name}.tsv"
    chosen.write_text("\n".join(posts) + "\n")
    stack.recommend(lists, LIST_LENGTH, chosen)
    return lists


def _beside_content(
    group: str,
    peer: ContentPeer,
    bench: Bench,
    folder: Path,
    files: GraphFiles,
    questions: Questions,
    inner: Questions,
    ours: Judged,
) -> dict[str, dict[str, Any]]:
    own = group == NEW

    def judged(asked: Questions, number: int) -> Judged:
        pairs = asked.asked(asked.new_posts, own=own)
        users = sorted({user for user, _ in pairs})
        lists = rank_by_content(
            peer, peer.variants[number], files, sorted(pairs_of(asked.cut.train)), users, asked.new_posts, LIST_LENGTH
        )
        judge = asked.judge(bench.evaluate, folder, "content", asked.new_posts, own=own)
        return judge(write_lists(folder / "content.tsv", lists))

    ndcg_of = {number: judged(inner, number).figures["ndcg"] for number in range(len(peer.variants))}
    variant = choose_variant(peer, ndcg_of)
    theirs = judged(questions, peer.variants.index(variant))
    return {
        f"{group}, {peer.name}": {**theirs.figures, "tuned": {name: str(value) for name, value in variant.items()}},
        f"{group}, ours over {peer.name}": paired(ours, theirs),
    }


def _beside_warm(
    peer: Peer, bench: Bench, folder: Path, files: GraphFiles, questions: Questions, inner: Questions, ours: Judged
) -> dict[str, dict[str, Any]]:
    constants, ndcg = tune(peer, Graph.of(files, inner.cut, set(inner.warm_posts)), inner.asked(inner.warm_posts))
    graph, test = Graph.of(files, questions.cut, set(questions.warm_posts)), questions.asked(questions.warm_posts)
    lists = write_lists(folder / "peer.tsv", lists_of(peer, graph, constants, test, LIST_LENGTH))
    theirs = questions.judge(bench.evaluate, folder, "warm", questions.warm_posts)(lists)
    return {
        f"warm pairs, {peer.name}": {**theirs.figures, "tuned": dict(constants), "validation_ndcg": ndcg},
        f"warm pairs, ours over {peer.name}": paired(ours, theirs),
    }


def ratio_to_best(figures: dict[str, dict[str, Any]], group: str, peers: Sequence[str]) -> Figures:
    """Of each measure to that of the peer that is best at it."""
    ours = figures[group]
    best = {name: max(figures[peer][name] for peer in peers) for name in ("recall", "ndcg")}
    return {name: ours[name] / best[name] if best[name] else float("inf") for name in best}
