"use strict";
// Runs before the steps below it are read, so it looks for nothing but what stands above; all the
// rest is asked for when something happens.
(() => {
  const root = document.documentElement;
  const all = (query, inside = document) => [...inside.querySelectorAll(query)];
  const seen = (e) => e.checkVisibility({ contentVisibilityAuto: false });
  const VIEWS = { symbols: 3, numbers: 4, source: 5 }; // and the height from which each is shown
  root.classList.add("js");

  // The address keeps the height and the step: #height=symbols&at=s3; a bare #s3 is a step.
  const heights = all("input[name=height]");
  const named = (input) => input.nextElementSibling.textContent;
  const height = () => Number(heights.find((input) => input.checked).value);
  const address = () => {
    const text = location.hash.slice(1);
    return new URLSearchParams(text.includes("=") ? text : { at: text });
  };
  const remember = (at) => {
    const parts = new URLSearchParams({ height: named(heights[height()]) });
    if (at) parts.set("at", at);
    try {
      history.replaceState(null, "", "#" + parts);
    } catch {
      // A page without an address, in a notebook's frame, remembers nothing.
    }
  };

  // Symbols, numbers and source line: the height says which are shown, until a button says
  // something else of one step or of all.
  const press = (button, shown) => button.setAttribute("aria-pressed", shown);
  const rise = (to) => {
    heights[to].checked = true;
    root.dataset.height = to;
    heights.forEach((input, i) => input.parentElement.classList.toggle("below", i < to));
    for (const row of all("dl > .on, dl > .off")) row.classList.remove("on", "off");
    for (const button of all("[data-view]")) press(button, to >= VIEWS[button.dataset.view]);
  };
  const atLeast = (least) => height() < least && rise(least);
  const button = (view) => {
    const made = document.createElement("button");
    made.type = "button";
    made.dataset.view = made.textContent = view;
    press(made, height() >= VIEWS[view]);
    return made;
  };
  const addButtons = () => {
    for (const step of all(".step")) {
      const group = document.createElement("span");
      group.className = "views";
      group.setAttribute("role", "group");
      group.setAttribute("aria-label", `How ${step.dataset.name} is shown`);
      const has = Object.keys(VIEWS).filter((view) => step.querySelector(`dl > .${view}`));
      group.append(...has.map(button));
      step.firstElementChild.append(group);
    }
  };
  const toggle = (button) => {
    const shown = button.getAttribute("aria-pressed") !== "true";
    const step = button.closest(".step");
    const view = button.dataset.view;
    if (!step) atLeast(2);
    for (const row of all(`dl > .${view}`, step || document)) {
      row.classList.toggle("on", shown);
      row.classList.toggle("off", !shown);
    }
    for (const other of step ? [button] : all(`[data-view=${view}]`)) press(other, shown);
    remember();
  };
  const found = heights.findIndex((input) => named(input) === address().get("height"));
  rise(found < 0 ? VIEWS.numbers : found);
  all(".controls .views")[0].append(...Object.keys(VIEWS).map(button));

  // Where a number is from, and what it feeds
  const byId = (id) => document.getElementById(id);
  const label = (card, at) => {
    const sizes = (card.dataset.shape || "").split(",").filter(Boolean).map(Number);
    if (at === undefined || !sizes.length) return card.dataset.name;
    let rest = Number(at);
    const index = sizes.map((_, i) => {
      const block = sizes.slice(i + 1).reduce((a, b) => a * b, 1);
      const here = Math.floor(rest / block);
      rest %= block;
      return here;
    });
    return `${card.dataset.name}[${index.join(", ")}]`;
  };
  const LIT = ["lit", "lit-from", "lit-feeds"];
  const clear = () => {
    for (const e of all(LIT.map((name) => "." + name).join())) e.classList.remove(...LIT);
    byId("trail").replaceChildren();
  };
  const boxes = (id) => all(`.network [data-steps~="${id}"], .network [href="#${id}"]`);
  const mark = (id, name) => {
    byId(id)?.classList.add(name);
    for (const box of boxes(id)) (box.querySelector(":scope > summary") || box).classList.add(name);
  };
  const links = (words, ids, name) => {
    const span = document.createElement("span");
    span.className = name;
    span.textContent = `${words} `;
    for (const id of ids) {
      const link = document.createElement("a");
      link.href = "#" + id;
      link.textContent = byId(id).dataset.name;
      span.append(link, " ");
    }
    return span;
  };
  const light = ({ of, at, text }) => {
    clear();
    const card = byId(of);
    if (!card) return;
    const from = card.dataset.from.split(" ").filter(byId);
    const feeds = all(`[data-from~="${of}"]`).map((e) => e.id);
    for (const id of from) mark(id, "lit-from");
    for (const id of feeds) mark(id, "lit-feeds");
    mark(of, "lit");
    if (at !== undefined) {
      card.classList.remove("lit");
      const same = `[data-of="${of}"][data-at="${at}"], [data-of="${of}"] [data-at="${at}"]`;
      for (const e of all(same)) e.classList.add("lit");
      // The numbers that it was made of: of its own line, and where these stand in their steps.
      for (const e of all(`.written[data-at="${at}"] mn[data-of]`, card)) {
        if (e.dataset.of === of) continue;
        e.classList.add("lit-from");
        const there = `table[data-of="${e.dataset.of}"] [data-at="${e.dataset.at}"]`;
        for (const cell of all(there)) cell.classList.add("lit-from");
      }
    }
    const name = document.createElement("b");
    name.textContent = label(card, at) + (text && at !== undefined ? ` = ${text}` : "");
    const trail = [name];
    if (from.length) trail.push(" ", links("comes from", from, "from"));
    if (feeds.length) trail.push(" ", links("feeds", feeds, "feeds"));
    byId("trail").replaceChildren(...trail);
  };
  const source = (target) => {
    const number = target.closest?.("[data-of], [data-at]");
    const of = number?.closest("[data-of]")?.dataset.of;
    if (!of) return null;
    const single = number.matches("mn, td, output");
    return { of, at: number.dataset.at, text: single ? number.textContent : "", number };
  };

  // Going there
  const reveal = (e) => {
    for (let up = e.parentElement; up; up = up.parentElement) if (up.matches("details")) up.open = true;
    atLeast(e.matches(".step") ? 2 : 1);
  };
  const jump = (id) => {
    const e = byId(id);
    if (!e) return;
    reveal(e);
    const target = e.querySelector(":scope > header a, :scope > summary") || e;
    target.focus({ preventScroll: true });
    e.scrollIntoView({ block: e.matches(".step") ? "center" : "start" });
    remember(id);
  };
  const stops = () => all("main .step > header a[href], main details:not([open]) > summary").filter(seen);
  const move = (by) => {
    const places = stops();
    const here = document.activeElement?.closest(".step, summary");
    const now = places.findIndex((e) => e.closest(".step, summary") === here);
    const next = places[now < 0 ? (by > 0 ? 0 : places.length - 1) : now + by];
    if (!next) return;
    next.focus({ preventScroll: true });
    next.closest(".step, summary").scrollIntoView({ block: "center" });
  };
  const walk = (by) => {
    const step = document.activeElement?.closest(".step");
    if (!step) return;
    const numbers = all("mn[data-of], td[data-at], output[data-of]", step).filter(seen);
    const now = numbers.indexOf(document.activeElement);
    const next = numbers[now < 0 && by < 0 ? numbers.length - 1 : now + by];
    if (!next) return;
    next.tabIndex = -1;
    next.setAttribute("role", "link");
    next.focus();
  };

  let held = false; // lit by the keyboard or a click, until Escape or the next one
  document.addEventListener("pointerover", (event) => {
    const found = source(event.target);
    if (found && event.pointerType !== "touch") {
      held = false;
      light(found);
    } else if (!held && !event.target.closest?.("#trail")) clear();
  });
  document.addEventListener("focusin", (event) => {
    const found = source(event.target);
    held = Boolean(found);
    if (found) light(found);
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-view]");
    if (button) return toggle(button);
    const link = event.target.closest('a[href^="#"]');
    if (link) {
      event.preventDefault();
      return jump(link.getAttribute("href").slice(1));
    }
    const summary = event.target.closest(".network summary");
    if (summary && !summary.parentElement.open && matchMedia("(min-width: 62rem)").matches) {
      const part = byId(summary.parentElement.dataset.to);
      reveal(part);
      part.open = true;
      part.scrollIntoView({ block: "start" });
    }
    const found = source(event.target);
    if (!found || summary || event.target.closest("summary")) return;
    if (event.pointerType === "touch" && !found.number.matches(".lit")) {
      light(found); // the first touch shows, the second goes there
    } else {
      jump(found.of);
      light(found);
    }
    held = true;
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input")) return;
    const inside = event.target.closest(".step, main summary");
    const moves = { j: 1, k: -1, ...(inside && { ArrowDown: 1, ArrowUp: -1 }) };
    const walks = inside ? { ArrowRight: 1, ArrowLeft: -1 } : {};
    if (event.key === "Escape") {
      held = false;
      clear();
    } else if (event.key in moves) move(moves[event.key]);
    else if (event.key in walks) walk(walks[event.key]);
    else if (event.key === "Enter" && event.target.matches("[role=link]")) {
      const found = source(event.target);
      jump(found.of);
      light(found);
    } else return;
    event.preventDefault();
  });
  document.addEventListener("change", (event) => {
    if (!heights.includes(event.target)) return;
    rise(Number(event.target.value));
    remember();
  });
  addEventListener("beforeprint", () => {
    for (const e of all("main details")) e.open = true;
  });
  document.addEventListener("DOMContentLoaded", () => {
    addButtons();
    const at = address().get("at");
    if (at) jump(at);
  });
})();
