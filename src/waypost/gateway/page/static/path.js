// The way of a request as one bar of its stages, now and for the release before, on one scale.
import { byId, made, milliseconds } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";
const TALL = 44, LOW = 22, GAP = 9; // pixels
const CHARACTER = 8.2; // pixels of a label's letter, nearly

/** Segments of one bar, in the order of the path, in seconds. What the worker's stages leave of the gateway's wait is
 *  the way there and back. */
function segments(stages, which) {
  const held = stages.find((stage) => stage.holds_the_worker)?.[which]?.p99;
  const inside = stages.filter((stage) => stage.process === "worker");
  const known = inside.reduce((sum, stage) => sum + (stage[which].p99 ?? 0), 0);
  const found = [];
  stages.forEach((stage, place) => {
    if (stage.holds_the_worker) return;
    found.push({ name: stage.stage, process: stage.process, seconds: stage[which].p99 ?? 0, slow: stage.slow, place });
    if (stage === inside[inside.length - 1] && held > known) {
      found.push({ name: "on the way", process: "way", seconds: held - known, slow: false, place });
    }
  });
  return found.filter((segment) => segment.seconds > 0);
}

function shape(name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

function bar(parts, scale, height, faded) {
  const drawing = shape("svg", { height, role: "img", "aria-label": inWords(parts) });
  let x = 0;
  for (const part of parts) {
    const width = part.seconds * scale;
    const colour = part.slow ? "slow" : part.process === "way" ? "way" : `${part.process}-${part.place % 2}`;
    const group = shape("g", faded ? { class: "faded" } : {});
    group.append(shape("title", {}, `${part.name}: ${milliseconds(part.seconds)}`));
    group.append(shape("rect", { x, y: 0, width, height, rx: 3, class: colour }));
    const label = fitting(part, width - GAP);
    if (label) {
      const on = part.slow ? "on-slow" : part.process === "way" ? "on-way" : "";
      group.append(shape("text", { x: x + width / 2, y: height / 2 + 4.5, "text-anchor": "middle", class: on }, label));
    }
    drawing.append(group);
    x += width;
  }
  return drawing;
}

function fitting(part, width) {
  const time = milliseconds(part.seconds);
  return [`${part.name} ${time}`, part.name].find((label) => label.length * CHARACTER <= width);
}

function inWords(parts) {
  return parts.map((part) => `${part.name} ${milliseconds(part.seconds)}`).join(", ");
}

let drawn = null; // what was drawn last, for another width

export function drawPath(figures) {
  drawn = figures;
  const place = byId("path");
  const now = segments(figures.stages, "now");
  const bars = [[nowTitle(figures), now, TALL, false]];
  const before = figures.compared_with ? ["before", `Release ${figures.compared_with}, before it`] : ["half_hour", "The half hour before"];
  const earlier = segments(figures.stages, before[0]).map((segment) => ({ ...segment, slow: false }));
  if (earlier.length) bars.push([before[1], earlier, LOW, true]);
  const longest = Math.max(...bars.map(([, parts]) => total(parts)));
  if (!longest) {
    place.replaceChildren();
    return;
  }
  const scale = place.clientWidth / longest;
  const shown = bars.filter(([, parts]) => parts.length).flatMap(([title, parts, height, faded]) => [
    made("h3", "", title),
    bar(parts, scale, height, faded),
  ]);
  place.replaceChildren(...shown, legend(now));
}

const total = (parts) => parts.reduce((sum, part) => sum + part.seconds, 0);

function nowTitle(figures) {
  return figures.answers_by ? `Release ${figures.answers_by}, now` : "Now";
}

function legend(parts) {
  const entries = [["gateway", "gateway"], ["worker", "worker"], ["way-colour", "on the way, by queue and reply"]];
  if (parts.some((part) => part.slow)) entries.push(["slow", "got slower"]);
  const items = entries.map(([colour, words]) => made("li", "", made("span", `swatch ${colour}`), words));
  return made("ul", "legend", ...items);
}

new ResizeObserver(() => drawn && drawPath(drawn)).observe(byId("path"));
