"use strict";

// What of a set is shown. Every choice stands in the address, so that a selection can be kept and sent.
const Filters = (() => {
  const { h } = Dom;

  const CHOICES = [
    { name: "step", title: (set) => set.unit, values: (row) => (row.step === null ? [] : [row.step]), shown: Data.stepNumber },
    { name: "benchmark", title: "benchmark", values: (row) => (row.benchmark ? [row.benchmark] : []) },
    { name: "outcome", title: "outcome", values: (row) => (row.outcome ? [row.outcome] : []) },
    { name: "turns", title: "turns", values: (row) => [row.turns] },
    { name: "tool", title: "tool", values: (row) => row.tools },
    { name: "error", title: "error", values: (row) => row.errors },
    { name: "ended", title: "ended by", values: (row) => (row.ended_by ? [row.ended_by] : []) },
  ];

  function fits(row, query) {
    for (const { name, values } of CHOICES) {
      if (query[name] !== undefined && !values(row).some((value) => String(value) === query[name])) return false;
    }
    if (query.task && row.task !== query.task) return false;
    if (query.from && !(row.reward !== null && row.reward >= Number(query.from))) return false;
    if (query.to && !(row.reward !== null && row.reward <= Number(query.to))) return false;
    return true;
  }

  function options(rows, { values }) {
    const counts = new Map();
    for (const row of rows) for (const value of new Set(values(row))) counts.set(value, (counts.get(value) || 0) + 1);
    const known = [...counts].map(([value, number]) => ({ value, number }));
    return known.sort((a, b) => (typeof a.value === "number" ? a.value - b.value : b.number - a.number)).slice(0, 1000);
  }

  function select(set, choice, query, changed) {
    const known = options(set.rows, choice);
    const { title, shown = (_, value) => String(value).slice(0, 60) } = choice;
    const chosen = query[choice.name];
    if (known.length < 2 && chosen === undefined) return null;
    return h("label", {}, choice.name === "step" ? title(set) : title, h("select", { "data-filter": choice.name, on: { change: (event) => changed({ [choice.name]: event.target.value }) } },
      h("option", { value: "" }, "all"),
      known.map(({ value, number }) => h("option", { value: String(value), selected: String(value) === chosen }, `${shown(set, value)} (${Format.count(number)})`))));
  }

  function rewards(rows, query, changed) {
    if (!rows.some((row) => row.reward !== null)) return null;
    const field = (name, title) => h("input", { type: "number", step: "any", "data-filter": name, "aria-label": title, placeholder: name, value: query[name] || "",
      on: { change: (event) => changed({ [name]: event.target.value }) } });
    return h("label", {}, "reward", h("span", { class: "range" }, field("from", "reward from"), field("to", "reward to")));
  }

  // changed(part) is told which choices are new; an empty value takes one back.
  function draw(set, query, changed) {
    let waiting = 0;
    const search = h("input", {
      type: "search", class: "search", value: query.q || "", placeholder: 'search all text; "words together"  ( / )', "aria-label": "search all text", "data-filter": "q",
      on: { input: (event) => {
        clearTimeout(waiting);
        waiting = setTimeout(() => changed({ q: event.target.value }), 150);
      } },
    });
    return h("form", { class: "filters", role: "search", on: { submit: (event) => event.preventDefault() } },
      search, CHOICES.map((choice) => select(set, choice, query, changed)), rewards(set.rows, query, changed),
      query.task && h("button", { type: "button", class: "chip", on: { click: () => changed({ task: "" }) } }, `task ${query.task} ×`),
      h("button", { type: "reset", class: "plain", on: { click: () => changed(null) } }, "clear"));
  }

  return { draw, fits };
})();
