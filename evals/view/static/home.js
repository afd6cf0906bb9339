"use strict";

// All sets of runs: what each is, how it went, when it was written; sorted by any column.
const Home = (() => {
  const { h } = Dom;
  const LONG = 60; // characters of a benchmark or a model
  const KINDS = { run: "graph run", evaluation: "evaluation", training: "training run" };

  // Where a set opens: a training run on its figures, a saved run on itself.
  function link(set) {
    if (set.kind === "training") return Route.link("training", { set: set.number });
    return set.kind === "run" && set.rows.length === 1 ? Route.run(set.rows[0]) : Route.link("set", { set: set.number });
  }

  function right(set) {
    const scored = set.rows.filter((row) => row.outcome && row.outcome !== "running");
    return scored.length ? scored.filter((row) => row.outcome === "right").length / scored.length : null;
  }

  const clipped = (text) => h("bdi", { "data-tip": text.length > LONG ? text.slice(0, 400) : null }, text.length > LONG ? `${text.slice(0, LONG)} …` : text);

  const amount = (set) => Format.many(set.rows.length, set.kind === "training" ? "rollout" : "run");

  const COLUMNS = [
    { name: "name", title: "name", sort: (set) => set.name, cell: (set) => [h("a", { href: link(set) }, h("bdi", {}, set.name)), h("small", { class: "quiet" }, set.path)] },
    { name: "kind", title: "kind", sort: (set) => KINDS[set.kind], cell: (set) => KINDS[set.kind] },
    { name: "benchmark", title: "questions", sort: (set) => set.benchmark, cell: (set) => clipped(set.benchmark) },
    { name: "model", title: "model", sort: (set) => set.model, cell: (set) => clipped(set.model) },
    { name: "runs", title: "runs", numeric: true, sort: (set) => set.rows.length, cell: amount },
    { name: "right", title: "right", numeric: true, sort: right, cell: (set) => (right(set) === null ? "" : Format.percent(right(set))) },
    { name: "written", title: "last written", numeric: true, sort: (set) => set.written, cell: (set) => Format.date(set.written) },
  ];

  function sorted(name, down) {
    const column = COLUMNS.find((each) => each.name === name);
    if (!column) return Data.sets;
    const missing = (value) => value === null || value === undefined || value === "";
    return [...Data.sets].sort((one, other) => {
      const [a, b] = [column.sort(one), column.sort(other)];
      if (missing(a) || missing(b)) return missing(a) - missing(b);
      const order = typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b;
      return (down ? -order : order) || one.number - other.number;
    });
  }

  function open(query) {
    let now = { sort: query.sort || "", down: query.down === "1" };
    const box = h("div", { class: "overview" });

    function sortBy(column) {
      now = { sort: column.name, down: now.sort === column.name ? !now.down : Boolean(column.numeric) };
      Route.note("", { sort: now.sort, down: now.down ? "1" : "" });
      ready();
      box.querySelector(`[data-column="${column.name}"] button`).focus();
    }

    const heading = (column) => h("th", {
      scope: "col", class: column.numeric ? "number" : "", "data-column": column.name,
      "aria-sort": column.name !== now.sort ? "none" : now.down ? "descending" : "ascending",
    }, h("button", { type: "button", on: { click: () => sortBy(column) } }, column.title));

    function ready() {
      Dom.fill(box, h("table", { class: "sets-table" },
        h("thead", {}, h("tr", {}, COLUMNS.map(heading))),
        h("tbody", {}, sorted(now.sort, now.down).map((set) => h("tr", { "data-set": set.number }, COLUMNS.map((column) =>
          h("td", { class: `c-${column.name}${column.numeric ? " number" : ""}`, "data-title": column.title }, column.cell(set))))))));
    }
    return { element: box, ready, update: ready };
  }

  return { link, open };
})();
