// Asks for the figures every few seconds while somebody looks, and writes them where they belong.
import { askForPeople, listen } from "./ask.js";
import { authorized, wantKey } from "./key.js";
import { drawPath } from "./path.js";
import { ago, byId, made, milliseconds, share, whole } from "./words.js";

const LOOK_MILLISECONDS = 5000; // as often as the gateway itself looks
const ANSWER_MILLISECONDS = 4000;
let finest = 0; // seconds, the first edge of the histograms
let few = 0; // requests: figures of fewer are marked

async function look() {
  if (document.visibilityState === "hidden") return;
  try {
    const answer = await fetch("/status/figures", { headers: authorized(), signal: AbortSignal.timeout(ANSWER_MILLISECONDS) });
    if (answer.status === 401) {
      wantKey();
      tell("quiet", "An API key, please", "This gateway asks for one: give it below, and the figures appear.");
      return;
    }
    if (!answer.ok) throw new Error(String(answer.status));
    show(await answer.json());
    freshness("fresh", "Fresh");
  } catch {
    freshness("stale", "The gateway does not answer; these figures are old");
  }
}

function freshness(state, words) {
  byId("pulse").dataset.state = state;
  const time = new Date().toLocaleTimeString("en-GB");
  write("freshness", state === "fresh" ? `Updated ${time}` : words);
}

function show(figures) {
  const verdict = figures.verdict;
  tell(verdict.kind, verdict.headline, verdict.sentence);
  for (const stage of figures.stages) {
    stage.slow = verdict.kind === "slow" && stage.process === verdict.process && stage.stage === verdict.stage;
  }
  finest = figures.finest_seconds;
  few = figures.few;
  showRelease(figures);
  showTraffic(figures.traffic);
  showQueue(figures.queue, figures.worker);
  showNight(figures.night, figures.at);
  drawPath(figures);
  showStages(figures);
  write("code", `· Waypost ${figures.code_version}`);
  document.documentElement.dataset.userKey = figures.keys.user;
  document.documentElement.dataset.postKey = figures.keys.post;
}

function tell(kind, headline, sentence) {
  byId("verdict").dataset.kind = kind;
  write("headline", headline);
  write("sentence", sentence);
  document.title = kind === "slow" || kind === "bad" ? `${headline} · Waypost` : "Waypost";
}

/** Only what changed: a screen reader says a live region again whenever it is written. */
function write(id, words) {
  const element = byId(id);
  if (element.textContent !== words) element.textContent = words;
}

function facts(id, lines) {
  byId(id).replaceChildren(...lines.filter(Boolean).map((line) => made("p", "", line)));
}

function showRelease(figures) {
  const release = figures.release;
  write("release", figures.answers_by ?? (release ? String(release.version) : "–"));
  if (!release) {
    facts("release-facts", [figures.release_trouble ?? "No release was published yet: run waypost night"]);
    return;
  }
  const ways = { publish: "published", rollback: "a rollback", pin: "pinned", unpin: "unpinned", retreat: "taken back" };
  const other = figures.answers_by && figures.answers_by !== String(release.version);
  facts("release-facts", [
    other && `${release.version} is named to be served`,
    `${ways[release.how] ?? release.how}, ${ago(release.moved_at, figures.at)}`,
    release.pinned && "pinned: nights do not move it",
    figures.release_before && `before it: release ${figures.release_before.version}`,
  ]);
}

function showTraffic(traffic) {
  write("p99", about(traffic.p99, traffic.count, milliseconds));
  byId("p99").dataset.state = traffic.p99 > traffic.objective ? "over" : "within";
  const good = traffic.good === null ? "" : `: ${traffic.met ? "met" : `missed, ${Math.floor(traffic.good * 1000) / 10} % were`}`;
  const asked = traffic.per_second >= 1 ? traffic.per_second.toFixed(0) : traffic.per_second.toFixed(1);
  facts("p99-facts", [
    `objective: 99 % by the model within ${milliseconds(traffic.objective)}${good}`,
    traffic.few && `only ${whole(traffic.requests)} requests: it says little yet`,
    traffic.requests ? `p50 ${milliseconds(traffic.p50)}, ${asked} requests a second` : "no requests in the last two minutes",
    traffic.degraded > 0 && `${share(traffic.degraded)} degraded: popular posts instead`,
  ]);
}

function showQueue(queue, worker) {
  write("queue", whole(queue.waiting));
  facts("queue-facts", [
    queue.waiting === null ? "the queue was not read yet, or does not answer" : `${whole(queue.in_flight)} with a worker`,
    queue.breaker > 0 && "the gateway holds requests back: the queue fails, or no worker replies",
    worker.answers ? (worker.ready ? "worker ready" : "the worker serves nothing yet") : worker.trouble,
    worker.catalogue_posts > 0 && `${whole(worker.shown_posts)} of ${whole(worker.catalogue_posts)} posts shown by this release`,
  ]);
}

function showNight(night, now) {
  const scores = night?.scores ?? {};
  const score = (value) => (typeof value === "number" ? value.toFixed(3) : "–");
  write("night", night ? score(scores.recall) : "–");
  if (!night) {
    facts("night-facts", ["No night was accepted yet"]);
    return;
  }
  facts("night-facts", [
    `recall@20 (popularity ${score(scores.popularity_recall)})`,
    `NDCG@20 ${score(scores.ndcg)} (${score(scores.popularity_ndcg)})`,
    `made release ${night.version}, ${ago(night.made_at, now)}`,
    night.sizes && `from ${whole(night.sizes.interactions)} interactions`,
    night.gate_override && "let pass the gate by an operator",
  ]);
}

function showStages(figures) {
  write("before-heading", figures.compared_with ? `Release ${figures.compared_with}` : "Release before");
  byId("stages").tBodies[0].replaceChildren(...figures.stages.map(stageRow));
}

function stageRow(stage) {
  const name = made("th", "", stage.stage);
  name.scope = "row";
  if (stage.slow) name.append(made("span", "badge", "slower"));
  name.append(made("span", "in", stage.holds_the_worker ? "gateway, while the worker works" : stage.process));
  const row = made("tr", stage.slow ? "slow" : "", name);
  if (stage.process === "worker") row.classList.add("inside");
  row.append(
    figure(stage.now, "p50", "wider"), figure(stage.now, "p99", "now"),
    figure(stage.before, "p99"), figure(stage.half_hour, "p99", "wider"),
  );
  return row;
}

/** Below the histograms' first edge nobody knows more than that it is below. */
function orBelow(seconds) {
  return seconds !== null && seconds < finest ? `< ${milliseconds(finest)}` : milliseconds(seconds);
}

/** Of few requests a quantile is hardly more than one of them. */
function about(seconds, count, written) {
  return seconds !== null && count < few ? `≈ ${written(seconds)}` : written(seconds);
}

function figure(found, which, className = "") {
  const seconds = found[which];
  const cell = made("td", `figure ${className} ${seconds === null ? "none" : ""}`, about(seconds, found.count, orBelow));
  if (seconds !== null) cell.title = `of ${whole(found.count)} requests`;
  return cell;
}

listen(look);
look().then(askForPeople);
setInterval(look, LOOK_MILLISECONDS);
document.addEventListener("visibilitychange", look);
