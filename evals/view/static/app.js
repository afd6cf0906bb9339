"use strict";

// The page: its header, which view is open, keys, and what happens when files grow.
(() => {
  const { h } = Dom;
  const top = document.getElementById("top");
  const main = document.getElementById("main");
  let view = null;
  let opened = 0;

  const THEMES = ["auto", "light", "dark"];

  function theme(next) {
    let chosen = next;
    try {
      if (next) localStorage.setItem("theme", next);
      else chosen = localStorage.getItem("theme");
    } catch (error) {
      // A browser may keep nothing for files; the choice then lasts as long as the page.
    }
    if (THEMES.includes(chosen)) document.documentElement.dataset.theme = chosen;
    return document.documentElement.dataset.theme || "auto";
  }

  // A training run is compared with itself: its first step with its last.
  function firstAndLast(set) {
    const steps = set.rows.map((row) => row.step);
    const ends = [Math.min, Math.max].map((choose) => steps.reduce((one, other) => choose(one, other), steps[0]));
    const [a, b] = ends.map((step) => (ends[0] === ends[1] ? String(set.number) : `${set.number}@${step}`));
    return { a, b };
  }

  function tabs(place, number) {
    const set = Data.sets[number];
    const inSet = set ? [
      set.kind === "training" && ["training", "training", { set: number }],
      ["set", set.kind === "training" ? "rollouts" : "runs", { set: number }],
      set.kind === "training" && ["group", "groups", { set: number }],
    ] : [];
    const every = [...inSet, (Data.sets.length > 1 || (set && set.kind === "training")) && ["compare", "compare", set && set.kind === "training" ? firstAndLast(set) : {}]].filter(Boolean);
    return h("nav", { "aria-label": "views" }, every.map(([name, title, query]) =>
      h("a", { href: Route.link(name, query), "aria-current": name === place ? "page" : null }, title)));
  }

  function header(place, number) {
    const many = Data.sets.length > 1;
    const button = h("button", { type: "button", class: "plain theme", "aria-label": "light or dark", on: { click: () => {
      button.textContent = theme(THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length]);
      Plots.redraw();
    } } }, theme());
    Dom.fill(top,
      h("a", { class: "home", href: "#/" }, "AgentFlow"),
      many && h("select", { "aria-label": "set of runs", class: "sets", on: { change: (event) => event.target.value && (location.hash = Home.link(Data.sets[Number(event.target.value)])) } },
        h("option", { value: "" }, "all sets"), Data.sets.map((set) => h("option", { value: String(set.number), selected: set.number === number }, set.name))),
      !many && Data.sets[0] && h("span", { class: "name" }, Data.sets[0].name),
      tabs(place, number),
      h("span", { class: "state", role: "status" }, Data.embedded ? "exported" : h("span", { class: "live" }, "live")), button);
  }

  // A place that the address names and that is not here.
  function nowhere(what) {
    const element = h("p", { class: "notice" }, what, " ", h("a", { href: "#/" }, Data.sets.length > 1 ? "All sets" : "The runs"));
    return { element, ready() {}, update() {} };
  }

  function runView(number, query) {
    const box = h("div", {});
    let drawn = "";
    async function ready() {
      const row = Data.sets[number].byKey.get(query.run);
      if (!row) {
        Dom.fill(box, h("p", { class: "notice" }, "There is no such run (any more)."));
        return;
      }
      const set = Data.sets[number];
      const facts = await Data.facts(number);
      const detail = await Data.run(row);
      const print = JSON.stringify(detail);
      if (print === drawn) return;
      drawn = print;
      const link = (step, title) => {
        const other = SetView.neighbour(row, step);
        return other ? h("a", { href: Route.run(other) }, title) : h("span", { class: "quiet" }, title);
      };
      Dom.fill(box, set.rows.length > 1 && h("nav", { class: "beside", "aria-label": "other runs" }, link(-1, "← previous"), h("a", { href: Route.link("set", { set: number }) }, "all"), link(1, "next →")), Run.draw(detail, row, facts.settings));
    }
    return { element: box, ready, update: ready };
  }

  // Without a place in the address: the list of sets, or of a single set what there is to see.
  function start() {
    const { query } = Route.current();
    const only = Data.sets.length === 1 ? Data.sets[0] : null;
    if (!only) return ["", -1, Home.open(query)];
    if (only.kind === "training") return ["training", 0, Training.open(0)];
    if (only.kind === "run" && only.rows.length === 1) return ["run", 0, runView(0, { run: only.rows[0].key })];
    return ["set", 0, SetView.open(0, query)];
  }

  const OF_A_SET = {
    run: (number, query) => runView(number, query),
    training: (number) => Training.open(number),
    group: (number, query) => Group.open(number, query),
    set: (number, { set, ...rest }) => SetView.open(number, rest),
  };

  function chosen() {
    const { view: name, query } = Route.current();
    if (!name) return start();
    if (name === "compare") return ["compare", -1, Compare.open(query)];
    if (name === "pair") return ["compare", -1, Compare.pair(query)];
    if (!Object.hasOwn(OF_A_SET, name)) return ["", -1, nowhere(`There is no place “${name}” in this page.`)];
    const number = Number(query.set || 0);
    if (!Data.sets[number]) return ["", -1, nowhere(`There is no set number ${query.set}; the page has ${Data.sets.length}.`)];
    if (["training", "group"].includes(name) && Data.sets[number].kind !== "training") return ["", -1, nowhere(`${Data.sets[number].name} is no training run.`)];
    return [name, number, OF_A_SET[name](number, query)];
  }

  async function show() {
    const mine = opened += 1;
    delete main.dataset.ready;
    const [place, number, next] = chosen();
    view = next;
    header(place, number);
    document.title = number >= 0 ? `${Data.sets[number].name} · AgentFlow runs` : "AgentFlow runs";
    Dom.fill(main, next.element);
    scrollTo(0, 0);
    try {
      await next.ready();
    } catch (error) {
      if (mine === opened) Dom.fill(main, h("p", { class: "notice bad" }, `This cannot be shown: ${error.message}`));
    }
    if (mine === opened) main.dataset.ready = String(mine);
  }

  // The run is read from the address, which a key changes at once: one that comes before the run is drawn counts too.
  function beside(query, step) {
    const set = Data.sets[Number(query.set || 0)];
    const row = set && set.byKey.get(query.run);
    const other = row && SetView.neighbour(row, step);
    if (other) location.hash = Route.run(other);
  }

  function keys(event) {
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
    if (event.key === "Escape" && typing) event.target.blur();
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "/") {
      const search = document.querySelector("input.search");
      if (search) {
        event.preventDefault();
        search.focus();
      }
    }
    const place = Route.current();
    if (place.view !== "run") return;
    const step = { n: 1, p: -1 }[event.key];
    if (step) beside(place.query, step);
    if (event.key === "Escape") history.back();
  }

  function changed(problem) {
    const state = top.querySelector(".state");
    if (state && problem) Dom.fill(state, h("span", { class: "bad" }, problem));
    else if (state) Dom.fill(state, h("span", { class: "live" }, "live"));
    if (!problem && view) view.update();
  }

  async function begin() {
    theme();
    addEventListener("hashchange", show);
    addEventListener("keydown", keys);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", Plots.redraw);
    Data.onChange(changed);
    try {
      await Data.load();
    } catch (error) {
      Dom.fill(main, h("p", { class: "notice bad" }, `The runs cannot be read: ${error.message}`));
      return;
    }
    await show();
  }

  begin();
})();
