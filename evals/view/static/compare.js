"use strict";

// Two sets side by side: what changed from A to B, and on which questions (the words of `python -m evals compare`).
const Compare = (() => {
  const { h } = Dom;

  // What can be compared: every set, and each step of a training run. A name is `set` or `set@step`.
  function choices() {
    return Data.sets.flatMap((set) => {
      const steps = set.kind === "training" ? [...new Set(set.rows.map((row) => row.step))].sort((a, b) => a - b) : [];
      return [{ value: String(set.number), title: set.name }, ...(steps.length > 1 ? steps.map((step) => ({ value: `${set.number}@${step}`, title: `${set.name}, ${Data.stepName(set, step)}` })) : [])];
    });
  }

  function rowsOf(name) {
    const [number, step] = name.split("@");
    const set = Data.sets[Number(number)];
    if (!set) return [];
    return step === undefined ? set.rows : set.rows.filter((row) => String(row.step) === step);
  }

  function byTask(rows) {
    const tasks = new Map();
    for (const row of rows) {
      const name = row.task || row.question;
      if (!tasks.has(name)) tasks.set(name, []);
      tasks.get(name).push(row);
    }
    return tasks;
  }

  // Under the exact rules, where there are two, as in `evals compare`.
  const score = (rows) => Format.mean(rows.map((row) => Number(row.exact === null ? row.outcome === "right" : row.exact)));

  const points = (value) => `${value > 0 ? "+" : ""}${(100 * value).toFixed(1)}`;

  // The accuracies over questions, and the interval of their difference.
  function accuracy(known) {
    if (!known || !known.questions) return [];
    const [low, high] = known.interval;
    const two = known.exact.some((value, place) => value !== known.lenient[place]);
    const line = (name, [one, other], interval) => h("tr", {}, h("th", { scope: "row" }, name),
      [one, other].map((value) => h("td", { class: "number" }, Format.percent(value))),
      h("td", { class: "number" }, points(other - one), interval && h("small", { class: "quiet interval" }, ` (${points(low)} to ${points(high)})`)));
    return [line(two ? "exact" : "accuracy", known.exact, true), two && line("lenient", known.lenient, false)];
  }

  // Shares of all turns, with the interval of their difference.
  function toolLines(known) {
    return (known && known.tools ? known.tools : []).map(([name, one, other, low, high]) => h("tr", {}, h("th", { scope: "row" }, h("bdi", {}, name)),
      [one, other].map((value) => h("td", { class: "number" }, Format.percent(value))),
      h("td", { class: "number" }, points(other - one), h("small", { class: "quiet interval" }, ` (${points(low)} to ${points(high)})`))));
  }

  // Tools that runs of one set use together, and no run of the other.
  function combinations(known, b) {
    const found = known && known.unseen ? known.unseen[1] : [];
    if (!found.length) return null;
    const line = ({ tools, runs, right, example }) => h("tr", {}, h("th", { scope: "row" }, h("bdi", {}, tools.join(" + "))), [runs, right].map((value) => h("td", { class: "number" }, Format.count(value))),
      h("td", {}, h("a", { href: Route.link("run", { set: b[0].set, run: example }) }, h("bdi", {}, example))));
    return h("section", { class: "combinations" }, h("h3", {}, "combinations of tools that only B uses"),
      h("table", { class: "usage" }, h("thead", {}, h("tr", {}, ["tools", "runs", "right", "for example"].map((name) => h("th", { scope: "col" }, name)))), h("tbody", {}, found.slice(0, 50).map(line))),
      found.length > 50 && h("p", { class: "quiet" }, `… and ${found.length - 50} more`));
  }

  function verdict(known) {
    if (!known) return h("p", { class: "quiet" }, "The interval of the difference is not in this file: look at the served page.");
    const words = known.direction ? `B is ${known.direction}` : "There is no significant difference";
    return h("p", { class: "verdict" }, h("b", {}, words), h("span", { class: "quiet" }, ` (${known.grounds}, as in `, h("code", {}, "python -m evals compare"), ")."));
  }

  function table(a, b, known) {
    const turns = (rows) => rows.reduce((sum, row) => sum + row.turns, 0);
    const lines = [
      ["runs", (rows) => rows.length, Format.count],
      ["turns a run", (rows) => turns(rows) / rows.length, (value) => value.toFixed(2)],
      SetView.judged([...a, ...b]) && ["rejected turns", (rows) => rows.reduce((sum, row) => sum + row.rejected, 0) / Math.max(1, turns(rows)), Format.percent],
      ["runs with errors", (rows) => Format.mean(rows.map((row) => Number(row.errors.length > 0))), Format.percent],
      ["tokens a run", (rows) => Format.mean(rows.map((row) => row.tokens_in + row.tokens_out)), Format.count],
      ["seconds a run", (rows) => Format.mean(rows.map((row) => row.seconds)), (value) => value.toFixed(1)],
    ].filter(Boolean);
    return h("table", { class: "usage compared" }, h("thead", {}, h("tr", {}, ["", "A", "B", "B − A"].map((name) => h("th", { scope: "col", class: "number" }, name)))),
      h("tbody", {}, accuracy(known), lines.map(([name, value, show]) => {
        const [one, other] = [value(a), value(b)];
        return h("tr", {}, h("th", { scope: "row" }, name), h("td", { class: "number" }, show(one)), h("td", { class: "number" }, show(other)),
          h("td", { class: "number" }, `${other > one ? "+" : ""}${show(other - one)}`));
      }), toolLines(known)));
  }

  function tools(a, b) {
    const [one, other] = [a, b].map((rows) => rows.flatMap((row) => row.tools));
    const share = (list, name) => list.filter((tool) => tool === name).length / Math.max(1, list.length);
    const names = Format.counted([...one, ...other]).map(({ name }) => name);
    return Bars.draw("tools, share of turns (A above B)", names.map((name) => ({ name, number: share(one, name), other: share(other, name) })), { format: Format.percent, about: SetView.TOOLS });
  }

  function questions(title, kind, list) {
    return h("section", { class: `questions ${kind}`, "data-kind": kind }, h("h3", {}, title, " ", h("span", { class: "count" }, Format.count(list.length))),
      Dom.disclosure("show", () => h("ol", {}, list.slice(0, 500).map(({ a, b }) => h("li", {},
        h("a", { href: Route.link("pair", { a: `${a[0].set}:${a[0].key}`, b: `${b[0].set}:${b[0].key}` }) }, h("bdi", {}, a[0].question.slice(0, 160))),
        h("p", { class: "small" }, h("span", { class: "quiet" }, "A "), h("bdi", {}, a[0].answer || "–"), h("span", { class: "quiet" }, "  B "), h("bdi", {}, b[0].answer || "–")))),
      list.length > 500 && h("p", { class: "quiet" }, "… the first 500")), { open: kind === "won" || kind === "lost" }));
  }

  function result(a, b, known) {
    const [tasksA, tasksB] = [byTask(a), byTask(b)];
    const shared = [...tasksA.keys()].filter((task) => tasksB.has(task));
    if (!shared.length) return h("p", { class: "notice" }, "The two have no question in common.");
    const pairs = shared.map((task) => ({ a: tasksA.get(task), b: tasksB.get(task) })).map((pair) => ({ ...pair, difference: score(pair.b) - score(pair.a) }));
    const [bothA, bothB] = [pairs.flatMap((pair) => pair.a), pairs.flatMap((pair) => pair.b)];
    const left = [tasksA.size - shared.length, tasksB.size - shared.length];
    return [
      h("p", { class: "quiet" }, `${Format.many(shared.length, "question")} in common${left[0] + left[1] ? `; ${left[0]} only in A and ${left[1]} only in B are left out` : ""}.`),
      verdict(known),
      h("div", { class: "sides" }, h("section", { class: "side" }, table(bothA, bothB, known)), h("section", { class: "side" }, tools(bothA, bothB))),
      combinations(known, bothB),
      h("div", { class: "sides" },
        questions("won by B", "won", pairs.filter((pair) => pair.difference > 0)), questions("lost by B", "lost", pairs.filter((pair) => pair.difference < 0)),
        questions("both right", "right", pairs.filter((pair) => pair.difference === 0 && score(pair.a) > 0)), questions("neither right", "wrong", pairs.filter((pair) => pair.difference === 0 && score(pair.a) === 0))),
    ];
  }

  function open(query) {
    const known = choices();
    const box = h("div", { class: "compare" });
    const chosen = (name, otherwise) => (known.some(({ value }) => value === query[name]) ? query[name] : otherwise);
    const a = chosen("a", (known[0] || { value: "" }).value);
    const b = chosen("b", (known[1] || known[0] || { value: "" }).value);
    const select = (name, value, go) => h("label", {}, name, h("select", { "data-choice": name, on: { change: (event) => go(event.target.value) } },
      known.map((each) => h("option", { value: each.value, selected: each.value === value }, each.title))));

    async function ready() {
      const known = await Data.compare(a, b);
      Dom.fill(box, h("form", { class: "filters", on: { submit: (event) => event.preventDefault() } },
        select("A", a, (value) => Route.go("compare", { a: value, b })), select("B", b, (value) => Route.go("compare", { a, b: value })),
        h("a", { href: Route.link("compare", { a: b, b: a }) }, "swap")), result(rowsOf(a), rowsOf(b), known));
    }
    return { element: box, ready, update: ready };
  }

  // Two runs next to each other.
  function pair(query) {
    const box = h("div", { class: "sides pair" });
    async function ready() {
      const sides = await Promise.all(["a", "b"].map(async (name) => {
        const [, number, key] = /^(\d+):([^]*)$/.exec(query[name] || "") || [];
        const row = number !== undefined && Data.sets[number] ? Data.sets[number].byKey.get(key) : null;
        if (!row) return h("p", { class: "notice" }, "There is no such run.");
        const facts = await Data.facts(row.set);
        return h("section", { class: "side" }, h("p", { class: "quiet" }, name.toUpperCase(), " · ", h("a", { href: Route.run(row) }, `${Data.sets[row.set].name}: ${row.key}`)), Run.draw(await Data.run(row), row, facts.settings));
      }));
      Dom.fill(box, sides);
    }
    return { element: box, ready, update: () => {} };
  }

  return { open, pair };
})();
