// The box: asks /recommend as any caller would, then for the titles, the history and the reasons beside the list.
import { authorized, wantKey } from "./key.js";
import { byId, made, milliseconds, parseExactly, share } from "./words.js";

const DEADLINE_MS = 2000; // a person waits longer than an app, and a first request is slower
const JSON_TYPE = { "Content-Type": "application/json" };
let turn = 0; // answers to an earlier question are dropped

export function listen(look) {
  byId("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    ask().then(look);
  });
  byId("key").addEventListener("change", () => look().then(askForPeople));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !byId("answer").hidden) clear();
  });
}

export async function askForPeople() {
  const answer = await fetch("/status/people", { headers: authorized() }).catch(() => null);
  const people = answer?.ok ? (await answer.json()).people : [];
  const buttons = people.map((person) => {
    const button = made("button", "", person);
    button.type = "button";
    button.addEventListener("click", () => {
      byId("user").value = person;
      byId("ask").requestSubmit();
    });
    return button;
  });
  byId("people").replaceChildren(...(buttons.length ? ["Try", ...buttons] : ["The id of a user, as the app knows it."]));
}

async function ask() {
  const mine = ++turn;
  const { question, recent } = asked();
  const began = performance.now();
  say("Asking …");
  let raw = null;
  try {
    const answer = await fetch("/recommend", { method: "POST", headers: authorized(JSON_TYPE), body: question });
    raw = await answer.text();
    if (mine !== turn) return;
    if (!answer.ok) {
      refuse(answer.status, parseExactly(raw));
      return;
    }
  } catch {
    if (mine === turn) say("The gateway does not answer.", "bad");
    return;
  }
  const seconds = (performance.now() - began) / 1000;
  const answer = parseExactly(raw);
  show(answer, null);
  say(summary(answer, seconds));
  const told = await reasons(recent, raw);
  if (mine !== turn) return;
  show(answer, told.reasons);
  if (told.trouble) byId("history-note").textContent = told.trouble;
}

/** The body, as text: ids are written as they were typed, for JavaScript's numbers are too short for some. */
function asked() {
  const { userKey, postKey } = document.documentElement.dataset;
  const list = (id) => byId(id).value.split(",").map((word) => word.trim()).filter(Boolean);
  const recent = list("recent").map((id) => key(id, postKey)).join(",");
  const fields = [`"user_id":${key(byId("user").value.trim(), userKey)}`, `"deadline_ms":${DEADLINE_MS}`];
  fields.push(`"k":${Number.parseInt(byId("count").value, 10) || 10}`, `"recent_post_ids":[${recent}]`);
  if (list("tags").length) fields.push(`"tags":${JSON.stringify({ any: list("tags") })}`);
  if (byId("query").value.trim()) fields.push(`"query":${JSON.stringify(byId("query").value.trim())}`);
  return { question: `{${fields.join(",")}}`, recent };
}

function key(word, type) {
  return type === "integer" && /^-?(0|[1-9]\d*)$/.test(word) ? word : JSON.stringify(word);
}

async function reasons(recent, answer) {
  const body = `{"recent_post_ids":[${recent}],"answer":${answer}}`;
  try {
    const told = await fetch("/status/reasons", { method: "POST", headers: authorized(JSON_TYPE), body });
    const said = await told.json();
    return told.ok ? { reasons: said } : { trouble: `No history here: ${said.detail}.` };
  } catch {
    return { trouble: "No history here: the gateway did not answer." };
  }
}

function refuse(status, said) {
  clear(false);
  if (status === 401) {
    wantKey();
    say("This gateway asks for an API key.", "bad");
    byId("key").focus();
    return;
  }
  const detail = Array.isArray(said.detail)
    ? said.detail.map((problem) => `${problem.loc.slice(1).join(".") || "body"}: ${problem.msg}`).join("; ")
    : said.detail;
  say(`${status}: ${detail}`, "bad");
}

function summary(answer, seconds) {
  const time = milliseconds(seconds);
  const count = `${answer.items.length} posts for user ${answer.user_id}`;
  if (answer.degraded) return `${count}: popular ones, because the model did not answer in time (${time}).`;
  if (answer.source === "popular") return `${count}: popular ones, because the model knows nothing of this user (${time}).`;
  return `${count}, ranked by release ${answer.model_version} in ${time}.`;
}

function say(words, state = "good") {
  byId("said").textContent = words;
  byId("said").dataset.state = state;
}

function clear(andFocus = true) {
  turn += 1;
  byId("answer").hidden = true;
  say("");
  if (andFocus) byId("user").focus();
}

function show(answer, told) {
  byId("answer").hidden = false;
  const shown = new Set((told?.history ?? []).map((event) => event.post_id));
  byId("list").replaceChildren(...answer.items.map((item, at) => recommended(item, told?.posts[at], shown)));
  byId("history").replaceChildren(...(told?.history ?? []).map(happened));
  byId("tags-of-user").replaceChildren(...(told?.tags ?? []).map(({ tag, posts }) => chip(`${tag} ${posts}`)));
  byId("history-note").textContent = told ? historyNote(told) : "Reading the history …";
}

function recommended(item, told, shown) {
  const title = made("div", "title", made("span", "", told?.title ?? `post ${item.post_id}`));
  title.append(made("span", "score", item.score.toPrecision(3)));
  const line = made("li", "", title);
  const reasons = told?.reasons ?? [];
  if (reasons.length) line.append(why(reasons, shown));
  const shared = new Set(reasons.flatMap((reason) => reason.shared_tags));
  if (told?.tags.length) line.append(made("div", "chips", ...told.tags.map((tag) => chip(tag, shared.has(tag)))));
  return line;
}

function why(reasons, shown) {
  const parts = reasons.flatMap((reason, at) => {
    const name = shown.has(reason.post_id) ? linked(reason) : reason.title;
    return [at ? " and " : "", "“", name, `” (${share(reason.share)})`];
  });
  return made("p", "why", "Because of ", ...parts);
}

function linked(reason) {
  const link = made("a", "", reason.title);
  link.href = `#${anchor(reason.post_id)}`;
  return link;
}

const anchor = (post) => `did-${encodeURIComponent(post)}`;

function happened(event) {
  const line = made("li", "", made("div", "title", made("span", "", event.title)));
  line.id = decodeURIComponent(anchor(event.post_id));
  line.append(made("p", "why", `${event.kind}${event.at ? `, ${day(event.at)}` : ""}`));
  return line;
}

function day(iso) {
  return new Date(iso).toLocaleDateString("en-GB", { day: "numeric", month: "long", year: "numeric" });
}

function chip(words, shared = false) {
  return made("span", shared ? "chip shared" : "chip", words);
}

function historyNote(told) {
  if (!told.known) return "The release does not know this user: no history.";
  if (!told.history_posts) return "No history of this user.";
  const beyond = told.history_posts - told.history.length;
  const more = beyond > 0 ? ` And ${beyond} older ones.` : "";
  const words = "A share is of all that this history says for a post; a ringed tag is one that a reason shares.";
  return `As release ${told.model_version} learned it.${more} ${words}`;
}
